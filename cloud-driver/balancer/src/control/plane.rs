//! The control side's one state: the configuration in force, every instance's standing, events.
//!
//! Owns observed states; roles are the control plane's word and are never changed here. Everything
//! here runs on the main thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use balancer::{
    Applied, Config, Connections, EventKind, GroupState, InFlight, InstanceState, Listening,
    Observed, Role, State,
};
use tokio::sync::{Mutex, Notify};

use super::events::Events;
use super::journal::Journal;
use super::listeners::Listeners;
use super::predecessor::Predecessors;
use super::record::Records;
use super::tracked::Tracked;
use crate::proxy::meter::Meter;
use crate::proxy::plan::Turns;
use crate::proxy::target::FAILURES;
use crate::proxy::worker::Handle;

/// Key of a server group: its load balancer and its name.
pub(crate) type GroupKey = (String, String);

/// Server groups of a load balancer with their weights.
pub(crate) type Weights = Vec<(String, u32)>;

/// Name of what no group answered.
pub(crate) const NOBODY: &str = "-";

/// Most of a group's instances left out because requests failed at them, percent.
const MOST_SUSPENDED_PERCENT: usize = 50;

/// The control side.
#[derive(Debug)]
pub(crate) struct Plane {
    pub(crate) epoch: String,
    pub(crate) folder: PathBuf,
    pub(crate) journal: Journal,
    pub(crate) workers: Vec<Handle>,
    pub(crate) news: Arc<Notify>,
    pub(crate) listeners: RefCell<Listeners>,
    /// Held by who reads files of certificates.
    pub(crate) looking: Arc<Mutex<()>>,
    /// Told to look at certificates now.
    pub(crate) reload: Notify,
    /// One configuration at a time.
    pub(crate) writing: Mutex<()>,
    /// A successor is taking over, or has: no configuration is accepted.
    pub(crate) frozen: Cell<bool>,
    pub(crate) leaving: Cell<bool>,
    /// Tells the main loop that a successor serves.
    pub(crate) replaced: Notify,
    pub(crate) inner: RefCell<Inner>,
}

/// What changes.
#[derive(Debug, Default)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    /// Journaled, and handed out.
    pub(crate) accepted: u64,
    /// Confirmed by every worker.
    pub(crate) generation: u64,
    pub(crate) fence: u64,
    pub(crate) fault: Option<String>,
    pub(crate) tracked: BTreeMap<String, Tracked>,
    pub(crate) meters: BTreeMap<GroupKey, Vec<Arc<Meter>>>,
    pub(crate) turns: BTreeMap<String, (Weights, Arc<Turns>)>,
    pub(crate) events: Events,
    pub(crate) records: Records,
    pub(crate) suspensions: u64,
    pub(crate) predecessors: Predecessors,
}

impl Plane {
    pub(crate) fn new(
        epoch: String,
        folder: PathBuf,
        workers: Vec<Handle>,
        listeners: Listeners,
    ) -> Rc<Self> {
        Rc::new(Self {
            epoch,
            journal: Journal::new(&folder),
            folder,
            workers,
            news: Arc::default(),
            listeners: RefCell::new(listeners),
            looking: Arc::default(),
            reload: Notify::new(),
            writing: Mutex::default(),
            frozen: Cell::new(false),
            leaving: Cell::new(false),
            replaced: Notify::new(),
            inner: RefCell::default(),
        })
    }

    /// Which configuration is in force.
    pub(crate) fn applied(&self) -> Applied {
        Applied {
            epoch: self.epoch.clone(),
            generation: self.inner.borrow().generation,
        }
    }

    /// Looks at all instances whenever a worker has news.
    pub(crate) async fn follow_news(self: Rc<Self>) {
        loop {
            self.news.notified().await;
            self.look();
        }
    }

    /// Connections of clients, tunnels included.
    pub(crate) fn clients(&self) -> usize {
        self.workers.iter().map(|w| w.load.clients()).sum()
    }

    /// Brings every instance's state up to date.
    pub(crate) fn look(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.suspend(Instant::now());
        inner.look();
    }

    /// Everything observed.
    pub(crate) fn state(&self) -> State {
        let inner = self.inner.borrow();
        let totals = |of: fn(&Handle) -> u64| self.workers.iter().map(of).sum();
        State {
            applied: self.applied(),
            pid: std::process::id(),
            listeners: self.addresses(),
            listening: self.listening(),
            last_event: inner.events.last(),
            instances: inner.instances(),
            groups: inner.groups(),
            predecessors: inner.predecessors.pids(),
            retries: totals(|w| w.totals.retries()),
            not_repeated: totals(|w| w.totals.not_repeated.get()),
            own_errors: totals(|w| w.totals.own_errors.get()),
            workers: u32::try_from(self.workers.len()).unwrap_or(u32::MAX),
            clients: self.clients() as u64,
            fault: inner.fault.clone(),
        }
    }

    fn addresses(&self) -> Vec<String> {
        if self.leaving.get() {
            return Vec::new();
        }
        self.listeners.borrow().addresses()
    }

    /// What is listened on, or should be.
    pub(crate) fn listening(&self) -> Vec<Listening> {
        if self.leaving.get() {
            return Vec::new();
        }
        let inner = self.inner.borrow();
        self.listeners.borrow().state(&inner.config, now_ms())
    }
}

impl Inner {
    /// Leaves out instances that requests fail at, though never more than half of a group.
    fn suspend(&mut self, now: Instant) {
        let mut failing = Vec::new();
        for (id, tracked) in &self.tracked {
            let serves = tracked.role == Some(Role::Serve) && !tracked.is_suspended_by_requests();
            if serves && tracked.target.failures() >= FAILURES {
                failing.push((
                    id.clone(),
                    (tracked.balancer.clone(), tracked.group.clone()),
                ));
            }
        }
        for (id, key) in failing {
            let of_group = || {
                let tracked = self.tracked.values();
                tracked.filter(|t| t.balancer == key.0 && t.group == key.1)
            };
            let suspended = of_group().filter(|t| t.is_suspended_by_requests()).count();
            if (suspended + 1) * 100 > of_group().count() * MOST_SUSPENDED_PERCENT {
                continue;
            }
            if let Some(tracked) = self.tracked.get_mut(&id) {
                tracked.target.forget_failures();
                self.suspensions += 1;
                tracked.suspend(now, "requests to it failed three times in a row");
            }
        }
    }

    pub(crate) fn look(&mut self) {
        let now_ms = now_ms();
        let mut gone = Vec::new();
        for (id, tracked) in &mut self.tracked {
            let state = tracked.observe(self.predecessors.have_drained(id));
            tracked.target.set_standing(tracked.standing(state));
            if state == Observed::Serving {
                tracked.has_served = true;
                tracked.trusted = false;
            }
            if tracked.state != state {
                tracked.state = state;
                tracked.since_ms = now_ms;
                let about = Some((id.as_str(), state));
                self.events
                    .add(EventKind::State, self.generation, now_ms, about);
                if state == Observed::Drained {
                    self.events
                        .add(EventKind::Drained, self.generation, now_ms, about);
                }
            }
            let serves = tracked.role == Some(Role::Serve);
            if serves && tracked.first_served.is_none() && tracked.target.has_answered_well() {
                tracked.first_served = Some(self.generation);
                let about = Some((id.as_str(), state));
                self.events
                    .add(EventKind::FirstServed, self.generation, now_ms, about);
            }
            if tracked.role.is_none() && state == Observed::Drained {
                gone.push(id.clone());
            }
        }
        for id in gone {
            self.tracked.remove(&id);
        }
    }

    fn instances(&self) -> Vec<InstanceState> {
        let instances = self.tracked.iter().map(|(id, tracked)| {
            let counts = tracked.target.counts();
            let before = self.predecessors.counts(id);
            InstanceState {
                id: id.clone(),
                group: tracked.group.clone(),
                load_balancer: tracked.balancer.clone(),
                address: tracked.target.address.to_string(),
                role: tracked.role,
                state: tracked.state,
                since_ms: tracked.since_ms,
                in_flight: InFlight {
                    requests: counts.requests + before.requests,
                    tunnels: counts.tunnels + before.tunnels,
                },
                connections: Connections {
                    open: counts.open + before.open,
                    idle: counts.idle + before.idle,
                },
                served: tracked.target.served(),
                first_served_generation: tracked.first_served,
                probes_passed: tracked.passed,
                probes_failed: tracked.failed,
                reason: tracked.reason.clone(),
            }
        });
        instances.collect()
    }

    fn groups(&self) -> Vec<GroupState> {
        let mut groups = Vec::new();
        for balancer in &self.config.load_balancers {
            for group in &balancer.groups {
                let tracked = group
                    .instances
                    .iter()
                    .filter_map(|i| self.tracked.get(&i.id));
                let serving = tracked.filter(|t| t.state == Observed::Serving).count();
                groups.push(GroupState {
                    name: group.name.clone(),
                    load_balancer: balancer.name.clone(),
                    weight: group.weight,
                    weight_effective: if serving > 0 { group.weight } else { 0 },
                    capacity: u32::try_from(serving).unwrap_or(u32::MAX),
                });
            }
        }
        groups
    }
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
