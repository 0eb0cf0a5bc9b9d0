//! `deleteV2PipelineTemplate`: deletes a version of a template, or all of them.
//! Source: `orca: DeleteV2PipelineTemplateStage`.

use async_trait::async_trait;
use orchestrator_core::{
    Description, PlanError, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult, TaskSpec,
};

use super::StageType;
use crate::definition::Object;
use crate::task::{Pool, Task, TaskContext, failed};

/// The type.
pub(super) static STAGE: DeleteTemplate = DeleteTemplate;

/// See the module.
#[derive(Debug)]
pub(super) struct DeleteTemplate;

impl StageDefinition for DeleteTemplate {
    fn kind(&self) -> &'static str {
        "deleteV2PipelineTemplate"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Delete pipeline template",
            text: "Deletes a pipeline template that no pipeline is made from.",
            category: "definitions",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new(
            "deleteV2PipelineTemplate",
            Delete.kind(),
        )])
    }
}

impl StageType for DeleteTemplate {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Delete]
    }
}

#[derive(Debug)]
struct Delete;

#[async_trait]
impl Task for Delete {
    fn kind(&self) -> &'static str {
        "deleteV2PipelineTemplate"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(1_000, 30_000)
    }

    fn pool(&self) -> Pool {
        Pool::Definitions
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let text = |key: &str| ctx.text(key).unwrap_or_default();
        let id = text("pipelineTemplateId");
        let key = match (text("tag"), text("digest")) {
            _ if id.is_empty() => {
                let message = "pipelineTemplateId is missing; send the id of a template";
                return Err(TaskError::user(message));
            }
            ("", "") => id.to_owned(),
            (tag, "") => format!("{id}:{tag}"),
            ("", digest) => format!("{id}@sha256:{}", digest.trim_start_matches("sha256:")),
            _ => {
                return Err(TaskError::user(
                    "tag and digest are both given; send one of them",
                ));
            }
        };
        // One that is not there has gone already: so ends a run that is repeated.
        ctx.services
            .definitions()
            .delete_object(Object::PipelineTemplate, &key)
            .await
            .map_err(failed)?;
        Ok(TaskResult::succeeded()
            .with_context("notification.type", "deletepipelinetemplate")
            .with_context("pipelineTemplateId", id))
    }
}
