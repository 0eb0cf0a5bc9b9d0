//! `runTask`: have a worker run a task.
//!
//! | execution or stage | effect |
//! |---|---|
//! | a worker has it | remembered: it runs again at once when that worker is done |
//! | cancelled or complete | `completeTask` CANCELED |
//! | PAUSED | `pauseTask` |
//! | to be skipped | `completeTask` SKIPPED |
//! | out of time | `completeTask` by the failure options, or SUCCEEDED if it says so |
//! | otherwise | context evaluated, handed to a worker |

use serde_json::Value;

use crate::catalog::StageView;
use crate::change::{Change, exception, ignored};
use crate::env::Env;
use crate::execution::Execution;
use crate::ids::{StageId, TaskId};
use crate::message::Message;
use crate::outcome::{Outcome, Reason, RunKind, TaskRun};
use crate::plan::{self, DRY_RUN_TASK, Stop};
use crate::stage::Stage;
use crate::status::Status;
use crate::task::{Task, TaskPolicy};
use crate::timing;

fn is_skipped(execution: &Execution, stage: &Stage) -> bool {
    let mut at = Some(stage);
    while let Some(stage) = at {
        if stage.context.get("manualSkip") == Some(&Value::Bool(true)) {
            return true;
        }
        at = stage
            .parent_stage_id
            .as_ref()
            .and_then(|p| execution.stage(p));
    }
    false
}

pub(crate) fn handle(
    execution: &Execution,
    stage_id: &StageId,
    task_id: &TaskId,
    env: &mut Env<'_>,
) -> Outcome {
    let found = execution
        .stage(stage_id)
        .and_then(|s| Some((s, s.task(task_id)?)));
    let Some((stage, task)) = found else {
        return ignored(Reason::Gone);
    };
    if task.status != Status::Running {
        return ignored(Reason::AlreadyDone);
    }
    let mut change = Change::of(execution);
    let complete = |status, original_status| Message::CompleteTask {
        stage_id: stage_id.clone(),
        task_id: task_id.clone(),
        status,
        original_status,
    };
    if task.in_flight {
        if task.wake {
            return ignored(Reason::AlreadyDone);
        }
        if let Some(task) = change.task(stage_id, task_id) {
            task.wake = true;
        }
        return change.done();
    }
    if execution.canceled || execution.status.is_complete() || stage.status.is_complete() {
        change.send(complete(Status::Canceled, Status::Canceled));
        return change.done();
    }
    if execution.status == Status::Paused {
        change.send(Message::PauseTask {
            stage_id: stage_id.clone(),
            task_id: task_id.clone(),
        });
        return change.done();
    }
    if is_skipped(execution, stage) {
        change.send(complete(Status::Skipped, Status::Skipped));
        return change.done();
    }
    let known = env.stages.task(&task.implementing_class);
    let dry_run = task.implementing_class == DRY_RUN_TASK;
    let policy = known.or_else(|| dry_run.then_some(TaskPolicy::PLAIN));
    let Some(policy) = policy else {
        let message = format!(
            "there is no task of type \"{}\"; it may come from a newer version",
            task.implementing_class
        );
        fail(
            &mut change,
            stage_id,
            task_id,
            "UnknownTaskType",
            &message,
            env,
        );
        change.send(complete(
            stage.failure_status(Status::Terminal),
            Status::Terminal,
        ));
        return change.done();
    };
    if let Some(out) = timing::timed_out(execution, stage, task, policy, env.now) {
        if stage.flag("markSuccessfulOnTimeout") == Some(true) {
            change.send(complete(Status::Succeeded, Status::Succeeded));
            return change.done();
        }
        let view = StageView { execution, stage };
        let definition = env.stages.stage(stage.definition());
        let overdue = definition.and_then(|definition| definition.overdue(view));
        let message = format!(
            "{}{} of stage {} timed out after {}. pausedDuration: {}, elapsedTime: {}, timeoutValue: {}",
            overdue.map_or(String::new(), |waited| format!("{waited}: ")),
            task.implementing_class,
            stage.name,
            timing::words(out.elapsed_ms),
            timing::words(out.paused_ms),
            timing::words(out.elapsed_ms),
            timing::words(out.limit_ms),
        );
        fail(
            &mut change,
            stage_id,
            task_id,
            "TimeoutException",
            &message,
            env,
        );
        change.send(complete(
            stage.failure_status(Status::Terminal),
            Status::Terminal,
        ));
        return change.done();
    }
    match plan::evaluate(&mut change, stage_id, env) {
        Err(Stop::Needs(needs)) => return Outcome::Needs(needs),
        Err(Stop::Failed(_)) | Ok(()) => {}
    }
    let Some(task) = change.task(stage_id, task_id) else {
        return ignored(Reason::Gone);
    };
    task.runs += 1;
    task.in_flight = true;
    task.wake = false;
    let (number, task_type) = (task.runs, task.implementing_class.clone());
    let effect_id = effect_id(execution, stage, task);
    change.run(TaskRun {
        execution_id: execution.id.clone(),
        application: execution.application.clone(),
        stage_id: stage_id.clone(),
        task_id: task_id.clone(),
        task_type,
        run: RunKind::Run,
        number,
        effect_id,
    });
    change.done()
}

/// What a task does outside is done once under this id. A round of a loop is work of
/// its own, so from the second round on the id says which: `…/2.1`.
/// The id of what a task does outside, in this attempt of its stage.
pub fn effect_id(execution: &Execution, stage: &Stage, task: &Task) -> String {
    let base = format!(
        "{}/{}/{}/{}",
        execution.id, stage.id, stage.attempt, task.id
    );
    match task.round {
        0 => base,
        round => format!("{base}.{round}"),
    }
}

/// Records why a task failed, in the stage and in the task.
pub(crate) fn fail(
    change: &mut Change,
    stage_id: &StageId,
    task_id: &TaskId,
    kind: &str,
    message: &str,
    env: &Env<'_>,
) {
    fail_with(change, stage_id, task_id, kind, message, &[], env);
}

/// The same with further lines for the user.
pub(crate) fn fail_with(
    change: &mut Change,
    stage_id: &StageId,
    task_id: &TaskId,
    kind: &str,
    message: &str,
    more: &[String],
    env: &Env<'_>,
) {
    let name = change
        .execution
        .stage(stage_id)
        .and_then(|s| s.task(task_id));
    let name = name.map(|t| t.name.clone()).unwrap_or_default();
    let record = exception(env, kind, &name, message, more);
    if let Some(stage) = change.stage(stage_id) {
        stage.context.insert("exception".to_owned(), record.clone());
        if let Some(task) = stage.task_mut(task_id) {
            task.task_exception_details
                .insert("exception".to_owned(), record);
        }
    }
}
