//! `rescheduleExecution`: look at every running task now.
//!
//! | task | messages |
//! |---|---|
//! | RUNNING, waiting for its next run | `runTask` at once |
//! | RUNNING, with a worker | none: it is woken when the worker is done |

use crate::change::Change;
use crate::execution::Execution;
use crate::message::Message;
use crate::outcome::Outcome;
use crate::status::Status;

pub(crate) fn handle(execution: &Execution) -> Outcome {
    let mut change = Change::of(execution);
    for stage in execution
        .stages
        .iter()
        .filter(|s| s.status == Status::Running)
    {
        for task in stage.tasks.iter().filter(|t| t.status == Status::Running) {
            let (stage_id, task_id) = (stage.id.clone(), task.id.clone());
            change.send(Message::RunTask { stage_id, task_id });
        }
    }
    change.done()
}
