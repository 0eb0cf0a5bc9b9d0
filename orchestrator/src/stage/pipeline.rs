//! `pipeline`: runs another pipeline, and waits for it.
//! Source: `orca: PipelineStage`, `StartPipelineTask`, `MonitorPipelineTask`.
//!
//! The child is the execution of one event, named after the stage's attempt, so a
//! start that is repeated finds it.
//!
//! Differs from Spinnaker: a pipeline that would start itself, by way of others or
//! not, more than 20 deep is refused; there it goes on for ever.

mod monitor;
mod start;

use async_trait::async_trait;
use orchestrator_core::command::KEEPS_CHILD;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, PlanError, Stage, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult,
    TaskSpec,
};
use serde_json::{Map, Value, json};

use self::monitor::Monitor;
use self::start::Start;
use super::{StageType, schema};
use crate::task::{Pool, Task, TaskContext, bind_produced_artifacts, failed};

/// The type.
pub(super) static STAGE: Pipeline = Pipeline;

/// See the module.
#[derive(Debug)]
pub(super) struct Pipeline;

fn waits(stage: &Stage) -> bool {
    stage.flag("waitForCompletion") != Some(false)
}

/// Whether it runs the steps of a strategy instead of a pipeline.
fn is_strategy(context: &Map<String, Value>) -> bool {
    let parameters = context.get("pipelineParameters");
    match parameters.and_then(|parameters| parameters.get("strategy")) {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => !text.is_empty(),
        _ => false,
    }
}

/// The id of the pipeline to run: `pipelineId` of strategies, else `pipeline`.
fn pipeline_of(context: &Map<String, Value>) -> Option<&str> {
    let keys = if is_strategy(context) {
        ["pipelineId", "pipeline"]
    } else {
        ["pipeline", "pipelineId"]
    };
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
        let mut tasks = Vec::new();
        // A restart of its child leaves it that child.
        if !stage.stage.context.contains_key("executionId") {
            tasks.push(TaskSpec::new("startPipeline", Start.kind()));
        }
        if waits(stage.stage) {
            tasks.push(TaskSpec::new("monitorPipeline", Monitor.kind()));
        }
        bind_produced_artifacts::plan(&mut tasks, stage.stage);
        Ok(tasks)
    }

    fn cancel_task(&self, stage: StageView<'_>) -> Option<&'static str> {
        waits(stage.stage).then(|| Cancel.kind())
    }

    fn can_be_skipped(&self, stage: StageView<'_>) -> bool {
        stage.stage.flag("skippable") == Some(true)
    }

    fn prepare_restart(&self, stage: &mut Stage) {
        stage.context.shift_remove("status");
        if stage.context.shift_remove(KEEPS_CHILD) == Some(Value::Bool(true)) {
            return;
        }
        for key in ["executionName", "executionId"] {
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
