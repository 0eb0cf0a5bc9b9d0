//! `resumeExecution`: go on after a pause.
//!
//! | execution | → | messages |
//! |---|---|---|
//! | PAUSED | RUNNING | `resumeStage` for each paused stage, `rescheduleExecution` |

use crate::change::{Change, ignored};
use crate::env::Env;
use crate::execution::Execution;
use crate::ids::StageId;
use crate::message::Message;
use crate::outcome::{Outcome, Reason};
use crate::status::Status;

pub(crate) fn handle(execution: &Execution, user: &str, env: &mut Env<'_>) -> Outcome {
    if execution.status != Status::Paused {
        return ignored(Reason::AlreadyDone);
    }
    let mut change = Change::of(execution);
    resume(&mut change, user, env);
    change.execution_event("resumed", env.now);
    change.done()
}

/// Ends the pause of everything that noticed it.
pub(crate) fn resume(change: &mut Change, user: &str, env: &Env<'_>) {
    let header = change.header();
    header.status = Status::Running;
    if let Some(pause) = header.pauses.last_mut().filter(|p| p.resume_time.is_none()) {
        pause.resumed_by = Some(user.to_owned());
        pause.resume_time = Some(env.now);
    }
    let paused: Vec<StageId> = change
        .execution
        .stages
        .iter()
        .filter(|s| s.status == Status::Paused)
        .map(|s| s.id.clone())
        .collect();
    for stage_id in paused {
        change.send(Message::ResumeStage { stage_id });
    }
    change.send(Message::RescheduleExecution);
}
