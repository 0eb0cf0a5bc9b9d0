//! `pipeline`: runs another pipeline, and waits for it.
//! Source: `orca: PipelineStage`, `StartPipelineTask`, `MonitorPipelineTask`.
//!
//! The child is the execution of one event, named after the stage's attempt, so a
//! start that is repeated finds it.
//!
//! Differs from Spinnaker: a pipeline that would start itself, by way of others or
//! not, more than 20 deep is refused; there it goes on for ever.

use async_trait::async_trait;
use authorization::Permission;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, PlanError, Stage, StageDefinition, StageView, Status, TaskError, TaskPolicy,
    TaskResult, TaskSpec,
};
use serde_json::{Map, Value, json};

use super::strategy::custom;
use super::{StageType, schema};
use crate::task::{Pool, Task, TaskContext, access, failed};

/// The type.
pub(super) static STAGE: Pipeline = Pipeline;

/// Executions that started one another, at most.
const MOST_DEEP: usize = 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Pipeline;

fn waits(stage: &Stage) -> bool {
    stage.flag("waitForCompletion") != Some(false)
}

/// The id of the pipeline to run: `pipelineId` of strategies, else `pipeline`.
fn pipeline_of(context: &Map<String, Value>) -> Option<&str> {
    let keys = ["pipelineId", "pipeline"];
    let text = |key: &&str| context.get(*key)?.as_str().filter(|t| !t.is_empty());
    keys.iter().find_map(text)
}

impl StageDefinition for Pipeline {
    fn kind(&self) -> &'static str {
        "pipeline"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Pipeline",
            text: "Runs another pipeline.",
            category: "flow",
        }
    }

    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        let mut tasks = vec![TaskSpec::new("startPipeline", Start.kind())];
        if waits(stage.stage) {
            tasks.push(TaskSpec::new("monitorPipeline", Monitor.kind()));
        }
        Ok(tasks)
    }

    fn cancel_task(&self, stage: StageView<'_>) -> Option<&'static str> {
        waits(stage.stage).then(|| Cancel.kind())
    }

    fn can_be_skipped(&self, stage: StageView<'_>) -> bool {
        stage.stage.flag("skippable") == Some(true)
    }

    fn prepare_restart(&self, stage: &mut Stage) {
        for key in ["status", "executionName", "executionId"] {
            stage.context.shift_remove(key);
        }
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let mut faults = Vec::new();
        let application = context.get("application").and_then(Value::as_str);
        if application.is_none_or(str::is_empty) {
            let message = "it is missing; name the application of the pipeline";
            faults.push(Fault::new(format!("{path}.application"), message));
        }
        if pipeline_of(context).is_none() {
            let message = "it is missing; set the id of the pipeline to run";
            faults.push(Fault::new(format!("{path}.pipeline"), message));
        }
        faults
    }

    fn schema(&self) -> Value {
        schema(
            &json!({
                "application": {"type": "string", "title": "Application"},
                "pipeline": {"type": "string", "title": "Pipeline id"},
                "pipelineParameters": {"type": "object", "title": "Parameters"},
                "waitForCompletion": {"type": "boolean", "default": true},
                "skippable": {"type": "boolean"},
                "skipDownstreamOutput": {"type": "boolean"},
            }),
            &["application", "pipeline"],
        )
    }
}

impl StageType for Pipeline {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Start, &Monitor, &Cancel]
    }
}

#[derive(Debug)]
struct Start;

/// How many executions stand above this one.
fn depth(execution: &orchestrator_core::Execution) -> usize {
    let mut depth = 0;
    let mut at = execution.trigger.get("parentExecution");
    while let Some(parent) = at {
        depth += 1;
        at = parent.pointer("/trigger/parentExecution");
    }
    depth
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
        let context = &ctx.stage.context;
        let id = pipeline_of(context)
            .ok_or_else(|| TaskError::user("pipeline is missing; set the id of the pipeline"))?;
        let application = ctx
            .text("pipelineApplication")
            .or_else(|| ctx.text("application"))
            .unwrap_or(&ctx.execution.application);
        if depth(ctx.execution) >= MOST_DEEP {
            return Err(TaskError::user(format!(
                "{MOST_DEEP} executions have started one another down to this one; a pipeline \
                 must not start itself"
            )));
        }
        access::require(ctx, application, Permission::Execute).await?;
        let definitions = ctx.services.definitions();
        let found = definitions
            .pipeline(id, application)
            .await
            .map_err(failed)?;
        let Some(Value::Object(mut pipeline)) = found else {
            return Err(TaskError::user(format!(
                "Requested pipeline {id} does not exist in application {application}"
            )));
        };
        if pipeline.get("disabled") == Some(&Value::Bool(true)) {
            return Err(TaskError::user(format!("Pipeline {id} is disabled.")));
        }
        let name = pipeline.get("name").cloned().unwrap_or_default();
        let event = format!(
            "{}_{}_{id}_{}",
            ctx.execution.id, ctx.stage.id, ctx.stage.attempt
        );
        let mut trigger = json!({
            "type": "pipeline", "user": ctx.user(), "correlationId": event,
            "parentPipelineId": ctx.execution.id.to_string(),
            "parentPipelineName": ctx.execution.name,
            "parentPipelineApplication": ctx.execution.application,
            "parentPipelineStageId": ctx.stage.id.to_string(),
            "parentExecution": ctx.execution.to_json(),
            "parameters": ctx.own("pipelineParameters").cloned().unwrap_or_else(|| json!({})),
            "isPipeline": true, "strategy": ctx.flag("strategy"),
        });
        if let Some(deployment) = custom::deployment(ctx.execution, context) {
            trigger["strategy"] = true.into();
            trigger[custom::DEPLOYMENT] = deployment;
        }
        let artifacts = ctx
            .get("artifacts")
            .or_else(|| ctx.execution.trigger.get("artifacts"));
        if let Some(artifacts) = artifacts {
            trigger["artifacts"] = artifacts.clone();
            trigger["receivedArtifacts"] = artifacts.clone();
        }
        pipeline.insert("trigger".to_owned(), trigger);
        let executions = ctx.services.executions();
        let user = ctx.user();
        let started = executions.start(pipeline.into(), user, &event).await;
        let execution = started.map_err(failed)?;
        Ok(TaskResult::succeeded()
            .with_context("executionId", execution)
            .with_context("executionName", name))
    }
}

#[derive(Debug)]
struct Monitor;

#[async_trait]
impl Task for Monitor {
    fn kind(&self) -> &'static str {
        "monitorPipeline"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(1_000, 43_200_000)
    }

    fn pool(&self) -> Pool {
        Pool::Definitions
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let id = ctx
            .text("executionId")
            .ok_or_else(|| TaskError::permanent("no execution was started"))?;
        let child = ctx.services.executions().get(id).await.map_err(failed)?;
        let child = child.ok_or_else(|| {
            TaskError::permanent(format!("execution {id} does not exist any more"))
        })?;
        let status = child.get("status").and_then(Value::as_str);
        let status = status.and_then(Status::parse).unwrap_or(Status::Running);
        if status == Status::Succeeded {
            let mut result = TaskResult::succeeded().with_context("status", status.as_str());
            if !ctx.flag("skipDownstreamOutput") {
                result.outputs = outputs(&child);
            }
            return Ok(result);
        }
        if status == Status::Canceled {
            let result = TaskResult::status(Status::Canceled);
            return Ok(result.with_context("status", status.as_str()));
        }
        if !status.is_halt() {
            return Ok(TaskResult::running());
        }
        Err(halted(ctx, &child, status))
    }
}

/// What the child's stages put out, later ones over earlier ones.
fn outputs(child: &Value) -> Map<String, Value> {
    let stages = child.get("stages").and_then(Value::as_array);
    let mut outputs = Map::new();
    for stage in stages.into_iter().flatten() {
        if let Some(Value::Object(own)) = stage.get("outputs") {
            outputs.extend(own.clone());
        }
    }
    outputs
}

/// Why the child did not succeed: the failure furthest below.
fn halted(ctx: &TaskContext<'_>, child: &Value, status: Status) -> TaskError {
    let name = child
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let stages = child.get("stages").and_then(Value::as_array);
    let errors = |stage: &Value| -> Vec<String> {
        let list = stage.pointer("/context/exception/details/errors");
        let of_task = || {
            let tasks = stage.get("tasks")?.as_array()?;
            tasks
                .iter()
                .find_map(|t| t.pointer("/taskExceptionDetails/exception/details/errors"))
        };
        let list = list.or_else(of_task).and_then(Value::as_array);
        let texts = list.into_iter().flatten().filter_map(Value::as_str);
        texts.map(ToOwned::to_owned).collect()
    };
    let mut lines = Vec::new();
    for stage in stages.into_iter().flatten() {
        if stage.get("status").and_then(Value::as_str) != Some("TERMINAL") {
            continue;
        }
        let stage_name = stage
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        for error in errors(stage) {
            lines.push(format!(
                "Exception in child pipeline stage ({name}: {stage_name}): {error}"
            ));
        }
    }
    let mut lines = lines.into_iter();
    let first = lines
        .next()
        .unwrap_or_else(|| format!("child pipeline {name} ended with {status}"));
    let mut error = TaskError::permanent(first);
    error.details = lines.collect();
    let context = [
        ("status", json!(status.as_str())),
        ("executionId", json!(ctx.own("executionId"))),
    ];
    for (key, value) in context {
        error.context.insert(key.to_owned(), value);
    }
    error
}

/// A cancelled stage cancels its child.
#[derive(Debug)]
struct Cancel;

#[async_trait]
impl Task for Cancel {
    fn kind(&self) -> &'static str {
        "cancelChildPipeline"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::PLAIN
    }

    fn pool(&self) -> Pool {
        Pool::Definitions
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        if let Some(id) = ctx.text("executionId") {
            let reason = format!(
                "stage {} of {} was canceled",
                ctx.stage.name, ctx.execution.id
            );
            let executions = ctx.services.executions();
            let canceled = executions.cancel(id, "parent pipeline", &reason).await;
            canceled.map_err(failed)?;
        }
        Ok(TaskResult::succeeded())
    }
}
