//! `restoreServerGroup`: after a failed deployment, the group that served before
//! serves again. Planned by `rollback.onFailure`.
//!
//! Up to the first destroy the failed operation has undone itself, and this only
//! makes sure: it looks, and does the least that brings the old group back. When
//! the old group is gone, its image is deployed again at its capacity.

use async_trait::async_trait;
use orchestrator_core::{
    Description, NewStage, PlanError, StageDefinition, StageView, TaskError, TaskPolicy,
    TaskResult, TaskSpec,
};
use proto::moniker::Moniker;
use serde_json::{Map, Value, json};

use super::StageType;
use super::create_server_group::{deployed_here, wants};
use crate::task::quarantine;
use crate::task::server_group::{self, Capacity};
use crate::task::{CANCEL_OPERATION, MONITOR_OPERATION, Task, TaskContext, submit_operation};

/// The type.
pub(super) static STAGE: RestoreServerGroup = RestoreServerGroup;

/// See the module.
#[derive(Debug)]
pub(super) struct RestoreServerGroup;

impl StageDefinition for RestoreServerGroup {
    fn kind(&self) -> &'static str {
        "restoreServerGroup"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Restore server group",
            text: "Makes the server group that served before serve again.",
            category: "internal",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![
            TaskSpec::new("determineRestore", Determine.kind()),
            TaskSpec::new("restoreServerGroup", Restore.kind()),
            TaskSpec::new("monitorRestore", MONITOR_OPERATION.kind()),
        ])
    }

    fn cancel_task(&self, _stage: StageView<'_>) -> Option<&'static str> {
        Some(CANCEL_OPERATION.kind())
    }
}

impl StageType for RestoreServerGroup {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Determine, &Restore]
    }
}

/// The restoration that a failed deployment asks for, if it does and something
/// served before.
pub(super) fn planned(stage: StageView<'_>) -> Option<NewStage> {
    if !wants(stage, "onFailure") {
        return None;
    }
    let before = stage.stage.context.get("sourceServerGroup")?.clone();
    if before.get("isDisabled") == Some(&json!(true)) {
        return None;
    }
    let name = format!("Restore {}", before.get("serverGroupName")?.as_str()?);
    let mut context = Map::new();
    for key in [
        "account",
        "credentials",
        "region",
        "cloudProvider",
        "application",
        "stack",
        "freeFormDetails",
        "moniker",
        "floor",
        "allowOutage",
    ] {
        if let Some(value) = stage.stage.context.get(key) {
            context.insert(key.to_owned(), value.clone());
        }
    }
    context.insert("before".to_owned(), before);
    if let Some((_, deployed)) = deployed_here(stage) {
        context.insert("deployed".to_owned(), deployed.into());
    }
    if let Some(image) = stage.stage.context.get("imageId").and_then(Value::as_str) {
        context.insert("failedImage".to_owned(), image.into());
    }
    context.insert("stageTimeoutMs".to_owned(), 1_800_000.into());
    Some(NewStage::new("restoreServerGroup", &name, context))
}

/// Looks what is missing, and keeps the decision: a second look would see its work.
#[derive(Debug)]
struct Determine;

#[async_trait]
impl Task for Determine {
    fn kind(&self) -> &'static str {
        "determineRestore"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy {
            backoff_ms: 500,
            timeout_ms: Some(300_000),
            overridable: false,
        }
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let before = ctx.own("before").cloned().unwrap_or_default();
        let name = before
            .get("serverGroupName")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let old = server_group::live(ctx, name).await?;
        let new = match ctx.text("deployed") {
            Some(deployed) => server_group::live(ctx, deployed).await?,
            None => None,
        };
        // What failed here is not deployed again by a trigger, whoever took it back.
        let image = new.as_ref().and_then(server_group::image);
        if let Some(image) = image.or_else(|| ctx.text("failedImage")) {
            let cluster = Moniker::parse(name).cluster.unwrap_or_default();
            let account = server_group::account(ctx)?;
            let failed = ctx.text("deployed").unwrap_or_default();
            quarantine::put(ctx, account, &cluster, failed, image).await?;
        }
        let plan = decide(&before, old.as_ref(), new.as_ref());
        Ok(TaskResult::succeeded().with_context("restore", plan))
    }
}

/// The one operation that is needed: `{operation, input}`; `{}` for none.
fn decide(before: &Value, old: Option<&Value>, new: Option<&Value>) -> Value {
    let name = before.get("serverGroupName").cloned().unwrap_or_default();
    let capacity = before
        .get("capacity")
        .and_then(Capacity::of)
        .unwrap_or_default();
    let newer = new
        .filter(|group| !server_group::instances(group).is_empty())
        .map(|group| json!({"serverGroupName": server_group::name(group)}));
    let Some(old) = old else {
        let launch = before.get("launchConfig").cloned().unwrap_or_default();
        let mut input = json!({
            "imageId": before.get("imageId"),
            "capacity": capacity.to_json(),
            "loadBalancers": before.get("loadBalancers"),
        });
        for (from, to) in [
            ("environment", "env"),
            ("healthCheck", "healthCheck"),
            ("drain", "drain"),
        ] {
            if let Some(value) = launch.get(from).filter(|v| !v.is_null()) {
                input[to] = value.clone();
            }
        }
        // What was deployed has the hosts, so it gives them back one by one.
        return match newer {
            Some(source) => {
                input["source"] = source;
                json!({"operation": "replaceInPlace", "input": input})
            }
            None => json!({"operation": "createServerGroup", "input": input}),
        };
    };
    let alive = i64::try_from(server_group::instances(old).len()).unwrap_or(i64::MAX);
    match newer {
        Some(source) if alive == 0 => json!({
            "operation": "replaceInPlace",
            "input": {
                "source": source, "targetServerGroupName": name, "capacity": capacity.to_json(),
            },
        }),
        _ if alive < capacity.desired => json!({
            "operation": "resizeServerGroup",
            "input": {"serverGroupName": name, "capacity": capacity.to_json()},
        }),
        _ if server_group::is_disabled(old) => json!({
            "operation": "enableServerGroup", "input": {"serverGroupName": name},
        }),
        _ => json!({}),
    }
}

#[derive(Debug)]
struct Restore;

#[async_trait]
impl Task for Restore {
    fn kind(&self) -> &'static str {
        "restoreServerGroup"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy {
            backoff_ms: 500,
            timeout_ms: Some(600_000),
            overridable: false,
        }
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let plan = ctx.own("restore").cloned().unwrap_or_default();
        let Some(kind) = plan.get("operation").and_then(Value::as_str) else {
            return Ok(TaskResult::succeeded());
        };
        let mut input = submit_operation::input_of(ctx);
        for key in ["before", "deployed", "restore", "stageTimeoutMs"] {
            input.shift_remove(key);
        }
        if let Some(Value::Object(own)) = plan.get("input") {
            input.extend(own.clone());
        }
        submit_operation::submit(ctx, kind, input).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, instances: usize, disabled: bool) -> Value {
        json!({"name": name, "instances": vec![json!({}); instances], "isDisabled": disabled})
    }

    #[test]
    fn the_least_that_brings_the_old_group_back_is_done() {
        let before = json!({
            "serverGroupName": "a-v000", "imageId": "i:1",
            "capacity": {"min": 3, "max": 3, "desired": 3},
            "launchConfig": {"drain": {"path": "/drain"}, "healthCheck": null},
        });
        let whole = group("a-v000", 3, false);
        let new = group("a-v001", 3, false);
        for (old, new, expected) in [
            (Some(whole.clone()), None, None),
            (Some(whole), Some(new.clone()), None),
            (
                Some(group("a-v000", 3, true)),
                None,
                Some("enableServerGroup"),
            ),
            (
                Some(group("a-v000", 1, false)),
                None,
                Some("resizeServerGroup"),
            ),
            (
                Some(group("a-v000", 0, true)),
                Some(new.clone()),
                Some("replaceInPlace"),
            ),
            (None, Some(new), Some("replaceInPlace")),
            (None, None, Some("createServerGroup")),
        ] {
            let plan = decide(&before, old.as_ref(), new.as_ref());
            let operation = plan.get("operation").and_then(Value::as_str);
            assert_eq!(operation, expected, "{old:?} {new:?}");
        }
        let again = decide(&before, None, None);
        assert_eq!(again["input"]["imageId"], "i:1");
        assert_eq!(again["input"]["drain"]["path"], "/drain");
        assert!(again["input"].get("healthCheck").is_none());
        assert_eq!(again["input"]["capacity"]["desired"], 3);
    }
}
