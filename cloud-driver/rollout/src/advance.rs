//! One move against one observation: ask once, then wait for what must be seen.

use crate::effect::{Effect, Overdue, Step};
use crate::floor;
use crate::machine::{Progress, Rollout};
use crate::member::{Origin, Role, Standing};
use crate::moves::{Move, bring_up, take_down};
use crate::observation::{Observation, Process};
use crate::outcome::Failure;
use crate::router::{Seen, State, View};
use crate::settings::{OnDrainTimeout, Settings};

/// One step's circumstances.
pub(crate) struct Now<'a> {
    observation: &'a Observation,
    /// The router's answer, if it contains everything asked for before this step.
    view: Option<&'a View>,
    /// When the present move began.
    since: u64,
}

impl Now<'_> {
    fn ms(&self) -> u64 {
        self.observation.now_ms
    }

    fn process(&self, id: &str) -> Option<&Process> {
        self.observation.processes.get(id)
    }

    fn exit(&self, id: &str) -> Option<&str> {
        match self.process(id) {
            Some(Process::Exited(how)) => Some(how),
            Some(Process::Absent | Process::Running | Process::Listening) | None => None,
        }
    }
}

impl Rollout {
    pub(crate) fn advance(
        &mut self,
        observation: &Observation,
        view: Option<&View>,
        since: u64,
        step: &mut Step,
    ) -> Progress {
        let now = Now {
            observation,
            view,
            since,
        };
        let Some(present) = self.plan.get(self.at).cloned() else {
            return Progress::Done;
        };
        match present {
            Move::Prepare { group } => self.prepare(&group, &now, step),
            Move::Pick { batch } => self.pick(batch, &now, step),
            Move::Start { members } => self.start(&members, &now, step),
            Move::Warm { members } => self.warm(&members, &now, step),
            Move::Settle { members } => self.settle(&members, &now, step),
            Move::Serve { members } => self.serve(&members, &now, step),
            Move::Drain { members } => self.drain(&members, &now, step),
            Move::Stop { members } => self.stop(&members, &now, step),
            Move::Remove { members } => self.remove(&members, &now, step),
            Move::Weigh { weights } => {
                if !self.entered {
                    self.entered = true;
                    let mut changed = false;
                    for (group, weight) in &weights {
                        changed |= self.give_weight(group, *weight, step);
                    }
                    self.revision += u64::from(changed);
                    step.changed = true;
                }
                self.weighed(&now, step)
            }
            Move::Confirm { members } => self.confirm(&members, &now, step),
        }
    }

    /// The view if it contains what this rollout asked for; else asks again.
    fn applied<'a>(&self, now: &Now<'a>, step: &mut Step) -> Option<&'a View> {
        let view = now.view.filter(|v| v.revision >= self.revision);
        if view.is_none() {
            step.effects.push(Effect::Configure {
                revision: self.revision,
            });
        }
        view
    }

    /// Waits until `limit_ms` after the move began, then fails.
    fn until(now: &Now<'_>, limit_ms: u64, failure: impl FnOnce(u64) -> Failure) -> Progress {
        let end = now.since.saturating_add(limit_ms);
        if now.ms() >= end {
            Progress::Failed(failure(now.ms() - now.since))
        } else {
            Progress::Wait(Some(end))
        }
    }

    fn died(now: &Now<'_>, ids: &[String]) -> Option<Failure> {
        ids.iter().find_map(|id| {
            now.exit(id).map(|exit| Failure::Died {
                member: id.clone(),
                exit: exit.to_owned(),
            })
        })
    }

    fn unhealthy(
        &self,
        now: &Now<'_>,
        ids: &[String],
        well: impl Fn(&str, Option<&Seen>) -> bool,
    ) -> Progress {
        Self::until(now, self.settings.start_timeout_ms, |waited_ms| {
            let seen = |id: &String| now.view.and_then(|v| v.instances.get(id));
            let bad = ids.iter().find(|id| !well(id, seen(id)));
            let member = bad.or_else(|| ids.first()).cloned().unwrap_or_default();
            let reason = match (now.process(&member), now.view, seen(&member)) {
                (Some(Process::Running), _, _) => "its port does not answer".to_owned(),
                (_, None, _) => "the load balancer did not confirm its configuration".to_owned(),
                (_, Some(_), Some(seen)) => match (&seen.reason, seen.state) {
                    (Some(reason), _) => reason.clone(),
                    (None, State::Serving) => "it has not answered a request well".to_owned(),
                    (None, _) => "its health check has not passed".to_owned(),
                },
                (_, Some(_), None) => "the load balancer does not know it".to_owned(),
            };
            Failure::Unhealthy {
                member,
                waited_ms,
                reason,
            }
        })
    }

    fn prepare(&mut self, group: &str, now: &Now<'_>, step: &mut Step) -> Progress {
        if let Some(reason) = now.observation.unprepared.get(group) {
            return Progress::Failed(Failure::Image {
                group: group.to_owned(),
                reason: reason.clone(),
            });
        }
        if now.observation.prepared.contains(group) {
            return Progress::Done;
        }
        step.effects.push(Effect::Prepare {
            group: group.to_owned(),
        });
        Self::until(now, self.settings.prepare_timeout_ms, |waited| {
            Failure::Image {
                group: group.to_owned(),
                reason: format!("not there after {waited} ms"),
            }
        })
    }

    fn pick(&mut self, batch: usize, now: &Now<'_>, step: &mut Step) -> Progress {
        let Some(view) = self.applied(now, step) else {
            return Self::until(now, self.settings.capacity_timeout_ms, |waited_ms| {
                self.too_few(&[], 0, waited_ms)
            });
        };
        let mut waiting: Vec<usize> = (0..self.pairs.len())
            .filter(|i| self.pairs.get(*i).is_some_and(|p| p.turn.is_none()))
            .collect();
        let idle = |i: &usize| {
            let old = self.pairs.get(*i).and_then(|p| self.members.get(&p.old));
            old.is_some_and(|m| floor::serves(m, view))
        };
        waiting.sort_by_key(idle);
        waiting.truncate(batch.max(1));
        let turn = self.pairs.iter().filter_map(|p| p.turn).max();
        let turn = turn.map_or(0, |t| t + 1);
        let (mut olds, mut news) = (Vec::new(), Vec::new());
        for (n, i) in waiting.into_iter().enumerate() {
            if let Some(pair) = self.pairs.get_mut(i) {
                pair.turn = Some(turn + n);
                olds.push(pair.old.clone());
                news.push(pair.new.clone());
            }
        }
        let mut moves = take_down(&olds);
        moves.extend(bring_up(&news, true));
        if self.pairs.iter().any(|p| p.turn.is_none()) {
            moves.push(Move::Pick { batch });
        }
        let after = self.at + 1;
        self.plan.splice(after..after, moves);
        Progress::Done
    }

    fn start(&mut self, ids: &[String], now: &Now<'_>, step: &mut Step) -> Progress {
        if !self.entered {
            self.entered = true;
            for id in ids {
                self.set_standing(id, Standing::Started, step);
            }
            step.changed = true;
        }
        if let Some(failure) = Self::died(now, ids) {
            return Progress::Failed(failure);
        }
        for id in ids {
            if now.process(id).is_none_or(|p| *p == Process::Absent) {
                step.effects.push(Effect::Spawn { member: id.clone() });
            }
        }
        let up = |id: &str| match now.process(id) {
            Some(Process::Listening) => true,
            Some(Process::Running) => !self.settings.observes(),
            Some(Process::Absent | Process::Exited(_)) | None => false,
        };
        if ids.iter().all(|id| up(id)) {
            return Progress::Done;
        }
        self.unhealthy(now, ids, |id, _| up(id))
    }

    fn warm(&mut self, ids: &[String], now: &Now<'_>, step: &mut Step) -> Progress {
        if !self.entered {
            self.entered = true;
            self.give_role(ids, Role::Warm, step);
        }
        if let Some(failure) = Self::died(now, ids) {
            return Progress::Failed(failure);
        }
        let view = self.applied(now, step);
        if !self.settings.observes() {
            return Progress::Done;
        }
        if view.is_some_and(|v| ids.iter().all(|id| is_ready(v, id))) {
            return Progress::Done;
        }
        self.unhealthy(now, ids, |_, seen| seen.is_some_and(|s| s.ready))
    }

    fn settle(&mut self, ids: &[String], now: &Now<'_>, step: &mut Step) -> Progress {
        if !self.settings.observes() {
            return Progress::Done;
        }
        if let Some(failure) = Self::died(now, ids) {
            return Progress::Failed(failure);
        }
        let ready = self
            .applied(now, step)
            .map(|v| ids.iter().all(|id| is_ready(v, id)));
        match ready {
            Some(true) => {
                let from = *self.held_from_ms.get_or_insert_with(|| now.ms());
                let end = from.saturating_add(self.settings.settle_ms);
                if now.ms() >= end {
                    return Progress::Done;
                }
                return Progress::Wait(Some(end));
            }
            Some(false) => self.held_from_ms = None,
            None => {}
        }
        self.unhealthy(now, ids, |_, seen| seen.is_some_and(|s| s.ready))
    }

    fn serve(&mut self, ids: &[String], now: &Now<'_>, step: &mut Step) -> Progress {
        if !self.entered {
            self.entered = true;
            self.give_role(ids, Role::Serve, step);
        }
        if let Some(failure) = Self::died(now, ids) {
            return Progress::Failed(failure);
        }
        let view = self.applied(now, step);
        if !self.settings.observes() {
            return Progress::Done;
        }
        let Some(view) = view else {
            return self.unhealthy(now, ids, |_, _| false);
        };
        let seen = |id: &String| view.instances.get(id);
        let serving = |s: &Seen| s.state == State::Serving;
        if !ids.iter().all(|id| seen(id).is_some_and(serving)) {
            self.held_from_ms = None;
            return self.unhealthy(now, ids, |_, seen| seen.is_some_and(serving));
        }
        let unproven: Vec<_> = ids
            .iter()
            .filter(|id| !seen(id).is_some_and(|s| s.first_served))
            .collect();
        if unproven.is_empty() {
            return Progress::Done;
        }
        // With traffic the proof comes by itself; without, a request is sent.
        let from = *self.held_from_ms.get_or_insert_with(|| now.ms());
        let prove_at = from.saturating_add(self.settings.prove_after_ms);
        if now.ms() < prove_at {
            return Progress::Wait(Some(prove_at));
        }
        for id in unproven {
            step.effects.push(Effect::Prove { member: id.clone() });
        }
        self.unhealthy(now, ids, |_, seen| seen.is_some_and(|s| s.first_served))
    }

    fn drain(&mut self, ids: &[String], now: &Now<'_>, step: &mut Step) -> Progress {
        if self.settings.exchanges() {
            return Progress::Done;
        }
        if !self.entered {
            let view = self.applied(now, step);
            let floor = self.settings.floor;
            let may = view
                .is_some_and(|v| floor::may_leave(&self.members, v, ids, floor, self.direction));
            if !may && self.settings.observes() {
                let serving = view.map_or(0, |v| floor::serving(&self.members, v, ids));
                return Self::until(now, self.settings.capacity_timeout_ms, |waited_ms| {
                    self.too_few(ids, serving, waited_ms)
                });
            }
            self.entered = true;
            self.since_ms = Some(now.ms());
            self.give_role(ids, Role::Drain, step);
            // The view at hand is older than this request: ask, and see later.
            step.effects
                .retain(|e| !matches!(e, Effect::Configure { .. }));
            step.effects.push(Effect::Configure {
                revision: self.revision,
            });
            if self.settings.drains() {
                return Progress::Wait(Some(now.ms() + self.settings.drain_timeout_ms));
            }
        }
        if !self.settings.drains() {
            return Progress::Done;
        }
        let Some(view) = self.applied(now, step) else {
            // Nobody knows what is in flight: only the deadline of the router's
            // own silence ends this wait, and never by stopping anything.
            let limit = self.settings.drain_timeout_ms + self.settings.capacity_timeout_ms;
            return Self::until(now, limit, |waited_ms| Failure::Drain {
                member: ids.first().cloned().unwrap_or_default(),
                requests: 0,
                waited_ms,
                reason: Some("the router does not confirm that it drains".to_owned()),
            });
        };
        // The time to drain begins when the router was seen draining, not when
        // it was asked to.
        let from = *self.held_from_ms.get_or_insert_with(|| now.ms());
        let end = from.saturating_add(self.settings.drain_timeout_ms);
        let left = ids.iter().filter_map(|id| {
            let seen = view.instances.get(id)?;
            let over = matches!(seen.state, State::Drained | State::Gone);
            (!over).then_some((id, seen))
        });
        let left: Vec<_> = left.collect();
        if left.is_empty() {
            return Progress::Done;
        }
        if now.ms() < end {
            return Progress::Wait(Some(end));
        }
        // Counts change without news: what is left is known from an answer to a question of now. A router
        // that does not answer for long is told of with what was seen last.
        let is_old = left.iter().any(|(_, seen)| seen.asked_ms < end);
        if is_old && now.ms() < end.saturating_add(self.settings.capacity_timeout_ms) {
            step.effects.push(Effect::Observe);
            return Progress::Wait(None);
        }
        let tunnels_only = left.iter().all(|(_, s)| s.in_flight.requests == 0);
        let then = if tunnels_only {
            OnDrainTimeout::Cut
        } else {
            self.settings.on_drain_timeout
        };
        if !self.overdue {
            // Told once and never silent, whatever comes of it.
            self.overdue = true;
            step.changed = true;
            step.overdue.extend(left.iter().map(|(id, seen)| Overdue {
                member: (*id).clone(),
                in_flight: seen.in_flight,
                waited_ms: now.ms() - from,
                then,
            }));
        }
        match then {
            OnDrainTimeout::Wait => Progress::Wait(None),
            OnDrainTimeout::Fail => Progress::Failed(still_busy(&left, now.ms() - from)),
            OnDrainTimeout::Cut => {
                step.effects.extend(left.iter().map(|(id, _)| Effect::Cut {
                    member: (*id).clone(),
                }));
                // A cut may take as long as a stop.
                let margin = self.settings.grace_ms + Settings::EXIT_MARGIN_MS;
                let limit = end.saturating_add(margin).saturating_sub(now.since);
                Self::until(now, limit, |waited_ms| still_busy(&left, waited_ms))
            }
        }
    }

    fn stop(&mut self, ids: &[String], now: &Now<'_>, step: &mut Step) -> Progress {
        if !self.entered {
            self.entered = true;
            for id in ids {
                self.set_standing(id, Standing::Stopping, step);
            }
            step.changed = true;
        }
        let grace_ms = if self.settings.drains() {
            self.settings.grace_ms
        } else {
            0
        };
        let alive: Vec<_> = ids.iter().filter(|id| now.exit(id).is_none()).collect();
        let Some(first) = alive.first() else {
            return Progress::Done;
        };
        // Asked again each time: only the seen exit ends it, and the order to
        // stop is kept where the process is.
        step.effects.extend(alive.iter().map(|id| Effect::Stop {
            member: (*id).clone(),
            grace_ms,
        }));
        let limit = self.settings.grace_ms + Settings::EXIT_MARGIN_MS;
        Self::until(now, limit, |waited_ms| Failure::Exit {
            member: (*first).clone(),
            waited_ms,
        })
    }

    fn remove(&mut self, ids: &[String], now: &Now<'_>, step: &mut Step) -> Progress {
        if !self.entered {
            self.entered = true;
            self.give_role(ids, Role::Absent, step);
        }
        let gone = self.applied(now, step).is_some_and(|view| {
            ids.iter().all(|id| {
                let seen = view.instances.get(id);
                seen.is_none_or(|s| s.state == State::Gone)
            })
        });
        if gone {
            for id in ids {
                self.set_standing(id, Standing::Released, step);
            }
            return Progress::Done;
        }
        // The process has exited and gets no requests: nothing is at risk, so
        // this waits as long as the router takes.
        Progress::Wait(None)
    }

    fn weighed(&mut self, now: &Now<'_>, step: &mut Step) -> Progress {
        let Some(view) = self.applied(now, step) else {
            return Progress::Wait(None);
        };
        let sum: u64 = self.weights.values().map(|w| u64::from(*w)).sum();
        let off = self.weights.iter().find_map(|(group, weight)| {
            let asked = (u64::from(*weight) * 1000).checked_div(sum).unwrap_or(0);
            let asked = u32::try_from(asked).unwrap_or(u32::MAX);
            let effective = view.weights.get(group).copied().unwrap_or(0);
            (asked.abs_diff(effective) > 1).then_some((group.clone(), asked, effective))
        });
        let Some((group, asked, effective)) = off else {
            return Progress::Done;
        };
        let limit = self.settings.capacity_timeout_ms;
        Self::until(now, limit, |waited_ms| Failure::Weight {
            group,
            effective,
            asked,
            waited_ms,
        })
    }

    fn confirm(&mut self, ids: &[String], now: &Now<'_>, step: &mut Step) -> Progress {
        if let Some(failure) = Self::died(now, ids) {
            return Progress::Failed(failure);
        }
        let view = self.applied(now, step);
        let all = view.is_some_and(|v| {
            let mut members = ids.iter().filter_map(|id| self.members.get(id));
            members.all(|m| floor::serves(m, v))
        });
        if all || !self.settings.observes() {
            return Progress::Done;
        }
        self.unhealthy(now, ids, |_, seen| {
            seen.is_some_and(|s| s.state == State::Serving)
        })
    }

    fn too_few(&self, ids: &[String], serving: usize, waited_ms: u64) -> Failure {
        debug_assert!(
            self.members
                .values()
                .all(|m| m.origin != Origin::Peer || !ids.contains(&m.id)),
            "a peer is never removed"
        );
        Failure::Capacity {
            members: ids.to_vec(),
            serving,
            floor: self.settings.floor,
            waited_ms,
        }
    }
}

fn is_ready(view: &View, id: &str) -> bool {
    view.instances.get(id).is_some_and(|s| s.ready)
}

fn still_busy(left: &[(&String, &Seen)], waited_ms: u64) -> Failure {
    let first = left.first();
    Failure::Drain {
        member: first.map_or_else(String::new, |(id, _)| (*id).clone()),
        requests: first.map_or(0, |(_, seen)| seen.in_flight.total()),
        waited_ms,
        reason: first.and_then(|(_, seen)| seen.reason.clone()),
    }
}
