//! Tells the other side that the stage was cancelled or failed.

use async_trait::async_trait;
use orchestrator_core::{TaskError, TaskPolicy, TaskResult};

use super::request::{self, Draft};
use crate::task::{Pool, Task, TaskContext};

/// The task.
pub(super) static TASK: CancelWebhook = CancelWebhook;

#[derive(Debug)]
pub(super) struct CancelWebhook;

#[async_trait]
impl Task for CancelWebhook {
    fn kind(&self) -> &'static str {
        "cancelWebhook"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::PLAIN
    }

    fn pool(&self) -> Pool {
        Pool::Http
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let Some(url) = ctx.text("cancelEndpoint") else {
            return Ok(TaskResult::succeeded());
        };
        let method = ctx.text("cancelMethod").unwrap_or("POST").to_uppercase();
        let payload = ctx.stage.context.get("cancelPayload");
        let draft = Draft {
            method: &method,
            url,
            payload,
            step: "cancel",
        };
        let answer = request::send(ctx, &draft).await?;
        let answer = answer.map_err(|error| TaskError::permanent(error.to_string()))?;
        Ok(TaskResult::succeeded().with_context("cancelStatusCodeValue", answer.status))
    }
}
