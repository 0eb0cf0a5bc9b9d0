//! Runs an execution to its end: one queue in order of time, toy tasks that
//! answer what the test says.

use std::collections::BTreeMap;

use orchestrator_core::testing::{CountedIds, ToyCatalog};
use orchestrator_core::{
    Answers, Effects, Env, Execution, ExecutionId, Message, Mode, Outcome, Outgoing, PipelineGate,
    RunKind, Settings, StageCatalog, Status, Subject, Target, TaskError, TaskResult, TaskRun,
    task_finished,
};

type Answer = Box<dyn FnMut(&TaskRun, &Execution) -> Result<TaskResult, TaskError>>;

pub(crate) struct Runner {
    pub(crate) subjects: BTreeMap<Target, Subject>,
    queue: Vec<(i64, u64, Target, Message)>,
    ids: CountedIds,
    catalog: &'static dyn StageCatalog,
    pub(crate) now: i64,
    sequence: u64,
    answer: Answer,
    /// `refId` of each stage in order of its tasks' runs.
    pub(crate) ran: Vec<String>,
    pub(crate) cancelled: Vec<String>,
    pub(crate) events: Vec<String>,
}

impl Runner {
    pub(crate) fn new(start: (Execution, Vec<Outgoing>)) -> Self {
        let mut runner = Self {
            subjects: BTreeMap::new(),
            queue: Vec::new(),
            // The pipeline's own stages have the ids before.
            ids: CountedIds::after(1_000),
            catalog: &ToyCatalog,
            now: 1_000,
            sequence: 0,
            answer: Box::new(|_, _| Ok(TaskResult::succeeded())),
            ran: Vec::new(),
            cancelled: Vec::new(),
            events: Vec::new(),
        };
        runner.add(start);
        runner
    }

    /// Other types of stages than the toys.
    pub(crate) fn of(mut self, catalog: &'static dyn StageCatalog) -> Self {
        self.catalog = catalog;
        self
    }

    /// What toy tasks answer.
    pub(crate) fn answering(
        mut self,
        answer: impl FnMut(&TaskRun, &Execution) -> Result<TaskResult, TaskError> + 'static,
    ) -> Self {
        self.answer = Box::new(answer);
        self
    }

    /// Toy tasks of the stage with this refId answer that status.
    pub(crate) fn with(self, ref_id: &'static str, status: Status) -> Self {
        self.answering(move |run, execution| {
            let stage = execution.stage(&run.stage_id).unwrap();
            let hit = stage.ref_id.as_str() == ref_id;
            Ok(TaskResult::status(if hit {
                status
            } else {
                Status::Succeeded
            }))
        })
    }

    pub(crate) fn add(&mut self, (execution, messages): (Execution, Vec<Outgoing>)) {
        let target = Target::Execution(execution.id.clone());
        self.subjects
            .insert(target, Subject::Execution(Box::new(execution)));
        messages.into_iter().for_each(|m| self.push(m));
    }

    pub(crate) fn push(&mut self, outgoing: Outgoing) {
        let print = outgoing.message.fingerprint();
        let same = self
            .queue
            .iter()
            .position(|(_, _, to, m)| *to == outgoing.to && m.fingerprint() == print);
        match (outgoing.mode, same) {
            (Mode::Ensure, Some(_)) | (Mode::Reschedule | Mode::Remove, None) => return,
            (_, Some(at)) => {
                self.queue.remove(at);
            }
            (_, None) => {}
        }
        if outgoing.mode == Mode::Remove {
            return;
        }
        let at = self.now + i64::try_from(outgoing.delay_ms).unwrap();
        self.sequence += 1;
        self.queue
            .push((at, self.sequence, outgoing.to, outgoing.message));
    }

    pub(crate) fn apply(&mut self, target: &Target, effects: Effects) {
        self.subjects.get_mut(target).unwrap().apply(&effects);
        self.events
            .extend(effects.events.iter().map(|e| e.kind.clone()));
        effects.messages.into_iter().for_each(|m| self.push(m));
        if let Some(run) = effects.run {
            self.run_task(target, &run);
        }
    }

    fn run_task(&mut self, target: &Target, run: &TaskRun) {
        let execution = self.execution_of(target);
        let ref_id = execution.stage(&run.stage_id).unwrap().ref_id.to_string();
        if run.run == RunKind::Cancel {
            self.cancelled.push(ref_id);
        } else {
            self.ran.push(ref_id);
        }
        let result = (self.answer)(run, &execution);
        self.answered(target, run, result);
    }

    /// Handles the answer of a worker, whenever it comes.
    pub(crate) fn answered(
        &mut self,
        target: &Target,
        run: &TaskRun,
        result: Result<TaskResult, TaskError>,
    ) {
        let execution = self.execution_of(target);
        let (answers, settings) = (Answers::new(), Settings::default());
        let mut env = Env {
            now: self.now,
            ids: &mut self.ids,
            answers: &answers,
            stages: self.catalog,
            settings: &settings,
        };
        if let Outcome::Done(effects) = task_finished(run, result, &execution, &mut env) {
            self.apply(target, *effects);
        }
    }

    fn execution_of(&self, target: &Target) -> Execution {
        match &self.subjects[target] {
            Subject::Execution(execution) => (**execution).clone(),
            Subject::PipelineGate(_) => panic!("a gate has no tasks"),
        }
    }

    pub(crate) fn execution(&self) -> Execution {
        self.execution_of(&Target::Execution(ExecutionId::new("E")))
    }

    /// Handles the next message; false if none waits.
    pub(crate) fn step(&mut self) -> bool {
        self.queue
            .sort_by_key(|(at, sequence, ..)| (*at, *sequence));
        if self.queue.is_empty() {
            return false;
        }
        let (at, _, target, message) = self.queue.remove(0);
        self.now = self.now.max(at);
        if let Target::Gate(id) = &target {
            self.subjects
                .entry(target.clone())
                .or_insert_with(|| Subject::PipelineGate(PipelineGate::new(id.clone())));
        }
        self.handle_now(&target, &message);
        true
    }

    /// Handles a message before those that wait.
    pub(crate) fn handle_now(&mut self, target: &Target, message: &Message) {
        let (answers, settings) = (Answers::new(), Settings::default());
        let mut env = Env {
            now: self.now,
            ids: &mut self.ids,
            answers: &answers,
            stages: self.catalog,
            settings: &settings,
        };
        let outcome = orchestrator_core::handle(message, &self.subjects[target], &mut env);
        if let Outcome::Done(effects) = outcome {
            self.apply(target, *effects);
        }
    }

    /// Steps until `done` or nothing waits.
    pub(crate) fn until(&mut self, done: impl Fn(&Self) -> bool) {
        for _ in 0..100_000 {
            if done(self) || !self.step() {
                return;
            }
        }
        panic!("no end after 100,000 messages");
    }

    pub(crate) fn end(mut self) -> Self {
        self.until(|_| false);
        self
    }

    /// `refId=STATUS` of every stage in served order, and the execution's status.
    pub(crate) fn summary(&self) -> String {
        let execution = self.execution();
        let mut parts: Vec<String> = execution
            .stages
            .iter()
            .map(|s| format!("{}={}", s.ref_id, s.status))
            .collect();
        parts.push(execution.status.to_string());
        parts.join(" ")
    }

    /// When the next message is due.
    pub(crate) fn next_at(&self) -> Option<i64> {
        self.queue.iter().map(|(at, ..)| *at).min()
    }

    /// Takes away all that waits.
    pub(crate) fn lose(&mut self) {
        self.queue.clear();
    }

    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }
}
