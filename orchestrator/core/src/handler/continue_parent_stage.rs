//! `continueParentStage`: a synthetic stage is over; see whether its parent can go on.
//!
//! | side | its stages | messages |
//! |---|---|---|
//! | before | all let the parent go on | `startTask` of the first task, else `completeStage` |
//! | after | all complete | `completeStage` |
//! | either | otherwise | none: the last one's end sends this again |

use crate::change::{Change, ignored};
use crate::execution::Execution;
use crate::handler::start_work;
use crate::ids::StageId;
use crate::message::Message;
use crate::outcome::{Outcome, Reason};
use crate::stage::Owner;
use crate::status::Status;

pub(crate) fn handle(execution: &Execution, id: &StageId, phase: Owner) -> Outcome {
    let Some(stage) = execution.stage(id) else {
        return ignored(Reason::Gone);
    };
    if stage.status != Status::Running {
        return ignored(Reason::AlreadyDone);
    }
    let mut change = Change::of(execution);
    let mut children = execution.synthetics(id, Some(phase));
    match phase {
        Owner::StageBefore => {
            if !children.all(|s| s.status.lets_downstream_run()) {
                return ignored(Reason::NotYet);
            }
            start_work(&mut change, id);
        }
        Owner::StageAfter => {
            if !children.all(|s| s.status.is_complete()) {
                return ignored(Reason::NotYet);
            }
            change.send(Message::CompleteStage {
                stage_id: id.clone(),
            });
        }
    }
    change.done()
}
