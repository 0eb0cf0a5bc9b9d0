//! What an execution waits for, read off its state: the messages that would take it on if those it
//! has were lost (`orca: HydrateQueueCommand`).
//!
//! | of an execution that is RUNNING | message |
//! |---|---|
//! | a stage NOT_STARTED, all that is before it over | `startStage` |
//! | a stage NOT_STARTED that could not be planned | `completeStage` |
//! | a stage RUNNING, its before-stages not over | theirs; `completeStage` if one of them ends it |
//! | –, its next task NOT_STARTED | `startTask`; `completeStage` if the one before failed |
//! | –, its next task RUNNING | `runTask`; none while a worker has it |
//! | –, its after-stages not over | theirs |
//! | –, all of it over | `completeStage` |
//! | no stage runs or can begin | `completeExecution` |
//!
//! Each of them does nothing if what it asks for was done by then, so those that were not lost do no
//! harm beside them.
//!
//! Differs from Spinnaker: there the task after one that failed is started, after-stages are passed over
//! once the before-stages are over, and an execution one of whose branches failed is not completed.

use serde_json::{Map, Value, json};

use crate::catalog::StageCatalog;
use crate::change::Change;
use crate::execution::Execution;
use crate::handler::complete_stage::lets_siblings_continue;
use crate::handler::start_stage::PLANNING_FAILED;
use crate::message::Message;
use crate::outcome::{Effects, Mode, Outcome};
use crate::stage::{Owner, Stage};
use crate::status::Status;
use crate::task::Task;

/// In the mailbox and not in the turn that sends it, for only there is it seen whether an equal one waits, and
/// behind what is due already.
const BEHIND_MS: u64 = 1;

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// Why, for people.
    pub description: &'static str,
    /// What does it; none if that cannot be told.
    pub message: Option<Message>,
    /// Which stage, and which task, as Orca tells them.
    pub context: Map<String, Value>,
}

/// What an execution waits for.
#[derive(Debug, Clone, PartialEq)]
pub struct Hydration {
    /// When the execution began, ms since the epoch.
    pub start_time: Option<i64>,
    /// What to do, in order of stages.
    pub actions: Vec<Action>,
}

impl Hydration {
    /// What a RUNNING execution waits for; none for any other.
    pub fn of(execution: &Execution, stages: &dyn StageCatalog) -> Option<Self> {
        if execution.status != Status::Running {
            return None;
        }
        let mut reading = Reading {
            execution,
            stages,
            actions: Vec::new(),
        };
        reading.execution();
        Some(Self {
            start_time: execution.start_time,
            actions: reading.actions,
        })
    }

    /// Whether all of it can be done: some of it alone is not.
    pub fn can_apply(&self) -> bool {
        !self.actions.is_empty() && self.actions.iter().all(|action| action.message.is_some())
    }

    /// The messages, each only if an equal one does not wait already.
    pub fn effects(&self, execution: &Execution) -> Effects {
        let mut change = Change::of(execution);
        for message in self
            .actions
            .iter()
            .filter_map(|action| action.message.clone())
        {
            change.send_as(message, Mode::Ensure, BEHIND_MS);
        }
        match change.done() {
            Outcome::Done(effects) => *effects,
            Outcome::Needs(_) | Outcome::Ignored(_) => Effects::default(),
        }
    }

    /// As Orca tells it: `{startTime, actions: [{description, message, context}], canApply}`.
    pub fn to_json(&self, execution: &Execution) -> Value {
        let message = |message: &Message| {
            let mut told = serde_json::to_value(message).unwrap_or_default();
            if let Some(fields) = told.as_object_mut() {
                fields.insert("executionType".to_owned(), json!(execution.kind));
                fields.insert("executionId".to_owned(), json!(execution.id));
                fields.insert("application".to_owned(), json!(execution.application));
            }
            told
        };
        let actions = self.actions.iter().map(|action| {
            json!({
                "description": action.description,
                "message": action.message.as_ref().map(message),
                "context": action.context,
            })
        });
        json!({
            "startTime": self.start_time,
            "actions": actions.collect::<Vec<Value>>(),
            "canApply": self.can_apply(),
        })
    }
}

struct Reading<'a> {
    execution: &'a Execution,
    stages: &'a dyn StageCatalog,
    actions: Vec<Action>,
}

fn is_idle(stage: &Stage) -> bool {
    stage.status.is_complete() || stage.status == Status::NotStarted
}

impl Reading<'_> {
    fn execution(&mut self) {
        for stage in self.execution.top_level() {
            self.stage(stage);
        }
        if self.actions.is_empty() && self.execution.top_level().all(is_idle) {
            self.actions.push(Action {
                description: "No stage runs or can begin, but the execution is still running",
                message: Some(Message::CompleteExecution),
                context: Map::new(),
            });
        }
    }

    fn stage(&mut self, stage: &Stage) {
        match stage.status {
            Status::NotStarted => self.not_started(stage),
            Status::Running => self.running(stage),
            Status::Paused
            | Status::Suspended
            | Status::Succeeded
            | Status::FailedContinue
            | Status::Terminal
            | Status::Canceled
            | Status::Redirect
            | Status::Stopped
            | Status::Skipped
            | Status::Buffered => {}
        }
    }

    fn not_started(&mut self, stage: &Stage) {
        let mut upstream = self.execution.upstream(stage).peekable();
        let is_initial = upstream.peek().is_none();
        if stage.start_time.is_some() && stage.flag(PLANNING_FAILED) == Some(true) {
            self.complete(stage, "Stage could not be planned, but is not over");
        } else if upstream.all(|before| self.lets_run(before)) {
            let description = if is_initial {
                "Stage is not started but is an initial stage"
            } else {
                "Stage is not started but all upstream stages are complete"
            };
            let stage_id = stage.id.clone();
            self.add(
                stage,
                None,
                description,
                Some(Message::StartStage { stage_id }),
            );
        }
    }

    fn running(&mut self, stage: &Stage) {
        let before = self
            .execution
            .synthetics(&stage.id, Some(Owner::StageBefore));
        let before: Vec<&Stage> = before.collect();
        let is_busy = before.iter().any(|s| !is_idle(s));
        let halted = before.iter().any(|s| s.status.is_halt());
        if halted || !is_busy && before.iter().any(|s| self.ends_parent(s)) {
            return self.after(stage, "A stage before it failed, but it is not over");
        }
        if before.iter().any(|s| !s.status.is_complete()) {
            return before.into_iter().for_each(|s| self.stage(s));
        }
        if let Some(task) = stage.tasks.iter().find(|task| !task.status.is_complete()) {
            return self.task(stage, task);
        }
        self.after(stage, "All tasks and known synthetic stages are complete");
    }

    /// Before-stages and tasks are done with.
    fn after(&mut self, stage: &Stage, otherwise: &'static str) {
        let after = self
            .execution
            .synthetics(&stage.id, Some(Owner::StageAfter));
        let after: Vec<&Stage> = after.collect();
        let found = self.actions.len();
        after.iter().for_each(|s| self.stage(s));
        if self.actions.len() == found && after.iter().all(|s| is_idle(s)) {
            self.complete(stage, otherwise);
        }
    }

    fn task(&mut self, stage: &Stage, task: &Task) {
        let (stage_id, task_id) = (stage.id.clone(), task.id.clone());
        let (description, message) = match task.status {
            Status::NotStarted if stage.tasks.iter().any(|t| t.status.is_halt()) => {
                return self.after(stage, "A task failed, but its stage is not over");
            }
            Status::NotStarted => (
                "Task has not started yet",
                Some(Message::StartTask { stage_id, task_id }),
            ),
            // A run is done once as long as it is handed out once. Its result may wait to be recorded, which its
            // state does not tell, so nobody hands it out again; who has it tells of it, or loses its lease.
            Status::Running if task.in_flight => (
                "Task is with a worker, or its result waits to be recorded; run again it might run twice",
                None,
            ),
            Status::Running => (
                "Task is running and can be run again",
                Some(Message::RunTask { stage_id, task_id }),
            ),
            Status::Paused
            | Status::Suspended
            | Status::Succeeded
            | Status::FailedContinue
            | Status::Terminal
            | Status::Canceled
            | Status::Redirect
            | Status::Stopped
            | Status::Skipped
            | Status::Buffered => ("Could not determine an action to take", None),
        };
        self.add(stage, Some(task), description, message);
    }

    /// Whether a stage that is over lets the one behind it run.
    fn lets_run(&self, stage: &Stage) -> bool {
        stage.status.lets_downstream_run() && !self.ends_parent(stage)
    }

    /// Whether a stage ends the one that planned it by an ignored failure.
    fn ends_parent(&self, stage: &Stage) -> bool {
        stage.is_synthetic()
            && stage.status == Status::FailedContinue
            && !lets_siblings_continue(stage, self.stages)
    }

    fn complete(&mut self, stage: &Stage, description: &'static str) {
        let stage_id = stage.id.clone();
        let message = Message::CompleteStage { stage_id };
        self.add(stage, None, description, Some(message));
    }

    fn add(
        &mut self,
        stage: &Stage,
        task: Option<&Task>,
        description: &'static str,
        message: Option<Message>,
    ) {
        let mut context = Map::new();
        let mut tell = |key: &str, value: Value| context.insert(key.to_owned(), value);
        tell("stageId", json!(stage.id));
        tell("stageType", json!(stage.kind));
        tell("stageStartTime", json!(stage.start_time));
        if let Some(task) = task {
            tell("taskId", json!(task.id));
            tell("taskType", json!(task.name));
            tell("taskStartTime", json!(task.start_time));
        }
        context.retain(|_, value| !value.is_null());
        self.actions.push(Action {
            description,
            message,
            context,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ToyCatalog;

    fn stage(id: &str, status: &str, more: Value) -> Value {
        let mut stage = json!({"id": id, "refId": id, "type": "plain", "status": status});
        if let (Some(stage), Value::Object(more)) = (stage.as_object_mut(), more) {
            stage.extend(more);
        }
        stage
    }

    fn tasks(statuses: &[&str]) -> Value {
        let task =
            |(at, status): (usize, &&str)| json!({"id": (at + 1).to_string(), "status": status});
        json!({"tasks": statuses.iter().enumerate().map(task).collect::<Vec<Value>>()})
    }

    fn side(owner: &str) -> Value {
        json!({"parentStageId": "1", "syntheticStageOwner": owner})
    }

    fn running(stages: &[Value]) -> Execution {
        let execution = json!({"id": "E", "application": "a", "status": "RUNNING", "startTime": 7,
            "stages": stages});
        serde_json::from_value(execution).unwrap()
    }

    /// The fingerprints of the messages, and `-` for what has none.
    fn told(stages: &[Value]) -> String {
        let found = Hydration::of(&running(stages), &ToyCatalog).unwrap();
        let messages = found.actions.iter().map(|action| match &action.message {
            Some(message) => message.fingerprint(),
            None => "-".to_owned(),
        });
        messages.collect::<Vec<_>>().join(" ")
    }

    #[test]
    #[rustfmt::skip] // one line a state
    fn each_state_has_the_message_that_takes_it_on() {
        let none = || json!({});
        let top = |id: &str, status: &str| stage(id, status, none());
        let second = |status: &str| stage("2", status, json!({"requisiteStageRefIds": ["1"]}));
        let first = |status: &str, of: &[&str]| stage("1", status, tasks(of));
        let before = |status: &str| stage("b", status, side("STAGE_BEFORE"));
        let behind = |status: &str| stage("a", status, side("STAGE_AFTER"));
        let unplanned = json!({"startTime": 1, "context": {"beforeStagePlanningFailed": true}});
        let held = || stage("1", "RUNNING", json!({"tasks": [{"id": "1", "status": "RUNNING", "_inFlight": true}]}));
        for (what, stages, expected) in [
            ("initial", vec![top("1", "NOT_STARTED"), second("NOT_STARTED")], "startStage/1"),
            ("upstream over", vec![top("1", "FAILED_CONTINUE"), second("NOT_STARTED")], "startStage/2"),
            ("not planned", vec![stage("1", "NOT_STARTED", unplanned)], "completeStage/1"),
            ("next task", vec![first("RUNNING", &["SUCCEEDED", "NOT_STARTED"])], "startTask/1/2"),
            ("running task", vec![first("RUNNING", &["RUNNING", "NOT_STARTED"])], "runTask/1/1"),
            ("with a worker", vec![held()], "-"),
            ("one of two with a worker", vec![held(), stage("2", "RUNNING", tasks(&["RUNNING"]))], "- runTask/2/1"),
            ("held task", vec![first("RUNNING", &["PAUSED"])], "-"),
            ("failed task", vec![first("RUNNING", &["TERMINAL", "NOT_STARTED"])], "completeStage/1"),
            ("ignored failure", vec![first("RUNNING", &["FAILED_CONTINUE", "NOT_STARTED"])], "startTask/1/2"),
            ("tasks over", vec![first("RUNNING", &["SUCCEEDED"])], "completeStage/1"),
            ("before-stage to begin", vec![before("NOT_STARTED"), first("RUNNING", &["NOT_STARTED"])], "startStage/b"),
            ("before-stage over", vec![before("SUCCEEDED"), first("RUNNING", &["NOT_STARTED"])], "startTask/1/1"),
            ("before-stage failed", vec![before("TERMINAL"), first("RUNNING", &["NOT_STARTED"])], "completeStage/1"),
            ("before-stage ends it", vec![before("FAILED_CONTINUE"), first("RUNNING", &["NOT_STARTED"])], "completeStage/1"),
            ("after-stage to begin", vec![first("RUNNING", &["SUCCEEDED"]), behind("NOT_STARTED")], "startStage/a"),
            ("after-stage held", vec![first("RUNNING", &["SUCCEEDED"]), behind("PAUSED")], ""),
            ("on-failure stage to begin", vec![first("RUNNING", &["TERMINAL", "NOT_STARTED"]), behind("NOT_STARTED")], "startStage/a"),
            ("after-stage over", vec![first("RUNNING", &["SUCCEEDED"]), behind("SUCCEEDED")], "completeStage/1"),
            ("leaves over", vec![top("1", "SUCCEEDED"), second("SKIPPED")], "completeExecution"),
            ("nothing can begin", vec![top("1", "TERMINAL"), second("NOT_STARTED")], "completeExecution"),
            ("held stage", vec![top("1", "PAUSED"), second("NOT_STARTED")], ""),
        ] {
            assert_eq!(told(&stages), expected, "{what}");
        }
    }

    #[test]
    fn only_what_runs_is_read_and_only_the_whole_is_done() {
        let mut execution = running(&[stage("1", "NOT_STARTED", json!({}))]);
        let found = Hydration::of(&execution, &ToyCatalog).unwrap();
        let effects = found.effects(&execution);
        assert!(found.can_apply() && effects.writes.is_empty());
        let sent = effects.messages.first().unwrap();
        assert_eq!((sent.mode, sent.delay_ms), (Mode::Ensure, BEHIND_MS));
        let message = json!({"kind": "startStage", "stageId": "1", "executionType": "PIPELINE",
            "executionId": "E", "application": "a"});
        let expected = json!({"startTime": 7, "canApply": true, "actions": [{
            "description": "Stage is not started but is an initial stage",
            "message": message, "context": {"stageId": "1", "stageType": "plain"}}]});
        assert_eq!(found.to_json(&execution), expected);
        for status in Status::ALL.into_iter().filter(|s| *s != Status::Running) {
            execution.status = status;
            assert_eq!(Hydration::of(&execution, &ToyCatalog), None);
        }
        let held = running(&[stage("1", "PAUSED", json!({}))]);
        assert!(!Hydration::of(&held, &ToyCatalog).unwrap().can_apply());
    }
}
