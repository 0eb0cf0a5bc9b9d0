//! One level: its children are started together, and waited for.

use async_trait::async_trait;
use authorization::Permission;
use orchestrator_core::{Execution, Status, TaskError, TaskPolicy, TaskResult};
use serde_json::{Map, Value, json};

use super::list::{Entry, level};
use super::{CHILDREN, IGNORE, LEVEL, LIST, ORDER, RESULTS};
use crate::task::child::{self, Sum};
use crate::task::{Pool, Task, TaskContext, access, failed};

fn number(ctx: &TaskContext<'_>) -> usize {
    let number = ctx.own(LEVEL).and_then(Value::as_u64);
    usize::try_from(number.unwrap_or(0)).unwrap_or(0)
}

/// The executions of the level that runs.
pub(super) fn children(ctx: &TaskContext<'_>) -> Vec<String> {
    let ids = ctx.own(CHILDREN).and_then(Value::as_array);
    let ids = ids.into_iter().flatten();
    ids.filter_map(|id| id.as_str().map(ToOwned::to_owned))
        .collect()
}

/// Starts the children of a level.
#[derive(Debug)]
pub(super) struct Run;

/// The definition of an entry.
async fn definition(
    ctx: &TaskContext<'_>,
    application: &str,
    entry: &Entry,
) -> Result<Map<String, Value>, TaskError> {
    let definitions = ctx.services.definitions();
    let found = definitions.pipeline_by_name(application, &entry.pipeline);
    let Some(Value::Object(pipeline)) = found.await.map_err(failed)? else {
        return Err(TaskError::user(format!(
            "{}: application {application} has no pipeline \"{}\"",
            entry.id, entry.pipeline
        )));
    };
    if pipeline.get("disabled") == Some(&Value::Bool(true)) {
        return Err(TaskError::user(format!(
            "{}: the pipeline \"{}\" is disabled",
            entry.id, entry.pipeline
        )));
    }
    Ok(pipeline)
}

/// The trigger that the child of an entry holds.
fn trigger(ctx: &TaskContext<'_>, entry: &Entry, event: &str) -> Value {
    let mut trigger = child::trigger(ctx, event, json!(entry.arguments));
    trigger["executionIdentifier"] = json!(entry.id);
    trigger
}

#[async_trait]
impl Task for Run {
    fn kind(&self) -> &'static str {
        "runMultiplePipelines"
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
        let own = &ctx.execution.application;
        let application = ctx.text("pipelineApplication").unwrap_or(own);
        child::not_too_deep(ctx.execution)?;
        access::require(ctx, application, Permission::Execute).await?;
        // All are looked up before the first is started.
        let mut found = Vec::new();
        for entry in level(ctx.own(ORDER), number(ctx)) {
            let pipeline = definition(ctx, application, &entry).await?;
            found.push((entry, pipeline));
        }
        let mut started = Vec::new();
        for (entry, mut pipeline) in found {
            let event = format!(
                "{}_{}_{}_{}",
                ctx.execution.id, ctx.stage.id, entry.id, ctx.stage.attempt
            );
            pipeline.insert("trigger".to_owned(), trigger(ctx, &entry, &event));
            let executions = ctx.services.executions();
            let since = child::since(ctx);
            let id = executions.start(pipeline.into(), ctx.user(), &event, since);
            started.push(id.await.map_err(failed)?);
        }
        if started.is_empty() {
            return Err(TaskError::user("Child Pipelines were not executed"));
        }
        Ok(TaskResult::succeeded().with_context(CHILDREN, started))
    }
}

/// Waits for the children of a level.
#[derive(Debug)]
pub(super) struct Monitor;

/// What a child came to, under the name of its entry.
fn result(child: &Execution, entry: Option<&Entry>) -> Value {
    json!({
        "id": child.id, "executionIdentifier": entry.map(|entry| &entry.id),
        "startTime": child.start_time, "endTime": child.end_time, "status": child.status,
    })
}

#[async_trait]
impl Task for Monitor {
    fn kind(&self) -> &'static str {
        "monitorMultiplePipelinesTask"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(15_000, 86_400_000)
    }

    fn pool(&self) -> Pool {
        Pool::Definitions
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let children = child::read(ctx, &children(ctx)).await?;
        let sum = Sum::of(&children, false);
        if sum == Sum::Running {
            return Ok(TaskResult::running());
        }
        let (at, order) = (number(ctx), ctx.own(ORDER));
        let entries = level(order, at);
        let results = ctx.own(RESULTS).and_then(Value::as_array);
        let mut results = results.cloned().unwrap_or_default();
        for (i, child) in children.iter().enumerate() {
            results.push(result(child, entries.get(i)));
        }
        let goes_on = sum == Sum::Succeeded || ctx.flag(IGNORE);
        if goes_on && !level(order, at + 1).is_empty() {
            return Ok(TaskResult::status(Status::Redirect)
                .with_context(LEVEL, at + 1)
                .with_context(CHILDREN, Vec::<Value>::new())
                .with_context(RESULTS, results));
        }
        let (status, exception) = sum.ends_as();
        let answer = TaskResult::status(status).with_context(RESULTS, results.clone());
        Ok(match exception {
            // Nothing comes after it that could leave them.
            Some(exception) => answer
                .with_context("exception", exception)
                .with_output(LIST, results),
            None => answer,
        })
    }
}
