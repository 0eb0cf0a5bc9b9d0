//! Starts the child. What it receives is what its parent's stage can see; which of that
//! it expects, and everything else that is known at a start, is the engine's to find out.

use async_trait::async_trait;
use authorization::Permission;
use orchestrator_core::{TaskError, TaskPolicy, TaskResult};
use serde_json::{Map, Value, json};

use super::{is_strategy, pipeline_of};
use crate::stage::strategy::custom;
use crate::task::{Pool, Task, TaskContext, access, child, failed};

/// The task.
#[derive(Debug)]
pub(super) struct Start;

/// The trigger that the child holds.
fn trigger(ctx: &TaskContext<'_>, event: &str) -> Value {
    let parameters = ctx.own("pipelineParameters").cloned();
    let mut trigger = child::trigger(ctx, event, parameters.unwrap_or_else(|| json!({})));
    trigger["strategy"] = is_strategy(&ctx.stage.context).into();
    if let Some(deployment) = custom::deployment(ctx.execution, &ctx.stage.context) {
        trigger["strategy"] = true.into();
        trigger[custom::DEPLOYMENT] = deployment;
    }
    trigger
}

impl Start {
    /// The definition to run.
    async fn definition(
        ctx: &TaskContext<'_>,
        id: &str,
        application: &str,
    ) -> Result<Map<String, Value>, TaskError> {
        let strategy = is_strategy(&ctx.stage.context);
        let what = if strategy {
            "custom strategy"
        } else {
            "pipeline"
        };
        let definitions = ctx.services.definitions();
        let found = definitions.pipeline(id, application).await;
        let is_one = |found: &Map<String, Value>| {
            !strategy || found.get("type").and_then(Value::as_str) == Some("strategy")
        };
        let pipeline = match found.map_err(failed)? {
            Some(Value::Object(pipeline)) if is_one(&pipeline) => pipeline,
            Some(_) | None => {
                return Err(TaskError::user(format!(
                    "The referenced {what} cannot be located ({id})"
                )));
            }
        };
        if pipeline.get("disabled") == Some(&Value::Bool(true)) {
            return Err(TaskError::user(format!(
                "The referenced {what} is disabled"
            )));
        }
        Ok(pipeline)
    }
}

#[async_trait]
impl Task for Start {
    fn kind(&self) -> &'static str {
        "startPipeline"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy {
            backoff_ms: 1_000,
            timeout_ms: Some(600_000),
            overridable: false,
        }
    }

    fn pool(&self) -> Pool {
        Pool::Definitions
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let id = pipeline_of(&ctx.stage.context)
            .ok_or_else(|| TaskError::user("pipeline is missing; set the id of the pipeline"))?;
        let application = ctx
            .text("pipelineApplication")
            .or_else(|| ctx.text("application"))
            .unwrap_or(&ctx.execution.application);
        child::not_too_deep(ctx.execution)?;
        access::require(ctx, application, Permission::Execute).await?;
        let mut pipeline = Self::definition(ctx, id, application).await?;
        let name = pipeline.get("name").cloned().unwrap_or_default();
        let event = format!(
            "{}_{}_{id}_{}",
            ctx.execution.id, ctx.stage.id, ctx.stage.attempt
        );
        pipeline.insert("trigger".to_owned(), trigger(ctx, &event));
        let executions = ctx.services.executions();
        let user = ctx.user();
        let since = child::since(ctx);
        let started = executions.start(pipeline.into(), user, &event, since);
        let started = started.await;
        let execution = started.map_err(failed)?;
        Ok(TaskResult::succeeded()
            .with_context("executionId", execution)
            .with_context("executionName", name))
    }
}
