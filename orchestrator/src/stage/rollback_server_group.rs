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
use serde_json::{Map, Value, json};

use super::{StageType, accounts_of, schema, targeted};
use crate::task::server_group::{self, Capacity};
use crate::task::{Task, TaskContext};

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

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
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
        let plan = match (ctx.text("rollbackType"), text("restoreServerGroupName")) {
            (Some("PREVIOUS_IMAGE"), _) => {
                let image = image.ok_or_else(|| {
                    TaskError::user("rollbackContext.imageId is missing; name the image before")
                })?;
                clone_plan(image, &current)
            }
            (_, Some(to)) => match (server_group::live(ctx, to).await?, image) {
                (Some(restored), _) => explicit_plan(&current, &restored),
                // It was destroyed, but its image is known.
                (None, Some(image)) => clone_plan(image, &current),
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
        Ok(TaskResult::succeeded().with_context("rollbackPlan", plan))
    }
}

fn clone_plan(image: &str, current: &Value) -> Value {
    json!({"how": "clone", "imageId": image, "capacity": server_group::capacity(current).to_json()})
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
    let same = (b.max, b.desired) == (wanted.max, wanted.desired);
    json!({"how": "explicit", "capacity": wanted.to_json(), "resize": !same})
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
        Some("clone") => {
            let context = with(json!({
                "imageId": plan.get("imageId"),
                "capacity": capacity,
                "source": {"serverGroupName": from, "asgName": from, "useSourceCapacity": false},
                "strategy": own.get("strategy").cloned().unwrap_or_else(|| json!("inplacedrain")),
            }));
            vec![NewStage::new("cloneServerGroup", "clone", context)]
        }
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
            if !flag("disableOnly") {
                let mut context = with(json!({"serverGroupName": to, "asgName": to}));
                if let Some(healthy) = &healthy {
                    context.insert("targetHealthyDeployPercentage".to_owned(), healthy.clone());
                }
                let name = format!("Enable {to} due to rollback");
                stages.push(NewStage::new("enableServerGroup", &name, context));
                let resize = plan.get("resize") == Some(&json!(true));
                if resize && !flag("enableAndDisableOnly") {
                    stages.push(resize_stage(to, &capacity, &with));
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
            stages
        }
    }
}

fn resize_stage(
    to: &str,
    capacity: &Value,
    with: &dyn Fn(Value) -> Map<String, Value>,
) -> NewStage {
    let part = |key: &str| capacity.get(key).cloned().unwrap_or_default();
    let name = format!(
        "Resize Server Group: {to} to (min: {}, max: {}, desired: {})",
        part("min"),
        part("max"),
        part("desired")
    );
    let context = with(json!({
        "serverGroupName": to, "asgName": to, "action": "scale_exact", "capacity": capacity,
        "pinMinimumCapacity": true,
    }));
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
