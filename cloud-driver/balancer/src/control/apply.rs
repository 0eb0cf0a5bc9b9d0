//! Accepting a configuration: checked, journaled, handed to every worker, confirmed, acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balancer::{Applied, Config, EventKind, Faults, Instance, Role};
use tokio::sync::oneshot;

use super::access::try_path;
use super::metrics::Metered;
use super::outlier::Rules;
use super::plane::{GroupKey, Inner, NOBODY, Plane, now_ms, route_key};
use super::probe::probe;
use super::tracked::Tracked;
use crate::proxy::plan::Plan;
use crate::proxy::target::Target;
use crate::proxy::worker::Command;

/// Why a configuration is not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// A larger token was seen.
    #[error("fencing token {sent} is smaller than {seen}, which another writer sent: stop writing")]
    Fenced { sent: u64, seen: u64 },
    /// A successor takes over.
    #[error("a successor of this process takes over; ask again")]
    Frozen,
    /// Another generation is in force.
    #[error("generation {in_force} is in force, not {expected}")]
    Generation { expected: u64, in_force: u64 },
    /// It has faults.
    #[error("configuration has {} faults", .0.faults.len())]
    Invalid(Faults),
    /// It cannot be kept.
    #[error("configuration cannot be journaled: {0}")]
    Journal(String),
    /// A worker or a predecessor did not confirm; it is journaled, and repeating it is right.
    #[error("{0} did not confirm the configuration; send it again")]
    Unconfirmed(String),
}

/// How long confirmations may take.
const CONFIRM: Duration = Duration::from_secs(5);

impl Plane {
    /// Accepts a configuration. `expected` is the generation it replaces; none: whichever.
    pub(crate) async fn accept(
        self: &Rc<Self>,
        config: Config,
        expected: Option<u64>,
        fence: u64,
    ) -> Result<Applied, Refused> {
        // Before it waits too: a handover may take seconds.
        if self.frozen.get() {
            return Err(Refused::Frozen);
        }
        let _one = self.writing.lock().await;
        if self.frozen.get() {
            return Err(Refused::Frozen);
        }
        let (seen, in_force, same, faults) = {
            let inner = self.inner.borrow();
            let same = inner.config == config && inner.accepted > 0 && inner.fault.is_none();
            (inner.fence, inner.accepted, same, inner.faults(&config))
        };
        if fence < seen {
            return Err(Refused::Fenced { sent: fence, seen });
        }
        if let Some(expected) = expected
            && expected != in_force
            && !same
        {
            return Err(Refused::Generation { expected, in_force });
        }
        if !faults.faults.is_empty() {
            return Err(Refused::Invalid(faults));
        }
        if let Some(log) = config.settings.access_log.as_ref().filter(|_| !same)
            && let Err(why) = try_path(&log.path)
        {
            let fault = format!(
                "settings.accessLog.path: \"{}\" cannot be written to: {why}; name a file that this \
                 user may write to",
                log.path
            );
            let faults = vec![fault];
            return Err(Refused::Invalid(Faults { faults }));
        }
        let prepared = self.prepare_listeners(&config).await;
        let prepared = prepared.map_err(|faults| Refused::Invalid(Faults { faults }))?;
        let generation = if same { in_force } else { in_force + 1 };
        if !same || fence > seen {
            self.write(&config, generation, fence).await?;
            self.inner.borrow_mut().fence = fence;
        }
        // Repeated also when it is the same: its confirmation may have failed the first time.
        let served = self.serve(config, generation, !same).await;
        // It is journaled, so it holds, also for listeners: after its routes, before its reply.
        self.install_listeners(prepared).await;
        served?;
        Ok(self.applied())
    }

    async fn write(&self, config: &Config, generation: u64, fence: u64) -> Result<(), Refused> {
        let failed = |error: super::journal::JournalError| Refused::Journal(error.to_string());
        if self.inner.borrow().fault.is_some() {
            self.journal.put_aside(now_ms()).map_err(failed)?;
        }
        let (journal, config) = (self.journal.clone(), config.clone());
        let written = tokio::task::spawn_blocking(move || journal.keep(config, generation, fence));
        let written = written.await;
        written
            .map_err(|e| Refused::Journal(e.to_string()))?
            .map_err(failed)
    }

    /// Serves a configuration; every worker and every predecessor has confirmed it when this returns.
    pub(crate) async fn serve(
        self: &Rc<Self>,
        config: Config,
        generation: u64,
        is_new: bool,
    ) -> Result<(), Refused> {
        self.hand_out(config, generation).await?;
        self.predecessors_follow(generation)
            .await
            .map_err(Refused::Unconfirmed)?;
        self.confirm(generation, is_new);
        Ok(())
    }

    /// The same without predecessors, who have served it before.
    pub(crate) async fn serve_here(
        self: &Rc<Self>,
        config: Config,
        generation: u64,
        is_new: bool,
    ) -> Result<(), Refused> {
        self.hand_out(config, generation).await?;
        self.confirm(generation, is_new);
        Ok(())
    }

    async fn hand_out(self: &Rc<Self>, config: Config, generation: u64) -> Result<(), Refused> {
        let plan = {
            let mut inner = self.inner.borrow_mut();
            inner.install(config, generation, &self.news, self.workers.len());
            inner.plan()
        };
        let access = self.order();
        let plan = Arc::new(Plan { access, ..plan });
        let mut waiting = Vec::new();
        for worker in &self.workers {
            let (confirm, confirmed) = oneshot::channel();
            let sent = worker.commands.send(Command::Apply(plan.clone(), confirm));
            sent.map_err(|_| Refused::Unconfirmed("a worker".to_owned()))?;
            waiting.push(confirmed);
        }
        for confirmed in waiting {
            let confirmed = tokio::time::timeout(CONFIRM, confirmed).await;
            if !matches!(confirmed, Ok(Ok(()))) {
                return Err(Refused::Unconfirmed("a worker".to_owned()));
            }
        }
        Ok(())
    }

    fn confirm(self: &Rc<Self>, generation: u64, is_new: bool) {
        self.probe_all();
        let mut inner = self.inner.borrow_mut();
        inner.generation = generation;
        for tracked in inner.tracked.values_mut() {
            tracked.confirmed = tracked.drains();
        }
        if is_new {
            let config = EventKind::Config;
            inner.events.add(config, generation, now_ms(), None);
        }
        // What follows from the configuration is told after it.
        inner.look();
    }

    /// Sees to it that whoever is to be probed is.
    pub(crate) fn probe_all(self: &Rc<Self>) {
        let mut inner = self.inner.borrow_mut();
        for (id, tracked) in &mut inner.tracked {
            if tracked.drains() {
                tracked.stop_probing();
            } else if tracked.probe.is_none() {
                let (plane, id) = (self.clone(), id.clone());
                let task = tokio::task::spawn_local(plane.keep_probing(id));
                tracked.probe = Some(task.abort_handle());
            }
        }
    }

    async fn keep_probing(self: Rc<Self>, id: String) {
        loop {
            let (address, health) = match self.inner.borrow().tracked.get(&id) {
                Some(tracked) => (tracked.target.address, tracked.health.clone()),
                None => return,
            };
            let result = probe(address, &health).await;
            let wait = {
                let mut inner = self.inner.borrow_mut();
                let Some(tracked) = inner.tracked.get_mut(&id) else {
                    return;
                };
                match result {
                    Ok(()) => tracked.probe_passed(Instant::now()),
                    Err(why) => tracked.probe_failed(why),
                }
                let wait = if tracked.healthy && tracked.failed == 0 {
                    health.interval_ms
                } else {
                    health.warm_interval_ms
                };
                inner.look();
                wait
            };
            tokio::time::sleep(Duration::from_millis(wait.max(1))).await;
        }
    }
}

impl Inner {
    /// What is wrong with a configuration, also beside the present one.
    fn faults(&self, config: &Config) -> Faults {
        let mut faults = config.check();
        let mut names = BTreeSet::new();
        for (b, balancer) in config.load_balancers.iter().enumerate() {
            if !names.insert(&balancer.name) {
                let name = &balancer.name;
                faults
                    .faults
                    .push(format!("loadBalancers[{b}].name: \"{name}\" stands twice"));
            }
            if balancer.name == NOBODY {
                faults.faults.push(format!(
                    "loadBalancers[{b}].name: \"{NOBODY}\" is reserved; give it another name"
                ));
            }
            let mut groups = BTreeSet::from([NOBODY]);
            for (g, group) in balancer.groups.iter().enumerate() {
                let path = format!("loadBalancers[{b}].groups[{g}]");
                if !groups.insert(&group.name) {
                    let name = &group.name;
                    faults.faults.push(format!(
                        "{path}.name: \"{name}\" stands twice or is reserved"
                    ));
                }
                if group.health.path.as_ref().is_some_and(|p| !is_path(p)) {
                    faults.faults.push(format!(
                        "{path}.health.path: must begin with / and have no blanks"
                    ));
                }
                for (i, instance) in group.instances.iter().enumerate() {
                    if let Some(fault) = self.moved(instance, &balancer.name, &group.name) {
                        faults
                            .faults
                            .push(format!("{path}.instances[{i}]: {fault}"));
                    }
                }
            }
        }
        if config.settings.max_tries == 0 {
            faults
                .faults
                .push("settings.maxTries: 0 tries answer nothing; set 1 or more".to_owned());
        }
        faults
    }

    /// An id means the same instance for ever.
    fn moved(&self, instance: &Instance, balancer: &str, group: &str) -> Option<String> {
        let there = self.tracked.get(&instance.id)?;
        let same = there.balancer == balancer
            && there.group == group
            && instance.address.parse() == Ok(there.target.address);
        (!same).then(|| {
            format!(
                "id \"{}\" is that of {} in {}; give a new instance a new id",
                instance.id, there.target.address, there.group
            )
        })
    }

    /// Makes a configuration that was checked the present one.
    fn install(
        &mut self,
        config: Config,
        generation: u64,
        news: &Arc<tokio::sync::Notify>,
        workers: usize,
    ) {
        let now = now_ms();
        let mut present = BTreeSet::new();
        let mut keys: BTreeSet<GroupKey> = BTreeSet::new();
        let mut turns = BTreeMap::new();
        for balancer in &config.load_balancers {
            keys.insert((balancer.name.clone(), NOBODY.to_owned()));
            let weights: Vec<_> = balancer
                .groups
                .iter()
                .map(|g| (g.name.clone(), g.weight))
                .collect();
            let there = self.turns.remove(&balancer.name);
            let kept = there.filter(|(before, _)| *before == weights);
            turns.insert(
                balancer.name.clone(),
                kept.unwrap_or_else(|| (weights, Arc::default())),
            );
            for group in &balancer.groups {
                keys.insert((balancer.name.clone(), group.name.clone()));
                for instance in &group.instances {
                    let Ok(address) = instance.address.parse() else {
                        continue;
                    };
                    present.insert(instance.id.clone());
                    let tracked = self.tracked.entry(instance.id.clone()).or_insert_with(|| {
                        let target = Target::new(instance.id.clone(), address, news.clone());
                        let target = Arc::new(target);
                        let mut tracked = Tracked::new(target, &balancer.name, &group.name, now);
                        // Not draining yet: so that the role decides.
                        tracked.role = Some(Role::Warm);
                        tracked
                    });
                    if tracked.health != group.health {
                        tracked.health = group.health.clone();
                        tracked.stop_probing();
                    }
                    tracked.follow(&Rules::of(group));
                    tracked.give(Some(instance.role));
                }
            }
        }
        for (id, tracked) in &mut self.tracked {
            if !present.contains(id) {
                tracked.give(None);
            }
        }
        self.turns = turns;
        self.gates.follow(&config.routes);
        self.holds.follow(&config.load_balancers);
        self.meters.retain(|key, _| keys.contains(key));
        self.ejections.retain(|key, _| keys.contains(key));
        for key in keys {
            let meters = self.meters.entry(key);
            meters.or_insert_with(|| Metered::new(workers, now));
        }
        let routes: BTreeSet<_> = config.routes.iter().map(route_key).collect();
        self.route_meters.retain(|key, _| routes.contains(key));
        for key in routes {
            let meters = self.route_meters.entry(key);
            meters.or_insert_with(|| Metered::new(workers, now));
        }
        self.config = config;
        self.accepted = generation;
        self.fault = None;
        self.look();
    }
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic())
}
