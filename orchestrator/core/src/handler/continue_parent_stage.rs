//! `continueParentStage`: a synthetic stage is over; see whether its parent can go on.
//!
//! | side | its stages | messages |
//! |---|---|---|
//! | before | all let the parent go on | `startTask` of the first task, else `completeStage` |
//! | before | all over, an ignored failure among them | `completeStage` |
//! | after | all complete | `completeStage` |
//! | either | otherwise | none: the last one's end sends this again |
//!
//! Differs from Spinnaker: there an ignored failure of a before-stage ends the
//! parent only if that stage was the last to end; both at once began the parent's
//! tasks beside its on-failure stages. Here it always ends the parent.

use crate::change::{Change, ignored};
use crate::env::Env;
use crate::execution::Execution;
use crate::handler::complete_stage::lets_siblings_continue;
use crate::handler::start_work;
use crate::ids::StageId;
use crate::message::Message;
use crate::outcome::{Outcome, Reason};
use crate::stage::Owner;
use crate::status::Status;

pub(crate) fn handle(execution: &Execution, id: &StageId, phase: Owner, env: &Env<'_>) -> Outcome {
    let Some(stage) = execution.stage(id) else {
        return ignored(Reason::Gone);
    };
    if !matches!(stage.status, Status::Running | Status::Paused) {
        return ignored(Reason::AlreadyDone);
    }
    let mut change = Change::of(execution);
    let mut children = execution.synthetics(id, Some(phase));
    match phase {
        Owner::StageBefore => {
            if !children.all(|s| s.status.lets_downstream_run()) {
                return ignored(Reason::NotYet);
            }
            let ends_parent = execution.synthetics(id, Some(phase)).any(|s| {
                s.status == Status::FailedContinue && !lets_siblings_continue(s, env.stages)
            });
            if ends_parent {
                change.send(Message::CompleteStage {
                    stage_id: id.clone(),
                });
            } else {
                start_work(&mut change, id);
            }
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
