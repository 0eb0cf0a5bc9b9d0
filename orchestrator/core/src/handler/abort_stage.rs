//! `abortStage`: one of its messages was given up.
//!
//! | stage | → status | messages |
//! |---|---|---|
//! | not complete | TERMINAL, with the reason | `cancelStage`, then the parent or the execution |

use crate::change::{Change, exception, ignored};
use crate::env::Env;
use crate::execution::Execution;
use crate::handler::end_of_branch;
use crate::ids::StageId;
use crate::message::Message;
use crate::outcome::{Outcome, Reason};
use crate::status::Status;

pub(crate) fn handle(
    execution: &Execution,
    id: &StageId,
    reason: &str,
    env: &mut Env<'_>,
) -> Outcome {
    let Some(stage) = execution.stage(id) else {
        return ignored(Reason::Gone);
    };
    if stage.status.is_complete() {
        return ignored(Reason::AlreadyDone);
    }
    let record = exception(env, "MessageGivenUp", "abort", reason, &[]);
    let mut change = Change::of(execution);
    if let Some(stage) = change.stage(id) {
        stage.status = Status::Terminal;
        stage.end_time = Some(env.now);
        stage.context.insert("exception".to_owned(), record);
        for task in stage
            .tasks
            .iter_mut()
            .filter(|t| t.status == Status::Running)
        {
            task.status = Status::Terminal;
            task.end_time = Some(env.now);
        }
    }
    change.send(Message::CancelStage {
        stage_id: id.clone(),
    });
    end_of_branch(&mut change, id);
    change.stage_event("complete", id, env.now);
    change.done()
}
