//! `findArtifactFromExecution`: binds artifacts to those of another pipeline's last execution.
//! Source: `orca: FindArtifactFromExecutionStage`, `FindArtifactFromExecutionTask`.
//!
//! Differs from Spinnaker: the execution that asks is not the one that is found, even if it
//! is the newest of the pipeline and those that run are wanted.

use async_trait::async_trait;
use authorization::Permission;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, Execution, PlanError, StageDefinition, StageView, Status, TaskError, TaskPolicy,
    TaskResult, TaskSpec,
};
use serde_json::{Map, Value, json};

use super::{StageType, schema};
use crate::task::{Pool, Task, TaskContext, access, failed};

/// The type.
pub(super) static STAGE: FindArtifactFromExecution = FindArtifactFromExecution;

const TASK: &str = "findArtifactFromExecution";
/// What may be wanted, and the status that it means.
const OPTIONS: [(&str, Status); 3] = [
    ("succeeded", Status::Succeeded),
    ("terminal", Status::Terminal),
    ("running", Status::Running),
];

/// See the module.
#[derive(Debug)]
pub(super) struct FindArtifactFromExecution;

impl StageDefinition for FindArtifactFromExecution {
    fn kind(&self) -> &'static str {
        "findArtifactFromExecution"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Find artifacts from execution",
            text: "Finds artifacts of the last execution of a pipeline.",
            category: "flow",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new(TASK, TASK)])
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let text = |key: &str| context.get(key).and_then(Value::as_str);
        let missing = |key: &&str| text(key).is_none_or(|text| text.trim().is_empty());
        let fault = |key: &str| {
            let message = "it is missing; name the pipeline by its application and its id";
            Fault::new(format!("{path}.{key}"), message)
        };
        let keys = ["application", "pipeline"].into_iter();
        keys.filter(|key| missing(key)).map(fault).collect()
    }

    fn schema(&self) -> Value {
        let flag = |title: &str| json!({"type": "boolean", "title": title});
        schema(
            &json!({
                "application": {"type": "string", "title": "Application"},
                "pipeline": {"type": "string", "title": "Pipeline id"},
                "executionOptions": {"type": "object", "properties": {
                    "succeeded": flag("Succeeded"), "terminal": flag("Failed"), "running": flag("Running"),
                }},
                "expectedArtifacts": {"type": "array", "title": "Artifacts", "items": {"type": "object"}},
            }),
            &["application", "pipeline", "executionOptions"],
        )
    }
}

impl StageType for FindArtifactFromExecution {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Find]
    }
}

#[derive(Debug)]
struct Find;

/// The statuses that are wanted.
fn statuses(options: Option<&Value>) -> Vec<Status> {
    let wanted = |key: &str| {
        options
            .and_then(|options| options.get(key))
            .is_some_and(|flag| matches!(flag, Value::Bool(true)) || flag.as_str() == Some("true"))
    };
    let all = OPTIONS.into_iter();
    all.filter(|(key, _)| wanted(key))
        .map(|(_, status)| status)
        .collect()
}

/// What is looked for: a list, or the single one of older pipelines.
fn expected(ctx: &TaskContext<'_>) -> Vec<Value> {
    match (ctx.own("expectedArtifacts"), ctx.own("expectedArtifact")) {
        (Some(Value::Array(list)), _) if !list.is_empty() => list.clone(),
        (_, Some(one)) if one.is_object() => vec![one.clone()],
        _ => Vec::new(),
    }
}

/// What an execution has to offer to a stage: all it had, but of the stage's own pipeline not
/// what the same stage made.
fn candidates(ctx: &TaskContext<'_>, mut found: Execution) -> Vec<Value> {
    if found.pipeline_config_id == ctx.execution.pipeline_config_id {
        let others = found
            .stages
            .iter()
            .filter(|stage| stage.ref_id != ctx.stage.ref_id);
        found.stages = others.cloned().collect();
    }
    artifact::distinct(found.all_artifacts().iter().map(artifact::artifact))
}

#[async_trait]
impl Task for Find {
    fn kind(&self) -> &'static str {
        TASK
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::PLAIN
    }

    fn pool(&self) -> Pool {
        Pool::Definitions
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let missing = |key: &str| TaskError::user(format!("{key} is missing; set it"));
        let own = &ctx.execution.application;
        let application = ctx.text("application").unwrap_or(own);
        let config = ctx.text("pipeline").ok_or_else(|| missing("pipeline"))?;
        let statuses = statuses(ctx.own("executionOptions"));
        if statuses.is_empty() {
            return Err(TaskError::user(
                "executionOptions asks for no execution; set succeeded, terminal or running",
            ));
        }
        access::require(ctx, application, Permission::Read).await?;
        let executions = ctx.services.executions();
        let found = executions.newest(application, config, &statuses, ctx.execution.id.as_str());
        let candidates = match found.await.map_err(failed)? {
            None => Vec::new(),
            Some(found) => {
                let found: Execution = serde_json::from_value(found).map_err(|e| {
                    TaskError::permanent(format!("the execution found cannot be read: {e}"))
                })?;
                candidates(ctx, found)
            }
        };
        let bound = artifact::resolve(&expected(ctx), &candidates, &[], false)
            .map_err(|unresolved| TaskError::user(unresolved.message))?;
        let mut result = TaskResult::succeeded();
        for (key, value) in [
            ("resolvedExpectedArtifacts", bound.resolved),
            ("artifacts", bound.artifacts),
        ] {
            result = result
                .with_context(key, value.clone())
                .with_output(key, value);
        }
        Ok(result)
    }
}
