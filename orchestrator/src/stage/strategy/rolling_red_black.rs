//! `rollingredblack`: the new group grows step by step while the old one gives
//! requests away. Source: `orca: RollingRedBlackStrategy`.
//!
//! Fields: `targetPercentages`, closed by 100; `delayBeforeCleanup`, seconds
//! between a step's growth and the old group's share of it; `pipelineBeforeCleanup`,
//! a pipeline that must succeed in between; `scaleDown`.
//!
//! Differs from Spinnaker: the stage that ends the old group's pin lowers its
//! minimum; there it carries the pin along and changes nothing. Each stage has a
//! context of its own; there later ones carry the fields of earlier ones.

use orchestrator_core::{NewStage, PlanError, StageView};
use serde_json::{Map, Value, json};

use super::{Strategy, steps};
use crate::stage::create_server_group::deployed_here;

/// The strategy.
pub(super) static STRATEGY: RollingRedBlack = RollingRedBlack;

const PERCENTAGES: &str = "targetPercentages";

/// See the module.
#[derive(Debug)]
pub(super) struct RollingRedBlack;

pub(super) fn pin(stage: StageView<'_>, source: &str, unpin: bool) -> NewStage {
    let (verb, flag) = if unpin {
        ("Unpin", "unpinMinimumCapacity")
    } else {
        ("Pin", "pinMinimumCapacity")
    };
    let own = json!({
        "serverGroupName": source, "action": "scale_to_server_group",
        "source": steps::source_reference(stage, source), flag: true, "useNameAsLabel": true,
    });
    let context = steps::with(stage, own);
    NewStage::new("pinServerGroup", &format!("{verb} {source}"), context)
}

pub(super) fn grow(stage: StageView<'_>, source: Option<&str>, step: i64) -> NewStage {
    let all = step == 100;
    let mut own = json!({
        "target": "current_asg_dynamic",
        "targetLocation": {"type": "REGION", "value": steps::region(stage)},
        "deployServerGroupsRegion": steps::region(stage),
        "scalePct": step, "pinCapacity": !all, "pinMinimumCapacity": !all,
        "unpinMinimumCapacity": all, "useNameAsLabel": true,
        // Of the requests it takes what it has of the instances.
        "weight": step,
    });
    let context = &stage.stage.context;
    if let Some(healthy) = context.get("targetHealthyDeployPercentage") {
        own["targetHealthyDeployPercentage"] = healthy.clone();
    }
    let saved = context.get("savedCapacity").cloned().unwrap_or_default();
    match source {
        Some(source) => {
            own["action"] = "scale_to_server_group".into();
            own["source"] = steps::source_reference(stage, source);
        }
        None => {
            own["action"] = "scale_exact".into();
            own["capacity"] = saved.clone();
        }
    }
    own["savedCapacity"] = saved;
    let name = format!("Grow to {step}% of Desired Size");
    NewStage::new("resizeServerGroup", &name, steps::with(stage, own))
}

pub(super) fn disable(stage: StageView<'_>, source: &str, step: i64) -> NewStage {
    let mut own = json!({
        "serverGroupName": source, "desiredPercentage": step, "useNameAsLabel": true,
    });
    if step < 100 {
        own["weight"] = (100 - step).into();
    }
    let name = format!("Disable {step}% of Traffic on {source}");
    NewStage::new("disableServerGroup", &name, steps::with(stage, own))
}

impl Strategy for RollingRedBlack {
    fn key(&self) -> &'static str {
        "rollingredblack"
    }

    fn label(&self) -> &'static str {
        "Rolling Red/Black"
    }

    fn is_rolling(&self) -> bool {
        true
    }

    /// It is made empty; its size is kept for the steps.
    fn prepare(&self, context: &Map<String, Value>) -> Map<String, Value> {
        let mut changes = Map::new();
        if !context.contains_key("savedCapacity") {
            let capacity = context.get("capacity").cloned().unwrap_or_default();
            changes.insert("savedCapacity".to_owned(), capacity);
        }
        changes.insert("useSourceCapacity".to_owned(), false.into());
        let nothing = json!({"min": 0, "max": 0, "desired": 0});
        changes.insert("capacity".to_owned(), nothing);
        changes
    }

    fn faults(&self, context: &Map<String, Value>) -> Vec<(&'static str, String)> {
        let steps = steps::percentages(context, PERCENTAGES).err();
        steps.into_iter().map(|m| (PERCENTAGES, m)).collect()
    }

    fn before(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        let most = steps::number(stage, &["maxInitialAsgs"]).unwrap_or(1);
        if most == -1 {
            return Ok(Vec::new());
        }
        let base = steps::base(stage);
        let condition = json!({
            "application": stage.execution.application, "cluster": base.get("cluster"),
            "credentials": base.get("credentials"), "regions": [steps::region(stage)],
            "comparison": "<=", "expected": most, "onlyEnabledServerGroups": true,
            "cloudProvider": base.get("cloudProvider"),
        });
        let mut context = Map::new();
        context.insert("preconditionType".to_owned(), "clusterSize".into());
        context.insert("credentials".to_owned(), steps::account(stage));
        context.insert("context".to_owned(), condition);
        let name = "Check Deploy Preconditions";
        Ok(vec![NewStage::new("checkPreconditions", name, context)])
    }

    fn after(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        let percentages = steps::percentages(&stage.stage.context, PERCENTAGES)
            .map_err(|message| format!("{PERCENTAGES}: {message}"))?;
        let source = steps::source(stage);
        let deployed = deployed_here(stage)
            .map(|(_, name)| name)
            .unwrap_or_default();
        let mut planned = vec![steps::determine(stage)];
        planned.extend(source.as_deref().map(|s| pin(stage, s, false)));
        for step in percentages {
            planned.push(grow(stage, source.as_deref(), step));
            planned.extend(steps::wait(stage, "wait", &steps::DELAY));
            planned.extend(steps::validation(stage, &deployed, step));
            planned.extend(source.as_deref().map(|s| disable(stage, s, step)));
        }
        if let Some(source) = source {
            match steps::scale_down(stage) {
                Some(scale_down) => {
                    let delay = ["delayBeforeScaleDownSec"];
                    planned.extend(steps::wait(stage, "wait", &delay));
                    planned.push(scale_down);
                }
                None => planned.push(pin(stage, &source, true)),
            }
        }
        Ok(planned)
    }

    fn rollback(&self, _stage: StageView<'_>) -> Option<Value> {
        Some(json!({"enableAndDisableOnly": true, "onlyEnabledServerGroups": true}))
    }

    fn on_failure(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        // Before its first task there is no source, and nothing was pinned.
        let unpin = steps::source(stage).map(|source| {
            let mut unpin = pin(stage, &source, true);
            let limit = 1_200_000.into();
            unpin.context.insert("stageTimeoutMs".to_owned(), limit);
            unpin
        });
        Ok(unpin.into_iter().collect())
    }
}
