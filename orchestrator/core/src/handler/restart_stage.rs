//! `restartStage`: run a stage and what follows it again.
//!
//! | stage | → status | messages |
//! |---|---|---|
//! | top-level (or the one it belongs to), complete or NOT_STARTED | NOT_STARTED, downstream too | `startStage`, by way of the gate if there is one |
//! | otherwise | – | none |
//!
//! A paused execution goes on with it.

use serde_json::json;

use crate::change::{Change, ignored};
use crate::env::Env;
use crate::execution::Execution;
use crate::gate::{gate_of, limit};
use crate::handler::resume_execution::resume;
use crate::handler::start_stage::PLANNING_FAILED;
use crate::ids::StageId;
use crate::message::Message;
use crate::outcome::{Outcome, Reason, Target};
use crate::status::Status;

fn reset(change: &mut Change, id: &StageId, env: &Env<'_>) {
    for below in change.execution.descendants(id) {
        change.remove(&below);
    }
    let Some(stage) = change.stage(id) else {
        return;
    };
    stage.status = Status::NotStarted;
    stage.start_time = None;
    stage.end_time = None;
    stage.scheduled_time = None;
    stage.tasks.clear();
    stage.outputs.clear();
    stage.attempt += 1;
    stage.undone = false;
    for key in [
        "exception",
        PLANNING_FAILED,
        "kato.tasks",
        "kato.last.task.id",
    ] {
        stage.context.shift_remove(key);
    }
    if let Some(definition) = env.stages.stage(stage.definition()) {
        definition.prepare_restart(stage);
    }
}

fn with_downstream(execution: &Execution, id: &StageId) -> Vec<StageId> {
    let mut found = vec![id.clone()];
    let mut next = 0;
    while let Some(at) = found.get(next).cloned() {
        next += 1;
        let Some(stage) = execution.stage(&at) else {
            continue;
        };
        for below in execution.downstream(stage) {
            if !found.contains(&below.id) {
                found.push(below.id.clone());
            }
        }
    }
    found
}

pub(crate) fn handle(
    execution: &Execution,
    id: &StageId,
    user: &str,
    env: &mut Env<'_>,
) -> Outcome {
    let Some(stage) = execution.stage(id) else {
        return ignored(Reason::Gone);
    };
    if execution.failure.is_some() {
        // Its definition is faulty: run again, it could wait for ever.
        return ignored(Reason::ExecutionComplete);
    }
    let top = execution.top_of(stage).id.clone();
    let status = execution.stage(&top).map_or(Status::Running, |s| s.status);
    if !(status.is_complete() || status == Status::NotStarted) {
        return ignored(Reason::NotYet);
    }
    if status == Status::NotStarted && execution.status == Status::Running {
        return ignored(Reason::AlreadyDone);
    }
    let mut change = Change::of(execution);
    // First, for what each type of stage keeps of the run before is put into it.
    if let Some(stage) = change.stage(&top) {
        let mut details = json!({"restartedBy": user, "restartTime": env.now});
        let previous = stage.context.get("exception").cloned();
        if let (Some(previous), Some(fields)) = (previous, details.as_object_mut()) {
            fields.insert("previousException".to_owned(), previous);
        }
        stage.context.insert("restartDetails".to_owned(), details);
    }
    for reset_id in with_downstream(execution, &top) {
        // One that could not be planned waits for its end, which must not come any more.
        let ran = execution
            .stage(&reset_id)
            .is_some_and(|s| s.status.is_complete() || s.flag(PLANNING_FAILED) == Some(true));
        if ran || reset_id == top {
            reset(&mut change, &reset_id, env);
        }
    }
    if let Some(stage) = change.stage(&top) {
        stage.context.shift_remove("manualSkip");
    }
    let header = change.header();
    // Who cancelled it before, and why, stays, as in Orca.
    header.canceled = false;
    header.end_time = None;
    match gate_of(execution) {
        Some(gate) if !execution.admitted => {
            change.header().status = Status::NotStarted;
            let message = Message::StartExecution {
                execution_id: execution.id.clone(),
                application: execution.application.clone(),
                limit: limit(execution),
                beside: Vec::new(),
                life: Some(change.execution.life()),
            };
            change.send_to(Target::Gate(gate), message);
        }
        _ => {
            // Some may be paused though the execution ended: their cancelling is undone.
            let paused = execution.stages.iter().any(|s| s.status == Status::Paused);
            if paused || execution.status == Status::Paused {
                resume(&mut change, user, env);
            }
            change.set_status(Status::Running, env.now);
            // Beside this one, what the end before kept from beginning.
            let execution = &change.execution;
            let ready: Vec<StageId> = execution
                .top_level()
                .filter(|s| s.status == Status::NotStarted)
                .filter(|s| {
                    let mut upstream = execution.upstream(s);
                    upstream.all(|u| u.status.lets_downstream_run()) || s.id == top
                })
                .map(|s| s.id.clone())
                .collect();
            for stage_id in ready {
                change.send(Message::StartStage { stage_id });
            }
            change.execution_event("started", env.now);
        }
    }
    change.done()
}
