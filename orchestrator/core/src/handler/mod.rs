//! One file per message. Each begins with the table of what it does to whom.

pub(crate) mod abort_stage;
pub(crate) mod cancel_execution;
pub(crate) mod cancel_stage;
pub(crate) mod complete_execution;
pub(crate) mod complete_stage;
pub(crate) mod complete_task;
pub(crate) mod continue_parent_stage;
pub(crate) mod join_gate;
pub(crate) mod pause_stage;
pub(crate) mod pause_task;
pub(crate) mod reschedule_execution;
pub(crate) mod restart_stage;
pub(crate) mod resume_execution;
pub(crate) mod resume_stage;
pub(crate) mod resume_task;
pub(crate) mod run_task;
pub(crate) mod skip_stage;
pub(crate) mod start_execution;
pub(crate) mod start_stage;
pub(crate) mod start_task;

use crate::change::Change;
use crate::ids::StageId;
use crate::message::Message;
use crate::outcome::Mode;
use crate::stage::Owner;
use crate::status::Status;

/// Starts what follows a stage that is over: downstream stages, else its parent,
/// else the end of the execution (`orca: StageExecution.startNext`).
pub(crate) fn start_next(change: &mut Change, id: &StageId) {
    let Some(stage) = change.execution.stage(id).cloned() else {
        return;
    };
    let downstream: Vec<StageId> = change
        .execution
        .downstream(&stage)
        .map(|s| s.id.clone())
        .collect();
    if !downstream.is_empty() {
        for stage_id in downstream {
            change.send(Message::StartStage { stage_id });
        }
        return;
    }
    match (stage.parent_stage_id, stage.synthetic_stage_owner) {
        (Some(parent), owner) => {
            let phase = owner.unwrap_or(Owner::StageBefore);
            let message = Message::ContinueParentStage {
                stage_id: parent,
                phase,
            };
            change.send_as(message, Mode::Ensure, 0);
        }
        (None, _) => change.send(Message::CompleteExecution),
    }
}

/// Starts the first of a stage's own work: its first task that has not started,
/// else its after-stages, else its end.
pub(crate) fn start_work(change: &mut Change, id: &StageId) {
    let Some(stage) = change.execution.stage(id) else {
        return;
    };
    if let Some(task) = stage.tasks.first() {
        let (stage_id, task_id) = (id.clone(), task.id.clone());
        if task.status == Status::NotStarted {
            change.send(Message::StartTask { stage_id, task_id });
        }
        return;
    }
    change.send(Message::CompleteStage {
        stage_id: id.clone(),
    });
}

/// Tells whoever waits for a stage that ended without letting others run.
pub(crate) fn end_of_branch(change: &mut Change, id: &StageId) {
    let parent = change
        .execution
        .stage(id)
        .and_then(|s| s.parent_stage_id.clone());
    match parent {
        Some(stage_id) => change.send(Message::CompleteStage { stage_id }),
        None => change.send(Message::CompleteExecution),
    }
}
