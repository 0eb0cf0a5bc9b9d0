//! `resizeServerGroup`: changes how many instances a server group has.
//! Source: `orca: ResizeServerGroupStage`, `ResizeStrategy`.

use async_trait::async_trait;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, NewStage, PlanError, StageDefinition, StageView, TaskError, TaskPolicy,
    TaskResult, TaskSpec,
};
use serde_json::{Map, Value, json};

use super::{StageType, accounts_of, schema, targeted};
use crate::provider;
use crate::task::server_group::{self, Capacity};
use crate::task::{
    CANCEL_OPERATION, CHECK_IF_APPLICATION_EXISTS, DETERMINE_HEALTH_PROVIDERS, MONITOR_OPERATION,
    Task, TaskContext, WAIT_FOR_CAPACITY_MATCH, failed, submit_operation, traffic_guard,
};

/// The type.
pub(super) static STAGE: ResizeServerGroup = ResizeServerGroup;

/// See the module.
#[derive(Debug)]
pub(super) struct ResizeServerGroup;

impl StageDefinition for ResizeServerGroup {
    fn kind(&self) -> &'static str {
        "resizeServerGroup"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Resize server group",
            text: "Changes how many instances a server group has.",
            category: "deploy",
        }
    }

    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        if !targeted::acts(stage) {
            return Ok(Vec::new());
        }
        Ok(vec![
            TaskSpec::new(
                "checkIfApplicationExists",
                CHECK_IF_APPLICATION_EXISTS.kind(),
            ),
            TaskSpec::new(
                "determineHealthProviders",
                DETERMINE_HEALTH_PROVIDERS.kind(),
            ),
            TaskSpec::new("resizeServerGroup", RESIZE.kind()),
            TaskSpec::new("monitorServerGroup", MONITOR_OPERATION.kind()),
            TaskSpec::new("waitForCapacityMatch", WAIT_FOR_CAPACITY_MATCH.kind()),
        ])
    }

    fn before(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        if !targeted::acts(stage) {
            return targeted::plan(stage, "resizeServerGroup");
        }
        let processes = json!(["Launch", "Terminate"]);
        Ok(scaling(
            stage,
            "resumeScalingProcesses",
            "resume",
            Some(processes),
        ))
    }

    fn after(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        Ok(scaling(stage, "suspendScalingProcesses", "suspend", None))
    }

    fn cancel_task(&self, stage: StageView<'_>) -> Option<&'static str> {
        targeted::acts(stage).then(|| CANCEL_OPERATION.kind())
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        targeted::faults(context, path)
    }

    fn schema(&self) -> Value {
        let actions = [
            "scale_exact",
            "scale_up",
            "scale_down",
            "scale_to_cluster",
            "scale_to_server_group",
        ];
        let more = json!({
            "action": {"type": "string", "enum": actions, "default": "scale_exact"},
            "capacity": {"type": "object", "title": "Capacity"},
            "scalePct": {"type": "integer"},
            "scaleNum": {"type": "integer"},
        });
        schema(&targeted::properties(more), &["account", "region"])
    }
}

/// What lets a group that resizes itself follow.
fn scaling(
    stage: StageView<'_>,
    name: &str,
    action: &str,
    processes: Option<Value>,
) -> Vec<NewStage> {
    let context = &stage.stage.context;
    let wanted = provider::of(context).has_scaling_processes();
    if !wanted || !targeted::is_child_of_users(stage) {
        return Vec::new();
    }
    let mut own = Map::new();
    for (key, value) in context {
        let engines = ["kato.", "deploy.", "originalCapacity.", "notification."];
        if !engines.iter().any(|e| key.starts_with(e)) {
            own.insert(key.clone(), value.clone());
        }
    }
    own.insert("action".to_owned(), action.into());
    if let Some(processes) = processes {
        own.insert("processes".to_owned(), processes);
    }
    vec![NewStage::new("modifyAwsScalingProcess", name, own)]
}

impl StageType for ResizeServerGroup {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        static OWN: &[&dyn Task] = &[&RESIZE];
        OWN
    }

    fn accounts(&self, stage: &Map<String, Value>) -> Vec<(String, String)> {
        accounts_of(stage, "")
    }
}

/// The task that sends the operation.
pub(super) static RESIZE: Resize = Resize;

/// See [`RESIZE`].
#[derive(Debug)]
pub(super) struct Resize;

#[async_trait]
impl Task for Resize {
    fn kind(&self) -> &'static str {
        "resizeServerGroup"
    }

    fn policy(&self) -> TaskPolicy {
        submit_operation::SUBMISSION
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let name = server_group::target_name(ctx)?;
        let original = format!("originalCapacity.{name}");
        // A second run must ask for the same, so it goes by what the first one saw.
        let decided = ctx.own("resizeDecision").and_then(Capacity::of);
        let (capacity, before) = match (decided, ctx.own(&original).and_then(Capacity::of)) {
            (Some(capacity), Some(before)) => (capacity, before),
            _ => {
                let group = server_group::live(ctx, &name).await?.ok_or_else(|| {
                    TaskError::user(format!(
                        "server group {name} does not exist; correct its name"
                    ))
                })?;
                let (before, after) = target(ctx, server_group::capacity(&group)).await?;
                // The first stage that resized it knows how large it was.
                let first = seen(ctx, &original).unwrap_or(before);
                (after, first)
            }
        };
        if capacity.desired == 0 {
            let region = server_group::region_of(ctx)?;
            let groups = [name.clone()];
            traffic_guard::check(ctx, "Scaling down", &region, &groups).await?;
        }
        let mut input = submit_operation::on_group(ctx)?;
        input.retain(|key, _| !key.starts_with("originalCapacity.") && key != "resizeDecision");
        input.insert("capacity".to_owned(), capacity.to_json());
        input.insert("originalCapacity".to_owned(), before.to_json());
        let result = submit_operation::submit(ctx, "resizeServerGroup", input).await?;
        let region = server_group::region_of(ctx)?;
        Ok(result
            .with_context(&original, before.to_json())
            .with_output(&original, before.to_json())
            .with_context("resizeDecision", capacity.to_json())
            .with_context("capacity", capacity.to_json())
            .with_context("deploy.server.groups", json!({ region: [name.clone()] }))
            .with_context("asgName", name.clone())
            .with_context("serverGroupName", name))
    }
}

/// The capacity that the action goes by, and what the group is to be resized to.
async fn target(
    ctx: &TaskContext<'_>,
    current: Capacity,
) -> Result<(Capacity, Capacity), TaskError> {
    let action = ctx.text("action").unwrap_or("scale_exact");
    match action {
        "scale_exact" => {
            let configured = ctx.own("capacity").cloned().unwrap_or_default();
            let asked = exact(&configured, current);
            Ok((current, adjusted(ctx, asked, current)))
        }
        "scale_up" | "scale_down" => {
            let sign = if action == "scale_up" { 1 } else { -1 };
            let by = |value: i64| (value + sign * step(ctx, value)).max(0);
            let (min, max) = (by(current.min), by(current.max));
            let desired = by(current.desired);
            Ok((current, Capacity { min, max, desired }))
        }
        "scale_to_cluster" => {
            let largest = largest(ctx).await?;
            let min = largest.min.min(largest.max);
            let desired = min.max(largest.desired) + step(ctx, largest.desired);
            let max = largest.max;
            let desired = desired.min(max);
            Ok((current, Capacity { min, max, desired }))
        }
        "scale_to_server_group" => {
            let source = ctx
                .own("source")
                .and_then(|s| s.get("serverGroupName")?.as_str());
            let source = source.ok_or_else(|| {
                TaskError::user("source.serverGroupName is missing; name the group to copy from")
            })?;
            let group = server_group::live(ctx, source).await?.ok_or_else(|| {
                TaskError::user(format!("source server group {source} does not exist"))
            })?;
            let copied = server_group::capacity(&group);
            Ok((copied, adjusted(ctx, copied, current)))
        }
        other => Err(TaskError::user(format!(
            "action \"{other}\" is unknown; use scale_exact, scale_up, scale_down, \
             scale_to_cluster or scale_to_server_group"
        ))),
    }
}

/// What stages before this one, or beside it, recorded.
fn seen(ctx: &TaskContext<'_>, key: &str) -> Option<Capacity> {
    let family = ctx.execution.top_of(ctx.stage);
    let below = ctx.execution.descendants(&family.id);
    let recorded = below.iter().filter_map(|id| ctx.execution.stage(id));
    let mut recorded = recorded.filter(|s| s.id != ctx.stage.id);
    recorded.find_map(|s| s.outputs.get(key).and_then(Capacity::of))
}

/// Configured fields win over current ones, kept consistent.
fn exact(configured: &Value, current: Capacity) -> Capacity {
    let part = |key: &str| configured.get(key).and_then(server_group::whole);
    let (min, max) = match (part("min"), part("max")) {
        (min, Some(max)) => (min.unwrap_or(current.min).min(max), max),
        (Some(min), None) => (min, current.max.max(min)),
        (None, None) => (current.min, current.max),
    };
    match part("desired") {
        Some(desired) => Capacity {
            min: min.min(desired),
            max: max.max(desired),
            desired,
        },
        None => Capacity {
            min,
            max,
            desired: current.desired.clamp(min, max.max(min)),
        },
    }
}

/// How many `scalePct` or `scaleNum` stand for.
fn step(ctx: &TaskContext<'_>, value: i64) -> i64 {
    match (ctx.number("scalePct"), ctx.number("scaleNum")) {
        (Some(percentage), _) => ceil_share(percentage.abs(), value),
        (None, Some(number)) => server_group::whole(&json!(number.abs())).unwrap_or(0),
        (None, None) => 0,
    }
}

fn ceil_share(percentage: f64, value: i64) -> i64 {
    let value = f64::from(i32::try_from(value).unwrap_or(i32::MAX));
    format!("{:.0}", (value * percentage / 100.0 - 1e-9).ceil().max(0.0))
        .parse()
        .unwrap_or(0)
}

/// The rules of percentage and pins.
fn adjusted(ctx: &TaskContext<'_>, mut capacity: Capacity, current: Capacity) -> Capacity {
    if let Some(percentage) = ctx.number("scalePct") {
        capacity.desired = ceil_share(percentage, capacity.desired);
        capacity.max = capacity.max.max(capacity.desired);
        capacity.min = capacity.min.min(capacity.desired);
    }
    if ctx.flag("unpinMinimumCapacity") {
        unpin(ctx, &mut capacity, current);
    }
    if ctx.flag("pinCapacity") {
        capacity.min = capacity.desired;
        capacity.max = capacity.desired;
    } else if ctx.flag("pinMinimumCapacity") {
        capacity.min = capacity.desired;
    }
    capacity
}

/// The minimum that the source had before it was pinned, unless that is larger.
fn unpin(ctx: &TaskContext<'_>, capacity: &mut Capacity, current: Capacity) {
    let source = ctx
        .own("source")
        .and_then(|s| s.get("serverGroupName")?.as_str());
    let original = source.and_then(|name| seen(ctx, &format!("originalCapacity.{name}")));
    let saved = || ctx.own("savedCapacity").and_then(Capacity::of);
    if let Some(before) = original.or_else(saved)
        && before.min <= capacity.min.max(current.min)
    {
        capacity.min = before.min;
    }
}

/// The largest of each bound over the cluster's groups in the region.
async fn largest(ctx: &TaskContext<'_>) -> Result<Capacity, TaskError> {
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
    server_group::of_cluster(&found, &region)
        .map(server_group::capacity)
        .reduce(|a, b| Capacity {
            min: a.min.max(b.min),
            max: a.max.max(b.max),
            desired: a.desired.max(b.desired),
        })
        .ok_or_else(|| {
            TaskError::user(format!(
                "cluster {cluster} has no server group in {account}/{region}"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configured_bounds_win_and_stay_consistent() {
        let current = Capacity {
            min: 1,
            max: 4,
            desired: 3,
        };
        for (configured, expected) in [
            (json!({}), (1, 4, 3)),
            (json!({"desired": 6}), (1, 6, 6)),
            (json!({"max": 2}), (1, 2, 2)),
            (json!({"min": "5"}), (5, 5, 5)),
            (json!({"min": 0, "max": 0, "desired": 0}), (0, 0, 0)),
        ] {
            let found = exact(&configured, current);
            assert_eq!(
                (found.min, found.max, found.desired),
                expected,
                "{configured}"
            );
        }
    }

    #[test]
    fn percentages_are_rounded_up() {
        assert_eq!(
            [
                ceil_share(10.0, 3),
                ceil_share(50.0, 4),
                ceil_share(100.0, 7)
            ],
            [1, 2, 7]
        );
    }
}
