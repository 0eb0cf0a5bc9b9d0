//! `pauseTask`: a task has noticed the pause.
//!
//! | task | → status | messages |
//! |---|---|---|
//! | RUNNING | PAUSED | `pauseStage` |

use crate::change::{Change, ignored};
use crate::execution::Execution;
use crate::ids::{StageId, TaskId};
use crate::message::Message;
use crate::outcome::{Outcome, Reason};
use crate::status::Status;

pub(crate) fn handle(execution: &Execution, stage_id: &StageId, task_id: &TaskId) -> Outcome {
    let task = execution.stage(stage_id).and_then(|s| s.task(task_id));
    let Some(task) = task else {
        return ignored(Reason::Gone);
    };
    if task.status != Status::Running || execution.status != Status::Paused {
        return ignored(Reason::AlreadyDone);
    }
    let mut change = Change::of(execution);
    if let Some(task) = change.task(stage_id, task_id) {
        task.status = Status::Paused;
    }
    change.send(Message::PauseStage {
        stage_id: stage_id.clone(),
    });
    change.done()
}
