//! `deletePipeline`: deletes a pipeline by application and name. Source: `orca:
//! DeletePipelineTask`.

use async_trait::async_trait;
use authorization::Permission;
use orchestrator_core::{
    Description, PlanError, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult, TaskSpec,
};
use serde_json::Value;

use super::{StageType, save_pipeline};
use crate::task::{Pool, Task, TaskContext, access, failed};

/// The type.
pub(super) static STAGE: DeletePipeline = DeletePipeline;

/// See the module.
#[derive(Debug)]
pub(super) struct DeletePipeline;

impl StageDefinition for DeletePipeline {
    fn kind(&self) -> &'static str {
        "deletePipeline"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Delete pipeline",
            text: "Deletes a pipeline definition.",
            category: "definitions",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new("deletePipeline", Delete.kind())])
    }
}

impl StageType for DeletePipeline {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Delete]
    }
}

#[derive(Debug)]
struct Delete;

#[async_trait]
impl Task for Delete {
    fn kind(&self) -> &'static str {
        "deletePipeline"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(1_000, 30_000)
    }

    fn pool(&self) -> Pool {
        Pool::Definitions
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let pipeline = save_pipeline::decode(ctx, "pipeline")?;
        let text = |key: &str| {
            pipeline
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (application, name) = (text("application"), text("name"));
        if application.is_empty() || name.is_empty() {
            let message = "pipeline.application and pipeline.name are needed; send both";
            return Err(TaskError::user(message));
        }
        access::require(ctx, application, Permission::Write).await?;
        ctx.services
            .definitions()
            .delete_pipeline(application, name)
            .await
            .map_err(failed)?;
        Ok(TaskResult::succeeded()
            .with_context("notification.type", "deletepipeline")
            .with_context("application", application)
            .with_context("pipeline.name", name))
    }
}
