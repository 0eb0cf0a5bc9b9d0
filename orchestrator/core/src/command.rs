//! What people ask of an execution: each a pure function to effects that the
//! caller commits over the version it read, or a refusal in words.

use serde_json::{Map, Value, json};

use crate::catalog::{StageCatalog, StageView};
use crate::change::Change;
use crate::execution::{Execution, Pause};
use crate::handler::complete_execution::release;
use crate::ids::StageId;
use crate::message::Message;
use crate::outcome::{Effects, Mode, Outcome};
use crate::stage::Stage;
use crate::status::Status;

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The execution has no such stage.
    #[error("execution {execution} has no stage {stage}")]
    NoStage {
        /// The execution.
        execution: String,
        /// What was asked for.
        stage: String,
    },
    /// It is not in a state for that.
    #[error("execution {execution} is {status}; it can be {verb} only while it is {wanted}")]
    State {
        /// The execution.
        execution: String,
        /// Where it stands.
        status: Status,
        /// `paused`, …
        verb: &'static str,
        /// `RUNNING`, …
        wanted: &'static str,
    },
    /// The stage cannot be skipped by hand.
    #[error("stage {0} cannot be skipped by hand; only stages that say so can")]
    NotSkippable(String),
}

fn effects(change: Change) -> Effects {
    match change.done() {
        Outcome::Done(effects) => *effects,
        Outcome::Needs(_) | Outcome::Ignored(_) => Effects::default(),
    }
}

fn state(execution: &Execution, verb: &'static str, wanted: &'static str) -> Refusal {
    Refusal::State {
        execution: execution.id.to_string(),
        status: execution.status,
        verb,
        wanted,
    }
}

/// The stages that check preconditions, with those that a definition gives them.
fn preconditions_of(
    execution: &Execution,
    definition: &Map<String, Value>,
) -> Vec<(StageId, Value)> {
    const CHECKS: &str = "checkPreconditions";
    let written = definition.get("stages").and_then(Value::as_array);
    let mut found = Vec::new();
    for one in written.into_iter().flatten() {
        let text = |key: &str| one.get(key).and_then(Value::as_str);
        let preconditions = one.get("preconditions").filter(|list| list.is_array());
        let mut checks = execution.top_level().filter(|stage| {
            stage.kind == CHECKS
                && text("type") == Some(CHECKS)
                && text("refId") == Some(stage.ref_id.as_str())
        });
        if let (Some(preconditions), Some(stage)) = (preconditions, checks.next()) {
            found.push((stage.id.clone(), preconditions.clone()));
        }
    }
    found
}

/// Asks for the end of an execution. Of several who ask for it the last one is told of,
/// as in Orca, even if it came after the end.
///
/// # Errors
/// When it is over already, but not by such a wish.
pub fn cancel(execution: &Execution, user: &str, reason: Option<&str>) -> Result<Effects, Refusal> {
    if execution.status == Status::Canceled {
        let mut change = Change::of(execution);
        let header = change.header();
        header.canceled_by = Some(user.to_owned());
        header.cancellation_reason = reason.map(ToOwned::to_owned);
        return Ok(effects(change));
    }
    if execution.status.is_complete() {
        return Err(state(execution, "canceled", "not complete"));
    }
    let mut change = Change::of(execution);
    let user = user.to_owned();
    change.send(Message::CancelExecution {
        user,
        reason: reason.map(ToOwned::to_owned),
    });
    Ok(effects(change))
}

/// Ends an execution at once: it, its stages and their tasks that are under way are CANCELED in the same commit,
/// whatever a worker does with them now. What that worker answers later has nothing to do.
///
/// Differs from Spinnaker: what the stages did outside is undone as by any other cancellation, and the pipeline's
/// next execution is let in; Orca only writes the statuses, and leaves both to whoever notices.
///
/// # Errors
/// When it is over already.
pub fn force_cancel(
    execution: &Execution,
    user: &str,
    reason: Option<&str>,
    now: i64,
) -> Result<Effects, Refusal> {
    if execution.status.is_complete() {
        return Err(state(execution, "canceled", "not complete"));
    }
    let now = now.max(execution.latest());
    let mut change = Change::of(execution);
    let under_way = |status: Status| !status.is_complete() && status != Status::NotStarted;
    let open: Vec<StageId> = execution
        .stages
        .iter()
        .filter(|stage| under_way(stage.status))
        .map(|stage| stage.id.clone())
        .collect();
    for id in open {
        if let Some(stage) = change.stage(&id) {
            stage.status = Status::Canceled;
            stage.end_time = Some(now);
            let tasks = stage.tasks.iter_mut();
            for task in tasks.filter(|task| under_way(task.status)) {
                task.status = Status::Canceled;
                task.end_time = Some(now);
                task.in_flight = false;
            }
        }
        change.stage_event("complete", &id, now);
        change.send(Message::CancelStage { stage_id: id });
    }
    let header = change.header();
    header.canceled = true;
    header.canceled_by = Some(user.to_owned());
    header.cancellation_reason = reason.map(ToOwned::to_owned);
    change.set_status(Status::Canceled, now);
    change.execution_event("complete", now);
    release(&mut change);
    Ok(effects(change))
}

/// Pauses it: running tasks stop at their next look.
///
/// # Errors
/// When it is not RUNNING.
pub fn pause(execution: &Execution, user: &str, now: i64) -> Result<Effects, Refusal> {
    if execution.status != Status::Running {
        return Err(state(execution, "paused", "RUNNING"));
    }
    let now = now.max(execution.latest());
    let mut change = Change::of(execution);
    let header = change.header();
    header.status = Status::Paused;
    header.pauses.push(Pause {
        paused_by: user.to_owned(),
        pause_time: now,
        ..Pause::default()
    });
    change.send(Message::RescheduleExecution);
    change.execution_event("paused", now);
    Ok(effects(change))
}

/// Lets it go on.
///
/// # Errors
/// When it is not PAUSED.
pub fn resume(execution: &Execution, user: &str) -> Result<Effects, Refusal> {
    if execution.status != Status::Paused {
        return Err(state(execution, "resumed", "PAUSED"));
    }
    let mut change = Change::of(execution);
    change.send(Message::ResumeExecution {
        user: user.to_owned(),
    });
    Ok(effects(change))
}

/// Merges a person's input into a stage's context and wakes its tasks: how a
/// judgment is given, a wait skipped.
///
/// # Errors
/// When there is no such stage, or it is to be skipped and cannot be.
pub fn update_stage(
    execution: &Execution,
    stage_id: &StageId,
    context: Map<String, Value>,
    user: &str,
    now: i64,
    stages: &dyn StageCatalog,
) -> Result<Effects, Refusal> {
    let stage = execution.stage(stage_id).ok_or_else(|| Refusal::NoStage {
        execution: execution.id.to_string(),
        stage: stage_id.to_string(),
    })?;
    if context.get("manualSkip") == Some(&Value::Bool(true)) {
        let view = StageView { execution, stage };
        let can = stages
            .stage(stage.definition())
            .is_some_and(|d| d.can_be_skipped(view));
        if !can {
            return Err(Refusal::NotSkippable(stage.name.clone()));
        }
    }
    let now = now.max(execution.latest());
    let mut change = Change::of(execution);
    if let Some(stage) = change.stage(stage_id) {
        stage.context.extend(context);
        stage.last_modified =
            Some(json!({"user": user, "allowedAccounts": [], "lastModifiedTime": now}));
    }
    change.send(Message::RescheduleExecution);
    Ok(effects(change))
}

/// Runs a stage and what follows it again. One that never began can be begun so in an
/// execution that is over.
///
/// # Errors
/// When there is no such stage, or it has not ended.
pub fn restart_stage(
    execution: &Execution,
    stage_id: &StageId,
    user: &str,
) -> Result<Effects, Refusal> {
    restart_stage_as(execution, stage_id, user, &Map::new())
}

/// The same under the pipeline's definition of today: its preconditions replace those of
/// the stages with the same refId, all else stays (`orca: TaskController.restartStage`).
///
/// # Errors
/// As [`restart_stage`].
pub fn restart_stage_as(
    execution: &Execution,
    stage_id: &StageId,
    user: &str,
    definition: &Map<String, Value>,
) -> Result<Effects, Refusal> {
    let stage = execution.stage(stage_id).ok_or_else(|| Refusal::NoStage {
        execution: execution.id.to_string(),
        stage: stage_id.to_string(),
    })?;
    let top = execution.top_of(stage);
    let over = top.status.is_complete()
        || top.status == Status::NotStarted && execution.status.is_complete();
    if !over {
        return Err(state(
            execution,
            "restarted from this stage",
            "over at this stage",
        ));
    }
    let mut change = Change::of(execution);
    for (id, preconditions) in preconditions_of(execution, definition) {
        if let Some(stage) = change.stage(&id) {
            let key = "preconditions".to_owned();
            stage.context.insert(key, preconditions);
        }
    }
    let (stage_id, user) = (top.id.clone(), user.to_owned());
    change.send(Message::RestartStage { stage_id, user });
    Ok(effects(change))
}

/// The mark on a stage that it is run again for the child it has, not with a new one.
pub const KEEPS_CHILD: &str = "_skipPipelineRestart";

/// Runs the stage that started an execution again because a stage of that one is: it waits
/// for the same child. Nothing if it is not over, did not wait, or has another one by now.
pub fn restart_for_child(
    execution: &Execution,
    stage_id: &StageId,
    child: &str,
    user: &str,
) -> Effects {
    let is_it = |stage: &&Stage| {
        !stage.is_synthetic()
            && stage.flag("waitForCompletion") != Some(false)
            && stage.status.is_complete()
            && stage.context.get("executionId").and_then(Value::as_str) == Some(child)
    };
    if !execution.status.is_complete() || execution.stage(stage_id).filter(is_it).is_none() {
        return Effects::default();
    }
    let mut change = Change::of(execution);
    if let Some(stage) = change.stage(stage_id) {
        stage.context.insert(KEEPS_CHILD.to_owned(), true.into());
    }
    let (stage_id, user) = (stage_id.clone(), user.to_owned());
    change.send(Message::RestartStage { stage_id, user });
    effects(change)
}

/// Wakes a task that waits for something outside: it runs now instead of after
/// its backoff, or again if a worker has it.
pub fn wake(execution: &Execution, stage_id: &StageId, task_id: &crate::ids::TaskId) -> Effects {
    let mut change = Change::of(execution);
    let (stage_id, task_id) = (stage_id.clone(), task_id.clone());
    change.send_as(Message::RunTask { stage_id, task_id }, Mode::Push, 0);
    effects(change)
}
