//! Waits until a group is gone. Source: `orca: WaitForDestroyedServerGroupTask`.

use async_trait::async_trait;
use orchestrator_core::{TaskError, TaskPolicy, TaskResult};

use super::{Task, TaskContext, server_group};

/// The task.
pub static WAIT_FOR_DESTROYED_SERVER_GROUP: WaitForDestroyedServerGroup =
    WaitForDestroyedServerGroup;

/// See the module.
#[derive(Debug)]
pub struct WaitForDestroyedServerGroup;

#[async_trait]
impl Task for WaitForDestroyedServerGroup {
    fn kind(&self) -> &'static str {
        "waitForDestroyedServerGroup"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(2_000, 1_800_000)
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let name = server_group::target_name(ctx)?;
        let found = server_group::live(ctx, &name).await?;
        Ok(if found.is_none() {
            TaskResult::succeeded()
        } else {
            TaskResult::running()
        })
    }
}
