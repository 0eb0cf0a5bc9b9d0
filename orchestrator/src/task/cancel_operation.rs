//! Asks the operation of a cancelled or failed stage to turn back.
//!
//! Differs from Spinnaker: there a cancelled deployment leaves what it made.

use async_trait::async_trait;
use orchestrator_core::{TaskError, TaskPolicy, TaskResult};
use proto::status::Kind;
use serde_json::Value;

use super::{Task, TaskContext, failed};
use crate::services::OperationState;

/// The task.
pub static CANCEL_OPERATION: CancelOperation = CancelOperation;

/// See the module.
#[derive(Debug)]
pub struct CancelOperation;

#[async_trait]
impl Task for CancelOperation {
    fn kind(&self) -> &'static str {
        "cancelOperation"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::PLAIN
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let last = ctx.own("kato.last.task.id").and_then(|last| last.get("id"));
        let Some(id) = last.and_then(Value::as_str) else {
            return Ok(TaskResult::succeeded());
        };
        let driver = ctx.services.cloud_driver();
        let operation = match driver.operation(id).await {
            Err(failure) if failure.kind == Kind::NotFound => return Ok(TaskResult::succeeded()),
            found => found.map_err(failed)?,
        };
        if operation.state != OperationState::Running {
            return Ok(TaskResult::succeeded());
        }
        driver.cancel(id).await.map_err(failed)?;
        Ok(TaskResult::succeeded().with_context("canceledOperation", id))
    }
}
