//! Waits until a resized group has the instances it was to have, and, if it takes
//! requests, until they are up. Source: `orca: WaitForCapacityMatchTask`.

use async_trait::async_trait;
use orchestrator_core::{TaskError, TaskPolicy, TaskResult};
use serde_json::Value;

use super::{Task, TaskContext, server_group};
use crate::provider;

/// The task.
pub static WAIT_FOR_CAPACITY_MATCH: WaitForCapacityMatch = WaitForCapacityMatch;

/// See the module.
#[derive(Debug)]
pub struct WaitForCapacityMatch;

#[async_trait]
impl Task for WaitForCapacityMatch {
    fn kind(&self) -> &'static str {
        "waitForCapacityMatch"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(2_000, 7_200_000)
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let acted_on = server_group::deployed(ctx).into_iter().next();
        let name = match acted_on {
            Some((_, name)) => name,
            // A minimum that was left as it was.
            None if ctx.stage.kind == "applySourceServerGroupCapacity" => {
                return Ok(TaskResult::succeeded());
            }
            None => server_group::target_name(ctx)?,
        };
        let Some(group) = server_group::live(ctx, &name).await? else {
            return Err(TaskError::permanent(format!("server group {name} is gone")));
        };
        let desired = server_group::capacity(&group).desired;
        let instances = server_group::instances(&group);
        let count = i64::try_from(instances.len()).unwrap_or(i64::MAX);
        let percentage = ctx.number("targetHealthyDeployPercentage").unwrap_or(100.0);
        let wanted = server_group::share(percentage.clamp(0.0, 100.0), desired);
        let sized = if percentage < 100.0 {
            count >= wanted
        } else {
            count == desired
        };
        let unbalanced = group
            .get("loadBalancers")
            .and_then(Value::as_array)
            .is_none_or(Vec::is_empty);
        let running_is_up = provider::of(&ctx.stage.context).running_is_up();
        let quiet = server_group::is_disabled(&group) || unbalanced && running_is_up;
        let interesting = server_group::interesting(ctx);
        let up = instances
            .iter()
            .filter(|i| server_group::is_up(i, interesting.as_deref()));
        let up = i64::try_from(up.count()).unwrap_or(i64::MAX);
        let enough = sized && (quiet || up >= wanted);
        Ok(if enough {
            TaskResult::succeeded()
        } else {
            TaskResult::running()
        })
    }
}
