//! `startTask`: begin a task.
//!
//! | task | → status | messages |
//! |---|---|---|
//! | NOT_STARTED, its stage not complete | RUNNING | `runTask` |
//! | of a stage that ended meanwhile | – | none |

use crate::change::{Change, ignored};
use crate::env::Env;
use crate::execution::Execution;
use crate::ids::{StageId, TaskId};
use crate::message::Message;
use crate::outcome::{Outcome, Reason};
use crate::status::Status;

pub(crate) fn handle(
    execution: &Execution,
    stage_id: &StageId,
    task_id: &TaskId,
    env: &mut Env<'_>,
) -> Outcome {
    let found = execution
        .stage(stage_id)
        .and_then(|s| Some((s, s.task(task_id)?)));
    let Some((stage, task)) = found else {
        return ignored(Reason::Gone);
    };
    if stage.status.is_complete() || task.status != Status::NotStarted {
        return ignored(Reason::AlreadyDone);
    }
    let mut change = Change::of(execution);
    if let Some(task) = change.task(stage_id, task_id) {
        task.status = Status::Running;
        task.start_time = task.start_time.or(Some(env.now));
    }
    change.send(Message::RunTask {
        stage_id: stage_id.clone(),
        task_id: task_id.clone(),
    });
    change.task_event("started", stage_id, task_id, env.now);
    change.done()
}
