//! `waitUntil`: pause until an instant. Source: `orca: WaitUntilStage`, `WaitUntilTask`.

use async_trait::async_trait;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, PlanError, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult,
    TaskSpec, timing,
};
use serde_json::{Map, Value, json};

use super::{StageType, schema};
use crate::task::{Task, TaskContext, number};

/// The type.
pub(super) static STAGE: WaitUntil = WaitUntil;

const TASK: &str = "waitUntil";
const INSTANT: &str = "epochMillis";
/// As long as Orca can wait: not quite 25 days.
const TIMEOUT_MS: u64 = 2_147_483_647;
const SHORTEST_LOOK_MS: u64 = 1_000;

/// See the module.
#[derive(Debug)]
pub(super) struct WaitUntil;

impl StageDefinition for WaitUntil {
    fn kind(&self) -> &'static str {
        "waitUntil"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Wait until",
            text: "Waits until an instant.",
            category: "flow",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new(TASK, TASK)])
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let fault = match context.get(INSTANT) {
            None | Some(Value::Null) => {
                "it is missing; set the instant in milliseconds since 1970".to_owned()
            }
            Some(Value::String(text)) if text.contains("${") => return Vec::new(),
            Some(value) if number(value).is_some() => return Vec::new(),
            Some(value) => no_instant(value),
        };
        vec![Fault::new(format!("{path}.{INSTANT}"), fault)]
    }

    fn schema(&self) -> Value {
        schema(
            &json!({INSTANT: {"type": "integer", "title": "Until",
                "description": "in milliseconds since 1970"}}),
            &[INSTANT],
        )
    }
}

impl StageType for WaitUntil {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&WaitUntilTask]
    }
}

fn no_instant(value: &Value) -> String {
    format!("{value} is no instant; use milliseconds since 1970")
}

#[derive(Debug)]
struct WaitUntilTask;

#[async_trait]
impl Task for WaitUntilTask {
    fn kind(&self) -> &'static str {
        TASK
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy {
            backoff_ms: SHORTEST_LOOK_MS,
            timeout_ms: Some(TIMEOUT_MS),
            overridable: false,
        }
    }

    fn decide(&self, ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        Some(decide(ctx))
    }
}

fn decide(ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
    let left = match ctx.own(INSTANT) {
        None => 0,
        Some(value) => {
            let instant = number(value).filter(|n| n.is_finite());
            let instant = instant
                .ok_or_else(|| TaskError::user(format!("{INSTANT}: {}", no_instant(value))))?;
            // Without a fraction it is printed as a whole number; later than all is never.
            let instant: i64 = format!("{instant:.0}").parse().unwrap_or(i64::MAX);
            instant.saturating_sub(ctx.now)
        }
    };
    if left <= 0 {
        return Ok(TaskResult::succeeded());
    }
    // Its limit ends it also if that comes first.
    let limit = ctx.task().and_then(|task| {
        let policy = WaitUntilTask.policy();
        timing::time_left(ctx.execution, ctx.stage, task, policy, ctx.now)
    });
    let next = u64::try_from(limit.map_or(left, |limit| limit.min(left))).unwrap_or(0);
    let mut result = TaskResult {
        backoff_ms: Some(next.max(SHORTEST_LOOK_MS)),
        ..TaskResult::running()
    };
    if ctx.own("startTime").is_none() {
        result = result.with_context("startTime", ctx.now);
    }
    Ok(result)
}
