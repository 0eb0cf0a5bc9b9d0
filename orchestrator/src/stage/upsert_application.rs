//! `upsertApplication`: creates or changes an application. Source:
//! `orca: UpsertApplicationTask`. Its siblings `createApplication` and
//! `updateApplication` do the same under their names.

use async_trait::async_trait;
use authorization::Permission;
use orchestrator_core::{
    Description, PlanError, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult, TaskSpec,
};
use serde_json::{Value, json};

use super::{StageType, schema};
use crate::task::{Pool, Task, TaskContext, access, failed};

/// The type.
pub(super) static STAGE: SaveApplication = SaveApplication {
    kind: "upsertApplication",
    label: "Save application",
    tasks: &[&SaveApplicationTask("upsertApplication")],
};

/// A type that saves an application.
pub(super) struct SaveApplication {
    pub(super) kind: &'static str,
    pub(super) label: &'static str,
    pub(super) tasks: &'static [&'static dyn Task],
}

impl StageDefinition for SaveApplication {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn describe(&self) -> Description {
        let text = "Creates an application or changes its attributes.";
        Description {
            label: self.label,
            text,
            category: "definitions",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new(self.kind, self.kind)])
    }

    fn schema(&self) -> Value {
        let application = json!({
            "type": "object",
            "properties": {"name": {"type": "string"}, "email": {"type": "string"}},
            "required": ["name"],
        });
        schema(&json!({"application": application}), &["application"])
    }
}

impl StageType for SaveApplication {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        self.tasks
    }
}

/// Saves the application in its context, under the name of its stage.
#[derive(Debug)]
pub(super) struct SaveApplicationTask(pub(super) &'static str);

#[async_trait]
impl Task for SaveApplicationTask {
    fn kind(&self) -> &'static str {
        self.0
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(2_000, 3_600_000)
    }

    fn pool(&self) -> Pool {
        Pool::Definitions
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let application = ctx
            .own("application")
            .filter(|a| a.is_object())
            .ok_or_else(|| {
                TaskError::user("application is missing; send {\"application\": {\"name\": \"…\"}}")
            })?;
        let name = application
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let definitions = ctx.services.definitions();
        let before = definitions.application(name).await.map_err(failed)?;
        let needed = match before {
            Some(_) => Permission::Write,
            None => Permission::Create,
        };
        access::require(ctx, name, needed).await?;
        let user = ctx.text("user").unwrap_or_else(|| ctx.user());
        let after = definitions
            .save_application(application.clone(), user)
            .await
            .map_err(failed)?;
        Ok(TaskResult::succeeded()
            .with_context("previousState", before.unwrap_or_else(|| json!({})))
            .with_context("newState", after)
            .with_context("application.name", name)
            .with_context("notification.type", "upsertapplication"))
    }
}
