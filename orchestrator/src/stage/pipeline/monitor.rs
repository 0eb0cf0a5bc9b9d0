//! Waits for the child, and takes over what it put out or why it failed.

use async_trait::async_trait;
use orchestrator_core::{Execution, Status, TaskError, TaskPolicy, TaskResult};

use crate::task::{Pool, Task, TaskContext, child, failed};

/// The task.
#[derive(Debug)]
pub(super) struct Monitor;

#[async_trait]
impl Task for Monitor {
    fn kind(&self) -> &'static str {
        "monitorPipeline"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(1_000, 43_200_000)
    }

    fn pool(&self) -> Pool {
        Pool::Definitions
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let id = ctx
            .text("executionId")
            .ok_or_else(|| TaskError::permanent("no execution was started"))?;
        let child = ctx.services.executions().get(id).await.map_err(failed)?;
        let child = child.ok_or_else(|| {
            TaskError::permanent(format!("execution {id} does not exist any more"))
        })?;
        let child: Execution = serde_json::from_value(child)
            .map_err(|e| TaskError::permanent(format!("execution {id} cannot be read: {e}")))?;
        let status = child.status;
        let ends_as = match status {
            Status::Succeeded | Status::Canceled => status,
            status if status.is_halt() => Status::Terminal,
            _ => Status::Running,
        };
        let mut result = TaskResult::status(ends_as).with_context("status", status.as_str());
        if ends_as == Status::Terminal {
            result = result.with_context("exception", child::exception(&child));
        }
        if ends_as != Status::Running && !ctx.flag("skipDownstreamOutput") {
            result.outputs = child::outputs(&child);
        }
        Ok(result)
    }
}
