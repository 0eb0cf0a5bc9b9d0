//! What is seen of each commit, remembered and judged.

use std::collections::BTreeMap;

use orchestrator_core::{Execution, PipelineGate, RunKind, Stage, Status, TaskRun};
use serde_json::Value;

use super::law::{self, Invariant, Verdict};
use super::peers::Effect;
use super::shape::{at_work, find, over, path, root, summary, task_of};

/// An execution as last committed, and what is remembered of it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) last: Execution,
    pub(crate) restarted: bool,
    pub(crate) gave_up: bool,
}

/// A run that was committed: what it is, and what will be answered.
#[derive(Debug, Clone)]
pub(crate) struct Committed {
    pub(crate) effect: Effect,
    pub(crate) loop_end: bool,
}

/// What a commit handled, and which runs it made durable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handled<'a> {
    pub(crate) inputs: &'a [Value],
    pub(crate) runs: &'a [TaskRun],
}

/// Everything that was committed so far, as far as it matters.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watch {
    /// How many executions may be under way; 0: no limit.
    pub(crate) limit: usize,
    /// Nobody compares leases and versions: two runs of a task are no wonder then.
    pub(crate) unfenced: bool,
    /// By number.
    pub(crate) seen: Vec<Seen>,
    pub(crate) gate: Option<PipelineGate>,
    /// By effect id and number of the run.
    pub(crate) runs: BTreeMap<(String, u32), Committed>,
    pub(crate) live: BTreeMap<(usize, String, String), (u32, u32)>,
    pub(crate) rounds: BTreeMap<(String, u32, String), u32>,
}

impl Watch {
    pub(crate) fn number(&self, id: &str) -> usize {
        self.seen
            .iter()
            .position(|s| s.id == id)
            .expect("an execution of this world")
    }

    /// Judges what a commit has made of an execution.
    pub(crate) fn committed(
        &mut self,
        number: usize,
        execution: &Execution,
        handled: Handled<'_>,
    ) -> Verdict {
        let before = &self.seen[number].last;
        law::between(before, execution)?;
        let cancels = handled
            .inputs
            .iter()
            .any(|i| i["kind"] == "cancelExecution");
        let heeded = execution.canceled || over(before.status) || over(execution.status);
        if cancels && !heeded && !law::restarted(before, execution) {
            let what = format!("asked to end, it goes on: {}", summary(execution));
            return Invariant::Cancel.broken(what);
        }
        self.remember(number, execution, handled)?;
        let all: Vec<&Execution> = self.seen.iter().map(|seen| &seen.last).collect();
        law::within(self.limit, &all)
    }

    fn remember(
        &mut self,
        number: usize,
        execution: &Execution,
        Handled { inputs, runs }: Handled<'_>,
    ) -> Verdict {
        let before = &self.seen[number].last;
        let mut restarted = false;
        let redirects = |stage: &Stage| {
            inputs.iter().any(|input| {
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
        for run in runs {
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
                && !self.unfenced
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

    /// Invariant 3: of what is in the queues something will be due, or nothing has to.
    pub(crate) fn will_wake(&self, queued: bool) -> Verdict {
        if self.unfenced || queued {
            return Ok(());
        }
        for (number, seen) in self.seen.iter().enumerate() {
            let id = &seen.last.id;
            let gate_holds = self.gate.as_ref().is_some_and(|gate| {
                let busy = gate.running.iter().filter(|id| {
                    let other = &self.seen[self.number(id.as_str())].last;
                    !over(other.status)
                });
                let full = busy.count() >= self.limit;
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
