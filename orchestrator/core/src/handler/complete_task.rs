//! `completeTask`: a task is over.
//!
//! | result | → | messages |
//! |---|---|---|
//! | REDIRECT | its loop NOT_STARTED | `startTask` of the loop's first |
//! | the stage is skipped by hand | status | `skipStage` of the top-level stage |
//! | last of its stage, or halting and not ignored | status | `completeStage` |
//! | otherwise | status | `startTask` of the next |

use serde_json::Value;

use crate::change::{Change, ignored};
use crate::env::Env;
use crate::execution::Execution;
use crate::ids::{StageId, TaskId};
use crate::message::Message;
use crate::outcome::{Outcome, Reason};
use crate::plan::{self, Stop};
use crate::status::Status;

pub(crate) fn handle(
    execution: &Execution,
    stage_id: &StageId,
    task_id: &TaskId,
    status: Status,
    original_status: Status,
    env: &mut Env<'_>,
) -> Outcome {
    let found = execution
        .stage(stage_id)
        .and_then(|s| Some((s, s.task(task_id)?)));
    let Some((stage, task)) = found else {
        return ignored(Reason::Gone);
    };
    if task.status.is_complete() || task.status == Status::NotStarted {
        return ignored(Reason::AlreadyDone);
    }
    let mut change = Change::of(execution);
    if status == Status::Redirect {
        return redirect(change, stage_id);
    }
    if let Some(task) = change.task(stage_id, task_id) {
        task.status = status;
        task.end_time = Some(env.now);
        task.in_flight = false;
        task.wake = false;
    }
    // What the task put into the context may hold expressions.
    match plan::evaluate(&mut change, stage_id, env) {
        Err(Stop::Needs(needs)) => return Outcome::Needs(needs),
        Err(Stop::Failed(_)) | Ok(()) => {}
    }
    change.task_event("complete", stage_id, task_id, env.now);
    let top = execution.top_of(stage);
    let skipped = [stage, top]
        .iter()
        .any(|s| s.context.get("manualSkip") == Some(&Value::Bool(true)));
    let halts = status.is_halt() && original_status != Status::FailedContinue;
    if skipped && status == Status::Skipped {
        change.send(Message::SkipStage {
            stage_id: top.id.clone(),
        });
    } else if halts {
        change.send(Message::CompleteStage {
            stage_id: stage_id.clone(),
        });
    } else {
        match stage.task_after(task_id) {
            Some(next) => {
                let (stage_id, task_id) = (stage_id.clone(), next.id.clone());
                change.send(Message::StartTask { stage_id, task_id });
            }
            None => change.send(Message::CompleteStage {
                stage_id: stage_id.clone(),
            }),
        }
    }
    change.done()
}

/// Resets the loop and starts it over.
fn redirect(mut change: Change, stage_id: &StageId) -> Outcome {
    let Some(stage) = change.stage(stage_id) else {
        return ignored(Reason::Gone);
    };
    let first = stage.tasks.iter().position(|t| t.loop_start).unwrap_or(0);
    let last = stage
        .tasks
        .iter()
        .rposition(|t| t.loop_end)
        .unwrap_or(stage.tasks.len());
    let mut start = None;
    for (position, task) in stage.tasks.iter_mut().enumerate() {
        if position >= first && position <= last {
            task.status = Status::NotStarted;
            task.end_time = None;
            task.in_flight = false;
            task.wake = false;
            task.round += 1;
            if position == first {
                start = Some(task.id.clone());
            }
        }
    }
    if let Some(task_id) = start {
        change.send(Message::StartTask {
            stage_id: stage_id.clone(),
            task_id,
        });
    }
    change.done()
}
