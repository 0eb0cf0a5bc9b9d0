//! What a new server group takes over from. Source: `orca:
//! DetermineSourceServerGroupTask`.

use async_trait::async_trait;
use orchestrator_core::{TaskError, TaskPolicy, TaskResult};
use serde_json::{Value, json};

use super::{Task, TaskContext, failed, server_group};
use crate::stage::strategy;

/// The task.
pub static DETERMINE_SOURCE_SERVER_GROUP: DetermineSourceServerGroup = DetermineSourceServerGroup;

/// See the module.
#[derive(Debug)]
pub struct DetermineSourceServerGroup;

#[async_trait]
impl Task for DetermineSourceServerGroup {
    fn kind(&self) -> &'static str {
        "determineSourceServerGroup"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy {
            backoff_ms: 500,
            timeout_ms: Some(300_000),
            overridable: false,
        }
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        // The first answer counts: a run after the deployment began would see its work.
        if let Some(source) = ctx.own("source")
            && source.get("serverGroupName").is_some()
        {
            return Ok(prepared(ctx, completed(ctx, source.clone()), None));
        }
        let account = server_group::account(ctx)?;
        let region = server_group::region_of(ctx)?;
        let cluster = server_group::cluster_of(&ctx.stage.context, &ctx.execution.application);
        let application = ctx
            .text("application")
            .unwrap_or(&ctx.execution.application);
        let found = ctx
            .services
            .cloud_driver()
            .cluster(application, account, &cluster, server_group::provider(ctx))
            .await
            .map_err(failed)?
            .unwrap_or_default();
        let Some(group) = source(&found, &region) else {
            if ctx.flag("useSourceCapacity") && ctx.own("capacity").is_none() {
                return Err(TaskError::user(format!(
                    "Cluster is configured to copy capacity from the current server group, but \
                     {cluster} has none in {region}; set capacity"
                )));
            }
            return Ok(prepared(ctx, json!({}), None));
        };
        let name = server_group::name(group);
        let mut source = json!({
            "account": account, "region": region, "asgName": name, "serverGroupName": name,
        });
        if ctx.own("useSourceCapacity").is_some() {
            source["useSourceCapacity"] = ctx.flag("useSourceCapacity").into();
        }
        // What a rollback needs after the source itself is gone.
        let snapshot = json!({
            "serverGroupName": name,
            "imageId": server_group::image(group),
            "capacity": server_group::capacity(group).to_json(),
            "loadBalancers": group.get("loadBalancers").cloned().unwrap_or_else(|| json!([])),
            "isDisabled": server_group::is_disabled(group),
            "launchConfig": group.get("launchConfig").cloned().unwrap_or_default(),
        });
        Ok(prepared(ctx, source, Some(snapshot)))
    }
}

/// A source that the stage names, with account and region.
fn completed(ctx: &TaskContext<'_>, mut source: Value) -> Value {
    let name = source.get("serverGroupName").cloned();
    let own = [
        ("asgName", name),
        ("account", server_group::account(ctx).ok().map(Value::from)),
        ("region", server_group::region_of(ctx).ok().map(Value::from)),
    ];
    if let Some(source) = source.as_object_mut() {
        for (key, value) in own {
            if let Some(value) = value {
                source.entry(key).or_insert(value);
            }
        }
    }
    source
}

/// The source, and what the strategy has otherwise before the group is made.
fn prepared(ctx: &TaskContext<'_>, source: Value, snapshot: Option<Value>) -> TaskResult {
    let mut context = ctx.stage.context.clone();
    context.insert("source".to_owned(), source.clone());
    let mut result = TaskResult::succeeded();
    if let Ok(strategy) = strategy::named(ctx.own("strategy")) {
        result.context = strategy.prepare(&context);
    }
    let result = result.with_context("source", source);
    match snapshot {
        Some(snapshot) => result.with_context("sourceServerGroup", snapshot),
        None => result,
    }
}

/// The newest group that runs and serves; without one the newest.
///
/// Differs from Spinnaker: Orca takes the newest, which after a replacement in
/// place and its rollback is an empty one.
fn source<'a>(cluster: &'a Value, region: &str) -> Option<&'a Value> {
    let groups: Vec<&Value> = server_group::of_cluster(cluster, region).collect();
    let serves =
        |g: &&&Value| !server_group::is_disabled(g) && !server_group::instances(g).is_empty();
    groups
        .iter()
        .find(serves)
        .or_else(|| groups.first())
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_group_that_serves_is_the_source() {
        let group = |name: &str, created: u64, disabled: bool, instances: usize| {
            json!({"name": name, "region": "r", "createdTime": created, "isDisabled": disabled,
                "instances": vec![json!({}); instances]})
        };
        let cluster = json!({"serverGroups": [
            group("a-v000", 1, false, 3), group("a-v001", 2, true, 0), group("a-v002", 3, true, 1),
        ]});
        assert_eq!(server_group::name(source(&cluster, "r").unwrap()), "a-v000");
        assert!(source(&cluster, "s").is_none());
        let cluster =
            json!({"serverGroups": [group("a-v000", 1, true, 3), group("a-v001", 2, true, 0)]});
        assert_eq!(server_group::name(source(&cluster, "r").unwrap()), "a-v001");
    }
}
