//! Workers: instances that take their own work, as a router sees them.
//!
//! Owns what each worker has been told (by its hook or a signal) and what it says it has
//! left. It never stops a worker, but to cut what a drain left. Nothing of it is kept: a
//! control plane that begins anew tells every worker again what it is to do, which changes
//! nothing, and asks again. The one thing that may be said once, a signal, the shim keeps.

mod fence;
mod hook;
mod tended;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use rollout::router::{Applied, Desired, Drain, Group, Probe, Supply, Target};
use rollout::{InFlight, Process, Role, View};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::document::SIGNALS;
use super::now_ms;
use super::observed::{InstanceState, Observed, Seen};
use super::shim::Shims;
use crate::config::Config;
use crate::provider::router::{Abilities, Error, Router};
use fence::Fence;
use tended::{Look, Order, Tended};

/// Between looks at a worker of which something is expected, and at others.
const SOON: Duration = Duration::from_millis(50);
const LATER: Duration = Duration::from_secs(1);

/// How long a configuration waits for workers to agree; those that take longer are seen later.
const AGREE: Duration = Duration::from_secs(1);

/// The workers of a data folder. Clones are the same.
#[derive(Debug, Clone)]
pub struct Workers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    shims: Shims,
    fence: Fence,
    epoch: u64,
    inner: Mutex<Inner>,
    /// Counts configurations.
    installed: watch::Sender<u64>,
    news: Arc<watch::Sender<u64>>,
}

#[derive(Debug, Default)]
struct Inner {
    desired: Desired,
    generation: u64,
    sequence: u64,
    fence: u64,
    members: BTreeMap<String, Tended>,
}

/// What a look begins with.
struct Task {
    turn: u64,
    port: u16,
    role: Role,
    drain: Drain,
    probe: Probe,
    order: Option<Order>,
    fence: u64,
}

impl Workers {
    /// The workers of a data folder; nothing is asked yet. `news` counts what is heard.
    pub fn new(config: &Config, shims: Shims, news: Arc<watch::Sender<u64>>) -> Self {
        let inner = Inner {
            // 0 is what nobody applied.
            generation: 1,
            ..Inner::default()
        };
        Self {
            shared: Arc::new(Shared {
                shims,
                fence: Fence::new(&config.data.join("workers")),
                epoch: rand::random(),
                inner: Mutex::new(inner),
                installed: watch::Sender::new(0),
                news,
            }),
        }
    }

    /// What was seen last.
    pub fn observed(&self) -> Arc<Observed> {
        let inner = self.inner();
        let seen = |(id, member): (&String, &Tended)| {
            let state = member.state();
            let seen = Seen {
                group: member.group.clone(),
                state,
                // Nobody can ask it anything: that it takes work is all there is to see.
                first_served: state == InstanceState::Serving,
                requests: member.requests(),
                tunnels: 0,
                connections: None,
                served: 0,
                reason: member.reason(),
                asked_ms: member.asked_ms,
                entries: Vec::new(),
            };
            (id.clone(), seen)
        };
        Arc::new(Observed {
            epoch: self.shared.epoch,
            generation: inner.generation,
            sequence: inner.sequence,
            instances: inner.members.iter().map(seen).collect(),
            ..Observed::default()
        })
    }

    /// Whether this is one of them.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.inner().members.contains_key(id)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        let inner = self.shared.inner.lock();
        inner.unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at all workers from time to time, and soon at those of which something is expected.
    /// Never ends by itself.
    pub async fn follow(&self) {
        let mut installed = self.shared.installed.subscribe();
        let mut tasks = JoinSet::new();
        let mut kept = BTreeMap::new();
        loop {
            installed.mark_unchanged();
            let ids: Vec<String> = self.inner().members.keys().cloned().collect();
            for id in ids {
                kept.entry(id)
                    .or_insert_with_key(|id| tasks.spawn(self.clone().keep(id.clone())).id());
            }
            tokio::select! {
                // The sender lives as long as this.
                _ = installed.changed() => {}
                Some(ended) = tasks.join_next_with_id() => {
                    // One that panicked is begun anew, like one that is a worker again.
                    let ended = ended.map_or_else(|error| error.id(), |(task, ())| task);
                    kept.retain(|_, task| *task != ended);
                }
            }
        }
    }

    /// Looks at one worker until it is none any more.
    async fn keep(self, id: String) {
        let mut installed = self.shared.installed.subscribe();
        loop {
            installed.mark_unchanged();
            self.tend(&id).await;
            let settled = self.inner().members.get(&id).map(Tended::is_settled);
            let pause = match settled {
                None => return,
                Some(true) => LATER,
                Some(false) => SOON,
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = installed.changed() => {}
            }
        }
    }

    /// Looks at all of them at once.
    async fn tend_all(&self) {
        let ids: Vec<String> = self.inner().members.keys().cloned().collect();
        let looks = ids.iter().map(|id| self.tend(id));
        futures_util::future::join_all(looks).await;
    }

    /// One look at one worker: it is told what it is still to be told, and asked then.
    async fn tend(&self, id: &str) {
        let Some(task) = self.task(id) else {
            return;
        };
        let asked_ms = now_ms();
        let process = self.shared.shims.process_of(id, task.port).await;
        let runs = matches!(process, Some(Process::Running | Process::Listening));
        let mut look = Look {
            process,
            was_told: task.order.is_none(),
            asked_ms,
            ..Look::default()
        };
        if runs {
            if let Some(order) = task.order {
                look.order = Some((order, self.tell(id, &task, order).await));
            }
            if let Some(path) = &task.drain.path {
                look.report = Some(hook::report(task.port, path).await);
            }
            if matches!(task.role, Role::Warm | Role::Serve) {
                look.probe = Some(match &task.probe {
                    Probe::Path(path) => hook::probe(task.port, path).await,
                    Probe::Connection => hook::connect(task.port).await,
                    Probe::Process => Ok(()),
                });
            }
        }
        self.note(id, task.turn, look);
    }

    fn task(&self, id: &str) -> Option<Task> {
        let inner = self.inner();
        let member = inner.members.get(id)?;
        Some(Task {
            turn: member.turn,
            port: member.port,
            role: member.role,
            drain: member.drain.clone(),
            probe: member.probe.clone(),
            order: member.wants(),
            fence: inner.fence,
        })
    }

    async fn tell(&self, id: &str, task: &Task, order: Order) -> Result<(), String> {
        match self.shared.fence.seen() {
            Ok(seen) if seen <= task.fence => {}
            Ok(seen) => return Err(format!("a writer with the token {seen} has taken over")),
            Err(error) => return Err(error.to_string()),
        }
        let path = task.drain.path.as_deref().unwrap_or_default();
        match order {
            Order::Pause => hook::tell(task.port, Method::POST, path).await,
            Order::Resume => hook::tell(task.port, Method::DELETE, path).await,
            Order::Signal => {
                let name = task.drain.signal.as_deref().unwrap_or_default();
                let known = SIGNALS.iter().find(|(known, _)| *known == name);
                let (_, number) = known.ok_or_else(|| format!("signal {name} is not known"))?;
                let sent = self.shared.shims.signal_once(id, *number).await;
                sent.map_err(|error| error.to_string())
            }
        }
    }

    fn note(&self, id: &str, turn: u64, look: Look) {
        let mut inner = self.inner();
        let Some(member) = inner.members.get_mut(id).filter(|m| m.turn == turn) else {
            return;
        };
        let figures = |m: &Tended| (m.state(), m.requests(), m.reason());
        let before = figures(member);
        member.note(look);
        let after = figures(member);
        if before.0 != after.0 {
            tracing::debug!(instance = id, state = after.0.as_str(), "worker is seen");
        }
        inner.sequence += 1;
        drop(inner);
        if before != after {
            self.shared.news.send_modify(|n| *n += 1);
        }
    }
}

/// The workers of a configuration.
fn workers(desired: &Desired) -> impl Iterator<Item = (&Group, &Drain, &Target, u16)> {
    let taken = desired
        .groups
        .iter()
        .filter_map(|group| match &group.supply {
            Supply::Taken(drain) => Some((group, drain)),
            Supply::Sent => None,
        });
    taken.flat_map(|(group, drain)| {
        group.members.iter().filter_map(move |target| {
            let port = target.address.rsplit(':').next()?.parse().ok()?;
            Some((group, drain, target, port))
        })
    })
}

impl Inner {
    fn install(&mut self, desired: &Desired) {
        let present: BTreeSet<&String> = workers(desired).map(|(_, _, t, _)| &t.id).collect();
        self.members.retain(|id, _| present.contains(id));
        for (group, drain, target, port) in workers(desired) {
            let member = self.members.entry(target.id.clone()).or_insert_with(|| {
                Tended::new(
                    &group.name,
                    port,
                    drain.clone(),
                    group.probe.clone(),
                    Role::Absent,
                )
            });
            member.port = port;
            member.give(target.role);
        }
        self.desired = desired.clone();
        self.generation += 1;
    }
}

#[async_trait]
impl Router for Workers {
    fn abilities(&self) -> Abilities {
        Abilities {
            weights: false,
            counts: true,
            tunnels: false,
            data_plane: false,
        }
    }

    /// In force when it returns, or soon after for a worker that takes its time to agree: until
    /// it has, it is not seen draining.
    async fn apply(&self, desired: &Desired, fence: u64) -> Result<Applied, Error> {
        let keeper = self.shared.fence.clone();
        let kept = tokio::task::spawn_blocking(move || keeper.accept(fence)).await;
        match kept.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(Ok(())) => {}
            Ok(Err(seen)) => {
                return Err(Error::Fenced {
                    sent: fence,
                    reason: format!("another writer of workers has sent {seen}: stop writing"),
                });
            }
            Err(error) => return Err(Error::Unavailable(error.to_string())),
        }
        let generation = {
            let mut inner = self.inner();
            inner.fence = inner.fence.max(fence);
            if inner.desired != *desired {
                inner.install(desired);
                self.shared.installed.send_modify(|n| *n += 1);
            }
            inner.generation
        };
        let _late = tokio::time::timeout(AGREE, self.tend_all()).await;
        Ok(Applied {
            epoch: self.shared.epoch,
            generation,
        })
    }

    async fn observe(&self) -> Result<View, Error> {
        self.tend_all().await;
        Ok(self.observed().view(0))
    }

    fn latest(&self) -> Option<View> {
        Some(self.observed().view(0))
    }

    fn news(&self) -> watch::Receiver<u64> {
        self.shared.news.subscribe()
    }

    /// No user sends a worker anything.
    async fn prove(&self, _member: &str) -> Result<(), Error> {
        Ok(())
    }

    /// Stops the worker with what it has: SIGTERM, and SIGKILL after its grace.
    async fn cut(&self, member: &str) -> Result<InFlight, Error> {
        let requests = {
            let mut inner = self.inner();
            let Some(tended) = inner.members.get_mut(member) else {
                return Ok(InFlight::default());
            };
            if tended.role != Role::Drain {
                let text = format!("{member} is not to drain, so nothing of it is cut");
                return Err(Error::Unavailable(text));
            }
            tended.cut()
        };
        let stopped = self.shared.shims.stop_as_launched(member).await;
        stopped.map_err(|error| Error::Unavailable(error.to_string()))?;
        Ok(InFlight {
            requests,
            tunnels: 0,
        })
    }
}
