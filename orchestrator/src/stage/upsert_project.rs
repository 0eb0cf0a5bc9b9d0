//! `upsertProject`: saves a project: applications and clusters that are shown together.
//! Source: `orca: UpsertProjectStage`.

use async_trait::async_trait;
use orchestrator_core::{
    Description, PlanError, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult, TaskSpec,
};

use super::StageType;
use crate::services::Object;
use crate::task::{Pool, Task, TaskContext, failed};

/// The type.
pub(super) static STAGE: UpsertProject = UpsertProject;

/// See the module.
#[derive(Debug)]
pub(super) struct UpsertProject;

impl StageDefinition for UpsertProject {
    fn kind(&self) -> &'static str {
        "upsertProject"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Save project",
            text: "Saves a project: applications and clusters that are shown together.",
            category: "definitions",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new("upsertProject", Run.kind())])
    }
}

impl StageType for UpsertProject {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Run]
    }
}

#[derive(Debug)]
struct Run;

#[async_trait]
impl Task for Run {
    fn kind(&self) -> &'static str {
        "upsertProject"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(1_000, 30_000)
    }

    fn pool(&self) -> Pool {
        Pool::Definitions
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let project = ctx.own("project").cloned().unwrap_or_default();
        let user = ctx.text("user").unwrap_or_else(|| ctx.user());
        let definitions = ctx.services.definitions();
        let saved = definitions
            .save_object(Object::Project, project, user)
            .await;
        let saved = saved.map_err(failed)?;
        Ok(TaskResult::succeeded()
            .with_context("project.id", saved.get("id").cloned().unwrap_or_default())
            .with_context("notification.type", "upsertproject"))
    }
}
