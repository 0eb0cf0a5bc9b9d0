//! A router that breaks one rule: the control of each case.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use cloud_driver::provider::router::{Abilities, Error, Router};
use rollout::router::{Applied, Desired, State};
use rollout::{InFlight, Role, View};
use tokio::sync::watch;

/// The rule that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Answers with the weights that were asked for.
    Echoes,
    /// Counts no upgraded connection, and no second request.
    Miscounts,
    /// Says that an instance drains and leaves it in traffic.
    Leaks,
    /// Says that it has drained as soon as it drains.
    Hurries,
    /// Does not say what a drain left.
    Hides,
    /// Takes every writer's word.
    Obeys,
    /// Makes a new generation of every configuration.
    Restless,
    /// Has forgotten what has drained when the control side begins anew.
    Forgets,
    /// Says always the same epoch.
    Ageless,
    /// Answers with the roles that were asked for.
    Trusts,
}

/// What a fault remembers over the lives of the control side.
#[derive(Debug, Default)]
pub(super) struct Memory {
    desired: Desired,
    fence: u64,
    applied: u64,
    epoch: Option<u64>,
}

/// A router with a fault.
#[derive(Debug)]
pub(super) struct Faulty {
    inner: Arc<dyn Router>,
    fault: Fault,
    memory: Arc<Mutex<Memory>>,
    /// Which life of the control side this is, from 0.
    life: u32,
    sequence: AtomicU64,
}

impl Faulty {
    pub(super) fn new(
        inner: Arc<dyn Router>,
        fault: Fault,
        memory: Arc<Mutex<Memory>>,
        life: u32,
    ) -> Self {
        Self {
            inner,
            fault,
            memory,
            life,
            sequence: AtomicU64::new(0),
        }
    }

    fn role(&self, id: &str) -> Option<Role> {
        let memory = self.memory.lock().unwrap();
        let members = memory.desired.groups.iter().flat_map(|g| &g.members);
        members.filter(|m| m.id == id).map(|m| m.role).next()
    }

    fn bend(&self, mut view: View) -> View {
        match self.fault {
            Fault::Echoes => {
                let memory = self.memory.lock().unwrap();
                let sum: u32 = memory.desired.groups.iter().map(|g| g.weight).sum();
                let groups = memory.desired.groups.iter();
                view.weights = groups
                    .map(|g| (g.name.clone(), g.weight * 1000 / sum.max(1)))
                    .collect::<BTreeMap<_, _>>();
            }
            Fault::Miscounts => {
                for seen in view.instances.values_mut() {
                    seen.in_flight.requests = seen.in_flight.requests.min(1);
                    seen.in_flight.tunnels = 0;
                }
            }
            Fault::Leaks => {
                for (id, seen) in &mut view.instances {
                    if self.role(id) == Some(Role::Drain) {
                        seen.state = State::Draining;
                    }
                }
            }
            Fault::Hurries => {
                for seen in view.instances.values_mut() {
                    if seen.state == State::Draining {
                        seen.state = State::Drained;
                    }
                }
            }
            Fault::Hides => {
                for seen in view.instances.values_mut() {
                    if seen.state == State::Draining {
                        seen.in_flight = InFlight::default();
                    }
                }
            }
            Fault::Obeys => {}
            Fault::Restless => view.generation += self.memory.lock().unwrap().applied,
            Fault::Forgets => {
                for seen in view.instances.values_mut() {
                    if self.life > 0 && seen.state == State::Drained {
                        seen.state = State::Draining;
                    }
                }
            }
            Fault::Ageless => {
                let mut memory = self.memory.lock().unwrap();
                view.epoch = *memory.epoch.get_or_insert(view.epoch);
                view.sequence = self.sequence.fetch_add(1, Ordering::SeqCst);
            }
            Fault::Trusts => {
                for (id, seen) in &mut view.instances {
                    match self.role(id) {
                        Some(Role::Serve) => {
                            seen.state = State::Serving;
                            (seen.ready, seen.first_served) = (true, true);
                        }
                        Some(Role::Warm) => seen.ready = true,
                        Some(Role::Drain | Role::Absent) | None => {}
                    }
                }
            }
        }
        view
    }
}

#[async_trait]
impl Router for Faulty {
    fn abilities(&self) -> Abilities {
        self.inner.abilities()
    }

    async fn apply(&self, desired: &Desired, fence: u64) -> Result<Applied, Error> {
        let (desired, fence, extra) = {
            let mut memory = self.memory.lock().unwrap();
            memory.desired = desired.clone();
            memory.fence = memory.fence.max(fence);
            memory.applied += 1;
            let mut desired = desired.clone();
            for group in &mut desired.groups {
                if self.fault == Fault::Echoes {
                    group.weight = 1;
                }
                for member in &mut group.members {
                    if self.fault == Fault::Leaks && member.role == Role::Drain {
                        member.role = Role::Serve;
                    }
                }
            }
            let fence = if self.fault == Fault::Obeys {
                memory.fence
            } else {
                fence
            };
            let restless = self.fault == Fault::Restless;
            (desired, fence, if restless { memory.applied } else { 0 })
        };
        let mut applied = self.inner.apply(&desired, fence).await?;
        applied.generation += extra;
        Ok(applied)
    }

    async fn observe(&self) -> Result<View, Error> {
        Ok(self.bend(self.inner.observe().await?))
    }

    fn latest(&self) -> Option<View> {
        Some(self.bend(self.inner.latest()?))
    }

    fn news(&self) -> watch::Receiver<u64> {
        self.inner.news()
    }

    async fn prove(&self, member: &str) -> Result<(), Error> {
        self.inner.prove(member).await
    }

    async fn cut(&self, member: &str) -> Result<InFlight, Error> {
        let ended = self.inner.cut(member).await?;
        Ok(if self.fault == Fault::Hides {
            InFlight::default()
        } else {
            ended
        })
    }
}
