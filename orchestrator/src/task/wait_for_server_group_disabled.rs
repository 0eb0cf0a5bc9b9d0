//! Waits until a group counts as disabled. Source: `orca:
//! WaitForDisabledServerGroupTask`.

use async_trait::async_trait;
use orchestrator_core::{Status, TaskError, TaskPolicy, TaskResult};

use super::{Task, TaskContext, server_group};

/// The task.
pub static WAIT_FOR_SERVER_GROUP_DISABLED: WaitForServerGroupDisabled = WaitForServerGroupDisabled;

/// See the module.
#[derive(Debug)]
pub struct WaitForServerGroupDisabled;

#[async_trait]
impl Task for WaitForServerGroupDisabled {
    fn kind(&self) -> &'static str {
        "waitForServerGroupDisabled"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(2_000, 1_800_000)
    }

    /// A part of a group that is out of traffic does not disable it.
    fn decide(&self, ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        let part = ctx.number("desiredPercentage").unwrap_or(100.0);
        (part < 100.0).then(|| Ok(TaskResult::status(Status::Skipped)))
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        if let Some(decided) = self.decide(ctx) {
            return decided;
        }
        let name = server_group::target_name(ctx)?;
        let found = server_group::live(ctx, &name).await?;
        Ok(if found.as_ref().is_none_or(server_group::is_disabled) {
            TaskResult::succeeded()
        } else {
            TaskResult::running()
        })
    }
}
