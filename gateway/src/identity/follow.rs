//! Stored roles follow the users file: a pipeline that runs for somebody is decided by the roles the file
//! lists now, and by none once the file does not list that user any more.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use authorization::Roles;
use runtime::Shutdown;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::recorded::{roles_of, store};
use super::{Identity, basic};
use crate::clients::Clients;
use crate::error::Error;
use crate::listing;
use crate::request::Caller;

/// From one look at the file to the next.
const EVERY: Duration = Duration::from_secs(1);
/// A request that read the file before it changed may store its roles after that.
const AGAIN: Duration = Duration::from_secs(60);

/// Looks at the file until the shutdown begins, where it is the only place that users come from. What fails
/// is tried again.
pub(crate) async fn follow(
    identity: Arc<Identity>,
    clients: Arc<Clients>,
    shutdown: Shutdown,
) -> Result<(), Infallible> {
    let Some(users) = identity.users.as_ref().filter(|_| identity.file_is_all()) else {
        shutdown.begun().await;
        return Ok(());
    };
    let (mut seen, mut followed) = (None, None);
    loop {
        // A file that cannot be read lets nobody in, and says nothing of roles.
        if let Ok(text) = users.read().await {
            let digest = Sha256::digest(text.as_bytes());
            let is_followed = followed
                .is_some_and(|(last, at): (_, Instant)| last == digest && at.elapsed() < AGAIN);
            // One that is being written is not believed: it says the same twice when it is whole.
            let is_whole = seen.replace(digest) == Some(digest);
            if is_whole && !is_followed {
                match bring_up_to_date(&clients, &text).await {
                    Ok(()) => followed = Some((digest, Instant::now())),
                    Err(error) => {
                        let reason = error.message();
                        tracing::warn!(reason, "stored roles do not follow the users file yet");
                    }
                }
            }
        }
        if !shutdown.sleep(EVERY).await {
            return Ok(());
        }
    }
}

/// Stores the roles of every known user whose roles the file lists otherwise.
async fn bring_up_to_date(clients: &Clients, text: &str) -> Result<(), Error> {
    let mut listed: HashMap<String, Roles> = HashMap::new();
    for (name, roles) in basic::entries(text) {
        // The first line of a name counts, as it does at a login.
        listed.entry(name.to_lowercase()).or_insert(roles);
    }
    let accounts = listing::objects(clients, &Caller::default(), "serviceAccount").await?;
    let account = |object: &Value| Some(object.get("name")?.as_str()?.to_lowercase());
    // Their roles are their own; they are users only where a token of theirs was used.
    let accounts: HashSet<String> = accounts.iter().filter_map(account).collect();
    let mut failed = Ok(());
    for user in listing::objects(clients, &Caller::default(), "user").await? {
        let name = user.get("id").and_then(Value::as_str).unwrap_or_default();
        let roles = listed.get(name).cloned().unwrap_or_default();
        if !accounts.contains(name) && roles != roles_of(&user, "roles") {
            tracing::info!(user = name, "roles follow the users file");
            failed = store(clients, name, &roles).await.and(failed);
        }
    }
    failed
}
