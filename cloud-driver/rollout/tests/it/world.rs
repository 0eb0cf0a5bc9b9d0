//! The world a rollout acts on: processes, a router with requests in flight,
//! and the journal. Everything the invariants need is written down here, with
//! the truth, not with what the machine was told.

use std::collections::{BTreeMap, BTreeSet};

use rollout::{InFlight, Journal, Observation, Overdue, Process, Role, Rollout, Seen, State, View};

use crate::random::Random;

/// How new instances of this seed behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Good,
    NeverReady,
    DiesAtOnce,
    NoImage,
}

#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) slot: String,
    listens_at: u64,
    ready_at: u64,
    exit_at: Option<u64>,
    pub(crate) exited_at: Option<u64>,
    term_ignored: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Routed {
    pub(crate) role: Option<Role>,
    pub(crate) ready: bool,
    pub(crate) served: bool,
    drained: bool,
    pub(crate) in_flight: Vec<u64>,
    pub(crate) drain_since: Option<u64>,
    /// Last time it stopped serving by itself.
    pub(crate) lost_at: Option<u64>,
    /// What was in flight when the router was asked last, and when that was.
    counted: u64,
    counted_at: u64,
}

/// What the store holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Documents {
    pub(crate) roles: BTreeMap<String, Role>,
    pub(crate) weights: BTreeMap<String, u32>,
    pub(crate) slots: BTreeMap<String, String>,
    pub(crate) stopped: BTreeSet<String>,
    pub(crate) revision: u64,
    /// When what was decided on was true.
    pub(crate) decided_at: u64,
}

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) processes: BTreeMap<String, Running>,
    pub(crate) router: BTreeMap<String, Routed>,
    pub(crate) epoch: u64,
    pub(crate) generation: u64,
    sequence: u64,
    weights: BTreeMap<String, u32>,
    configured: (BTreeMap<String, Role>, BTreeMap<String, u32>),
    pub(crate) documents: Documents,
    pub(crate) version: Version,
    pub(crate) new_group: String,
    pub(crate) groups: BTreeMap<String, String>,
    pub(crate) floor: usize,
    pub(crate) drain_timeout_ms: u64,
    pub(crate) deaths: u32,
    pub(crate) violations: Vec<String>,
    pub(crate) spawned: BTreeMap<String, u32>,
    traffic: bool,
    pub(crate) prepared: BTreeSet<String>,
    /// Chance for what is asked aside: other seeds stay as they were.
    pub(crate) aside: Random,
    /// Instances take work as soon as they listen.
    pub(crate) eager: bool,
    /// Who has drained takes no work again, and may end by itself.
    pub(crate) drain_is_final: bool,
}

impl World {
    pub(crate) fn new(version: Version, new_group: &str, traffic: bool) -> Self {
        Self {
            now: 1_000,
            processes: BTreeMap::new(),
            router: BTreeMap::new(),
            epoch: 1,
            generation: 1,
            // Whoever asks has asked for long.
            sequence: 1_000_000,
            weights: BTreeMap::new(),
            configured: Default::default(),
            documents: Documents::default(),
            version,
            new_group: new_group.to_owned(),
            groups: BTreeMap::new(),
            floor: 0,
            drain_timeout_ms: 0,
            deaths: 0,
            violations: Vec::new(),
            spawned: BTreeMap::new(),
            traffic,
            prepared: BTreeSet::new(),
            aside: Random::new(0),
            eager: false,
            drain_is_final: false,
        }
    }

    /// An instance that is there from the beginning.
    pub(crate) fn place(&mut self, id: &str, group: &str, slot: &str, role: Role, dead: bool) {
        let running = Running {
            slot: slot.into(),
            listens_at: 0,
            ready_at: 0,
            exit_at: None,
            exited_at: dead.then_some(0),
            term_ignored: false,
        };
        self.processes.insert(id.into(), running);
        self.groups.insert(id.into(), group.into());
        self.documents.slots.insert(id.into(), slot.into());
        self.documents.roles.insert(id.into(), role);
        let routed = Routed {
            role: Some(role),
            ready: !dead,
            served: role == Role::Serve && !dead,
            drained: role == Role::Drain,
            ..Routed::default()
        };
        self.router.insert(id.into(), routed);
        self.configured = (self.documents.roles.clone(), BTreeMap::new());
        self.prepared.insert(group.into());
    }

    pub(crate) fn violate(&mut self, text: String) {
        let now = self.now;
        self.violations.push(format!("at {now}: {text}"));
    }

    pub(crate) fn alive(&self, id: &str) -> bool {
        self.processes
            .get(id)
            .is_some_and(|p| p.exited_at.is_none())
    }

    pub(crate) fn serving(&self, id: &str) -> bool {
        self.router
            .get(id)
            .is_some_and(|r| r.role == Some(Role::Serve) && r.ready)
    }

    pub(crate) fn capacity(&self) -> usize {
        self.router.keys().filter(|id| self.serving(id)).count()
    }

    /// Lets time pass: requests come and end, processes start, die and stop.
    pub(crate) fn pass(&mut self, ms: u64, random: &mut Random) {
        self.now += ms;
        let now = self.now;
        for process in self.processes.values_mut() {
            if process.exited_at.is_none() && process.exit_at.is_some_and(|at| at <= now) {
                process.exited_at = process.exit_at;
            }
        }
        let ids: Vec<String> = self.router.keys().cloned().collect();
        let mut news = false;
        for id in ids {
            let (up, ready) = self.processes.get(&id).map_or((false, false), |p| {
                let up = p.exited_at.is_none() && p.listens_at <= now;
                (up, up && p.ready_at <= now)
            });
            let traffic = self.traffic && random.chance(700);
            let lasts = random.between(5, 2_500);
            let long = random.chance(20).then(|| self.drain_timeout_ms * 2);
            let ends = self.drain_is_final && self.aside.chance(100);
            let eager = self.eager && up;
            let Some(r) = self.router.get_mut(&id) else {
                continue;
            };
            r.in_flight.retain(|end| up && *end > now);
            if r.ready && !ready {
                r.lost_at = Some(now);
            }
            let before = (r.ready, r.served, r.drained);
            r.ready = ready;
            let serves = r.role == Some(Role::Serve) && ready;
            if traffic && (serves || eager && r.role != Some(Role::Drain)) {
                r.in_flight.push(now + long.unwrap_or(lasts));
                r.served |= serves;
            }
            if r.role == Some(Role::Drain) && r.in_flight.is_empty() {
                r.drained = true;
                if let Some(p) = self.processes.get_mut(&id)
                    && ends
                {
                    p.exited_at = Some(p.exited_at.unwrap_or(now));
                }
            }
            news |= before != (r.ready, r.served, r.drained);
        }
        self.sequence += 1;
        if news {
            self.ask();
        }
    }

    /// The router is asked: at news, and when somebody wants to know. Otherwise its counts change unseen.
    pub(crate) fn ask(&mut self) {
        for r in self.router.values_mut() {
            (r.counted, r.counted_at) = (r.in_flight.len() as u64, self.now);
        }
    }

    /// What a drain left was told: it must have been counted after the deadline, unless the router did not
    /// answer for long.
    pub(crate) fn told(&mut self, overdue: &Overdue, patience_ms: u64) {
        let Some(r) = self.router.get(&overdue.member) else {
            return;
        };
        let Some(end) = r.drain_since.map(|since| since + self.drain_timeout_ms) else {
            return;
        };
        if r.counted_at < end && self.now < end + patience_ms {
            let (told, late) = (overdue.in_flight.requests, end - r.counted_at);
            let member = &overdue.member;
            let text = format!("{member} has {told} at its deadline, counted {late} ms before");
            self.violate(text);
        }
    }

    pub(crate) fn kill(&mut self, id: &str) {
        let now = self.now;
        if let Some(p) = self.processes.get_mut(id)
            && p.exited_at.is_none()
        {
            p.exited_at = Some(now);
            self.deaths += 1;
        }
        if let Some(r) = self.router.get_mut(id) {
            r.in_flight.clear();
            r.lost_at = Some(now);
            r.ready = false;
        }
    }

    /// Its probes fail for a while.
    pub(crate) fn sicken(&mut self, id: &str, ms: u64) {
        let until = self.now + ms;
        if let Some(p) = self.processes.get_mut(id) {
            p.ready_at = p.ready_at.max(until);
        }
        if let Some(r) = self.router.get_mut(id) {
            r.lost_at = Some(self.now);
            r.ready = false;
        }
    }

    /// Another process asks the router from now on, and numbers its questions from the start.
    pub(crate) fn ask_anew(&mut self) {
        self.sequence = 0;
    }

    /// The router is killed and starts again from its journal.
    pub(crate) fn restart_router(&mut self) {
        self.epoch += 1;
        self.sequence = 0;
        for r in self.router.values_mut() {
            r.in_flight.clear();
            r.served = false;
            r.drained = false;
            // Until its first probes it is counted as capacity by nobody.
            r.lost_at = Some(self.now);
            r.ready = false;
        }
    }

    /// What an undisturbed look shows. `known` is what the driver knows of the
    /// configuration in force.
    pub(crate) fn observe(&self, rollout: &Rollout, known: Option<(u64, u64, u64)>) -> Observation {
        let state = |r: &Routed| match r.role {
            Some(Role::Serve) if r.ready => State::Serving,
            Some(Role::Serve) => State::Suspended,
            Some(Role::Warm) => State::Warming,
            Some(Role::Drain) if r.drained => State::Drained,
            Some(Role::Drain) => State::Draining,
            Some(Role::Absent) | None => State::Gone,
        };
        let instances = self.router.iter().map(|(id, r)| {
            let in_flight = InFlight {
                requests: r.counted,
                tunnels: 0,
            };
            let seen = Seen {
                state: state(r),
                ready: r.ready,
                first_served: r.served,
                in_flight,
                connections: Some(in_flight.requests),
                reason: None,
                asked_ms: r.counted_at,
            };
            (id.clone(), seen)
        });
        let revision = match known {
            Some((epoch, generation, revision))
                if epoch == self.epoch && generation <= self.generation =>
            {
                revision
            }
            _ => 0,
        };
        let sum: u32 = self.weights.values().sum();
        let view = View {
            epoch: self.epoch,
            generation: self.generation,
            sequence: self.sequence,
            revision,
            instances: instances.collect(),
            weights: self
                .weights
                .iter()
                .map(|(g, w)| (g.clone(), w * 1000 / sum.max(1)))
                .collect(),
        };
        let processes = rollout.members().map(|m| {
            let process = match self.processes.get(&m.id) {
                None if self.documents.stopped.contains(&m.id) => {
                    Process::Exited("never started".into())
                }
                None => Process::Absent,
                Some(p) if p.exited_at.is_some() => Process::Exited("signal 9".into()),
                Some(p) if p.listens_at <= self.now => Process::Listening,
                Some(_) => Process::Running,
            };
            (m.id.clone(), process)
        });
        let no_image = self.version == Version::NoImage;
        let unprepared = no_image.then(|| (self.new_group.clone(), "no such image".to_owned()));
        Observation {
            now_ms: self.now,
            router: Some(view),
            processes: processes.collect(),
            prepared: self.prepared.clone(),
            unprepared: unprepared.into_iter().collect(),
        }
    }

    /// Commits a journal, with the rollout that belongs to it.
    pub(crate) fn commit(&mut self, rollout: &Rollout, journal: &[Journal], decided_at: u64) {
        // Claims are checked against what was there before the commit.
        let held = self.documents.slots.clone();
        for line in journal {
            match line {
                Journal::Reserve {
                    member,
                    group,
                    slot,
                } => {
                    let taken = held.iter().find(|(_, s)| *s == slot);
                    if let Some((other, _)) = taken.filter(|(id, _)| *id != member) {
                        let text = format!("slot {slot} reserved for {member}, held by {other}");
                        self.violate(text);
                    }
                    self.documents.slots.insert(member.clone(), slot.clone());
                    self.groups.insert(member.clone(), group.clone());
                }
                Journal::Role { member, role } => {
                    self.documents.roles.insert(member.clone(), *role);
                }
                Journal::Stop { member } => {
                    self.documents.stopped.insert(member.clone());
                }
                Journal::Release { member } => {
                    if self.alive(member) {
                        self.violate(format!("slot of {member} released while it lives"));
                    }
                    self.documents.slots.remove(member);
                    self.documents.roles.remove(member);
                }
                Journal::Weight { group, weight } => {
                    self.documents.weights.insert(group.clone(), *weight);
                }
            }
        }
        self.documents.revision = rollout.revision();
        self.documents.decided_at = decided_at;
    }

    pub(crate) fn spawn(&mut self, id: &str, random: &mut Random) {
        if self.documents.stopped.contains(id) || self.processes.contains_key(id) {
            return;
        }
        let Some(slot) = self.documents.slots.get(id).cloned() else {
            self.violate(format!("{id} spawned without a reservation"));
            return;
        };
        let other = self
            .processes
            .iter()
            .find(|(_, p)| p.slot == slot && p.exited_at.is_none())
            .map(|(other, _)| other.clone());
        if let Some(other) = other {
            self.violate(format!("{id} spawned in {slot} beside {other}"));
        }
        *self.spawned.entry(id.to_owned()).or_default() += 1;
        let new = self.groups.get(id) == Some(&self.new_group);
        let version = if new { self.version } else { Version::Good };
        let listens_at = self.now + random.between(10, 800);
        let running = Running {
            slot,
            listens_at,
            ready_at: match version {
                Version::NeverReady => u64::MAX,
                Version::Good | Version::DiesAtOnce | Version::NoImage => {
                    listens_at + random.between(0, 1_500)
                }
            },
            exit_at: (version == Version::DiesAtOnce)
                .then(|| random.between(self.now + 1, listens_at - 1)),
            exited_at: None,
            term_ignored: random.chance(100),
        };
        self.processes.insert(id.to_owned(), running);
        if self.eager {
            self.router.entry(id.to_owned()).or_default();
        }
    }

    pub(crate) fn stop(&mut self, id: &str, grace_ms: u64, random: &mut Random) {
        if !self.documents.stopped.contains(id) {
            self.violate(format!("{id} told to stop before that was journaled"));
        }
        if let Some(r) = self.router.get(id).cloned() {
            let deadline = r.drain_since.map(|s| s + self.drain_timeout_ms);
            let over = deadline.is_some_and(|d| self.now >= d);
            if self.alive(id) && r.role == Some(Role::Serve) {
                self.violate(format!("{id} stopped while it has the role serve"));
            }
            if self.alive(id) && !r.in_flight.is_empty() && !over {
                let n = r.in_flight.len();
                self.violate(format!("{id} stopped with {n} requests in flight"));
            }
        }
        let now = self.now;
        if let Some(p) = self.processes.get_mut(id) {
            let takes = if p.term_ignored {
                grace_ms
            } else {
                random.between(1, 400)
            };
            p.exit_at = Some(p.exit_at.unwrap_or(u64::MAX).min(now + takes));
        }
    }

    pub(crate) fn cut(&mut self, id: &str) {
        let now = self.now;
        let Some(r) = self.router.get(id) else { return };
        let early = r
            .drain_since
            .is_none_or(|s| now < s + self.drain_timeout_ms);
        if early && !r.in_flight.is_empty() {
            self.violate(format!("{id} cut before its drain deadline"));
        }
        if let Some(r) = self.router.get_mut(id) {
            r.in_flight.clear();
        }
    }

    pub(crate) fn prove(&mut self, id: &str) {
        if self.serving(id)
            && let Some(r) = self.router.get_mut(id)
        {
            r.served = true;
        }
    }

    /// Applies the documents. The same body again changes nothing.
    pub(crate) fn configure(&mut self) -> (u64, u64, u64) {
        let body = (self.documents.roles.clone(), self.documents.weights.clone());
        if body != self.configured {
            self.check_removal(&body.0);
            self.generation += 1;
            self.sequence += 1;
            self.configured = body.clone();
            self.weights = body.1;
            let now = self.now;
            for (id, role) in &body.0 {
                if *role == Role::Absent {
                    if !self.eager || !self.alive(id) {
                        self.router.remove(id);
                    }
                    continue;
                }
                let drained = self
                    .router
                    .get(id)
                    .is_some_and(|r| r.role == Some(Role::Drain));
                if drained && *role != Role::Drain && self.drain_is_final {
                    let text = format!("{id} was drained for good and gets the role {role:?}");
                    self.violate(text);
                }
                let routed = self.router.entry(id.clone()).or_default();
                if routed.role == Some(*role) {
                    continue;
                }
                if *role == Role::Serve {
                    routed.served = false;
                }
                routed.drained = false;
                routed.drain_since = (*role == Role::Drain).then_some(now);
                routed.role = Some(*role);
            }
            let kept: BTreeSet<String> = self
                .router
                .keys()
                .filter(|id| body.0.contains_key(*id) || self.eager && self.alive(id))
                .cloned()
                .collect();
            self.router.retain(|id, _| kept.contains(id));
        }
        self.ask();
        (self.epoch, self.generation, self.documents.revision)
    }

    /// The floor, judged with the truth at the time of the decision: what was
    /// lost since then could not be known.
    fn check_removal(&mut self, roles: &BTreeMap<String, Role>) {
        let decided = self.documents.decided_at;
        let unknown = |r: &Routed| r.lost_at.is_some_and(|at| at >= decided);
        let counts = |id: &String, r: &Routed| {
            r.role == Some(Role::Serve) && (self.serving(id) || unknown(r))
        };
        let stays = |id: &String| roles.get(id) == Some(&Role::Serve);
        let leaving: Vec<&String> = self
            .router
            .iter()
            .filter(|(id, _)| self.serving(id) && !stays(id))
            .map(|(id, _)| id)
            .collect();
        let left = self
            .router
            .iter()
            .filter(|(id, r)| counts(id, r) && stays(id))
            .count();
        let mut found = Vec::new();
        if !leaving.is_empty() && left < self.floor {
            found.push(format!(
                "{leaving:?} lose traffic while {left} others serve, floor {}",
                self.floor
            ));
        }
        for (id, role) in roles {
            let before = self.router.get(id);
            let gains = *role == Role::Serve && before.is_none_or(|r| r.role != Some(Role::Serve));
            let was_ready = before.is_some_and(|r| r.ready || unknown(r));
            if gains && !was_ready {
                found.push(format!("{id} gets traffic without having been seen ready"));
            }
        }
        for text in found {
            self.violate(text);
        }
    }
}
