//! `startStage`: begin a stage if its requisites allow it.
//!
//! | stage | → status | messages |
//! |---|---|---|
//! | of an execution that is over | – | `completeStage` of its parent |
//! | an upstream halted | – | `completeExecution` |
//! | an upstream is not over | – | none: its end sends this again |
//! | complete: it ended while an upstream ran again | – | `completeExecution` |
//! | not NOT_STARTED, or could not be planned before | – | none |
//! | disabled, or too late | – | `skipStage` |
//! | planned | RUNNING | `startStage` of before-stages, else `startTask`, else `completeStage` |
//! | cannot be planned | – | `completeStage`, which fails it |

use serde_json::Value;

use crate::change::{Change, exception, ignored};
use crate::context;
use crate::env::Env;
use crate::execution::{Execution, ExecutionType};
use crate::handler::start_work;
use crate::ids::StageId;
use crate::message::Message;
use crate::outcome::{Lookup, Outcome, Reason};
use crate::plan::{self, Stop};
use crate::stage::{Owner, Stage};
use crate::status::Status;

/// Mark of a stage that could not be planned, as in Orca.
pub(crate) const PLANNING_FAILED: &str = "beforeStagePlanningFailed";

fn upstream_halted(execution: &Execution, stage: &Stage) -> bool {
    // Bounded by the number of stages: a chain of stages that have not begun.
    let mut open: Vec<&Stage> = execution.upstream(stage).collect();
    let mut seen = Vec::new();
    while let Some(at) = open.pop() {
        if at.status.is_halt() {
            return true;
        }
        if at.status == Status::NotStarted && !seen.contains(&&at.id) {
            seen.push(&at.id);
            open.extend(execution.upstream(at));
        }
    }
    false
}

/// Whether `stageEnabled` says no. Its own, or that of the stage that planned it;
/// an expression that fails or is not exactly true or false skips, as in Orca.
fn is_disabled(execution: &Execution, stage: &Stage, env: &Env<'_>) -> Result<bool, Vec<Lookup>> {
    if execution.kind != ExecutionType::Pipeline {
        return Ok(false);
    }
    let owner = match stage.context.get("stageEnabled") {
        Some(Value::Object(_)) => stage,
        _ => match stage
            .parent_stage_id
            .as_ref()
            .and_then(|p| execution.stage(p))
        {
            Some(parent) => return is_disabled(execution, parent, env),
            None => return Ok(false),
        },
    };
    let field = |key: &str| owner.context.get("stageEnabled").and_then(|e| e.get(key));
    let is_expression = field("type")
        .and_then(Value::as_str)
        .is_some_and(|kind| kind.eq_ignore_ascii_case("expression"));
    let text = match field("expression") {
        Some(Value::String(text)) if is_expression && !text.trim().is_empty() => text.clone(),
        Some(Value::Bool(flag)) if is_expression => return Ok(!flag),
        _ => return Ok(false),
    };
    let bare = text.trim();
    let template = if bare.starts_with("${") {
        bare.to_owned()
    } else {
        format!("${{{bare}}}")
    };
    let evaluated = context::evaluate(execution, Some(stage), &template.into(), env)?;
    let answer = match evaluated.value {
        Value::Bool(flag) => Some(flag),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    };
    Ok(answer != Some(true))
}

pub(crate) fn handle(execution: &Execution, id: &StageId, env: &mut Env<'_>) -> Outcome {
    let Some(stage) = execution.stage(id) else {
        return ignored(Reason::Gone);
    };
    let mut change = Change::of(execution);
    if execution.status.is_complete() {
        let Some(parent) = stage.parent_stage_id.clone() else {
            return ignored(Reason::ExecutionComplete);
        };
        // The stage that planned it still has to notice the end.
        change.send(Message::CompleteStage { stage_id: parent });
        return change.done();
    }
    if upstream_halted(execution, stage) {
        change.send(Message::CompleteExecution);
        return change.done();
    }
    if !execution
        .upstream(stage)
        .all(|u| u.status.lets_downstream_run())
    {
        return ignored(Reason::NotYet);
    }
    if stage.status.is_complete() && !stage.is_synthetic() {
        // It ended while something upstream was run again, so its end could not be
        // the execution's: that one's end may be.
        change.send(Message::CompleteExecution);
        return change.done();
    }
    let failed_to_plan = stage.start_time.is_some() && stage.flag(PLANNING_FAILED) == Some(true);
    if stage.status != Status::NotStarted || failed_to_plan {
        return ignored(Reason::AlreadyDone);
    }
    match is_disabled(execution, stage, env) {
        Err(needs) => return Outcome::Needs(needs),
        Ok(true) => {
            change.send(Message::SkipStage {
                stage_id: id.clone(),
            });
            return change.done();
        }
        Ok(false) => {}
    }
    if execution.canceled
        || stage
            .start_time_expiry
            .is_some_and(|expiry| expiry < env.now)
    {
        if execution.canceled {
            if let Some(stage) = change.stage(id) {
                stage.status = Status::Canceled;
                stage.end_time = Some(env.now);
            }
            crate::handler::end_of_branch(&mut change, id);
        } else {
            change.send(Message::SkipStage {
                stage_id: id.clone(),
            });
        }
        return change.done();
    }
    if let Some(stage) = change.stage(id) {
        stage.start_time = Some(env.now);
    }
    match plan::start(&mut change, id, env) {
        Err(Stop::Needs(needs)) => return Outcome::Needs(needs),
        Err(Stop::Failed(message)) => {
            let record = exception(env, "StagePlanningException", "planning", &message, &[]);
            if let Some(stage) = change.stage(id) {
                stage.context.insert("exception".to_owned(), record);
                stage
                    .context
                    .insert(PLANNING_FAILED.to_owned(), Value::Bool(true));
            }
            change.send(Message::CompleteStage {
                stage_id: id.clone(),
            });
            return change.done();
        }
        Ok(()) => {}
    }
    if let Some(stage) = change.stage(id) {
        stage.status = Status::Running;
    }
    let before: Vec<StageId> = change
        .execution
        .synthetics(id, Some(Owner::StageBefore))
        .filter(|s| s.requisite_stage_ref_ids.is_empty())
        .map(|s| s.id.clone())
        .collect();
    if before.is_empty() {
        start_work(&mut change, id);
    }
    for stage_id in before {
        change.send(Message::StartStage { stage_id });
    }
    change.stage_event("started", id, env.now);
    change.done()
}
