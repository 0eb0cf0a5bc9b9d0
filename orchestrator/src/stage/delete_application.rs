//! `deleteApplication`: deletes an application that runs nowhere any more.
//! Source: `orca: DeleteApplicationStage`, `VerifyApplicationHasNoDependenciesTask`.

use async_trait::async_trait;
use authorization::Permission;
use orchestrator_core::{
    Description, PlanError, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult, TaskSpec,
};
use serde_json::{Value, json};

use super::StageType;
use crate::task::{Pool, Task, TaskContext, access, failed};

/// The type.
pub(super) static STAGE: DeleteApplication = DeleteApplication;

/// See the module.
#[derive(Debug)]
pub(super) struct DeleteApplication;

impl StageDefinition for DeleteApplication {
    fn kind(&self) -> &'static str {
        "deleteApplication"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Delete application",
            text: "Deletes an application that has no server groups.",
            category: "definitions",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![
            TaskSpec::new("verifyNoDependencies", Verify.kind()),
            TaskSpec::new("deleteApplication", Delete.kind()),
        ])
    }
}

impl StageType for DeleteApplication {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Verify, &Delete]
    }
}

fn name<'a>(ctx: &TaskContext<'a>) -> Result<&'a str, TaskError> {
    let name = ctx
        .own("application")
        .and_then(|a| a.get("name"))
        .and_then(Value::as_str);
    name.filter(|name| !name.is_empty())
        .ok_or_else(|| TaskError::user("application.name is missing; name the application"))
}

#[derive(Debug)]
struct Verify;

#[async_trait]
impl Task for Verify {
    fn kind(&self) -> &'static str {
        "verifyApplicationHasNoDependencies"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(2_000, 3_600_000)
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let clusters = ctx
            .services
            .cloud_driver()
            .clusters(name(ctx)?)
            .await
            .map_err(failed)?;
        let used = clusters
            .as_object()
            .into_iter()
            .flatten()
            .any(|(_, list)| list.as_array().is_some_and(|clusters| !clusters.is_empty()));
        if used {
            return Err(TaskError::user(
                "Application is associated with one or more clusters",
            ));
        }
        Ok(TaskResult::succeeded())
    }
}

#[derive(Debug)]
struct Delete;

#[async_trait]
impl Task for Delete {
    fn kind(&self) -> &'static str {
        "deleteApplication"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(2_000, 3_600_000)
    }

    fn pool(&self) -> Pool {
        Pool::Definitions
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let name = name(ctx)?;
        access::require(ctx, name, Permission::Write).await?;
        let definitions = ctx.services.definitions();
        let before = definitions.application(name).await.map_err(failed)?;
        definitions.delete_application(name).await.map_err(failed)?;
        let mut result = TaskResult::succeeded()
            .with_context("application.name", name)
            .with_context("notification.type", "deleteapplication");
        // A second run finds nothing and must not forget what the first one found.
        if let Some(before) = before {
            result = result.with_context("previousState", before);
        } else if ctx.own("previousState").is_none() {
            result = result.with_context("previousState", json!({}));
        }
        Ok(result)
    }
}
