//! `completeStage`: see whether a stage is over.
//!
//! | children and tasks | → status | messages |
//! |---|---|---|
//! | none failed, after-stages to run | RUNNING | `startStage` for them |
//! | none failed | SUCCEEDED, SKIPPED, FAILED_CONTINUE | what follows |
//! | failed, on-failure stages to run | RUNNING | `startStage` of the first |
//! | failed | TERMINAL, STOPPED, CANCELED | `cancelStage`, then the parent or the execution |
//! | something still runs | – | none: its end sends this again |
//! | the execution is over or cancelled | as it stands, else CANCELED | the parent or the execution |
//!
//! Differs from Spinnaker: with "ignore the failure" Orca plans the after-stages
//! of a stage whose own work failed, so a red/black deployment disables the old
//! server group although the new one never became healthy. Here after-stages are
//! planned only when the work succeeded, on-failure stages whenever it did not.

use serde_json::{Value, json};

use crate::catalog::StageCatalog;
use crate::change::{Change, exception, ignored};
use crate::context::failure_descriptions;
use crate::env::Env;
use crate::execution::Execution;
use crate::handler::start_stage::PLANNING_FAILED;
use crate::handler::{end_of_branch, start_next};
use crate::ids::StageId;
use crate::message::Message;
use crate::outcome::{Outcome, Reason};
use crate::plan::{self, Stop};
use crate::stage::{Owner, Stage};
use crate::status::Status;

/// The status that children, tasks and planning give a stage
/// (`orca: CompleteStageHandler.determineStatus`). With `failOnFailedExpressions` a
/// failed expression fails it, whatever its failure options say.
pub(crate) fn determine(execution: &Execution, stage: &Stage) -> Status {
    let mut all: Vec<Status> = execution
        .synthetics(&stage.id, None)
        .map(|s| s.status)
        .collect();
    all.extend(stage.tasks.iter().map(|t| t.status));
    if stage.flag(PLANNING_FAILED) == Some(true) {
        all.push(stage.failure_status(Status::Terminal));
    }
    let any = |status| all.contains(&status);
    let strict = stage.flag("failOnFailedExpressions") == Some(true);
    if strict && !failure_descriptions(&stage.context).is_empty() {
        Status::Terminal
    } else if all.is_empty() {
        Status::NotStarted
    } else if any(Status::Terminal) {
        stage.failure_status(Status::Terminal)
    } else if any(Status::Stopped) {
        Status::Stopped
    } else if any(Status::Canceled) {
        Status::Canceled
    } else if any(Status::FailedContinue) {
        Status::FailedContinue
    } else if all
        .iter()
        .all(|s| matches!(s, Status::Succeeded | Status::Skipped))
    {
        Status::Succeeded
    } else {
        Status::Running
    }
}

fn initial(execution: &Execution, id: &StageId) -> Vec<StageId> {
    execution
        .synthetics(id, Some(Owner::StageAfter))
        .filter(|s| s.requisite_stage_ref_ids.is_empty() && s.status == Status::NotStarted)
        .map(|s| s.id.clone())
        .collect()
}

pub(crate) fn handle(execution: &Execution, id: &StageId, env: &mut Env<'_>) -> Outcome {
    let Some(stage) = execution.stage(id) else {
        return ignored(Reason::Gone);
    };
    // A paused one too: it is paused with one of its stages, and another may fail.
    // One that has not begun only if it could not be planned: otherwise this is
    // left of the attempt before a restart.
    let open = match stage.status {
        Status::Running | Status::Paused => true,
        Status::NotStarted => stage.flag(PLANNING_FAILED) == Some(true),
        Status::Suspended
        | Status::Succeeded
        | Status::FailedContinue
        | Status::Terminal
        | Status::Canceled
        | Status::Redirect
        | Status::Stopped
        | Status::Skipped
        | Status::Buffered => false,
    };
    if !open {
        return ignored(Reason::AlreadyDone);
    }
    let mut status = determine(execution, stage);
    let busy = |s: Status| matches!(s, Status::Running | Status::Paused | Status::Redirect);
    let working = execution.synthetics(id, None).any(|s| busy(s.status))
        || stage.tasks.iter().any(|t| busy(t.status));
    // A failure ends the stage at once, as in Orca; anything else waits for what runs.
    if working && !status.is_halt() {
        return ignored(Reason::NotYet);
    }
    if execution.status.is_complete() || execution.canceled {
        // Nothing more is planned; what was not reached is given up, and a stage
        // of which something was given up has not reached its goal.
        let unreached = !status.is_halt() && plan::has_more(execution, stage, status, env);
        if !status.is_complete() || unreached {
            status = Status::Canceled;
        }
        let mut change = Change::of(execution);
        finish(&mut change, id, status, env);
        return change.done();
    }
    let started_tasks_left = stage.tasks.iter().any(|t| t.status == Status::NotStarted);
    let before_left = execution
        .synthetics(id, Some(Owner::StageBefore))
        .any(|s| s.status == Status::NotStarted);
    if status == Status::Running && (started_tasks_left || before_left) {
        return ignored(Reason::NotYet);
    }
    let mut change = Change::of(execution);
    let failed_work = status.is_failure();
    if !failed_work && status != Status::Canceled {
        let any_after = execution
            .synthetics(id, Some(Owner::StageAfter))
            .next()
            .is_some();
        if !any_after {
            match plan::after(&mut change, id, env) {
                Err(Stop::Needs(needs)) => return Outcome::Needs(needs),
                Err(Stop::Failed(message)) => {
                    status = planning_failed(&mut change, id, &message, env)
                }
                Ok(_) => {}
            }
        }
        let next = initial(&change.execution, id);
        if !status.is_halt() && !next.is_empty() {
            if let Some(stage) = change.stage(id) {
                stage.status = Status::Running;
            }
            for stage_id in next {
                change.send(Message::StartStage { stage_id });
            }
            return change.done();
        }
        let chained = change
            .execution
            .synthetics(id, Some(Owner::StageAfter))
            .any(|s| s.status == Status::NotStarted);
        if !status.is_halt() && chained {
            return ignored(Reason::NotYet);
        }
        if status == Status::NotStarted {
            status = Status::Skipped;
        }
    } else if failed_work {
        match plan::on_failure(&mut change, id, env) {
            Err(Stop::Needs(needs)) => return Outcome::Needs(needs),
            Err(Stop::Failed(message)) => status = planning_failed(&mut change, id, &message, env),
            Ok(Some(stage_id)) => {
                if let Some(stage) = change.stage(id) {
                    stage.status = Status::Running;
                }
                change.send(Message::StartStage { stage_id });
                return change.done();
            }
            Ok(None) => {}
        }
        if after_goes_on(&change.execution, id) {
            return ignored(Reason::NotYet);
        }
    }
    finish(&mut change, id, status, env);
    change.done()
}

/// Whether an after-stage runs or is about to: one that only waits for a failed
/// one before it never will.
fn after_goes_on(execution: &Execution, id: &StageId) -> bool {
    execution
        .synthetics(id, Some(Owner::StageAfter))
        .any(|s| match s.status {
            Status::NotStarted => execution
                .upstream(s)
                .all(|u| matches!(u.status, Status::Succeeded | Status::Skipped)),
            Status::Running
            | Status::Paused
            | Status::Suspended
            | Status::Redirect
            | Status::Buffered => true,
            Status::Succeeded
            | Status::FailedContinue
            | Status::Terminal
            | Status::Canceled
            | Status::Stopped
            | Status::Skipped => false,
        })
}

fn planning_failed(change: &mut Change, id: &StageId, message: &str, env: &Env<'_>) -> Status {
    let record = exception(env, "StagePlanningException", "planning", message, &[]);
    if let Some(stage) = change.stage(id) {
        stage.context.insert("exception".to_owned(), record);
    }
    Status::Terminal
}

fn finish(change: &mut Change, id: &StageId, status: Status, env: &Env<'_>) {
    let Some(stage) = change.stage(id) else {
        return;
    };
    let descriptions = failure_descriptions(&stage.context);
    if !descriptions.is_empty() {
        add_errors(stage, "Failed Expression Evaluation", descriptions);
    }
    if status == Status::FailedContinue {
        let more: Vec<String> = stage
            .tasks
            .iter()
            .filter_map(|t| t.task_exception_details.get("exception"))
            .filter_map(|e| e.pointer("/details/errors")?.as_array())
            .flatten()
            .filter_map(|e| e.as_str().map(ToOwned::to_owned))
            .collect();
        if !more.is_empty() {
            add_errors(stage, "Unexpected Task Failure", more);
        }
    }
    stage.status = status;
    stage.end_time = Some(env.now);
    let synthetic = stage.is_synthetic();
    let parent = stage.parent_stage_id.clone();
    let siblings_go_on = lets_siblings_continue(stage, env.stages);
    if status == Status::FailedContinue && synthetic && !siblings_go_on {
        if let Some(stage_id) = parent {
            change.send(Message::CompleteStage { stage_id });
        }
    } else if status.lets_downstream_run() {
        start_next(change, id);
    } else {
        change.send(Message::CancelStage {
            stage_id: id.clone(),
        });
        end_of_branch(change, id);
    }
    change.stage_event("complete", id, env.now);
}

/// Whether a failed synthetic stage lets those beside it, and its parent, go on.
pub(crate) fn lets_siblings_continue(stage: &Stage, stages: &dyn StageCatalog) -> bool {
    stage.flag("allowSiblingStagesToContinueOnFailure") == Some(true)
        || stages
            .stage(stage.definition())
            .is_some_and(|d| d.lets_siblings_continue())
}

fn add_errors(stage: &mut Stage, error: &str, more: Vec<String>) {
    let record = stage
        .context
        .entry("exception")
        .or_insert_with(|| json!({"details": {"error": error, "errors": []}}));
    let Some(record) = record.as_object_mut() else {
        return;
    };
    let details = record
        .entry("details")
        .or_insert_with(|| json!({"error": error}));
    let Some(details) = details.as_object_mut() else {
        return;
    };
    let errors = details.entry("errors").or_insert_with(|| json!([]));
    if let Some(list) = errors.as_array_mut() {
        for text in more {
            let text = Value::String(text);
            if !list.contains(&text) {
                list.push(text);
            }
        }
    }
}
