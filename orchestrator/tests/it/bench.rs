//! One execution in memory on a virtual clock, task runs done by hand: what a
//! worker does, without a store, so that every moment can be reached.

use std::collections::VecDeque;

use orchestrator::commit::{self, Writing};
use orchestrator::large::Stored;
use orchestrator::services::Services;
use orchestrator::services::fake::Fake;
use orchestrator::stage::Catalog;
use orchestrator::task::{self, TaskContext};
use orchestrator::turn::{Around, Limits, Loaded, Step, take};
use orchestrator_core::{
    Answers, Execution, ExecutionId, ExecutionType, IdSource, Message, Mode, Status, Subject,
    Target, TaskError, TaskResult, TaskRun, new_execution,
};
use serde_json::{Value, json};

/// What to do with a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Run it.
    Run,
    /// Run it, lose the answer, run it again.
    Twice,
    /// Answer that it failed, without running it.
    Fail,
    /// Cancel the execution first, then run it.
    Cancel,
    /// The same, and its answer is lost.
    CancelLosing,
}

#[derive(Default)]
struct Counted(u64);

impl IdSource for Counted {
    fn next_id(&mut self) -> String {
        self.0 += 1;
        format!("S{:03}", self.0)
    }

    fn derived_id(&mut self, _at: i64, _purpose: &str) -> String {
        self.next_id()
    }
}

/// The bench.
pub(crate) struct Bench<S = Fake> {
    pub(crate) fake: S,
    loaded: Loaded,
    mail: Vec<(i64, u64, String, Message)>,
    runs: VecDeque<TaskRun>,
    pub(crate) now: i64,
    pushed: u64,
    ids: Counted,
    /// Types of the tasks that were run, in order.
    pub(crate) ran: Vec<String>,
    /// What a log would keep of it, if it is asked for.
    pub(crate) log: Option<Vec<Value>>,
}

/// What a step of the bench was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// A message was handled or a task run.
    On,
    /// Nothing happens before the instant that was given; it is now.
    To,
    /// Nothing is left to do.
    Idle,
}

impl Bench {
    /// An execution of these stages, not begun.
    pub(crate) fn new(fake: Fake, stages: Value) -> Self {
        let body = json!({"application": "app", "name": "p", "stages": stages});
        Self::of(fake, ExecutionType::Pipeline, &body)
    }
}

impl<S: Services> Bench<S> {
    /// An execution of a body, not begun.
    pub(crate) fn of(fake: S, kind: ExecutionType, body: &Value) -> Self {
        let mut ids = Counted::default();
        let id = ExecutionId::new("E");
        let (execution, messages) = new_execution(kind, body, id, "ann", 1_000, &mut ids).unwrap();
        let mut bench = Self {
            fake,
            loaded: Loaded {
                subject: Subject::Execution(Box::new(execution)),
                version: 0,
                answers: Answers::new(),
                application: body["application"].as_str().unwrap_or_default().to_owned(),
                digest: None,
                stored: Stored::default(),
            },
            mail: Vec::new(),
            runs: VecDeque::new(),
            now: 1_000,
            pushed: 0,
            ids,
            ran: Vec::new(),
            log: None,
        };
        for outgoing in messages {
            bench.post(outgoing);
        }
        bench
    }

    pub(crate) fn execution(&self) -> &Execution {
        self.loaded.execution().unwrap()
    }

    pub(crate) fn status(&self) -> Status {
        self.execution().status
    }

    fn post(&mut self, outgoing: orchestrator_core::Outgoing) {
        assert!(matches!(outgoing.to, Target::Execution(_)), "{outgoing:?}");
        let print = outgoing.message.fingerprint();
        let known = self.mail.iter().position(|(_, _, p, _)| *p == print);
        let due = self.now + i64::try_from(outgoing.delay_ms).unwrap();
        match (outgoing.mode, known) {
            (Mode::Remove, Some(at)) => {
                self.mail.remove(at);
            }
            (Mode::Reschedule, Some(at)) => self.mail[at].0 = due,
            (Mode::Ensure, Some(_)) | (Mode::Remove | Mode::Reschedule, None) => {}
            (Mode::Push, known) | (Mode::Ensure, known @ None) => {
                if let Some(at) = known {
                    self.mail.remove(at);
                }
                self.pushed += 1;
                self.mail.push((due, self.pushed, print, outgoing.message));
            }
        }
    }

    fn turn(&mut self, step: Step) {
        let turn = {
            let mut around = Around {
                now: self.now,
                ids: &mut self.ids,
                stages: &Catalog,
                settings: self.fake.settings(),
                decide: &|_, _| None,
                limits: Limits::default(),
                in_time: &|| true,
            };
            take(&self.loaded, vec![step], &mut around).unwrap()
        };
        if let Some(log) = &mut self.log {
            let answers = Answers::new();
            let engine = orchestrator::record::engine(self.fake.settings());
            let writing = Writing {
                shard: store::Shards::new(1).of_application("app"),
                id: String::new(),
                now: self.now,
                acknowledge: None,
                leases: vec![None; turn.runs.len()],
                answers: &answers,
                keep_ms: 1,
                engine: &engine,
                limit: usize::MAX,
            };
            if let Some((entry, digest)) = commit::entry(&self.loaded, &turn, &writing) {
                log.push(entry);
                self.loaded.digest = Some(digest);
            }
        }
        self.loaded.subject = turn.subject;
        self.loaded.version = match &self.log {
            Some(log) => u64::try_from(log.len()).unwrap(),
            None => self.loaded.version + 1,
        };
        for outgoing in turn.messages {
            self.post(outgoing);
        }
        self.runs.extend(turn.runs);
        // What waits for nothing would wait for ever.
        let idle = self.mail.is_empty() && self.runs.is_empty();
        assert!(
            !idle || self.status().is_complete(),
            "nothing wakes {:#?}",
            self.execution()
        );
    }

    pub(crate) fn command(&mut self, effects: orchestrator_core::Effects) {
        self.turn(Step::Decided(effects));
    }

    pub(crate) async fn run(&self, run: &TaskRun) -> Result<TaskResult, TaskError> {
        let execution = self.execution();
        let ctx = TaskContext {
            execution,
            stage: execution.stage(&run.stage_id).unwrap(),
            task_id: &run.task_id,
            now: self.now,
            effect_id: &run.effect_id,
            services: &self.fake,
        };
        task::find(&run.task_type).unwrap().run(&ctx).await
    }

    /// Goes on until nothing is left to do; `act` says what happens to the n-th run.
    pub(crate) async fn drive(&mut self, mut act: impl FnMut(usize, &TaskRun) -> Act) {
        for _ in 0..5_000 {
            if self.step(None, &mut act).await == Moved::Idle {
                return;
            }
        }
        panic!("it never ends: {:#?}", self.execution());
    }

    /// One step, but no further in time than `until`.
    pub(crate) async fn step(
        &mut self,
        until: Option<i64>,
        act: &mut impl FnMut(usize, &TaskRun) -> Act,
    ) -> Moved {
        {
            self.mail.sort_by_key(|(due, number, _, _)| (*due, *number));
            let due = self.mail.first().is_some_and(|(due, ..)| *due <= self.now);
            if due {
                let (_, _, _, message) = self.mail.remove(0);
                self.turn(Step::Message(message));
            } else if let Some(run) = self.runs.pop_front() {
                if self.execution().stage(&run.stage_id).is_none() {
                    // A restart took its stage away.
                    return Moved::On;
                }
                let what = act(self.ran.len(), &run);
                self.ran.push(run.task_type.clone());
                if matches!(what, Act::Cancel | Act::CancelLosing) && !self.status().is_complete() {
                    let effects =
                        orchestrator_core::command::cancel(self.execution(), "bob", None).unwrap();
                    // It is under way meanwhile.
                    self.runs.push_front(run);
                    self.command(effects);
                    let Some(run) = self.runs.pop_front() else {
                        return Moved::Idle;
                    };
                    let mut result = self.run(&run).await;
                    if what == Act::CancelLosing {
                        result = Err(TaskError::transient("its answer was lost"));
                    }
                    self.turn(Step::Finished(run, result));
                    return Moved::On;
                }
                let result = match what {
                    Act::Fail => Err(TaskError::permanent("told to fail")),
                    Act::Twice => {
                        let _ = self.run(&run).await;
                        self.run(&run).await
                    }
                    Act::Run | Act::Cancel | Act::CancelLosing => self.run(&run).await,
                };
                self.turn(Step::Finished(run, result));
            } else if let Some(until) = until
                && self.mail.first().is_none_or(|(due, ..)| *due > until)
            {
                self.now = until;
                return Moved::To;
            } else if let Some((due, ..)) = self.mail.first() {
                self.now = *due;
            } else {
                return Moved::Idle;
            }
        }
        Moved::On
    }
}
