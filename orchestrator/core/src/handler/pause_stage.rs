//! `pauseStage`: a task of the stage has noticed the pause.
//!
//! | stage | → status | messages |
//! |---|---|---|
//! | RUNNING | PAUSED | `pauseStage` of its parent |

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
    if let Some(parent) = stage.parent_stage_id.clone() {
        change.send(Message::PauseStage { stage_id: parent });
    }
    if let Some(stage) = change.stage(id) {
        stage.status = Status::Paused;
    }
    change.done()
}
