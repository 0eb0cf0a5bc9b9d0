//! What a task's answer leads to (`orca: RunTaskHandler`, after the call).
//!
//! | answer | → | messages |
//! |---|---|---|
//! | RUNNING, or an error that may pass | context and outputs merged | `runTask` after the backoff, at once if it was woken |
//! | SUCCEEDED, REDIRECT, SKIPPED, FAILED_CONTINUE, STOPPED | merged | `completeTask` |
//! | TERMINAL, CANCELED, another error | merged, `exception` | `completeTask` by the failure options |
//! | of a run that was superseded | – | none |
//! | to a cancel: RUNNING, or an error that may pass | merged | `cancelStage` after the backoff, for some minutes |

use serde_json::{Map, Value};

use crate::change::{Change, ignored};
use crate::env::Env;
use crate::execution::Execution;
use crate::handler::cancel_stage::cancel_effect_id;
use crate::handler::run_task::{effect_id, fail_with};
use crate::message::Message;
use crate::outcome::{Mode, Outcome, Reason, RunKind, TaskRun};
use crate::plan::DRY_RUN_TASK;
use crate::status::Status;
use crate::task::{ErrorClass, TaskError, TaskPolicy, TaskResult};
use crate::timing;

/// A key of a result's outputs that stays with the stage.
const NOT_AN_OUTPUT: &str = "stageTimeoutMs";

/// How long what a cancelled stage does outside is tried to be undone, from its end on, and how often.
const CANCEL_FOR_MS: i64 = 300_000;
const CANCEL_AGAIN_MS: u64 = 2_000;

/// Handles the answer of a worker. Total, like [`crate::handle`].
pub fn task_finished(
    run: &TaskRun,
    result: Result<TaskResult, TaskError>,
    execution: &Execution,
    env: &mut Env<'_>,
) -> Outcome {
    env.now = env.now.max(execution.latest());
    let Some(stage) = execution.stage(&run.stage_id) else {
        return ignored(Reason::Gone);
    };
    if run.run == RunKind::Cancel {
        return cancelled(run, result, execution, env);
    }
    let Some(task) = stage.task(&run.task_id) else {
        return ignored(Reason::Gone);
    };
    let same_attempt = run.effect_id == effect_id(execution, stage, task);
    if !same_attempt || !task.in_flight || task.runs != run.number {
        return ignored(Reason::Superseded);
    }
    let woken = task.wake;
    let mut change = Change::of(execution);
    // A task that is over stays in flight until that is recorded, so that no wake
    // in between runs it again.
    if let Some(task) = change.task(&run.stage_id, &run.task_id) {
        task.wake = false;
    }
    let complete = |status, original_status| Message::CompleteTask {
        stage_id: run.stage_id.clone(),
        task_id: run.task_id.clone(),
        status,
        original_status,
    };
    let policy = env.stages.task(&run.task_type).unwrap_or(TaskPolicy::PLAIN);
    let again = |change: &mut Change, asked| {
        if let Some(task) = change.task(&run.stage_id, &run.task_id) {
            task.in_flight = false;
        }
        let message = Message::RunTask {
            stage_id: run.stage_id.clone(),
            task_id: run.task_id.clone(),
        };
        let now = woken || execution.canceled || execution.status.is_complete();
        let delay = if now {
            0
        } else {
            timing::backoff_ms(stage, policy, asked)
        };
        change.send_as(message, Mode::Push, delay);
    };
    match result {
        Ok(result) => {
            merge(&mut change, run, result.context, result.outputs);
            if let (Some(_), Some(stage)) = (result.scheduled_time, change.stage(&run.stage_id)) {
                stage.scheduled_time = result.scheduled_time;
            }
            match result.status {
                Status::Running => {
                    if result.remind {
                        change.task_event("waiting", &run.stage_id, &run.task_id, env.now);
                    }
                    again(&mut change, result.backoff_ms);
                }
                Status::Succeeded
                | Status::Redirect
                | Status::Skipped
                | Status::FailedContinue
                | Status::Stopped => change.send(complete(result.status, result.status)),
                Status::Canceled | Status::Terminal => {
                    let becomes = stage.failure_status(result.status);
                    change.send(complete(becomes, result.status));
                }
                Status::NotStarted | Status::Paused | Status::Suspended | Status::Buffered => {
                    let message = format!(
                        "task {} answered {}, which no task may answer",
                        run.task_type, result.status
                    );
                    fail_with(
                        &mut change,
                        &run.stage_id,
                        &run.task_id,
                        "TaskFault",
                        &message,
                        &[],
                        env,
                    );
                    change.send(complete(
                        stage.failure_status(Status::Terminal),
                        Status::Terminal,
                    ));
                }
            }
        }
        Err(error) => {
            merge(&mut change, run, error.context.clone(), Map::new());
            match error.class {
                ErrorClass::Transient => again(&mut change, None),
                ErrorClass::Cancelled => {
                    change.send(complete(Status::Canceled, Status::Canceled));
                }
                ErrorClass::User | ErrorClass::Permanent => {
                    let kind = if error.class == ErrorClass::User {
                        "UserException"
                    } else {
                        "TaskException"
                    };
                    fail_with(
                        &mut change,
                        &run.stage_id,
                        &run.task_id,
                        kind,
                        &error.message,
                        &error.details,
                        env,
                    );
                    change.send(complete(
                        stage.failure_status(Status::Terminal),
                        Status::Terminal,
                    ));
                }
            }
        }
    }
    change.done()
}

/// What a dry run's only task answers.
pub fn dry_run_result(task_type: &str) -> Option<TaskResult> {
    (task_type == DRY_RUN_TASK).then(TaskResult::succeeded)
}

fn cancelled(
    run: &TaskRun,
    result: Result<TaskResult, TaskError>,
    execution: &Execution,
    env: &Env<'_>,
) -> Outcome {
    let mut change = Change::of(execution);
    let stage = execution.stage(&run.stage_id);
    // A restart began another attempt, whose cancelling and context are its own.
    let current = stage.is_some_and(|stage| {
        let same_attempt = run.effect_id == cancel_effect_id(execution, stage);
        same_attempt && stage.status.is_halt() && stage.undone
    });
    if !current {
        return ignored(Reason::Superseded);
    }
    let ended = stage.and_then(|s| s.end_time).unwrap_or(env.now);
    let in_time = env.now - ended < CANCEL_FOR_MS;
    let open = match &result {
        Ok(result) => result.status == Status::Running,
        Err(error) => error.class == ErrorClass::Transient,
    };
    let again = open && in_time;
    let context = match result {
        Ok(mut result) => {
            if open && !again {
                let text = "what it did outside was still under way when it was given up";
                result
                    .context
                    .insert("cancelFailure".to_owned(), text.into());
            }
            result.context
        }
        Err(_) if again => Map::new(),
        Err(error) => {
            let mut context = error.context;
            context.insert("cancelFailure".to_owned(), Value::String(error.message));
            context
        }
    };
    if again {
        if let Some(stage) = change.stage(&run.stage_id) {
            stage.undone = false;
        }
        let message = Message::CancelStage {
            stage_id: run.stage_id.clone(),
        };
        change.send_as(message, Mode::Push, CANCEL_AGAIN_MS);
    } else if context.is_empty() {
        return ignored(Reason::AlreadyDone);
    }
    merge(&mut change, run, context, Map::new());
    change.done()
}

fn merge(
    change: &mut Change,
    run: &TaskRun,
    context: Map<String, Value>,
    outputs: Map<String, Value>,
) {
    let Some(stage) = change.stage(&run.stage_id) else {
        return;
    };
    stage.context.extend(context);
    stage
        .outputs
        .extend(outputs.into_iter().filter(|(key, _)| key != NOT_AN_OUTPUT));
}
