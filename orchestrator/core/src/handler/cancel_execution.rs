//! `cancelExecution`: end it at a person's wish.
//!
//! | execution | → | messages |
//! |---|---|---|
//! | complete | – | none |
//! | nothing of it runs, or it waits to be let in | CANCELED | `cancelStage` for what runs, release |
//! | otherwise | `canceled` | `resumeStage` for paused stages, `rescheduleExecution` |
//!
//! A running task notices at its next run, which the last message makes now.

use crate::change::{Change, ignored};
use crate::env::Env;
use crate::execution::Execution;
use crate::handler::complete_execution::release;
use crate::ids::StageId;
use crate::message::Message;
use crate::outcome::{Outcome, Reason};
use crate::status::Status;

pub(crate) fn handle(
    execution: &Execution,
    user: &str,
    reason: Option<&str>,
    env: &mut Env<'_>,
) -> Outcome {
    if execution.status.is_complete() {
        return ignored(Reason::ExecutionComplete);
    }
    let mut change = Change::of(execution);
    let header = change.header();
    header.canceled_by = Some(user.to_owned());
    header.cancellation_reason = reason.map(ToOwned::to_owned);
    header.canceled = true;
    if let Some(pause) = header.pauses.last_mut().filter(|p| p.resume_time.is_none()) {
        pause.resume_time = Some(env.now);
        pause.resumed_by = Some(user.to_owned());
    }
    let idle = |s: Status| s.is_complete() || s == Status::NotStarted;
    let open = execution.stages.iter().filter(|s| !idle(s.status));
    let open: Vec<StageId> = open.map(|s| s.id.clone()).collect();
    // One that was begun again and has not been let in yet may still have a stage of its former life.
    if open.is_empty() || execution.status == Status::NotStarted {
        change.set_status(Status::Canceled, env.now);
        for stage_id in open {
            change.send(Message::CancelStage { stage_id });
        }
        change.execution_event("complete", env.now);
        release(&mut change);
        return change.done();
    }
    if execution.status == Status::Paused {
        change.header().status = Status::Running;
    }
    let paused: Vec<StageId> = execution
        .stages
        .iter()
        .filter(|s| s.status == Status::Paused)
        .map(|s| s.id.clone())
        .collect();
    for stage_id in paused {
        change.send(Message::ResumeStage { stage_id });
    }
    change.send(Message::RescheduleExecution);
    change.done()
}
