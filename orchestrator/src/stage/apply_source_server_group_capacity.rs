//! `applySourceServerGroupCapacity`: the new group may shrink as the one before it
//! could. Planned by deployments and rollbacks. Source: `orca:
//! ApplySourceServerGroupCapacityStage`.

use async_trait::async_trait;
use orchestrator_core::{
    Description, PlanError, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult, TaskSpec,
};
use serde_json::{Map, Value, json};

use super::{StageType, accounts_of};
use crate::task::server_group::{self, Capacity};
use crate::task::snapshot_source_server_group::SNAPSHOT;
use crate::task::{CANCEL_OPERATION, Task, TaskContext, WAIT_FOR_CAPACITY_MATCH, submit_operation};

/// The type.
pub(super) static STAGE: ApplySourceServerGroupCapacity = ApplySourceServerGroupCapacity;

/// See the module.
#[derive(Debug)]
pub(super) struct ApplySourceServerGroupCapacity;

impl StageDefinition for ApplySourceServerGroupCapacity {
    fn kind(&self) -> &'static str {
        "applySourceServerGroupCapacity"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Apply source server group capacity",
            text: "Lets a new server group shrink as the one before it could.",
            category: "internal",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![
            TaskSpec::new("restoreMinCapacity", Restore.kind()),
            TaskSpec::new("waitForCapacityMatch", WAIT_FOR_CAPACITY_MATCH.kind()),
        ])
    }

    fn cancel_task(&self, _stage: StageView<'_>) -> Option<&'static str> {
        Some(CANCEL_OPERATION.kind())
    }
}

impl StageType for ApplySourceServerGroupCapacity {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Restore]
    }

    fn accounts(&self, stage: &Map<String, Value>) -> Vec<(String, String)> {
        accounts_of(stage, "")
    }
}

#[derive(Debug)]
struct Restore;

/// The nearest value of a key among the contexts a stage sees.
fn seen<'a>(ctx: &TaskContext<'a>, key: &str) -> Option<&'a Value> {
    let all = ctx.execution.ancestors(ctx.stage).into_iter();
    all.filter_map(|s| s.context.get(key))
        .find(|v| !v.is_null())
}

/// The group: named by the stage, or deployed by the one that planned it.
fn group_of(ctx: &TaskContext<'_>) -> Option<String> {
    if let Some(name) = ctx.text("serverGroupName") {
        return Some(name.to_owned());
    }
    let region = server_group::region_of(ctx).ok()?;
    let makes = ["createServerGroup", "cloneServerGroup"];
    let all = ctx.execution.ancestors(ctx.stage).into_iter();
    let made = all
        .filter(|s| makes.contains(&s.kind.as_str()))
        .find_map(|s| s.context.get("deploy.server.groups")?.get(&region)?.get(0));
    Some(made?.as_str()?.to_owned())
}

#[async_trait]
impl Task for Restore {
    fn kind(&self) -> &'static str {
        "restoreMinCapacity"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy {
            backoff_ms: 500,
            timeout_ms: Some(600_000),
            overridable: false,
        }
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let (Some(name), Some(before)) =
            (group_of(ctx), seen(ctx, SNAPSHOT).and_then(Capacity::of))
        else {
            return Ok(TaskResult::succeeded());
        };
        // A second run sees the lowered minimum and must still send the same.
        let min = match ctx.own("restoredMin").and_then(server_group::whole) {
            Some(min) => min,
            None => match server_group::live(ctx, &name).await? {
                Some(group) if server_group::capacity(&group).min > before.min => before.min,
                _ => return Ok(TaskResult::succeeded()),
            },
        };
        let account = server_group::account(ctx)?;
        let region = server_group::region_of(ctx)?;
        let input = json!({
            "credentials": account, "region": region, "cloudProvider": server_group::provider(ctx),
            "asgName": name, "serverGroupName": name, "capacity": {"min": min},
        });
        let input = input.as_object().cloned().unwrap_or_default();
        let result = submit_operation::submit(ctx, "resizeServerGroup", input).await?;
        Ok(result
            .with_context("restoredMin", min)
            .with_context("serverGroupName", name.clone())
            .with_context("deploy.server.groups", json!({ region: [name] })))
    }
}
