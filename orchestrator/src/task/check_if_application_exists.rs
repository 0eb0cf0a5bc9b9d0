//! The application of an operation is known. Source: `orca:
//! CheckIfApplicationExistsTask`, which by default only notes that it is not
//! (audit mode).

use async_trait::async_trait;
use orchestrator_core::{TaskError, TaskPolicy, TaskResult};

use super::{Task, TaskContext};

/// The task.
pub static CHECK_IF_APPLICATION_EXISTS: CheckIfApplicationExists = CheckIfApplicationExists;

/// See the module.
#[derive(Debug)]
pub struct CheckIfApplicationExists;

#[async_trait]
impl Task for CheckIfApplicationExists {
    fn kind(&self) -> &'static str {
        "checkIfApplicationExists"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::PLAIN
    }

    fn decide(&self, _ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        Some(Ok(TaskResult::succeeded()))
    }
}
