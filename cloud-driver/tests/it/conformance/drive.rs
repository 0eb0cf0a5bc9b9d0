//! A rollout driven over the router under test: the machine decides, the harness starts and stops,
//! and the truth is sampled all the way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rollout::router::{Applied, Desired};
use rollout::{
    Effect, InFlight, Journal, Observation, Outcome, Overdue, Process, Role, Rollout, Standing,
};

use super::cases::FENCE;
use super::{Harness, Wanted};

/// Looks after which a new instance is well. Looks and no time, so that whoever does not look has
/// the same head start on every machine.
const WELL_AFTER: u32 = 25;

/// Longest rollout.
const LONGEST: Duration = Duration::from_secs(240);

/// What the journal holds.
pub(super) struct Board {
    groups: BTreeMap<String, u32>,
    members: BTreeMap<String, (String, Role)>,
}

impl Board {
    /// The journal as these groups are.
    pub(super) fn new(_: &impl Harness, groups: &[Wanted]) -> Self {
        let mut board = Self {
            groups: BTreeMap::new(),
            members: BTreeMap::new(),
        };
        for group in groups {
            board.groups.insert(group.name.clone(), group.weight);
            for (id, role) in &group.members {
                board
                    .members
                    .insert(id.clone(), (group.name.clone(), *role));
            }
        }
        board
    }

    fn desired(&self, h: &impl Harness) -> Desired {
        let of = |name: &str| -> Vec<(String, Role)> {
            let members = self.members.iter().filter(|(_, (group, _))| group == name);
            members.map(|(id, (_, role))| (id.clone(), *role)).collect()
        };
        let groups: Vec<Wanted> = self
            .groups
            .iter()
            .map(|(name, weight)| Wanted {
                name: name.clone(),
                weight: *weight,
                members: of(name),
            })
            .collect();
        h.desired(&groups)
    }

    fn write(&mut self, line: &Journal) {
        match line {
            Journal::Reserve { member, group, .. } => {
                self.groups.entry(group.clone()).or_insert(0);
                let new = (group.clone(), Role::Absent);
                self.members.entry(member.clone()).or_insert(new);
            }
            Journal::Role { member, role } => {
                if let Some(there) = self.members.get_mut(member) {
                    there.1 = *role;
                }
            }
            Journal::Weight { group, weight } => {
                self.groups.insert(group.clone(), *weight);
            }
            Journal::Release { member } => {
                self.members.remove(member);
            }
            Journal::Stop { .. } => {}
        }
    }
}

/// What a rollout came to.
pub(super) struct Driven {
    pub(super) outcome: Outcome,
    pub(super) overdue: Vec<Overdue>,
    /// What the router says it cut.
    pub(super) cut: InFlight,
    /// The fewest instances that truly served at a sample.
    pub(super) least: usize,
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// How many serve in truth: the honest router says so, and the instance runs.
async fn serving(h: &impl Harness) -> Option<usize> {
    let view = h.honest().observe().await.ok()?;
    let ids = view.instances.keys();
    Some(ids.filter(|id| view.serves(id) && h.runs(id)).count())
}

/// Drives a rollout to its end, one request of a user between any two steps if somebody serves.
pub(super) async fn drive(
    h: &mut impl Harness,
    mut rollout: Rollout,
    board: &mut Board,
) -> Result<Driven, String> {
    let router = h.router();
    let end = Instant::now() + LONGEST;
    let mut known: Option<(Applied, u64)> = None;
    let mut stopped = BTreeSet::new();
    let mut new: BTreeMap<String, u32> = BTreeMap::new();
    let mut driven = Driven {
        outcome: Outcome::Succeeded,
        overdue: Vec::new(),
        cut: InFlight::default(),
        least: usize::MAX,
    };
    while Instant::now() < end {
        let mut view = router.observe().await.ok();
        if let (Some(view), Some((applied, revision))) = (&mut view, known)
            && view.epoch == applied.epoch
            && view.generation >= applied.generation
        {
            view.revision = revision;
        }
        let members = rollout.members();
        let present = members.filter(|m| m.standing != Standing::Released);
        let process = |id: &str| match (h.runs(id), stopped.contains(id)) {
            (true, _) => Process::Listening,
            (false, true) => Process::Exited("stopped".to_owned()),
            (false, false) => Process::Absent,
        };
        let observation = Observation {
            now_ms: now_ms(),
            router: view,
            processes: present.map(|m| (m.id.clone(), process(&m.id))).collect(),
            prepared: board
                .groups
                .keys()
                .cloned()
                .chain(["b".to_owned()])
                .collect(),
            unprepared: BTreeMap::new(),
        };
        let step = rollout.step(&observation);
        for line in &step.journal {
            board.write(line);
        }
        driven.overdue.extend(step.overdue);
        if let Some(outcome) = step.outcome {
            driven.outcome = outcome;
            return Ok(driven);
        }
        for effect in &step.effects {
            match effect {
                Effect::Prepare { .. } => {}
                Effect::Spawn { member } => {
                    h.start(member, false).await;
                    new.insert(member.clone(), 0);
                }
                Effect::Configure { revision } => {
                    let applied = router.apply(&board.desired(h), FENCE).await;
                    known = Some((applied.map_err(|e| e.to_string())?, *revision));
                }
                Effect::Observe => {
                    router.observe().await.map_err(|e| e.to_string())?;
                }
                // A proof may come too early; it is asked for again.
                Effect::Prove { member } => drop(router.prove(member).await),
                Effect::Cut { member } => {
                    let ended = router.cut(member).await.map_err(|e| e.to_string())?;
                    driven.cut.requests += ended.requests;
                    driven.cut.tunnels += ended.tunnels;
                }
                Effect::Stop { member, .. } => {
                    h.stop(member).await;
                    stopped.insert(member.clone());
                }
            }
        }
        for (id, looks) in &mut new {
            *looks += 1;
            if *looks == WELL_AFTER && h.runs(id) {
                h.set_well(id, true);
            }
        }
        if let Some(count) = serving(h).await {
            driven.least = driven.least.min(count);
            if count > 0 {
                h.ask()
                    .await
                    .map_err(|e| format!("floor: a user got: {e}"))?;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(format!("the rollout does not end: {:?}", rollout.current()))
}
