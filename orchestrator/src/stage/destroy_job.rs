//! `destroyJob`: ends a job that an earlier stage started and did not wait for.
//! Source: `orca: DestroyJobStage`.
//!
//! Differs from Spinnaker: a job is the operation that runs it, and only one that a
//! stage of the same execution started is ended; there any job of the account is.

use async_trait::async_trait;
use authorization::Permission;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, PlanError, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult, TaskSpec,
};
use proto::status::Kind;
use serde_json::{Map, Value, json};

use super::{StageType, accounts_of, schema, unbuilt};
use crate::services::OperationState;
use crate::task::{Task, TaskContext, access, failed, submit_operation};

/// The type.
pub(super) static STAGE: DestroyJob = DestroyJob;

/// See the module.
#[derive(Debug)]
pub(super) struct DestroyJob;

impl StageDefinition for DestroyJob {
    fn kind(&self) -> &'static str {
        "destroyJob"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Destroy job",
            text: "Ends a job that an earlier stage started.",
            category: "deploy",
        }
    }

    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        unbuilt::require_provider(stage.stage)?;
        Ok(vec![
            TaskSpec::new("destroyJob", Destroy.kind()),
            TaskSpec::new("monitorDestroy", Wait.kind()),
        ])
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let name = context.get("jobName").and_then(Value::as_str);
        if name.is_some_and(|name| !name.is_empty()) {
            return Vec::new();
        }
        let message =
            "it is missing; name the job, as in ${#stage('Run job').context['deploy.jobs']}";
        vec![Fault::new(format!("{path}.jobName"), message)]
    }

    fn schema(&self) -> Value {
        let name = json!({"jobName": {"type": "string", "title": "Job"}});
        schema(&name, &["jobName"])
    }
}

impl StageType for DestroyJob {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Destroy, &Wait]
    }

    fn accounts(&self, stage: &Map<String, Value>) -> Vec<(String, String)> {
        accounts_of(stage, "")
    }
}

/// The operation of a job that a stage of this execution started, by either of its names.
fn operation_of(ctx: &TaskContext<'_>, name: &str) -> Option<String> {
    let jobs = ctx
        .execution
        .stages
        .iter()
        .filter(|stage| ["runJob", "preconfiguredJob"].contains(&stage.definition()));
    jobs.filter_map(|stage| {
        let id = stage
            .context
            .get("kato.last.task.id")?
            .get("id")?
            .as_str()?;
        let names = stage.context.get("deploy.jobs").and_then(Value::as_object);
        let mut names = names.into_iter().flat_map(Map::values).flat_map(|list| {
            list.as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
        });
        (id == name || names.any(|known| known == name)).then(|| id.to_owned())
    })
    .next()
}

#[derive(Debug)]
struct Destroy;

#[async_trait]
impl Task for Destroy {
    fn kind(&self) -> &'static str {
        "destroyJob"
    }

    fn policy(&self) -> TaskPolicy {
        submit_operation::SUBMISSION
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let name = ctx
            .text("jobName")
            .ok_or_else(|| TaskError::user("jobName is missing; name the job"))?;
        let Some(id) = operation_of(ctx, name) else {
            return Err(TaskError::user(format!(
                "no stage of this execution has started a job \"{name}\"; name one of deploy.jobs"
            )));
        };
        access::require(ctx, &ctx.execution.application, Permission::Write).await?;
        let driver = ctx.services.cloud_driver();
        let result = TaskResult::succeeded().with_context("destroyedOperation", id.as_str());
        match driver.operation(&id).await {
            Err(failure) if failure.kind == Kind::NotFound => return Ok(result),
            found => {
                if found.map_err(failed)?.state == OperationState::Running {
                    driver.cancel(&id).await.map_err(failed)?;
                }
            }
        }
        Ok(result)
    }
}

/// Waits for the job's end, whichever it is.
#[derive(Debug)]
struct Wait;

#[async_trait]
impl Task for Wait {
    fn kind(&self) -> &'static str {
        "monitorDestroyJob"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(5_000, 3_600_000)
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let id = ctx.text("destroyedOperation").unwrap_or_default();
        match ctx.services.cloud_driver().operation(id).await {
            Err(failure) if failure.kind == Kind::NotFound => Ok(TaskResult::succeeded()),
            found => Ok(match found.map_err(failed)?.state {
                OperationState::Running => TaskResult::running(),
                OperationState::Succeeded | OperationState::Failed => TaskResult::succeeded(),
            }),
        }
    }
}
