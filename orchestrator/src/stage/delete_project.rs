//! `deleteProject`: deletes a project; what it shows stays.
//! Source: `orca: DeleteProjectStage`.

use async_trait::async_trait;
use orchestrator_core::{
    Description, PlanError, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult, TaskSpec,
};

use super::StageType;
use crate::services::Object;
use crate::task::{Pool, Task, TaskContext, failed};

/// The type.
pub(super) static STAGE: DeleteProject = DeleteProject;

/// See the module.
#[derive(Debug)]
pub(super) struct DeleteProject;

impl StageDefinition for DeleteProject {
    fn kind(&self) -> &'static str {
        "deleteProject"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Delete project",
            text: "Deletes a project; what it shows stays.",
            category: "definitions",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new("deleteProject", Run.kind())])
    }
}

impl StageType for DeleteProject {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Run]
    }
}

#[derive(Debug)]
struct Run;

#[async_trait]
impl Task for Run {
    fn kind(&self) -> &'static str {
        "deleteProject"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(1_000, 30_000)
    }

    fn pool(&self) -> Pool {
        Pool::Definitions
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let project = ctx.own("project");
        let field = |key: &str| project.and_then(|p| p.get(key)?.as_str());
        let name = ["id", "name"].into_iter().find_map(field).ok_or_else(|| {
            TaskError::user("project.id is missing; send it, or the name of the project to delete")
        })?;
        let definitions = ctx.services.definitions();
        let deleted = definitions.delete_object(Object::Project, name).await;
        deleted.map_err(failed)?;
        Ok(TaskResult::succeeded().with_context("notification.type", "deleteproject"))
    }
}
