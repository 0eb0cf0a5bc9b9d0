//! The control side's one state: the configuration in force, every instance's standing, events.
//!
//! Owns observed states; roles are the control plane's word and are never changed here. Everything
//! here runs on the main thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use balancer::{
    Applied, Config, Connections, EventKind, GroupState, InFlight, InstanceState, Listening,
    Observed, Role, State,
};
use tokio::sync::{Mutex, Notify};

use super::access::{Access, Counts};
use super::archive::Archive;
use super::events::Events;
use super::gates::Gates;
use super::holds::Holds;
use super::journal::Journal;
use super::listeners::Listeners;
use super::metrics::export::Exports;
use super::metrics::{Ejection, Ejections, Metered};
use super::predecessor::Predecessors;
use super::record::Records;
use super::tracked::Tracked;
use crate::fault::Fault;
use crate::proxy::clock::now_ns;
use crate::proxy::meter::{Meter, RouteMeter};
use crate::proxy::plan::Turns;
use crate::proxy::target::Standing;
use crate::proxy::worker::{Command, Handle};

/// Key of a server group: its load balancer and its name.
pub(crate) type GroupKey = (String, String);

/// Key of a route's figures: its label and its load balancer. Routes of the same label share them.
pub(crate) type RouteKey = (String, String);

/// The key of a route.
pub(crate) fn route_key(route: &balancer::Route) -> RouteKey {
    (route.label(), route.load_balancer.clone())
}

/// Server groups of a load balancer with their weights.
pub(crate) type Weights = Vec<(String, u32)>;

/// Name of what no group answered.
pub(crate) const NOBODY: &str = "-";

/// The control side.
#[derive(Debug)]
pub(crate) struct Plane {
    pub(crate) epoch: String,
    /// ms since the epoch.
    pub(crate) began_ms: i64,
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
    /// What became of the access log's lines.
    pub(crate) lines: Counts,
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
    pub(crate) meters: BTreeMap<GroupKey, Metered<Meter>>,
    pub(crate) route_meters: BTreeMap<RouteKey, Metered<RouteMeter>>,
    pub(crate) turns: BTreeMap<String, (Weights, Arc<Turns>)>,
    pub(crate) gates: Gates,
    pub(crate) holds: Holds,
    /// Those to be told when an instance comes in.
    pub(crate) workers: Vec<Handle>,
    pub(crate) events: Events,
    pub(crate) records: Records,
    /// Where records are kept; none: nowhere.
    pub(crate) archive: Option<Archive>,
    /// The last second that the successor knows of.
    pub(crate) bequeathed_s: i64,
    /// Lines of it that were not as they were written.
    pub(crate) damaged: u64,
    pub(crate) access: Option<Access>,
    pub(crate) exports: Exports,
    pub(crate) ejections: BTreeMap<GroupKey, Ejections>,
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
            began_ms: now_ms(),
            journal: Journal::new(&folder),
            folder,
            news: Arc::default(),
            listeners: RefCell::new(listeners),
            looking: Arc::default(),
            reload: Notify::new(),
            writing: Mutex::default(),
            frozen: Cell::new(false),
            leaving: Cell::new(false),
            replaced: Notify::new(),
            lines: Counts::default(),
            inner: RefCell::new(Inner {
                workers: workers.clone(),
                ..Inner::default()
            }),
            workers,
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
        inner.eject(Instant::now());
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
            routes: inner.gates.states(),
            load_balancers: inner.holds.states(),
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
    pub(crate) fn look(&mut self) {
        let now_ms = now_ms();
        self.recall(Instant::now());
        let (mut gone, mut came) = (Vec::new(), false);
        for (id, tracked) in &mut self.tracked {
            let state = tracked.observe(self.predecessors.have_drained(id));
            let standing = tracked.standing(state);
            came |= standing != Standing::Out && tracked.target.standing() == Standing::Out;
            tracked.target.set_standing(standing);
            if state == Observed::Serving {
                if tracked.state != state {
                    tracked.target.begin(now_ns());
                }
                tracked.has_served = true;
                tracked.trusted = false;
            }
            if tracked.state != state {
                if state == Observed::Suspended {
                    let key = (tracked.balancer.clone(), tracked.group.clone());
                    self.ejections
                        .entry(key)
                        .or_default()
                        .add(if tracked.is_ejected() {
                            Ejection::Requests
                        } else {
                            Ejection::Probes
                        });
                }
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
        if came && !Fault::NoWake.is_on() {
            self.wake_waiting();
        }
    }

    /// Tells requests that wait for an instance; nobody is told as long as none waits.
    fn wake_waiting(&self) {
        // Instances came in before this; see `proxy::hold`.
        fence(Ordering::SeqCst);
        if self.holds.hold_any() {
            for worker in &self.workers {
                // A worker that has ended ends the process.
                let _ended = worker.commands.send(Command::Wake);
            }
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
                let tracked = || {
                    let ids = group.instances.iter().map(|i| &i.id);
                    ids.filter_map(|id| self.tracked.get(id))
                };
                let serving = tracked().filter(|t| t.state == Observed::Serving).count();
                let ejected = tracked().filter(|t| t.is_ejected()).count();
                groups.push(GroupState {
                    name: group.name.clone(),
                    load_balancer: balancer.name.clone(),
                    weight: group.weight,
                    weight_effective: if serving > 0 { group.weight } else { 0 },
                    capacity: u32::try_from(serving).unwrap_or(u32::MAX),
                    floor: group.floor,
                    ejected: u32::try_from(ejected).unwrap_or(u32::MAX),
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
