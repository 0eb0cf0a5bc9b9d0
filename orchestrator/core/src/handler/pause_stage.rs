//! `pauseStage`: a task of the stage has noticed the pause.
//!
//! | stage | → status | messages |
//! |---|---|---|
//! | RUNNING | PAUSED | `pauseStage` of its parent |
//! | RUNNING, the pause is over | – | `resumeTask` of its paused tasks |

use crate::change::{Change, ignored};
use crate::execution::Execution;
use crate::ids::StageId;
use crate::message::Message;
use crate::outcome::{Outcome, Reason};
use crate::status::Status;

pub(crate) fn handle(execution: &Execution, id: &StageId) -> Outcome {
    let Some(stage) = execution.stage(id) else {
        return ignored(Reason::Gone);
    };
    if stage.status != Status::Running {
        return ignored(Reason::AlreadyDone);
    }
    let mut change = Change::of(execution);
    if execution.status != Status::Paused {
        // The end of the pause came between its tasks and it, so it missed it.
        for task in stage.tasks.iter().filter(|t| t.status == Status::Paused) {
            let (stage_id, task_id) = (id.clone(), task.id.clone());
            change.send(Message::ResumeTask { stage_id, task_id });
        }
        return change.done();
    }
    if let Some(parent) = stage.parent_stage_id.clone() {
        change.send(Message::PauseStage { stage_id: parent });
    }
    if let Some(stage) = change.stage(id) {
        stage.status = Status::Paused;
    }
    change.done()
}
