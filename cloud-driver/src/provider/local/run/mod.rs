//! One rollout of one operation, driven: observe, decide, commit, cause, wait.
//!
//! Owns the order of these five. What is decided is the rollout machine's; what
//! is caused goes through `router` and `shims`, which repeat without harm.

mod commit;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rollout::{
    Effect, InFlight, Move, Observation, OnDrainTimeout, Outcome, Process, Rollout, Standing, Step,
};
use store::Batch;

use super::document::{Instance, ServerGroup};
use super::journal::{self, Stored};
use super::prepare::{Preparations, Prepared};
use super::{Local, now_ms};
use crate::operation::ledger::{Ledger, Operation};
use crate::operation::worker::{Right, Stopped, keep};

/// Last lines of an instance that a failure carries.
const TAIL: usize = 50;

/// How long to wait for news while processes come and go, and otherwise.
const SOON: Duration = Duration::from_millis(25);
const LATER: Duration = Duration::from_millis(250);

/// An order to stop is repeated after this time: a shim may have died with it.
const AGAIN: Duration = Duration::from_secs(2);

/// Effects that failed are tried again after this time.
const PAUSE: Duration = Duration::from_millis(200);

/// The router's configuration that holds a revision of this rollout.
#[derive(Debug, Clone, Copy)]
struct Known {
    epoch: u64,
    generation: u64,
    revision: u64,
}

/// A rollout on its way.
pub(crate) struct Run<'a> {
    local: &'a Local,
    ledger: &'a Ledger,
    operation: Operation,
    right: Right,
    groups: BTreeMap<String, Stored<ServerGroup>>,
    instances: BTreeMap<String, Stored<Instance>>,
    known: Option<Known>,
    preparations: Preparations,
    /// Who was seen running while it was to drain.
    draining: BTreeSet<String>,
    /// When an instance was last ordered to stop.
    ordered_to_stop: BTreeMap<String, Instant>,
}

impl<'a> Run<'a> {
    /// Takes an operation whose rollout is planned.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub(crate) async fn begin(
        local: &'a Local,
        ledger: &'a Ledger,
        operation: Operation,
        right: Right,
    ) -> Result<Self, Stopped> {
        let everything = local.journal().everything().await?;
        let place = (
            operation.input.account().unwrap_or_default().to_owned(),
            operation.input.region().unwrap_or_default().to_owned(),
        );
        let groups = everything
            .groups
            .into_iter()
            .filter(|g| g.account == place.0 && g.region == place.1)
            .map(|g| (g.name.clone(), g))
            .collect();
        let instances = everything
            .instances
            .into_iter()
            .map(|i| (i.id.clone(), i))
            .collect();
        Ok(Self {
            local,
            ledger,
            operation,
            right,
            groups,
            instances,
            known: None,
            preparations: Preparations::default(),
            draining: BTreeSet::new(),
            ordered_to_stop: BTreeMap::new(),
        })
    }

    /// The operation as it is now.
    pub(crate) fn into_operation(self) -> Operation {
        self.operation
    }

    /// Drives the rollout to its end.
    ///
    /// # Errors
    /// When it must stop before: the operation is delivered again.
    pub(crate) async fn drive(&mut self) -> Result<Outcome, Stopped> {
        let Some(mut rollout) = self.operation.work.rollout.clone() else {
            return Ok(Outcome::Succeeded);
        };
        rollout.resumed();
        let mut router = self.local.routers().news();
        let mut cancels = self.ledger.cancels();
        cancels.mark_changed();
        loop {
            if self.right.lost.is_cancelled() {
                return Err(Stopped::HandedOver);
            }
            if cancels.has_changed().unwrap_or(false) {
                cancels.mark_unchanged();
                if let Some(reason) = self.ledger.canceled(&self.operation.head.id).await? {
                    self.operation.head.cancel = Some(reason.clone());
                    rollout.cancel(reason);
                }
            }
            router.mark_unchanged();
            let observation = self.observe(&rollout).await;
            self.keep_digests().await?;
            let before = (rollout.current().cloned(), rollout.failure().is_some());
            self.note_ends(&rollout, &observation);
            let step = rollout.step(&observation);
            if step.changed {
                if rollout.failure().is_some() && !before.1 {
                    self.note_failure(&rollout).await;
                }
                self.note_overdue(&step);
                if rollout.current() != before.0.as_ref() {
                    self.note_move(&rollout);
                }
                self.operation.work.rollout = Some(rollout.clone());
                self.commit(&step).await?;
            }
            if let Some(outcome) = step.outcome {
                return Ok(outcome);
            }
            let failed = self.perform(&step.effects, &rollout).await;
            let wait = self.pause(&rollout, &step, failed);
            tokio::select! {
                () = self.right.lost.cancelled() => return Err(Stopped::HandedOver),
                _ = router.changed(), if !failed => {}
                _ = cancels.changed() => cancels.mark_changed(),
                () = self.preparations.news() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn pause(&self, rollout: &Rollout, step: &Step, failed: bool) -> Duration {
        if failed {
            return PAUSE;
        }
        let most = match rollout.current() {
            Some(Move::Start { .. } | Move::Stop { .. }) => SOON,
            _ if step.changed => SOON,
            _ => LATER,
        };
        let wake = step.wake_at_ms.map(|at| {
            let now = u64::try_from(now_ms()).unwrap_or(0);
            Duration::from_millis(at.saturating_sub(now))
        });
        wake.map_or(most, |w| w.min(most))
    }

    async fn observe(&mut self, rollout: &Rollout) -> Observation {
        let mut processes = BTreeMap::new();
        for member in rollout.members() {
            if member.standing == Standing::Released || member.origin == rollout::Origin::Peer {
                continue;
            }
            let process = match self.instances.get(&member.id) {
                Some(instance) => self.process(instance).await,
                None => Some(Process::Absent),
            };
            if let Some(process) = process {
                processes.insert(member.id.clone(), process);
            }
        }
        let known = self.known;
        let router = self.local.routers().view(|epoch, generation| match known {
            Some(k) if k.epoch == epoch && generation >= k.generation => k.revision,
            _ => 0,
        });
        self.preparations.collect().await;
        let (prepared, unprepared) = self.preparations.outcomes();
        Observation {
            now_ms: u64::try_from(now_ms()).unwrap_or(0),
            router,
            processes,
            prepared,
            unprepared,
        }
    }

    /// An instance's process. What is well as long as it runs listens nowhere.
    async fn process(&self, instance: &Instance) -> Option<Process> {
        let process = self.local.shims().process(instance).await?;
        let group = self.groups.get(&instance.group);
        let silent = group.is_some_and(|g| g.health.process);
        Some(match process {
            Process::Running if silent => Process::Listening,
            other => other,
        })
    }

    fn note_move(&mut self, rollout: &Rollout) {
        let Some(present) = rollout.current() else {
            return;
        };
        let members = present.members().join(", ");
        let what = match present {
            Move::Prepare { group } => format!("Fetching the image of {group}"),
            Move::Pick { .. } => return,
            Move::Start { .. } => format!("Starting {members}"),
            Move::Warm { .. } => format!("Waiting until {members} pass their health checks"),
            Move::Settle { .. } => format!("Watching {members} settle"),
            Move::Serve { .. } => format!("Giving traffic to {members}"),
            Move::Drain { .. } => format!("Draining {members}"),
            Move::Stop { .. } => format!("Stopping {members}"),
            Move::Remove { .. } => format!("Removing {members}"),
            Move::Weigh { .. } => "Shifting weights".to_owned(),
            Move::Confirm { .. } => format!("Confirming that {members} serve"),
        };
        let phase = present.name().to_ascii_uppercase();
        self.operation.note(&phase, what, now_ms());
    }

    /// Who ended by itself while it was to drain: well for a worker that is told by a signal, and
    /// something to know of any other.
    fn note_ends(&mut self, rollout: &Rollout, observation: &Observation) {
        let Some(Move::Drain { members }) = rollout.current() else {
            return;
        };
        for id in members {
            match observation.processes.get(id) {
                Some(Process::Running | Process::Listening) => {
                    self.draining.insert(id.clone());
                }
                Some(Process::Exited(how)) if self.draining.remove(id) => {
                    let text = format!("{id} has ended while it was to drain: {how}");
                    self.operation.note("DRAIN", text, now_ms());
                }
                Some(Process::Exited(_) | Process::Absent) | None => {}
            }
        }
    }

    /// What a drain left at its deadline: never silent.
    fn note_overdue(&mut self, step: &Step) {
        for overdue in &step.overdue {
            let then = match overdue.then {
                OnDrainTimeout::Wait => "is waited for",
                OnDrainTimeout::Fail => "keeps it from being stopped",
                OnDrainTimeout::Cut => "is cut",
            };
            let (left, member) = (in_words(overdue.in_flight), &overdue.member);
            let waited_ms = overdue.waited_ms;
            tracing::warn!(
                operation.id = self.operation.head.id,
                instance = member,
                requests = overdue.in_flight.requests,
                tunnels = overdue.in_flight.tunnels,
                "an instance has not drained in its time"
            );
            let text =
                format!("{member} still has {left} after {waited_ms} ms; what is left {then}");
            self.operation.note("DRAIN", text, now_ms());
        }
    }

    /// The last lines of the instance that failed, before it is cleared away.
    async fn note_failure(&mut self, rollout: &Rollout) {
        let Some(failure) = rollout.failure() else {
            return;
        };
        let text = format!("{failure}; turning back");
        self.operation.note("FAILURE", text, now_ms());
        if let Some(member) = failure.member() {
            self.operation.head.details = self.local.shims().tail(member, TAIL).await;
        }
    }

    /// Causes what the step asks for; true when something failed.
    async fn perform(&mut self, effects: &[Effect], rollout: &Rollout) -> bool {
        let mut failed = false;
        for effect in effects {
            if let Err(error) = self.cause(effect, rollout).await {
                failed = true;
                tracing::warn!(
                    operation.id = self.operation.head.id,
                    %error,
                    effect = ?effect,
                    "an effect failed; will retry"
                );
                // What follows may build on it.
                break;
            }
        }
        failed
    }

    async fn cause(&mut self, effect: &Effect, rollout: &Rollout) -> Result<(), super::Error> {
        match effect {
            Effect::Prepare { group } => {
                if let Some(group) = self.groups.get(group) {
                    match self.local.environment(group) {
                        Ok(_) => self.preparations.begin(self.local.images(), group),
                        Err(error) => self.preparations.refuse(&group.name, error.to_string()),
                    }
                }
                Ok(())
            }
            Effect::Spawn { member } => self.spawn(member).await,
            Effect::Configure { revision } => {
                let applied = self.local.routers().apply(self.local.journal()).await?;
                debug_assert!(*revision <= rollout.revision());
                self.known = Some(Known {
                    epoch: applied.epoch,
                    generation: applied.generation,
                    revision: *revision,
                });
                Ok(())
            }
            Effect::Observe => self.local.routers().observe().await,
            Effect::Prove { member } => self.local.routers().prove(member).await,
            Effect::Cut { member } => {
                let ended = self.local.routers().cut(member).await?;
                if ended.total() > 0 {
                    let text = format!("Cut {} at {member}", in_words(ended));
                    self.operation.note("DRAIN", text, now_ms());
                }
                Ok(())
            }
            Effect::Stop { member, grace_ms } => {
                let Some(instance) = self.instances.get(member) else {
                    return Ok(());
                };
                let ordered = self.ordered_to_stop.get(member);
                if ordered.is_some_and(|at| at.elapsed() < AGAIN) {
                    return Ok(());
                }
                self.local.shims().stop(instance, *grace_ms).await?;
                self.ordered_to_stop.insert(member.clone(), Instant::now());
                Ok(())
            }
        }
    }

    async fn spawn(&mut self, member: &str) -> Result<(), super::Error> {
        let port = self.instances.get(member).map(|i| i.port);
        let launched = self.local.shims().launched_port(member).is_some();
        if !launched && port.is_some_and(|port| self.local.ports().is_held(port)) {
            self.exchange_port(member).await?;
        }
        let Some(instance) = self.instances.get(member).cloned() else {
            return Ok(());
        };
        let Some(group) = self.groups.get(&instance.group).cloned() else {
            return Ok(());
        };
        // A control plane that begins in the middle has no image at hand yet.
        let image = match self.preparations.image(&group.name) {
            Some(image) => image,
            None => self.local.images().ensure(group.image.to_pull()).await?,
        };
        match self.local.launch(&instance, &group, &image) {
            Ok(launch) => self.local.shims().spawn(&instance, &launch).await,
            // It was possible when the image was prepared, and asking again does not help.
            Err(error) => self.local.shims().refuse(&instance, &error.to_string()),
        }
    }

    /// Writes the digests of fetched images to their groups: from then on the
    /// group means these bytes, wherever its tag moves.
    async fn keep_digests(&mut self) -> Result<(), super::Error> {
        for (name, prepared) in self.preparations.all() {
            let (Prepared::Ready(image), Some(group)) = (prepared, self.groups.get_mut(name))
            else {
                continue;
            };
            if group.image.digest.as_deref() == Some(image.digest.as_str()) {
                continue;
            }
            let mut changed = group.clone();
            changed.value.image.resolved = Some(image.reference.clone());
            changed.value.image.digest = Some(image.digest.clone());
            let token = self.right.lease.token;
            let id = format!(
                "digest:{}:{name}:{}:{token}",
                changed.account, changed.version
            );
            let batch = journal::put_group(Batch::new(self.local.journal().shard(), id), &changed)
                .fenced_by(&self.right.lease, keep());
            match self.local.journal().store().commit(batch).await? {
                Ok(committed) => {
                    changed.version = committed.versions.first().copied().unwrap_or_default();
                    *group = changed;
                }
                Err(refused) => tracing::warn!(%refused, "the image's digest was not kept"),
            }
        }
        Ok(())
    }
}

/// `3 requests and 1 upgraded connections`.
fn in_words(in_flight: InFlight) -> String {
    format!(
        "{} requests and {} upgraded connections",
        in_flight.requests, in_flight.tunnels
    )
}
