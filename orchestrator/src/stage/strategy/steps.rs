//! What strategies plan with: the context their stages begin with, and the stages
//! that several of them use.

use orchestrator_core::{NewStage, StageView};
use serde_json::{Map, Value, json};

use crate::task::server_group::{cluster_of, regions_of, whole};

/// The region of a stage that deploys.
pub(super) fn region(stage: StageView<'_>) -> String {
    let regions = regions_of(&stage.stage.context);
    regions.into_iter().next().unwrap_or_default()
}

/// Its account.
pub(super) fn account(stage: StageView<'_>) -> Value {
    let context = &stage.stage.context;
    let account = context
        .get("account")
        .or_else(|| context.get("credentials"));
    account.cloned().unwrap_or_default()
}

/// What every stage of a strategy is about.
pub(in crate::stage) fn base(stage: StageView<'_>) -> Map<String, Value> {
    let context = &stage.stage.context;
    let cluster = cluster_of(context, &stage.execution.application);
    let mut base = Map::new();
    base.insert("region".to_owned(), region(stage).into());
    base.insert("cluster".to_owned(), cluster.into());
    base.insert("credentials".to_owned(), account(stage));
    for key in [
        "cloudProvider",
        "moniker",
        "application",
        "interestingHealthProviderNames",
    ] {
        if let Some(value) = context.get(key).filter(|v| !v.is_null()) {
            base.insert(key.to_owned(), value.clone());
        }
    }
    base
}

/// The same with fields of a stage's own.
pub(super) fn with(stage: StageView<'_>, fields: Value) -> Map<String, Value> {
    let mut context = base(stage);
    if let Value::Object(fields) = fields {
        context.extend(fields);
    }
    context
}

/// The group that served before, if there was one.
pub(super) fn source(stage: StageView<'_>) -> Option<String> {
    let source = stage.stage.context.get("source")?.get("serverGroupName")?;
    let name = source.as_str().filter(|name| !name.is_empty())?;
    Some(name.to_owned())
}

/// That group as `resizeServerGroup` and its like take it.
pub(super) fn source_reference(stage: StageView<'_>, name: &str) -> Value {
    let cloud_provider = stage.stage.context.get("cloudProvider");
    json!({
        "credentials": account(stage), "cloudProvider": cloud_provider,
        "region": region(stage), "location": region(stage), "serverGroupName": name,
    })
}

/// A number of the stage, under the first of its names.
pub(super) fn number(stage: StageView<'_>, keys: &[&str]) -> Option<i64> {
    let context = &stage.stage.context;
    keys.iter()
        .find_map(|key| context.get(*key).and_then(whole))
}

/// A wait, if the stage asks for one.
pub(super) fn wait(stage: StageView<'_>, name: &str, keys: &[&str]) -> Option<NewStage> {
    let seconds = number(stage, keys).filter(|seconds| *seconds > 0)?;
    let context = json!({ "waitTime": seconds });
    let context = context.as_object().cloned().unwrap_or_default();
    Some(NewStage::new("wait", name, context))
}

/// Names of the field that says how long the old group stays beside the new one.
pub(super) const DELAY: [&str; 2] = ["delayBeforeCleanup", "delayBeforeDisableSec"];

/// All but the new group out of traffic.
pub(super) fn disable_cluster(stage: StageView<'_>) -> NewStage {
    let own = json!({"remainingEnabledServerGroups": 1, "preferLargerOverNewer": false});
    NewStage::new("disableCluster", "disableCluster", with(stage, own))
}

/// All but the new group resized to nothing, if the stage asks for it.
pub(super) fn scale_down(stage: StageView<'_>) -> Option<NewStage> {
    if stage.stage.flag("scaleDown") != Some(true) {
        return None;
    }
    let active = stage.stage.flag("allowScaleDownActive") == Some(true);
    let own = json!({
        "remainingFullSizeServerGroups": 1, "allowScaleDownActive": active,
        "preferLargerOverNewer": false,
    });
    Some(NewStage::new(
        "scaleDownCluster",
        "scaleDown",
        with(stage, own),
    ))
}

/// Which group was deployed here: later stages name it by its target.
pub(super) fn determine(stage: StageView<'_>) -> NewStage {
    let own = json!({
        "target": "current_asg_dynamic",
        "targetLocation": {"type": "REGION", "value": region(stage)},
    });
    let name = "Determine Deployed Server Group";
    NewStage::new("determineTargetServerGroup", name, with(stage, own))
}

/// The pipeline that decides after a step whether to go on, if the stage names one
/// (`pipelineBeforeCleanup`).
pub(super) fn validation(
    stage: StageView<'_>,
    deployed: &str,
    percentage: i64,
) -> Option<NewStage> {
    let asked = stage.stage.context.get("pipelineBeforeCleanup")?;
    let text = |key: &str| asked.get(key)?.as_str().filter(|t| !t.is_empty());
    let (application, pipeline) = (text("application")?, text("pipelineId")?);
    let group = |name: &str| {
        json!({
            "region": region(stage), "account": account(stage), "serverGroupName": name,
            "cloudProvider": stage.stage.context.get("cloudProvider"),
        })
    };
    let mut parameters = json!({
        "deployedServerGroup": group(deployed), "percentageComplete": percentage,
    });
    if let Some(source) = source(stage) {
        parameters["sourceServerGroup"] = group(&source);
    }
    if let (Value::Object(all), Some(Value::Object(own))) =
        (&mut parameters, asked.get("pipelineParameters"))
    {
        all.extend(own.clone());
    }
    let context = json!({
        "application": stage.execution.application, "pipelineApplication": application,
        "pipelineId": pipeline, "pipelineParameters": parameters,
    });
    let context = context.as_object().cloned().unwrap_or_default();
    let name = "Run Validation Pipeline";
    Some(NewStage::new("pipeline", name, context))
}

/// A list of percentages of the stage, each 1 to 100, closed by 100.
pub(super) fn percentages(context: &Map<String, Value>, key: &str) -> Result<Vec<i64>, String> {
    let listed = match context.get(key) {
        None | Some(Value::Null) => return Ok(vec![100]),
        Some(Value::Array(list)) => list,
        Some(other) => {
            return Err(format!(
                "{other} is no list; set percentages such as [50, 100]"
            ));
        }
    };
    if listed.len() > 20 {
        return Err(format!(
            "{} steps are more than the 20 allowed",
            listed.len()
        ));
    }
    let mut steps = Vec::new();
    for value in listed {
        match whole(value).filter(|p| (1..=100).contains(p)) {
            Some(step) if steps.last().is_none_or(|last| *last < step) => steps.push(step),
            Some(step) => return Err(format!("{step} is not more than the step before it")),
            None => return Err(format!("{value} is not a percentage from 1 to 100")),
        }
    }
    if steps.last() != Some(&100) {
        steps.push(100);
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_rise_and_end_with_all() {
        let of = |list: Value| {
            let context = json!({ "p": list });
            percentages(context.as_object().unwrap(), "p")
        };
        assert_eq!(of(json!([25, "50"])).unwrap(), [25, 50, 100]);
        assert_eq!(of(json!([100])).unwrap(), [100]);
        assert_eq!(of(Value::Null).unwrap(), [100]);
        for wrong in [
            json!([0]),
            json!([50, 50]),
            json!([101]),
            json!("50"),
            json!([-1]),
        ] {
            assert!(of(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
