//! What is seen of each commit, remembered and judged.

use orchestrator::turn::{Loaded, Turn};
use orchestrator_core::{Execution, RunKind, Stage, Status, Subject, Target, TaskRun};

use super::law::{self, Invariant, Verdict};
use super::peers::Effect;
use super::shape::{at_work, find, over, path, root, summary, task_of};
use super::world::{Committed, Control, World};

impl World {
    /// Judges what a commit has made of its subject.
    pub(crate) fn observe(&mut self, after: &Loaded, turn: &Turn) -> Verdict {
        let execution = match &after.subject {
            Subject::PipelineGate(gate) => {
                self.gate = Some(gate.clone());
                return self.will_wake();
            }
            Subject::Execution(execution) => &**execution,
        };
        let number = self.number(execution.id.as_str());
        let mut stored = None;
        if self.control == Control::NoFencing || self.random.chance(100) {
            let target = Target::Execution(execution.id.clone());
            let loaded = self.load(&target)?.ok_or("the execution is gone")?;
            if self.control != Control::NoFencing && loaded != *after {
                return Invariant::Durable.broken(format!("{loaded:?}\n{after:?}"));
            }
            if let Subject::Execution(found) = loaded.subject {
                stored = Some(found);
            }
        }
        let execution = stored.as_deref().unwrap_or(execution);
        let before = &self.seen[number].last;
        law::between(before, execution)?;
        let cancels = turn.inputs.iter().any(|i| i["kind"] == "cancelExecution");
        let heeded = execution.canceled || over(before.status) || over(execution.status);
        if cancels && !heeded && !law::restarted(before, execution) {
            let what = format!("asked to end, it goes on: {}", summary(execution));
            return Invariant::Cancel.broken(what);
        }
        self.remember(number, execution, turn)?;
        let all: Vec<&Execution> = self.seen.iter().map(|seen| &seen.last).collect();
        law::within(self.plan.limit, &all)?;
        self.will_wake()
    }

    pub(super) fn remember(
        &mut self,
        number: usize,
        execution: &Execution,
        turn: &Turn,
    ) -> Verdict {
        let before = &self.seen[number].last;
        let mut restarted = false;
        let redirects = |stage: &Stage| {
            turn.inputs.iter().any(|input| {
                input["kind"] == "completeTask"
                    && input["status"] == "REDIRECT"
                    && input["stageId"] == stage.id.as_str()
            })
        };
        for stage in &execution.stages {
            let was = find(before, &stage.id);
            restarted |= was.is_some_and(|was| was.attempt < stage.attempt);
            for task in &stage.tasks {
                let was = was
                    .filter(|w| w.attempt == stage.attempt)
                    .and_then(|s| task_of(s, &task.id));
                // A whole round may lie within one commit; then its REDIRECT does too.
                let folded = was.is_some_and(|was| was.round < task.round) && redirects(stage);
                let goes_on = was.is_some_and(|was| at_work(was.status)) && !folded;
                if at_work(task.status) && !goes_on {
                    let key = (stage.id.to_string(), stage.attempt, task.id.to_string());
                    self.rounds
                        .entry(key)
                        .and_modify(|round| *round += 1)
                        .or_insert(0);
                }
            }
        }
        for run in &turn.runs {
            self.register(number, execution, run)?;
        }
        let seen = &mut self.seen[number];
        seen.restarted |= restarted;
        seen.last = execution.clone();
        Ok(())
    }

    /// A run has become durable. Invariant 4.
    fn register(&mut self, number: usize, execution: &Execution, run: &TaskRun) -> Verdict {
        let Some(stage) = find(execution, &run.stage_id) else {
            return Ok(());
        };
        let is_cancel = run.run == RunKind::Cancel;
        let task = if is_cancel {
            "cancel".to_owned()
        } else {
            run.task_id.to_string()
        };
        let key = (stage.id.to_string(), stage.attempt, task.clone());
        let round = self.rounds.get(&key).copied().unwrap_or(0);
        let committed = Committed {
            effect: Effect {
                execution: number,
                path: path(execution, stage),
                attempt: root(execution, stage).attempt,
                task,
                round,
            },
            loop_end: task_of(stage, &run.task_id).is_some_and(|t| t.loop_end),
        };
        if !is_cancel {
            let live = (number, stage.id.to_string(), run.task_id.to_string());
            if let Some((attempt, other)) = self.live.insert(live, (stage.attempt, run.number))
                && attempt == stage.attempt
                && self.control != Control::NoFencing
            {
                return Invariant::OneAtWork.broken(format!(
                    "task {} of stage {} has the runs {other} and {}",
                    run.task_id, stage.ref_id, run.number
                ));
            }
        }
        self.runs
            .insert((run.effect_id.clone(), run.number), committed);
        Ok(())
    }

    /// A run's answer has become durable, or it was dropped.
    pub(crate) fn ended(&mut self, run: &TaskRun) {
        let number = self.number(run.execution_id.as_str());
        let live = (number, run.stage_id.to_string(), run.task_id.to_string());
        let same = |(_, n): &(u32, u32)| *n == run.number;
        if run.run == RunKind::Run && self.live.get(&live).is_some_and(same) {
            self.live.remove(&live);
        }
    }

    /// Invariant 3.
    pub(crate) fn will_wake(&self) -> Verdict {
        if self.control == Control::NoFencing || self.queued().is_some() {
            return Ok(());
        }
        for (number, seen) in self.seen.iter().enumerate() {
            let id = &seen.last.id;
            let gate_holds = self.gate.as_ref().is_some_and(|gate| {
                let busy = gate.running.iter().filter(|id| {
                    let other = &self.seen[self.number(id.as_str())].last;
                    !over(other.status)
                });
                let full = busy.count() >= self.plan.limit;
                full && gate.waiting.iter().any(|w| w.execution_id == *id)
            });
            let waits = seen.last.status == Status::Paused || gate_holds;
            if !over(seen.last.status) && !waits {
                let what = format!("execution {number}: {}", summary(&seen.last));
                return Invariant::Wakes.broken(what);
            }
        }
        Ok(())
    }
}
