//! `skipStage`: pass over a stage.
//!
//! | stage | → status | messages |
//! |---|---|---|
//! | NOT_STARTED, RUNNING or PAUSED | SKIPPED, its unfinished tasks and synthetics too | what follows |

use serde_json::Value;

use crate::change::{Change, ignored};
use crate::env::Env;
use crate::execution::Execution;
use crate::handler::start_next;
use crate::ids::StageId;
use crate::outcome::{Outcome, Reason};
use crate::status::Status;

pub(crate) fn handle(execution: &Execution, id: &StageId, env: &mut Env<'_>) -> Outcome {
    let Some(stage) = execution.stage(id) else {
        return ignored(Reason::Gone);
    };
    let manual = stage.context.get("manualSkip") == Some(&Value::Bool(true));
    // A pause may come between the wish and this.
    let open = [Status::Running, Status::NotStarted, Status::Paused];
    if !open.contains(&stage.status) {
        return ignored(Reason::AlreadyDone);
    }
    let mut change = Change::of(execution);
    let mut skipped = vec![id.clone()];
    if manual {
        skipped.extend(execution.descendants(id));
    }
    for at in skipped {
        let Some(stage) = change.stage(&at).filter(|s| !s.status.is_complete()) else {
            continue;
        };
        stage.status = Status::Skipped;
        stage.end_time = Some(env.now);
        for task in stage.tasks.iter_mut().filter(|t| !t.status.is_complete()) {
            // Whoever has it finds that it is not wanted any more.
            task.in_flight = false;
            task.wake = false;
            if task.status != Status::NotStarted {
                task.status = Status::Skipped;
                task.end_time = Some(env.now);
            }
        }
    }
    start_next(&mut change, id);
    change.stage_event("complete", id, env.now);
    change.done()
}
