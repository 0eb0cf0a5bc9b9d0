//! The start of the provider: adopt what runs, repair what does not, then follow
//! the balancer and repair what dies.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use runtime::Shutdown;
use serde_json::json;

use super::observed::InstanceState;
use super::{Error, Local};
use crate::operation::Input;
use crate::operation::ledger::{Ledger, Submission};

/// From the balancer's word to the look at the processes.
const AFTER_DEATH: Duration = Duration::from_secs(1);

/// Begins, opens the way for operations, and follows the balancer until the
/// shutdown begins.
///
/// # Errors
/// When the balancer cannot be started, the store fails, …; begun anew then.
pub async fn supervise(local: Arc<Local>, ledger: Ledger, shutdown: Shutdown) -> Result<(), Error> {
    let journal = local.journal();
    let Some(begun) = shutdown.or(local.routers().begin(journal)).await else {
        return Ok(());
    };
    begun?;
    report_orphans(&local).await?;
    if let Err(error) = local.clear_jobs(&ledger).await {
        tracing::warn!(%error, "what jobs left is not cleared away");
    }
    let mut known = BTreeSet::new();
    repair(&local, &ledger, &mut known).await?;
    local.routers().open();
    tokio::select! {
        ended = local.routers().follow(journal, &shutdown) => ended,
        ended = repair_deaths(&local, &ledger, known) => ended,
    }
}

/// Repairs server groups whose instances die: the balancer notices first, a
/// little later the shim has the exit.
async fn repair_deaths(
    local: &Local,
    ledger: &Ledger,
    mut known: BTreeSet<String>,
) -> Result<(), Error> {
    let mut news = local.routers().news();
    loop {
        // The sender lives as long as the provider.
        let _news = news.changed().await;
        let suspended = local.routers().observed().is_some_and(|observed| {
            let mut instances = observed.instances.iter();
            instances.any(|(id, s)| s.state == InstanceState::Suspended && !known.contains(id))
        });
        if suspended {
            tokio::time::sleep(AFTER_DEATH).await;
            repair(local, ledger, &mut known).await?;
        }
    }
}

/// Folders without an instance in the journal: ended ones are cleared away,
/// living ones are stopped if they answer to our token, and told of either way.
async fn report_orphans(local: &Local) -> Result<(), Error> {
    let everything = local.journal().everything().await?;
    let known: BTreeSet<&str> = everything.instances.iter().map(|i| i.id.as_str()).collect();
    for id in local.shims().folders() {
        if known.contains(id.as_str()) {
            continue;
        }
        tracing::warn!(
            instance = id,
            "a process folder belongs to no instance; it is cleared"
        );
        if let Err(error) = local.shims().clear_orphan(&id).await {
            tracing::error!(instance = id, %error, "an orphan could not be cleared");
        }
    }
    Ok(())
}

/// Server groups whose processes ended by themselves, or while nobody looked (the
/// machine was restarted, `gennaker down` stopped them), get their size back by
/// an operation like any other, as an auto scaling group does. One that fails is
/// not tried again: a version that dies at once must not be started for ever. Those that an operation is working on are left to it: it
/// comes first, because operations of one cluster follow each other.
///
/// `known` holds the dead that have been seen to.
async fn repair(local: &Local, ledger: &Ledger, known: &mut BTreeSet<String>) -> Result<(), Error> {
    let everything = local.journal().everything().await?;
    for group in &everything.groups {
        let mut dead = Vec::new();
        for instance in everything.instances_of(group) {
            let gone = local.shims().has_exited(instance).await;
            if gone && !instance.stopping && known.insert(instance.id.clone()) {
                dead.push(instance.id.as_str());
            }
        }
        if dead.is_empty() {
            continue;
        }
        tracing::warn!(
            server_group = group.name,
            dead = dead.len(),
            "instances ended by themselves; the server group is repaired"
        );
        let input = json!({
            "account": group.account,
            "region": group.region,
            "serverGroupName": group.name,
            "reason": "instances ended by themselves",
        });
        let Ok(input) = Input::of(input) else {
            continue;
        };
        let submission = Submission {
            // Each start may try once more; one that finds nothing dead changes nothing.
            effect_id: format!(
                "repair/{}/{}/{}",
                group.name,
                dead.join("/"),
                super::now_ms()
            ),
            kind: "resizeServerGroup".to_owned(),
            input,
            user: "gennaker".to_owned(),
            waiter: None,
            subject: format!("{}/{}/{}", group.account, group.region, group.cluster),
        };
        if let Err(error) = ledger.submit(submission).await {
            tracing::error!(server_group = group.name, %error, "the repair was not accepted");
        }
    }
    Ok(())
}
