//! `createV2PipelineTemplate`: stores a pipeline template. Source:
//! `orca: CreateV2PipelineTemplateStage`. `updateV2PipelineTemplate` is its sibling.

use async_trait::async_trait;
use orchestrator_core::{
    Description, PlanError, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult, TaskSpec,
};
use serde_json::Value;

use super::{StageType, save_pipeline};
use crate::definition::Object;
use crate::task::{Pool, Task, TaskContext, failed};

/// The type.
pub(super) static STAGE: SaveTemplate = SaveTemplate {
    kind: "createV2PipelineTemplate",
    label: "Create pipeline template",
    // A repeated run finds its own template, so it may be there; a client that must not
    // overwrite asks first, as `spin` does.
    tasks: &[&SaveTemplateTask("createV2PipelineTemplate")],
};

/// A type that stores a template.
pub(super) struct SaveTemplate {
    pub(super) kind: &'static str,
    pub(super) label: &'static str,
    pub(super) tasks: &'static [&'static dyn Task],
}

impl StageDefinition for SaveTemplate {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn describe(&self) -> Description {
        Description {
            label: self.label,
            text: "Stores a pipeline template under its tag and its digest.",
            category: "definitions",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new(self.kind, self.kind)])
    }
}

impl StageType for SaveTemplate {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        self.tasks
    }
}

/// Stores the template in its context, under the name of its stage.
#[derive(Debug)]
pub(super) struct SaveTemplateTask(pub(super) &'static str);

#[async_trait]
impl Task for SaveTemplateTask {
    fn kind(&self) -> &'static str {
        self.0
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(1_000, 30_000)
    }

    fn pool(&self) -> Pool {
        Pool::Definitions
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let mut template = save_pipeline::decode(ctx, "pipelineTemplate")?;
        if let Some(fields) = template.as_object_mut() {
            if let Some(id) = ctx.text("id") {
                fields.entry("id").or_insert_with(|| id.into());
            }
            if let Some(tag) = ctx.text("tag").filter(|tag| !tag.is_empty()) {
                fields.insert("tag".to_owned(), tag.into());
            }
        }
        let user = ctx.text("user").unwrap_or_else(|| ctx.user());
        let saved = ctx
            .services
            .definitions()
            .save_object(Object::PipelineTemplate, template, user)
            .await
            .map_err(failed)?;
        let field = |key: &str| saved.get(key).cloned().unwrap_or_default();
        let name = saved
            .get("metadata")
            .and_then(|metadata| metadata.get("name"))
            .cloned()
            .unwrap_or(Value::Null);
        Ok(TaskResult::succeeded()
            .with_context("notification.type", self.0.to_lowercase())
            .with_context("pipelineTemplate.id", field("id"))
            .with_context("pipelineTemplate.name", name))
    }
}
