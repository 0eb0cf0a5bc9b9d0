//! Three workers: what they hold, and each phase of their work apart, so that
//! anything may come between two phases.

use std::rc::Rc;

use orchestrator::commit;
use orchestrator::turn::{Loaded, Step, Turn};
use orchestrator_core::{Answers, Message, RunKind, Target, TaskError, TaskResult, TaskRun};
use store::embedded::Clock;
use store::{Delivery, MAILBOX, Reserve, Store, Then};

use super::law::Verdict;
use super::plan::Asked;
use super::world::{RUNS, World, now};

/// As configured by default.
pub(crate) const LEASE_MS: u64 = 10_000;
const TRIES: u32 = 5;
/// A judgment is looked for so often, besides being told.
const JUDGE_MS: u64 = 600_000;

#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) worker: usize,
    /// Not before, ms.
    pub(crate) at: i64,
    pub(crate) work: Work,
}

#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// Messages of a mailbox, and the subject as this worker remembers it.
    Messages(Delivery, Known),
    /// A run to make.
    Call(Delivery, TaskRun, Known),
    /// What the peer answered, not yet committed.
    Answer(Delivery, TaskRun, Result<TaskResult, TaskError>, Known),
    /// Decided, not yet committed.
    Commit(Box<Decided>),
}

/// What a worker remembers may be out of date: its commit finds out.
type Known = Option<Rc<Loaded>>;

#[derive(Debug, Clone)]
pub(crate) struct Decided {
    pub(crate) loaded: Rc<Loaded>,
    pub(crate) turn: Turn,
    /// What it looked up.
    pub(crate) answers: Answers,
    pub(crate) delivery: Delivery,
    /// What to do again if somebody else was faster.
    pub(crate) again: Work,
}

/// A mailbox's message, as the worker reads it.
fn decode(message: &store::Message) -> Message {
    let decoded: Message = serde_json::from_slice(&message.body).expect("a message of ours");
    if message.gives_up().is_some() {
        decoded.given_up()
    } else {
        decoded
    }
}

impl World {
    /// A worker takes something from a queue; false if nothing is due.
    pub(crate) fn reserve(&mut self) -> bool {
        let worker = self.random.below(3);
        let queue = if self.random.chance(500) {
            MAILBOX
        } else {
            RUNS.queue()
        };
        let what = Reserve {
            queue,
            most: 1,
            lease_ms: LEASE_MS,
            max_tries: TRIES,
        };
        let reserved = now(self.store.reserve(self.shard, what)).expect("memory");
        let Some(delivery) = reserved.deliveries.into_iter().next() else {
            return false;
        };
        self.tell(|| {
            let prints = delivery.messages.iter().map(|m| m.fingerprint.as_str());
            let prints: Vec<&str> = prints.collect();
            format!(
                "worker {worker} leases {}: {}",
                delivery.lease.address.subject,
                prints.join(", ")
            )
        });
        let work = if queue == MAILBOX {
            Work::Messages(delivery, None)
        } else {
            let message = &delivery.messages[0];
            let run: TaskRun = serde_json::from_slice(&message.body).expect("a run of ours");
            if message.gives_up().is_some() {
                Work::Answer(delivery, run, Err(TaskError::permanent("given up")), None)
            } else {
                Work::Call(delivery, run, None)
            }
        };
        self.jobs.push(Job {
            worker,
            at: 0,
            work,
        });
        true
    }

    /// One phase of one job.
    pub(crate) fn progress(&mut self, position: usize, faults: u64) -> Verdict {
        let Job { worker, work, .. } = self.jobs.swap_remove(position);
        match work {
            Work::Messages(delivery, known) => self.messages(worker, delivery, known, faults),
            Work::Call(delivery, run, known) => self.call(worker, delivery, run, known, faults),
            Work::Answer(delivery, run, result, known) => {
                self.answered(worker, delivery, run, result, known, faults)
            }
            Work::Commit(decided) => self.commit(worker, *decided, faults),
        }
    }

    fn messages(
        &mut self,
        worker: usize,
        delivery: Delivery,
        known: Known,
        faults: u64,
    ) -> Verdict {
        let target = commit::target(&delivery.lease.address.subject);
        let loaded = self.known(known, &target)?;
        if let (Target::Execution(id), true) = (
            &target,
            delivery.messages.iter().any(|m| m.gives_up().is_some()),
        ) {
            let number = self.watch.number(id.as_str());
            self.watch.seen[number].gave_up = true;
        }
        let steps = delivery
            .messages
            .iter()
            .map(|m| Step::Message(decode(m)))
            .collect();
        let (turn, answers) = self.turn(&loaded, steps);
        let again = Work::Messages(delivery.clone(), None);
        self.commit_soon(
            worker,
            Decided {
                loaded,
                turn,
                answers,
                delivery,
                again,
            },
            faults,
        )
    }

    fn known(&self, known: Known, target: &Target) -> Result<Rc<Loaded>, String> {
        match known {
            Some(loaded) => Ok(loaded),
            None => Ok(Rc::new(self.load(target)?.ok_or("work without a subject")?)),
        }
    }

    fn call(
        &mut self,
        worker: usize,
        delivery: Delivery,
        run: TaskRun,
        known: Known,
        faults: u64,
    ) -> Verdict {
        let target = Target::Execution(run.execution_id.clone());
        let loaded = self.known(known, &target)?;
        let execution = loaded.execution().ok_or("a run of a gate")?;
        let stage = execution.stage(&run.stage_id);
        let task = stage.and_then(|s| s.task(&run.task_id));
        let wanted = task.is_some_and(|t| t.in_flight && t.runs == run.number);
        if stage.is_none() || (run.run == RunKind::Run && !wanted) {
            self.tell(|| format!("worker {worker} drops the superseded {}", run.effect_id));
            let id = format!("drop {}", delivery.lease.token);
            let batch = store::Batch::new(self.shard, id).acknowledge(&delivery, Then::Release);
            if now(self.store.commit(batch))
                .map_err(|e| e.to_string())?
                .is_ok()
            {
                self.watch.ended(&run);
            }
            return Ok(());
        }
        let refuses = self.random.chance(faults);
        let result = if refuses {
            Err(TaskError::transient("the peer refuses"))
        } else {
            let judged = stage.filter(|s| s.kind == "judged");
            let answer = match judged {
                Some(stage) if run.run == RunKind::Run => Ok(judgment(stage)),
                _ => self.ask(&run)?,
            };
            if self.random.chance(faults) {
                Err(TaskError::transient("timed out"))
            } else {
                answer
            }
        };
        self.tell(|| {
            format!(
                "worker {worker} called {} #{}: {result:?}",
                run.effect_id, run.number
            )
        });
        let late = if self.random.chance(faults) {
            self.random.between(1_000, 20_000)
        } else {
            0
        };
        let at = self.clock.now_ms() + late;
        let work = Work::Answer(delivery, run, result, Some(loaded));
        self.jobs.push(Job { worker, at, work });
        Ok(())
    }

    /// The peer's side of a run.
    fn ask(&mut self, run: &TaskRun) -> Result<Result<TaskResult, TaskError>, String> {
        let known = self.watch.runs.get(&(run.effect_id.clone(), run.number));
        let known = known.ok_or_else(|| format!("{} was never committed", run.effect_id))?;
        let asked_before = self.peers.call(&run.effect_id, &known.effect)?;
        if run.run == RunKind::Cancel {
            return Ok(Ok(TaskResult::succeeded().with_context("undone", true)));
        }
        let asked = Asked {
            execution: known.effect.execution,
            path: &known.effect.path,
            attempt: known.effect.attempt,
            task: run.task_id.as_str(),
            round: known.effect.round,
            loop_end: known.loop_end,
        };
        Ok(self.plan.answer(&asked).to(asked_before))
    }

    fn answered(
        &mut self,
        worker: usize,
        delivery: Delivery,
        run: TaskRun,
        result: Result<TaskResult, TaskError>,
        known: Known,
        faults: u64,
    ) -> Verdict {
        let target = Target::Execution(run.execution_id.clone());
        let loaded = self.known(known, &target)?;
        if delivery.messages.iter().any(|m| m.gives_up().is_some()) {
            let number = self.watch.number(run.execution_id.as_str());
            self.watch.seen[number].gave_up = true;
        }
        let steps = vec![Step::Finished(run.clone(), result.clone())];
        let (turn, answers) = self.turn(&loaded, steps);
        let again = Work::Answer(delivery.clone(), run, result, None);
        self.commit_soon(
            worker,
            Decided {
                loaded,
                turn,
                answers,
                delivery,
                again,
            },
            faults,
        )
    }
}

/// What a judged stage's task answers.
pub(crate) fn judgment(stage: &orchestrator_core::Stage) -> TaskResult {
    use orchestrator_core::Status;
    match stage.context.get("judgmentStatus").and_then(|v| v.as_str()) {
        Some("stop") => TaskResult::status(Status::Terminal),
        Some(_) => TaskResult::succeeded(),
        None => TaskResult {
            backoff_ms: Some(JUDGE_MS),
            ..TaskResult::running()
        },
    }
}
