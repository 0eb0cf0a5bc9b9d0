//! `startExecution`: begin, or end at once.
//!
//! | execution | → status | messages |
//! |---|---|---|
//! | NOT_STARTED, wanted | RUNNING | `startStage` for what may begin |
//! | NOT_STARTED, too late and not restarted | – | `cancelExecution` |
//! | NOT_STARTED, its definition faulty or without a stage that may begin | TERMINAL | `startWaitingExecutions` |
//! | restarted, no stage may begin | RUNNING | `completeExecution` |
//! | CANCELED before it began | – | `startWaitingExecutions` |

use serde_json::json;

use crate::change::{Change, ignored};
use crate::env::Env;
use crate::execution::Execution;
use crate::handler::complete_execution::release;
use crate::ids::StageId;
use crate::message::Message;
use crate::outcome::{Outcome, Reason};
use crate::status::Status;

pub(crate) fn handle(execution: &Execution, env: &mut Env<'_>) -> Outcome {
    let mut change = Change::of(execution);
    if execution.canceled || execution.status == Status::Canceled {
        release(&mut change);
        return change.done();
    }
    if execution.status != Status::NotStarted {
        return ignored(Reason::AlreadyDone);
    }
    change.header().admitted = true;
    // A restart is begun by somebody who wants it now.
    let restarted = execution.top_level().any(|s| s.attempt > 0);
    let expiry = execution.start_time_expiry.filter(|_| !restarted);
    if expiry.is_some_and(|expiry| expiry < env.now) {
        let reason = Some("could not begin before its start time expired".to_owned());
        change.send(Message::CancelExecution {
            user: "gennaker".to_owned(),
            reason,
        });
        return change.done();
    }
    // After a restart, upstream stages may be over already.
    let ready: Vec<StageId> = execution
        .top_level()
        .filter(|s| s.status == Status::NotStarted)
        .filter(|s| {
            execution
                .upstream(s)
                .all(|u| u.status.lets_downstream_run())
        })
        .map(|s| s.id.clone())
        .collect();
    let fresh = execution
        .top_level()
        .all(|s| s.status == Status::NotStarted);
    if execution.failure.is_some() || (ready.is_empty() && fresh) {
        change.set_status(Status::Terminal, env.now);
        if execution.failure.is_none() {
            change.header().failure =
                Some("no stage can begin; add a stage without requisites".into());
        } else if !execution.stages.is_empty() {
            // As Orca shows what it could not launch (`orca: ExecutionLauncher.handleStartupFailure`);
            // one without stages it launches and ends.
            change.header().canceled = true;
            change.header().canceled_by = Some("system".to_owned());
        }
        let message = change.execution.failure.clone().unwrap_or_default();
        change.header().system_notifications.push(json!({
            "createdAt": env.now, "group": "start", "message": message, "closed": false,
        }));
        change.execution_event("complete", env.now);
        release(&mut change);
        return change.done();
    }
    change.set_status(Status::Running, env.now);
    if ready.is_empty() {
        // Restarted behind a stage that halts: that one decides how it ends.
        change.send(Message::CompleteExecution);
    }
    for stage_id in ready {
        change.send(Message::StartStage { stage_id });
    }
    change.execution_event("started", env.now);
    change.done()
}
