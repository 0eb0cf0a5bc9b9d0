//! An execution being changed by one message: what was touched becomes writes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::env::Env;
use crate::execution::Execution;
use crate::ids::{StageId, TaskId};
use crate::message::Message;
use crate::outcome::{Effects, Event, Mode, Outcome, Outgoing, Reason, Target, TaskRun, Write};
use crate::stage::Stage;
use crate::status::Status;
use crate::task::Task;

/// The working copy of one message's handler.
pub(crate) struct Change {
    pub(crate) execution: Execution,
    header: bool,
    touched: BTreeSet<StageId>,
    removed: BTreeSet<StageId>,
    messages: Vec<Outgoing>,
    events: Vec<Event>,
    run: Option<TaskRun>,
}

impl Change {
    pub(crate) fn of(execution: &Execution) -> Self {
        Self {
            execution: execution.clone(),
            header: false,
            touched: BTreeSet::new(),
            removed: BTreeSet::new(),
            messages: Vec::new(),
            events: Vec::new(),
            run: None,
        }
    }

    /// A stage to change.
    pub(crate) fn stage(&mut self, id: &StageId) -> Option<&mut Stage> {
        let stage = self.execution.stages.get_mut(id)?;
        self.touched.insert(id.clone());
        Some(stage)
    }

    /// A task to change.
    pub(crate) fn task(&mut self, stage: &StageId, task: &TaskId) -> Option<&mut Task> {
        self.stage(stage)?.task_mut(task)
    }

    /// The execution's own fields to change.
    pub(crate) fn header(&mut self) -> &mut Execution {
        self.header = true;
        &mut self.execution
    }

    /// Puts a new stage at a position of the served order.
    pub(crate) fn insert(&mut self, position: usize, stage: Stage) {
        self.header = true;
        self.touched.insert(stage.id.clone());
        self.execution.stages.insert(position, stage);
    }

    /// Takes a stage out, and out of others' requisites.
    pub(crate) fn remove(&mut self, id: &StageId) {
        let Some(gone) = self.execution.stages.remove(id) else {
            return;
        };
        self.header = true;
        self.touched.remove(id);
        self.removed.insert(id.clone());
        let waits = |stage: &Stage| stage.requisite_stage_ref_ids.contains(&gone.ref_id);
        let touched = &mut self.touched;
        self.execution.stages.change(waits, |stage| {
            stage.requisite_stage_ref_ids.retain(|r| *r != gone.ref_id);
            touched.insert(stage.id.clone());
        });
    }

    /// Sends a message to the execution's own mailbox.
    pub(crate) fn send(&mut self, message: Message) {
        self.send_as(message, Mode::Push, 0);
    }

    /// The same, with mode and delay.
    pub(crate) fn send_as(&mut self, message: Message, mode: Mode, delay_ms: u64) {
        let to = Target::Execution(self.execution.id.clone());
        self.messages.push(Outgoing {
            to,
            message,
            mode,
            delay_ms,
        });
    }

    /// Sends to another mailbox.
    pub(crate) fn send_to(&mut self, to: Target, message: Message) {
        self.messages.push(Outgoing {
            to,
            message,
            mode: Mode::Push,
            delay_ms: 0,
        });
    }

    /// Hands a task to a worker.
    pub(crate) fn run(&mut self, run: TaskRun) {
        self.run = Some(run);
    }

    /// The execution itself has started or ended.
    pub(crate) fn execution_event(&mut self, what: &str, now: i64) {
        let execution = &self.execution;
        let detail = json!({
            "executionId": execution.id, "application": execution.application,
            "status": execution.status, "executionType": execution.kind,
            "pipelineConfigId": execution.pipeline_config_id, "name": execution.name, "at": now,
        });
        self.events.push(Event {
            kind: format!("execution:{what}"),
            detail,
        });
    }

    /// A stage has started or ended.
    pub(crate) fn stage_event(&mut self, what: &str, id: &StageId, now: i64) {
        if let Some(stage) = self.execution.stage(id) {
            let detail = json!({
                "executionId": self.execution.id, "application": self.execution.application,
                "stageId": id, "refId": stage.ref_id, "stageType": stage.kind,
                "name": stage.name, "status": stage.status, "at": now,
            });
            self.events.push(Event {
                kind: format!("stage:{what}"),
                detail,
            });
        }
    }

    /// A task has started or ended.
    pub(crate) fn task_event(&mut self, what: &str, stage: &StageId, task: &TaskId, now: i64) {
        if let Some(found) = self.execution.stage(stage).and_then(|s| s.task(task)) {
            let detail = json!({
                "executionId": self.execution.id, "application": self.execution.application,
                "stageId": stage, "taskId": task, "taskType": found.implementing_class,
                "name": found.name, "status": found.status, "at": now,
            });
            self.events.push(Event {
                kind: format!("task:{what}"),
                detail,
            });
        }
    }

    /// Sets the execution's status with the times that go with it.
    pub(crate) fn set_status(&mut self, status: Status, now: i64) {
        let execution = self.header();
        execution.status = status;
        if status == Status::Running {
            execution.canceled = false;
            execution.start_time = Some(now);
            execution.end_time = None;
        } else if status.is_complete() && execution.start_time.is_some() {
            execution.end_time = Some(now);
        }
    }

    /// Everything that was touched, as an outcome.
    pub(crate) fn done(self) -> Outcome {
        let mut effects = Effects {
            messages: self.messages,
            events: self.events,
            run: self.run,
            ..Effects::default()
        };
        if self.header {
            let order = self.execution.stages.ids();
            let header = Box::new(self.execution.without_stages());
            effects.writes.push(Write::Header(header, order));
        }
        effects
            .writes
            .extend(self.removed.into_iter().map(Write::RemoveStage));
        let stages = self.execution.stages.shared();
        let touched = stages.filter(|s| self.touched.contains(&s.id));
        effects.writes.extend(touched.cloned().map(Write::Stage));
        Outcome::Done(Box::new(effects))
    }
}

/// The outcome of a message with nothing to do.
pub(crate) fn ignored(reason: Reason) -> Outcome {
    Outcome::Ignored(reason)
}

/// A record of a failure as Orca keeps it under `exception`.
pub(crate) fn exception(
    env: &Env<'_>,
    kind: &str,
    operation: &str,
    message: &str,
    more: &[String],
) -> Value {
    let mut errors = vec![message.to_owned()];
    errors.extend(more.iter().cloned());
    json!({
        "timestamp": env.now,
        "exceptionType": kind,
        "operation": operation,
        "details": {"error": "Unexpected Task Failure", "errors": errors},
        "shouldRetry": false,
    })
}
