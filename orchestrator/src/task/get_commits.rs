//! What commits a new group brings. Source: `orca: GetCommitsTask`, which has
//! nothing to say, and succeeds, where no source of commits is connected.

use async_trait::async_trait;
use orchestrator_core::{TaskError, TaskPolicy, TaskResult};

use super::{Task, TaskContext};

/// The task.
pub static GET_COMMITS: GetCommits = GetCommits;

/// See the module.
#[derive(Debug)]
pub struct GetCommits;

#[async_trait]
impl Task for GetCommits {
    fn kind(&self) -> &'static str {
        "getCommits"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(3_000, 300_000)
    }

    fn decide(&self, _ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        Some(Ok(TaskResult::succeeded()))
    }
}
