//! `monitorPipeline`: waits for executions that somebody else started.
//! Source: `orca: MonitorPipelineStage`, `MonitorPipelineTask`.

use async_trait::async_trait;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, PlanError, StageDefinition, StageView, Status, TaskError, TaskPolicy, TaskResult,
    TaskSpec,
};
use serde_json::{Map, Value, json};

use super::{StageType, schema};
use crate::task::child::{self, Sum};
use crate::task::{Pool, Task, TaskContext, bind_produced_artifacts};

/// The type.
pub(super) static STAGE: MonitorPipeline = MonitorPipeline;

const BEHAVIOUR: &str = "monitorBehavior";
const FAIL_FAST: &str = "FailFast";
const BEHAVIOURS: [&str; 2] = ["WaitForAllToComplete", FAIL_FAST];

/// See the module.
#[derive(Debug)]
pub(super) struct MonitorPipeline;

impl StageDefinition for MonitorPipeline {
    fn kind(&self) -> &'static str {
        "monitorPipeline"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Monitor pipeline",
            text: "Waits for executions of pipelines.",
            category: "flow",
        }
    }

    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        let mut tasks = vec![TaskSpec::new("monitorPipeline", Monitor.kind())];
        bind_produced_artifacts::plan(&mut tasks, stage.stage);
        Ok(tasks)
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        match context.get(BEHAVIOUR) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(text))
                if text.contains("${") || BEHAVIOURS.contains(&text.as_str()) =>
            {
                Vec::new()
            }
            Some(other) => {
                let message = format!("{other} is none; use {}", BEHAVIOURS.join(" or "));
                vec![Fault::new(format!("{path}.{BEHAVIOUR}"), message)]
            }
        }
    }

    fn schema(&self) -> Value {
        schema(
            &json!({
                "executionIds": {"type": "array", "title": "Executions", "items": {"type": "string"}},
                BEHAVIOUR: {"type": "string", "title": "On failure", "enum": BEHAVIOURS},
            }),
            &["executionIds"],
        )
    }
}

impl StageType for MonitorPipeline {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Monitor]
    }
}

#[derive(Debug)]
struct Monitor;

#[async_trait]
impl Task for Monitor {
    /// That of one child has the name in the stage `pipeline`.
    fn kind(&self) -> &'static str {
        "monitorPipelines"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(15_000, 43_200_000)
    }

    fn pool(&self) -> Pool {
        Pool::Definitions
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let listed = ctx.own("executionIds").and_then(Value::as_array);
        let mut ids: Vec<String> = listed
            .into_iter()
            .flatten()
            .filter_map(|id| id.as_str().map(ToOwned::to_owned))
            .collect();
        if ids.is_empty() {
            ids.extend(ctx.text("executionId").map(ToOwned::to_owned));
        }
        if ids.is_empty() {
            return Err(TaskError::user("no pipeline execution ids to monitor"));
        }
        let children = child::read(ctx, &ids).await?;
        let sum = Sum::of(&children, ctx.text(BEHAVIOUR) == Some(FAIL_FAST));
        let (status, exception) = sum.ends_as();
        let mut result = TaskResult::status(status);
        if let ([one], true) = (&children[..], status != Status::Running) {
            result.outputs = child::outputs(one);
        }
        result = result.with_output("executionStatuses", child::statuses(&children));
        Ok(match exception {
            Some(exception) => result.with_context("exception", exception),
            None => result,
        })
    }
}
