//! `wait`: pause for a number of seconds. Source: `orca: WaitStage`, `WaitTask`.

use async_trait::async_trait;
use orchestrator_core::{
    Description, PlanError, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult, TaskSpec,
};
use serde_json::{Value, json};

use super::{StageType, schema};
use crate::task::{Task, TaskContext};

/// The type.
pub(super) static STAGE: Wait = Wait;

const TASK: &str = "wait";

/// See the module.
#[derive(Debug)]
pub(super) struct Wait;

impl StageDefinition for Wait {
    fn kind(&self) -> &'static str {
        "wait"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Wait",
            text: "Waits a specified number of seconds.",
            category: "flow",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new("wait", TASK)])
    }

    fn schema(&self) -> Value {
        schema(
            &json!({
                "waitTime": {"type": "number", "title": "Wait time", "description": "in seconds"},
                "skipRemainingWait": {"type": "boolean", "title": "Skip remaining wait"},
            }),
            &["waitTime"],
        )
    }
}

impl StageType for Wait {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&WaitTask]
    }
}

#[derive(Debug)]
struct WaitTask;

#[async_trait]
impl Task for WaitTask {
    fn kind(&self) -> &'static str {
        TASK
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::PLAIN
    }

    fn decide(&self, ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        Some(decide(ctx))
    }
}

fn decide(ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
    if ctx.flag("skipRemainingWait") {
        return Ok(TaskResult::succeeded());
    }
    let seconds = match ctx.own("waitTime") {
        None => 0.0,
        Some(value) => crate::task::number(value)
            .filter(|s| *s >= 0.0 && s.is_finite())
            .ok_or_else(|| {
                TaskError::user(format!(
                    "waitTime {value} is no number of seconds; correct it"
                ))
            })?,
    };
    let start = ctx.stage.start_time.unwrap_or(ctx.now);
    let elapsed = u64::try_from(ctx.now - start).unwrap_or(0);
    // At most about 31 years, so that the product stays a whole number.
    let wanted = std::time::Duration::from_secs_f64(seconds.min(1e9)).as_millis();
    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
    if elapsed >= wanted {
        return Ok(TaskResult::succeeded());
    }
    Ok(TaskResult {
        backoff_ms: Some(wanted - elapsed),
        ..TaskResult::running()
    })
}
