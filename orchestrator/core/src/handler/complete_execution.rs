//! `completeExecution`: see whether it is over.
//!
//! | top-level stages | → status | messages |
//! |---|---|---|
//! | all SUCCEEDED, SKIPPED or FAILED_CONTINUE | SUCCEEDED | `cancelStage` for running ones, release |
//! | any TERMINAL | TERMINAL | the same |
//! | any CANCELED | CANCELED | the same |
//! | any STOPPED, nothing can go on | TERMINAL if it said so, else SUCCEEDED | the same |
//! | otherwise | – | none: what still runs sends this again |

use crate::change::{Change, ignored};
use crate::env::Env;
use crate::execution::Execution;
use crate::gate::gate_of;
use crate::ids::StageId;
use crate::message::Message;
use crate::outcome::{Outcome, Reason, Target};
use crate::status::Status;

/// Tells the pipeline's gate that this execution is over.
pub(crate) fn release(change: &mut Change) {
    let joined = change.execution.pipeline_config_id.clone();
    let joined = joined.filter(|_| change.execution.joined);
    let Some(gate) = gate_of(&change.execution).or(joined) else {
        return;
    };
    let message = Message::StartWaitingExecutions {
        pipeline_config_id: gate.clone(),
        execution_id: change.execution.id.clone(),
        purge_queue: !change.execution.keep_waiting_pipelines,
        life: Some(change.execution.life()),
    };
    change.header().admitted = false;
    change.header().joined = false;
    change.send_to(Target::Gate(gate), message);
}

/// The status the execution ends with, if it is over.
fn final_status(execution: &Execution) -> Option<Status> {
    let any = |status| execution.top_level().any(|s| s.status == status);
    if execution
        .top_level()
        .all(|s| s.status.lets_downstream_run())
    {
        return Some(Status::Succeeded);
    }
    if any(Status::Terminal) {
        return Some(Status::Terminal);
    }
    if any(Status::Canceled) {
        return Some(Status::Canceled);
    }
    let can_go_on = execution.top_level().any(|s| match s.status {
        Status::Running
        | Status::Paused
        | Status::Suspended
        | Status::Redirect
        | Status::Buffered => true,
        Status::NotStarted => execution
            .upstream(s)
            .all(|u| u.status.lets_downstream_run()),
        Status::Succeeded
        | Status::FailedContinue
        | Status::Terminal
        | Status::Canceled
        | Status::Stopped
        | Status::Skipped => false,
    });
    if any(Status::Stopped) && !can_go_on {
        let fails = execution.stages.iter().any(|s| {
            s.status == Status::Stopped && s.flag("completeOtherBranchesThenFail") == Some(true)
        });
        return Some(if fails {
            Status::Terminal
        } else {
            Status::Succeeded
        });
    }
    None
}

pub(crate) fn handle(execution: &Execution, env: &mut Env<'_>) -> Outcome {
    if execution.status.is_complete() {
        return ignored(Reason::AlreadyDone);
    }
    let Some(status) = final_status(execution) else {
        return ignored(Reason::NotYet);
    };
    let mut change = Change::of(execution);
    change.set_status(status, env.now);
    // Also of one that ends well: below a stage that is STOPPED another one may still run, or be paused.
    let running: Vec<StageId> = execution
        .stages
        .iter()
        .filter(|s| matches!(s.status, Status::Running | Status::Paused))
        .map(|s| s.id.clone())
        .collect();
    for stage_id in running {
        change.send(Message::CancelStage { stage_id });
    }
    change.execution_event("complete", env.now);
    release(&mut change);
    change.done()
}
