//! `cancelStage`: undo what a failed or cancelled stage still does outside.
//!
//! | stage | effect |
//! |---|---|
//! | RUNNING or PAUSED, of an execution that a restart took up again | none |
//! | RUNNING or PAUSED | `runTask` of its running tasks at once, which cancels them; without any, `completeStage` |
//! | halted, its type can cancel | a run of kind cancel, one at a time, until it says it is done |
//! | otherwise | none |

use crate::catalog::StageView;
use crate::change::{Change, ignored};
use crate::env::Env;
use crate::execution::Execution;
use crate::ids::{StageId, TaskId};
use crate::message::Message;
use crate::outcome::{Outcome, Reason, RunKind, TaskRun};
use crate::stage::Stage;
use crate::status::Status;

pub(crate) fn handle(execution: &Execution, id: &StageId, env: &mut Env<'_>) -> Outcome {
    let Some(stage) = execution.stage(id) else {
        return ignored(Reason::Gone);
    };
    let mut change = Change::of(execution);
    if matches!(stage.status, Status::Running | Status::Paused) {
        if matches!(execution.status, Status::Running | Status::Paused) && !execution.canceled {
            // Sent by an end that a restart has undone.
            return ignored(Reason::Superseded);
        }
        let mut running = false;
        for task in stage.tasks.iter().filter(|t| t.status == Status::Running) {
            running = true;
            let (stage_id, task_id) = (id.clone(), task.id.clone());
            change.send(Message::RunTask { stage_id, task_id });
        }
        if !running {
            if let Some(stage) = change.stage(id) {
                stage.status = Status::Running;
                for task in stage
                    .tasks
                    .iter_mut()
                    .filter(|t| t.status == Status::Paused)
                {
                    task.status = Status::Canceled;
                    task.end_time = Some(env.now);
                }
            }
            change.send(Message::CompleteStage {
                stage_id: id.clone(),
            });
        }
        return change.done();
    }
    if !stage.status.is_halt() {
        return ignored(Reason::AlreadyDone);
    }
    let view = StageView { execution, stage };
    let definition = env.stages.stage(stage.definition());
    let Some(task_type) = definition.and_then(|d| d.cancel_task(view)) else {
        return ignored(Reason::AlreadyDone);
    };
    if stage.undone {
        return ignored(Reason::AlreadyDone);
    }
    if let Some(stage) = change.stage(id) {
        stage.undone = true;
    }
    change.run(TaskRun {
        execution_id: execution.id.clone(),
        application: execution.application.clone(),
        stage_id: id.clone(),
        task_id: stage
            .tasks
            .last()
            .map_or_else(|| TaskId::new("cancel"), |t| t.id.clone()),
        task_type: task_type.to_owned(),
        run: RunKind::Cancel,
        number: 0,
        effect_id: cancel_effect_id(execution, stage),
    });
    change.done()
}

/// The id of what undoes an attempt of a stage.
pub(crate) fn cancel_effect_id(execution: &Execution, stage: &Stage) -> String {
    format!("{}/{}/{}/cancel", execution.id, stage.id, stage.attempt)
}
