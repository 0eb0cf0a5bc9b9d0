//! The machine: durable state, and one step from an observation to what is next.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::effect::{Journal, Step};
use crate::member::{Member, Origin, Pair, Role, Standing};
use crate::moves::Move;
use crate::observation::{Observation, Process};
use crate::outcome::{Failure, Outcome, Restored};
use crate::router::View;
use crate::settings::Settings;

/// How often the inverse is planned anew before a person is asked.
const INVERSE_ATTEMPTS: u32 = 3;

/// Epochs of the router that are over; more than these are never compared.
const EPOCHS_KEPT: usize = 16;

/// Towards the goal or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Direction {
    /// Towards the goal.
    Forward,
    /// Back to how it was.
    Inverse,
}

/// Which answers of the router are older than one already used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Horizon {
    epoch: u64,
    generation: u64,
    sequence: u64,
    over: Vec<u64>,
}

/// The state of one rollout. Serialise it at every change; it resumes anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    pub(crate) settings: Settings,
    pub(crate) members: BTreeMap<String, Member>,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) weights: BTreeMap<String, u32>,
    pub(crate) initial_weights: BTreeMap<String, u32>,
    pub(crate) plan: Vec<Move>,
    pub(crate) at: usize,
    /// The present move has asked for what it asks for.
    pub(crate) entered: bool,
    /// Since when the present move is the present one, or has been entered.
    pub(crate) since_ms: Option<u64>,
    /// Since when what the present move waits for has held without a break.
    pub(crate) held_from_ms: Option<u64>,
    /// What the present move had in flight at its deadline was told. Under the name that
    /// versions before this one look for.
    #[serde(rename = "cut")]
    pub(crate) overdue: bool,
    pub(crate) direction: Direction,
    pub(crate) revision: u64,
    horizon: Option<Horizon>,
    attempts: u32,
    failure: Option<Failure>,
    cancel: Option<String>,
    outcome: Option<Outcome>,
}

/// What one move came to in one step.
pub(crate) enum Progress {
    Done,
    /// Step again at this time, or when something is observed.
    Wait(Option<u64>),
    Failed(Failure),
}

impl Rollout {
    pub(crate) fn new(settings: Settings, members: Vec<Member>, plan: Vec<Move>) -> Self {
        Self {
            settings,
            members: members.into_iter().map(|m| (m.id.clone(), m)).collect(),
            pairs: Vec::new(),
            weights: BTreeMap::new(),
            initial_weights: BTreeMap::new(),
            plan,
            at: 0,
            entered: false,
            since_ms: None,
            held_from_ms: None,
            overdue: false,
            direction: Direction::Forward,
            revision: 0,
            horizon: None,
            attempts: 0,
            failure: None,
            cancel: None,
            outcome: None,
        }
    }

    /// The move it is at; `None` when it has ended.
    pub fn current(&self) -> Option<&Move> {
        self.outcome.is_none().then(|| self.plan.get(self.at))?
    }

    /// Every move planned so far on the present way, done ones first.
    pub fn plan(&self) -> &[Move] {
        &self.plan
    }

    /// Forward, or back.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Why it turned back.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// How it ended.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// The instances it is about.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// One of them.
    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    /// Its limits.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The newest configuration it asked for; an observation's revision is
    /// compared with it.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Asks it to turn back at the next safe point. Nothing happens when it is
    /// on its way back, has ended, or is past the point of an inverse.
    pub fn cancel(&mut self, reason: impl Into<String>) {
        if self.outcome.is_none() && self.direction == Direction::Forward && self.cancel.is_none() {
            self.cancel = Some(reason.into());
        }
    }

    /// Tells it that nobody stepped it for a while: what it waits for gets its
    /// whole time again.
    pub fn resumed(&mut self) {
        self.since_ms = None;
        self.held_from_ms = None;
        if let Some(horizon) = &mut self.horizon {
            // Whoever steps it now numbers its questions itself; answers to former ones reach nobody.
            horizon.sequence = 0;
        }
    }

    /// One step. Commit the state and the journal if it changed, then perform
    /// the effects, observe, and step again.
    pub fn step(&mut self, observation: &Observation) -> Step {
        let mut step = Step::default();
        if self.outcome.is_none() {
            let view = self.admit(observation.router.as_ref()).cloned();
            self.note_deaths(observation, &mut step);
            self.turn_if_canceled(&mut step);
            self.run(observation, view.as_ref(), &mut step);
        }
        step.outcome = self.outcome.clone();
        step
    }

    fn run(&mut self, observation: &Observation, view: Option<&View>, step: &mut Step) {
        while self.outcome.is_none() {
            if self.at >= self.plan.len() {
                self.end(step);
                return;
            }
            let now = observation.now_ms;
            let since = *self.since_ms.get_or_insert(now);
            let revision = self.revision;
            // An answer that does not contain what is asked for now shows nothing.
            let view = view.filter(|v| v.revision >= revision);
            match self.advance(observation, view, since, step) {
                Progress::Done => {
                    let freed = matches!(self.plan.get(self.at), Some(Move::Remove { .. }));
                    self.at += 1;
                    self.begin_move();
                    step.changed = true;
                    if freed && self.at < self.plan.len() {
                        // Slots must have been given back by one commit before
                        // another takes them.
                        step.wake_at_ms = Some(now);
                        return;
                    }
                }
                Progress::Wait(until) => {
                    step.wake_at_ms = until;
                    return;
                }
                Progress::Failed(failure) => {
                    // What the failed move still wanted is no longer wanted.
                    step.effects.clear();
                    self.fail(failure, step);
                }
            }
        }
    }

    pub(crate) fn begin_move(&mut self) {
        self.entered = false;
        self.since_ms = None;
        self.held_from_ms = None;
        self.overdue = false;
    }

    /// The router's answer, unless a newer one was used before.
    fn admit<'a>(&mut self, view: Option<&'a View>) -> Option<&'a View> {
        let view = view?;
        if !self.settings.orders_answers() {
            return Some(view);
        }
        let horizon = self.horizon.get_or_insert_with(|| Horizon {
            epoch: view.epoch,
            ..Horizon::default()
        });
        if horizon.over.contains(&view.epoch) {
            return None;
        }
        if horizon.epoch != view.epoch {
            horizon.over.push(horizon.epoch);
            if horizon.over.len() > EPOCHS_KEPT {
                horizon.over.remove(0);
            }
            horizon.epoch = view.epoch;
            horizon.generation = 0;
            horizon.sequence = 0;
        }
        let newest = (horizon.generation, horizon.sequence);
        if (view.generation, view.sequence) < newest {
            return None;
        }
        horizon.generation = view.generation;
        horizon.sequence = view.sequence;
        Some(view)
    }

    fn note_deaths(&mut self, observation: &Observation, step: &mut Step) {
        for member in self.members.values_mut() {
            let exited = matches!(
                observation.processes.get(&member.id),
                Some(Process::Exited(_))
            );
            if exited && member.usable() {
                member.died = true;
                step.changed = true;
            }
        }
    }

    fn turn_if_canceled(&mut self, step: &mut Step) {
        let Some(reason) = self.cancel.take() else {
            return;
        };
        if self.direction == Direction::Forward && self.reversible() {
            self.fail(Failure::Canceled { reason }, step);
        }
    }

    fn fail(&mut self, failure: Failure, step: &mut Step) {
        step.changed = true;
        let first = self.failure.get_or_insert_with(|| failure.clone()).clone();
        if self.direction == Direction::Inverse && self.attempts >= INVERSE_ATTEMPTS {
            self.outcome = Some(Outcome::Failed {
                failure: first,
                restored: Restored::Partly { failure },
            });
            return;
        }
        if self.direction == Direction::Forward && !self.reversible() {
            self.outcome = Some(Outcome::Failed {
                failure: first,
                restored: Restored::Impossible,
            });
            return;
        }
        self.direction = Direction::Inverse;
        self.attempts += 1;
        self.plan = self.inverse();
        self.at = 0;
        self.begin_move();
    }

    fn end(&mut self, step: &mut Step) {
        step.changed = true;
        self.outcome = Some(match self.failure.clone() {
            None => Outcome::Succeeded,
            Some(failure) => Outcome::Failed {
                failure,
                restored: Restored::Whole,
            },
        });
    }

    /// Asks for roles, and for the weights that follow from them.
    pub(crate) fn give_role(&mut self, ids: &[String], role: Role, step: &mut Step) {
        let mut changed = false;
        for id in ids {
            let Some(member) = self.members.get_mut(id) else {
                continue;
            };
            debug_assert!(member.origin != Origin::Peer, "a peer is never touched");
            if member.role != role {
                member.role = role;
                changed = true;
                step.journal.push(Journal::Role {
                    member: id.clone(),
                    role,
                });
            }
        }
        changed |= self.share_by_count(step);
        if changed {
            self.revision += 1;
        }
        step.changed = true;
    }

    /// While instances of two groups stand side by side in a replacement, each
    /// group's share is that of its instances.
    fn share_by_count(&mut self, step: &mut Step) -> bool {
        if self.pairs.is_empty() {
            return false;
        }
        let whole: u64 = self.initial_weights.values().map(|w| u64::from(*w)).sum();
        let slots = self.pairs.len() as u64;
        let groups: Vec<String> = self.initial_weights.keys().cloned().collect();
        let mut changed = false;
        for group in groups {
            let count = self
                .members
                .values()
                .filter(|m| m.group == group && m.role == Role::Serve)
                .count() as u64;
            let share = (whole * count).div_ceil(slots);
            let share = u32::try_from(share).unwrap_or(u32::MAX);
            changed |= self.give_weight(&group, share, step);
        }
        changed
    }

    pub(crate) fn give_weight(&mut self, group: &str, weight: u32, step: &mut Step) -> bool {
        if self.weights.get(group) == Some(&weight) {
            return false;
        }
        self.weights.insert(group.to_owned(), weight);
        step.journal.push(Journal::Weight {
            group: group.to_owned(),
            weight,
        });
        true
    }

    pub(crate) fn set_standing(&mut self, id: &str, standing: Standing, step: &mut Step) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if member.standing >= standing {
            return;
        }
        member.standing = standing;
        let (member, group, slot) = (id.to_owned(), member.group.clone(), member.slot.clone());
        step.journal.push(match standing {
            Standing::Planned | Standing::Started => Journal::Reserve {
                member,
                group,
                slot,
            },
            Standing::Stopping => Journal::Stop { member },
            Standing::Released => Journal::Release { member },
        });
        step.changed = true;
    }
}
