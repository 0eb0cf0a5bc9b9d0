//! The story of one seed: step after step until everything is over, then the
//! verdict.

use orchestrator::turn::{Loaded, Step};
use orchestrator_core::{Effects, Execution, Stage, Status, Target, command};
use serde_json::{Map, Value};
use store::Store;
use store::embedded::Clock;

use super::catalog::Catalog;
use super::law::{Invariant, Verdict};
use super::model::Model;
use super::shape::path;
use super::verdict;
use super::world::{Control, World, now};

/// After so many steps nothing goes wrong any more.
const CALM: usize = 600;
/// No story is longer.
const END: usize = 20_000;

/// Plays a seed to its end.
///
/// # Errors
/// The invariant that does not hold, with the story so far.
pub(crate) fn play(
    seed: u64,
    control: Control,
    tells: bool,
) -> Result<World, (String, Vec<String>)> {
    let mut world = World::new(seed, control, tells).map_err(|error| (error, Vec::new()))?;
    match world.play() {
        Ok(()) => Ok(world),
        Err(error) => Err((error, world.story.unwrap_or_default())),
    }
}

impl World {
    fn play(&mut self) -> Verdict {
        let mut actions = self.plan.actions;
        for step in 0..END {
            let calm = step >= CALM;
            let faults = if calm { 0 } else { self.plan.faults };
            if self.random.chance(faults) {
                self.misfortune();
            } else if (actions > 0 && !calm && self.random.chance(30)) || self.random.chance(3) {
                actions = actions.saturating_sub(1);
                self.act(actions > 0 && !calm)?;
            } else if self.random.chance(700) && self.advance(faults)? {
            } else if !self.reserve() && !self.advance(faults)? && !self.pass() {
                self.watch.will_wake(self.queued().is_some())?;
                if actions > 0 && !calm {
                    actions -= 1;
                    self.act(true)?;
                } else if !self.let_go_on()? {
                    return self.end();
                }
            }
        }
        Invariant::Ends.broken(format!("no end after {END} steps"))
    }

    /// Lets some job go on; false if none can now.
    fn advance(&mut self, faults: u64) -> Result<bool, String> {
        let now_ms = self.clock.now_ms();
        let ready: Vec<usize> = (0..self.jobs.len())
            .filter(|at| self.jobs[*at].at <= now_ms)
            .collect();
        if ready.is_empty() {
            return Ok(false);
        }
        let position = ready[self.random.below(ready.len())];
        self.progress(position, faults).map(|()| true)
    }

    /// Lets time pass until something is due; false if nothing ever will be.
    fn pass(&mut self) -> bool {
        let now_ms = self.clock.now_ms();
        let jobs = self.jobs.iter().map(|job| job.at - now_ms).min();
        let queued = self.queued().and_then(|ms| i64::try_from(ms).ok());
        let Some(wait) = jobs.into_iter().chain(queued).min() else {
            return false;
        };
        self.clock
            .advance(wait.max(i64::from(self.random.chance(100))));
        true
    }

    fn misfortune(&mut self) {
        let now_ms = self.clock.now_ms();
        let job = (!self.jobs.is_empty()).then(|| self.random.below(self.jobs.len()));
        match (self.random.below(10), job) {
            (0, _) => {
                let worker = self.random.below(3);
                self.crash(worker);
            }
            (1 | 2, Some(job)) => {
                self.tell(|| "something is delivered twice".to_owned());
                let mut twin = self.jobs[job].clone();
                twin.worker = self.random.below(3);
                twin.at = now_ms + self.random.between(0, 15_000);
                self.jobs.push(twin);
            }
            (3 | 4, Some(job)) => self.jobs[job].at = now_ms + self.random.between(1_000, 20_000),
            (5, _) => {
                let ms = self.random.between(-30_000, 30_000);
                self.tell(|| format!("the clock jumps by {ms} ms"));
                self.clock.advance(ms);
            }
            (7, _) if self.plan.loses => self.keep(),
            (8, _) if self.plan.loses => self.lose(),
            (6, _) => {
                let ms = self.random.between(1_000, 600_000);
                self.tell(|| format!("{ms} ms pass"));
                self.clock.advance(ms);
            }
            _ => {
                self.clock.advance(self.random.between(1, 2_000));
            }
        }
    }

    /// A person does something.
    fn act(&mut self, free: bool) -> Verdict {
        let number = self.random.below(self.watch.seen.len());
        let loaded = self.of(number)?;
        let Some(execution) = loaded.execution() else {
            return Ok(());
        };
        let now_ms = self.clock.now_ms();
        let some = |random: &mut super::random::Random, wanted: &dyn Fn(&Stage) -> bool| {
            let found: Vec<&Stage> = execution.stages.iter().filter(|s| wanted(s)).collect();
            (!found.is_empty()).then(|| found[random.below(found.len())].clone())
        };
        let roll = if free { self.random.below(10) } else { 9 };
        let (what, effects) = match roll {
            0 => ("cancel", command::cancel(execution, "ann", None).ok()),
            1 | 2 => ("pause", command::pause(execution, "ann", now_ms).ok()),
            3 => ("resume", command::resume(execution, "ann").ok()),
            4 | 5 => {
                let stage = some(&mut self.random, &|s| s.status.is_complete());
                let asked =
                    stage.and_then(|s| command::restart_stage(execution, &s.id, "ann").ok());
                ("restart", asked)
            }
            6 => {
                let stage = some(&mut self.random, &|s| !s.status.is_complete());
                let skip = [("manualSkip".to_owned(), Value::Bool(true))];
                let asked = stage.and_then(|s| {
                    let context: Map<String, Value> = skip.into_iter().collect();
                    command::update_stage(execution, &s.id, context, "ann", now_ms, &Catalog).ok()
                });
                ("skip", asked)
            }
            7 | 8 => {
                let stage = some(&mut self.random, &|s| !s.tasks.is_empty());
                let asked = stage.map(|s| {
                    let task = &s.tasks[self.random.below(s.tasks.len())];
                    command::wake(execution, &s.id, &task.id)
                });
                ("wake", asked)
            }
            _ => ("judge", self.judgment(number, execution)),
        };
        self.apply(what, number, loaded, effects)
    }

    fn apply(
        &mut self,
        what: &str,
        number: usize,
        loaded: Loaded,
        effects: Option<Effects>,
    ) -> Verdict {
        let Some(effects) = effects else {
            return Ok(());
        };
        self.tell(|| format!("ann: {what} of execution {number}"));
        self.decide_and_commit(loaded, vec![Step::Decided(effects)])
    }

    /// The judgment of a stage that waits for one.
    fn judgment(&self, number: usize, execution: &Execution) -> Option<Effects> {
        let waits = |s: &&Stage| {
            s.kind == "judged"
                && s.status == Status::Running
                && !s.context.contains_key("judgmentStatus")
        };
        let stage = execution.stages.iter().find(waits)?;
        let says = self
            .plan
            .judgment(number, &path(execution, stage), stage.attempt);
        let context = [("judgmentStatus".to_owned(), says.into())]
            .into_iter()
            .collect();
        let now_ms = self.clock.now_ms();
        command::update_stage(execution, &stage.id, context, "ann", now_ms, &Catalog).ok()
    }

    fn of(&self, number: usize) -> Result<Loaded, String> {
        let target = Target::Execution(self.watch.seen[number].last.id.clone());
        self.load(&target)?
            .ok_or_else(|| "the execution is gone".to_owned())
    }

    /// Resumes what is paused; false if nothing is.
    fn let_go_on(&mut self) -> Result<bool, String> {
        for number in 0..self.watch.seen.len() {
            let loaded = self.of(number)?;
            let effects = loaded
                .execution()
                .and_then(|e| command::resume(e, "ann").ok());
            if effects.is_some() {
                self.apply("resume", number, loaded, effects)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Invariants 7 to 9.
    fn end(&mut self) -> Verdict {
        for number in 0..self.watch.seen.len() {
            let loaded = self.of(number)?;
            let execution = loaded.execution().ok_or("the execution is a gate")?;
            let seen = &self.watch.seen[number];
            if *execution != seen.last {
                let what = format!("execution {number} is another one than was seen last");
                return Invariant::Durable.broken(what);
            }
            verdict::ended(number, execution)?;
            if !seen.gave_up {
                let model = Model {
                    plan: &self.plan,
                    number,
                    end: execution,
                    restarted: seen.restarted,
                };
                verdict::agrees(&model)?;
            }
            if self.plan.seed.is_multiple_of(8) {
                let log = now(self.executions.log(&seen.id)).map_err(|e| e.to_string())?;
                if orchestrator::commit::fold(&log).as_ref() != Ok(execution) {
                    let what = format!("the log of execution {number} does not lead to it");
                    return Invariant::Durable.broken(what);
                }
                orchestrator::replay::verify(&log, &Catalog, &self.settings)
                    .map_err(|fault| format!("the log of execution {number}: {fault}"))?;
            }
        }
        let dead = now(self.store.dead(self.shard, store::MAILBOX)).map_err(|e| e.to_string())?;
        let due = self.queued();
        verdict::nothing_left(self.watch.gate.as_ref(), due, &self.jobs)?;
        if self.plan.faults == 0 && !dead.is_empty() {
            return Invariant::NothingLeft.broken(format!("given up without a fault: {dead:?}"));
        }
        Ok(())
    }
}
