//! `rollbackServerGroup`: another version of a cluster serves again.
//! Source: `orca: RollbackServerGroupStage`, `ExplicitRollback`, `PreviousImageRollback`.
//!
//! Differs from Spinnaker: the two groups are looked up by a task, which may be
//! repeated, not while planning; and a group that was replaced in place, and so
//! has no instances, takes its hosts back one by one.

use async_trait::async_trait;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, NewStage, PlanError, StageDefinition, StageView, TaskError, TaskPolicy,
    TaskResult, TaskSpec,
};
use proto::moniker::Moniker;
use serde_json::{Map, Value, json};

use super::{StageType, accounts_of, schema, targeted};
use crate::provider;
use crate::task::quarantine;
use crate::task::server_group::{self, Capacity};
use crate::task::snapshot_source_server_group::SNAPSHOT;
use crate::task::{Task, TaskContext, failed};

/// The type.
pub(super) static STAGE: RollbackServerGroup = RollbackServerGroup;

const TYPES: [&str; 2] = ["EXPLICIT", "PREVIOUS_IMAGE"];

/// See the module.
#[derive(Debug)]
pub(super) struct RollbackServerGroup;

impl StageDefinition for RollbackServerGroup {
    fn kind(&self) -> &'static str {
        "rollbackServerGroup"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Rollback server group",
            text: "Makes an earlier version of a cluster serve again.",
            category: "deploy",
        }
    }

    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        super::unbuilt::require_provider(stage.stage)?;
        Ok(vec![TaskSpec::new("determineRollback", Determine.kind())])
    }

    fn after(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        let Some(plan) = stage.stage.context.get("rollbackPlan") else {
            return Ok(Vec::new());
        };
        Ok(NewStage::chain(planned(stage, plan)))
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let mut faults = targeted::place_faults(context, path);
        let kind = context
            .get("rollbackType")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !kind.contains("${") && !TYPES.contains(&kind) {
            let message = format!("\"{kind}\" is no rollback; use {}", TYPES.join(" or "));
            faults.push(Fault::new(format!("{path}.rollbackType"), message));
        }
        faults
    }

    fn schema(&self) -> Value {
        schema(
            &json!({
                "account": {"type": "string", "title": "Account"},
                "region": {"type": "string", "title": "Region"},
                "rollbackType": {"type": "string", "enum": TYPES},
                "rollbackContext": {
                    "type": "object",
                    "properties": {
                        "rollbackServerGroupName": {"type": "string"},
                        "restoreServerGroupName": {"type": "string"},
                        "targetHealthyRollbackPercentage": {"type": "integer"},
                        "delayBeforeDisableSeconds": {"type": "integer"},
                        "imageId": {"type": "string"},
                    },
                    "required": ["rollbackServerGroupName"],
                },
            }),
            &["rollbackType", "rollbackContext"],
        )
    }
}

impl StageType for RollbackServerGroup {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Determine]
    }

    fn accounts(&self, stage: &Map<String, Value>) -> Vec<(String, String)> {
        accounts_of(stage, "")
    }
}

#[derive(Debug)]
struct Determine;

#[async_trait]
impl Task for Determine {
    fn kind(&self) -> &'static str {
        "determineRollback"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy {
            backoff_ms: 500,
            timeout_ms: Some(300_000),
            overridable: false,
        }
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let text = |key: &str| {
            let value = ctx.own("rollbackContext").and_then(|c| c.get(key));
            value.and_then(Value::as_str).filter(|t| !t.is_empty())
        };
        let from = text("rollbackServerGroupName").ok_or_else(|| {
            TaskError::user("rollbackContext.rollbackServerGroupName is missing; name the group")
        })?;
        let current = server_group::live(ctx, from).await?.ok_or_else(|| {
            TaskError::user(format!(
                "server group {from} does not exist; correct its name"
            ))
        })?;
        let image = text("imageId").or_else(|| text("imageName"));
        let image = image.map(|image| json!({"imageId": image, "imageName": text("imageName")}));
        let plan = match (ctx.text("rollbackType"), text("restoreServerGroupName")) {
            (Some("PREVIOUS_IMAGE"), _) => {
                let image = match image {
                    Some(image) => image,
                    None => image_before(ctx, &current).await?,
                };
                clone_plan(&image, &current)
            }
            (_, Some(to)) => match (server_group::live(ctx, to).await?, image) {
                (Some(restored), _) => explicit_plan(&current, &restored),
                // It was destroyed, but its image is known.
                (None, Some(image)) => clone_plan(&image, &current),
                (None, None) => {
                    return Err(TaskError::user(format!(
                        "server group {to} does not exist any more; set rollbackContext.imageId to \
                         deploy its image again"
                    )));
                }
            },
            _ => {
                let field = "rollbackContext.restoreServerGroupName";
                return Err(TaskError::user(format!(
                    "{field} is missing; name the group"
                )));
            }
        };
        if let Some(image) = server_group::image(&current) {
            let cluster = Moniker::parse(from).cluster.unwrap_or_default();
            let account = server_group::account(ctx)?;
            quarantine::put(ctx, account, &cluster, from, image).await?;
        }
        Ok(TaskResult::succeeded().with_context("rollbackPlan", plan))
    }
}

/// The image before the group's, and its name.
async fn image_before(ctx: &TaskContext<'_>, current: &Value) -> Result<Value, TaskError> {
    let name = server_group::name(current);
    let moniker = Moniker::parse(name);
    let cluster = moniker.cluster.unwrap_or_default();
    let application = moniker.app.unwrap_or_default();
    let account = server_group::account(ctx)?;
    let driver = ctx.services.cloud_driver();
    let found = driver
        .cluster(&application, account, &cluster, server_group::provider(ctx))
        .await
        .map_err(failed)?
        .unwrap_or_default();
    let region = server_group::region_of(ctx)?;
    let groups: Vec<&Value> = server_group::of_cluster(&found, &region).collect();
    let before = server_group::image_before(current, &groups).ok_or_else(|| {
        TaskError::user(format!(
            "no image that ran before {name} is known; set rollbackContext.imageId"
        ))
    })?;
    Ok(json!({
        "imageId": server_group::image(before), "imageName": before.get("imageName"),
    }))
}

fn clone_plan(image: &Value, current: &Value) -> Value {
    json!({
        "how": "clone", "imageId": image.get("imageId"), "imageName": image.get("imageName"),
        "capacity": server_group::capacity(current).to_json(),
    })
}

/// How a group that is there takes over again.
fn explicit_plan(current: &Value, restored: &Value) -> Value {
    let (a, b) = (
        server_group::capacity(current),
        server_group::capacity(restored),
    );
    let desired = a.desired.max(b.desired);
    let wanted = Capacity {
        min: desired,
        max: a.max.max(b.max),
        desired,
    };
    let empty = server_group::instances(restored).is_empty();
    let busy = !server_group::instances(current).is_empty();
    if empty && busy {
        return json!({"how": "inPlace", "capacity": a.to_json()});
    }
    json!({"how": "explicit", "capacity": wanted.to_json(), "resize": b != wanted})
}

fn planned(stage: StageView<'_>, plan: &Value) -> Vec<NewStage> {
    let own = &stage.stage.context;
    let rollback = own.get("rollbackContext").cloned().unwrap_or_default();
    let text = |key: &str| {
        rollback
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let flag = |key: &str| rollback.get(key).and_then(Value::as_bool) == Some(true);
    let (from, to) = (
        text("rollbackServerGroupName"),
        text("restoreServerGroupName"),
    );
    let mut base = Map::new();
    for key in [
        "account",
        "credentials",
        "region",
        "regions",
        "cloudProvider",
        "application",
        "moniker",
        "cluster",
        "interestingHealthProviderNames",
        "floor",
        "allowOutage",
    ] {
        if let Some(value) = own.get(key) {
            base.insert(key.to_owned(), value.clone());
        }
    }
    let with = |fields: Value| {
        let mut context = base.clone();
        if let Value::Object(fields) = fields {
            context.extend(fields);
        }
        context
    };
    let healthy = rollback.get("targetHealthyRollbackPercentage").cloned();
    let capacity = plan.get("capacity").cloned().unwrap_or_default();
    match plan.get("how").and_then(Value::as_str) {
        Some("clone") => vec![clone_stage(stage, &rollback, plan, from, &with)],
        Some("inPlace") => {
            let context = with(json!({
                "source": {"serverGroupName": from},
                "targetServerGroupName": to,
                "capacity": capacity,
            }));
            vec![NewStage::new(
                "replaceInPlace",
                &format!("Replace {from} by {to} in place"),
                context,
            )]
        }
        _ => {
            let mut stages = Vec::new();
            let resize = plan.get("resize") == Some(&json!(true))
                && !flag("disableOnly")
                && !flag("enableAndDisableOnly");
            if resize && !own.contains_key(SNAPSHOT) {
                let source = json!({"source": {"serverGroupName": from}});
                let kind = "captureSourceServerGroupCapacity";
                stages.push(NewStage::new(
                    kind,
                    "Snapshot Source Server Group",
                    with(source),
                ));
            }
            if !flag("disableOnly") {
                let mut context = with(json!({"serverGroupName": to, "asgName": to}));
                if let Some(healthy) = &healthy {
                    context.insert("targetHealthyDeployPercentage".to_owned(), healthy.clone());
                }
                let name = format!("Enable {to} due to rollback");
                stages.push(NewStage::new("enableServerGroup", &name, context));
                if resize {
                    stages.push(resize_stage(to, &capacity, healthy.as_ref(), &with));
                }
                let delay = rollback.get("delayBeforeDisableSeconds");
                if let Some(seconds) = delay.and_then(server_group::whole).filter(|s| *s > 0) {
                    let context = with(json!({"waitTime": seconds}));
                    stages.push(NewStage::new("wait", "waitBeforeDisable", context));
                }
            }
            let context = with(json!({"serverGroupName": from, "asgName": from}));
            let name = format!("Disable {from} due to rollback");
            stages.push(NewStage::new("disableServerGroup", &name, context));
            if resize {
                let name = "Restore Min Capacity From Snapshot due to rollback";
                let context = with(json!({"serverGroupName": to}));
                stages.push(NewStage::new(
                    "applySourceServerGroupCapacity",
                    name,
                    context,
                ));
            }
            stages
        }
    }
}

/// The group's own successor, with the image before.
fn clone_stage(
    stage: StageView<'_>,
    rollback: &Value,
    plan: &Value,
    from: &str,
    with: &dyn Fn(Value) -> Map<String, Value>,
) -> NewStage {
    let own = &stage.stage.context;
    let provider = provider::of(own);
    let copies = provider.pins_new_group();
    let moniker = Moniker::parse(from);
    let name = plan.get("imageName").filter(|name| !name.is_null());
    let strategy = own.get("strategy").cloned();
    let mut fields = json!({
        "imageId": plan.get("imageId"),
        "source": {"serverGroupName": from, "asgName": from, "useSourceCapacity": copies},
        "strategy": strategy.unwrap_or_else(|| provider.rollback_strategy().into()),
        "delayBeforeDisableSec": rollback.get("delayBeforeDisableSeconds").cloned().unwrap_or_else(|| 0.into()),
    });
    let optional = [
        ("imageName", name.cloned()),
        ("amiName", name.cloned().filter(|_| copies)),
        ("application", moniker.app.map(Value::from)),
        ("stack", moniker.stack.map(Value::from)),
        ("freeFormDetails", moniker.detail.map(Value::from)),
        (
            "targetHealthyDeployPercentage",
            rollback.get("targetHealthyRollbackPercentage").cloned(),
        ),
        ("useSourceCapacity", copies.then(|| json!(true))),
        (
            "capacity",
            plan.get("capacity").cloned().filter(|_| !copies),
        ),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            fields[key] = value;
        }
    }
    NewStage::new("cloneServerGroup", "clone", with(fields))
}

fn resize_stage(
    to: &str,
    capacity: &Value,
    healthy: Option<&Value>,
    with: &dyn Fn(Value) -> Map<String, Value>,
) -> NewStage {
    let part = |key: &str| capacity.get(key).cloned().unwrap_or_default();
    let name = format!(
        "Resize Server Group: {to} to (min: {}, max: {}, desired: {})",
        part("min"),
        part("max"),
        part("desired")
    );
    let mut context = with(json!({
        "serverGroupName": to, "asgName": to, "action": "scale_exact", "capacity": capacity,
        "pinMinimumCapacity": true,
    }));
    if let Some(healthy) = healthy {
        let key = "targetHealthyDeployPercentage";
        context.insert(key.to_owned(), healthy.clone());
    }
    NewStage::new("resizeServerGroup", &name, context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_without_instances_takes_its_hosts_back_in_place() {
        let group = |instances: usize, desired: i64| {
            json!({"instances": vec![json!({}); instances],
                "capacity": {"min": desired, "max": desired, "desired": desired}})
        };
        assert_eq!(explicit_plan(&group(3, 3), &group(0, 0))["how"], "inPlace");
        let explicit = explicit_plan(&group(3, 3), &group(2, 2));
        assert_eq!(
            (&explicit["how"], &explicit["resize"]),
            (&json!("explicit"), &json!(true))
        );
        assert_eq!(
            explicit["capacity"],
            json!({"min": 3, "max": 3, "desired": 3})
        );
        assert_eq!(explicit_plan(&group(3, 3), &group(3, 3))["resize"], false);
    }
}
