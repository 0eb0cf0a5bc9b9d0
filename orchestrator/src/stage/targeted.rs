//! What the stages on existing server groups share: a stage of the user's plans
//! one stage of the same type for each group it means; those have the tasks.
//! Source: `orca: TargetServerGroupLinearStageSupport`.

use orchestrator_core::graph::Fault;
use orchestrator_core::{NewStage, StageView};
use serde_json::{Map, Value, json};

use crate::task::server_group::regions_of;

const NOTHING_NAMED: &str = "neither serverGroupName nor target is set; name what to act on";

/// Whether a stage acts itself: it was planned by another one.
pub(crate) fn acts(stage: StageView<'_>) -> bool {
    stage.stage.is_synthetic()
}

fn named(context: &Map<String, Value>) -> Option<&str> {
    let text = |key: &&str| context.get(*key)?.as_str().filter(|name| !name.is_empty());
    ["serverGroupName", "asgName"].iter().find_map(text)
}

/// The child of a stage of the user's: it alone gets the stages that a type puts
/// around its work. Source: `orca: TargetServerGroupLinearStageSupport.isTopLevel`.
pub(crate) fn is_child_of_users(stage: StageView<'_>) -> bool {
    stage
        .parent()
        .is_some_and(|parent| !parent.stage.is_synthetic())
}

/// The stages that a stage of the user's plans: the target's resolution if it is
/// a dynamic one, then for each region one of its own type.
pub(crate) fn plan(stage: StageView<'_>, kind: &str) -> Result<Vec<NewStage>, String> {
    super::unbuilt::require_provider(stage.stage)?;
    let context = &stage.stage.context;
    let regions = regions_of(context);
    if regions.is_empty() {
        return Err("region is missing; name a region of the account".to_owned());
    }
    let mut base = context.clone();
    for gone in [
        "expressionEvaluationSummary",
        "restartDetails",
        "stageTimeoutMs",
        "overrideTimeout",
    ] {
        base.shift_remove(gone);
    }
    let mut planned = Vec::new();
    match named(context).map(ToOwned::to_owned) {
        Some(name) => {
            base.insert("asgName".to_owned(), name.clone().into());
            base.insert("serverGroupName".to_owned(), name.into());
        }
        None => {
            let target = context.get("target").and_then(Value::as_str);
            if target.is_none_or(str::is_empty) {
                return Err(NOTHING_NAMED.to_owned());
            }
            let name = "determineTargetServerGroup";
            planned.push(NewStage::new(name, name, base.clone()));
            base.shift_remove("regions");
        }
    }
    for region in regions {
        let mut own = base.clone();
        let location = json!({"type": "REGION", "value": region});
        own.insert("targetLocation".to_owned(), location);
        own.insert("deployServerGroupsRegion".to_owned(), region.clone().into());
        own.insert("region".to_owned(), region.into());
        planned.push(NewStage::new(kind, kind, own));
    }
    Ok(NewStage::chain(planned))
}

/// What a stage that acts in an account and a region lacks of them.
pub(crate) fn place_faults(context: &Map<String, Value>, path: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    let names = |key: &str| {
        context
            .get(key)
            .and_then(Value::as_str)
            .is_some_and(|t| !t.is_empty())
    };
    if !names("account") && !names("credentials") {
        let message = "it is missing; name the account to act in";
        faults.push(Fault::new(format!("{path}.account"), message));
    }
    if regions_of(context).is_empty() {
        let message = "it is missing; name a region of the account";
        faults.push(Fault::new(format!("{path}.region"), message));
    }
    faults
}

/// What a stage on an existing server group lacks.
pub(crate) fn faults(context: &Map<String, Value>, path: &str) -> Vec<Fault> {
    let mut faults = place_faults(context, path);
    let target = context
        .get("target")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if named(context).is_none() && target.is_empty() {
        faults.push(Fault::new(format!("{path}.target"), NOTHING_NAMED));
    }
    faults
}

/// Properties of every stage on an existing server group.
pub(crate) fn properties(more: Value) -> Value {
    let mut properties = json!({
        "account": {"type": "string", "title": "Account"},
        "region": {"type": "string", "title": "Region"},
        "serverGroupName": {"type": "string", "title": "Server group"},
        "cluster": {"type": "string", "title": "Cluster, for a target"},
        "target": {
            "type": "string", "title": "Target",
            "enum": ["current_asg_dynamic", "ancestor_asg_dynamic", "oldest_asg_dynamic"],
        },
    });
    if let (Value::Object(all), Value::Object(more)) = (&mut properties, more) {
        all.extend(more);
    }
    properties
}
