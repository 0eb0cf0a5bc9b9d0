//! `resumeStage`: go on after a pause.
//!
//! | stage | → status | messages |
//! |---|---|---|
//! | PAUSED | RUNNING | `resumeTask` of its paused tasks |

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
    if stage.status != Status::Paused {
        return ignored(Reason::AlreadyDone);
    }
    let mut change = Change::of(execution);
    for task in stage.tasks.iter().filter(|t| t.status == Status::Paused) {
        let (stage_id, task_id) = (id.clone(), task.id.clone());
        change.send(Message::ResumeTask { stage_id, task_id });
    }
    if let Some(stage) = change.stage(id) {
        stage.status = Status::Running;
    }
    change.done()
}
