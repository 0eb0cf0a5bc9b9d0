//! Waits until a disabled group, or the share of it that was asked for, takes no
//! more requests. Source: `orca: WaitForDownInstancesTask`.

use async_trait::async_trait;
use orchestrator_core::{TaskError, TaskPolicy, TaskResult};
use serde_json::Value;

use super::{Task, TaskContext, server_group};

/// The task.
pub static WAIT_FOR_DOWN_INSTANCES: WaitForDownInstances = WaitForDownInstances;

/// See the module.
#[derive(Debug)]
pub struct WaitForDownInstances;

#[async_trait]
impl Task for WaitForDownInstances {
    fn kind(&self) -> &'static str {
        "waitForDownInstances"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(2_000, 7_200_000)
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let interesting = server_group::interesting(ctx);
        if interesting.as_ref().is_some_and(Vec::is_empty) {
            return Ok(TaskResult::succeeded());
        }
        let name = server_group::target_name(ctx)?;
        let Some(group) = server_group::live(ctx, &name).await? else {
            return Ok(TaskResult::succeeded());
        };
        let instances = server_group::instances(&group);
        let is_down = |i: &&Value| server_group::is_down(i, interesting.as_deref());
        let enough = match ids_to_disable(ctx) {
            // The operation chose them, so all of them and no others.
            Some(ids) => instances
                .iter()
                .filter(|i| {
                    i.get("id")
                        .and_then(Value::as_str)
                        .is_some_and(|id| ids.contains(&id))
                })
                .all(|i| is_down(&i)),
            None => {
                let total = i64::try_from(instances.len()).unwrap_or(i64::MAX);
                let wanted = server_group::share(
                    ctx.number("desiredPercentage")
                        .unwrap_or(100.0)
                        .clamp(0.0, 100.0),
                    total,
                );
                let down = instances.iter().filter(is_down).count();
                i64::try_from(down).unwrap_or(i64::MAX) >= wanted
            }
        };
        Ok(if enough {
            TaskResult::succeeded()
        } else {
            TaskResult::running()
        })
    }
}

/// The instances that the operation's result names.
fn ids_to_disable<'a>(ctx: &TaskContext<'a>) -> Option<Vec<&'a str>> {
    let tasks = ctx.own("kato.tasks")?.as_array()?;
    let ids = tasks
        .iter()
        .rev()
        .filter_map(|task| task.get("resultObjects")?.as_array())
        .flatten()
        .find_map(|result| result.get("instanceIdsToDisable")?.as_array())?;
    Some(ids.iter().filter_map(Value::as_str).collect())
}
