//! A `deploy` stage of a strategy: what it deploys is what the stage that runs the
//! strategy was to deploy. Source: `orca: ParallelDeployStage.getClusters`.
//!
//! Differs from Spinnaker: where a provider has no way to make a group that is out of
//! traffic, `trafficOptions` of `disable` are refused; there nothing of it is heeded.

use orchestrator_core::{PlanError, StageView};
use serde_json::{Map, Value, json};

use crate::provider;
use crate::stage::strategy::custom::DEPLOYMENT;

const TRAFFIC: &str = "trafficOptions";
const PROCESS: &str = "AddToLoadBalancer";
const SUSPENDED: &str = "suspendedProcesses";

/// What belongs to the stage that runs the strategy, not to what it deploys.
const NOT_TAKEN: &[&str] = &[
    "strategyPipeline",
    "strategyApplication",
    "pipelineParameters",
    "stageEnabled",
    "deploy.server.groups",
    "deploy.account.name",
    "notification.type",
    "exception",
    "expressionEvaluationSummary",
    "restartDetails",
    "type",
    "name",
];

/// The one cluster of a stage in a strategy; none in any other pipeline.
pub(super) fn cluster(stage: StageView<'_>) -> Result<Option<Map<String, Value>>, PlanError> {
    let trigger = &stage.execution.trigger;
    let own = &stage.stage.context;
    let given = trigger.get(DEPLOYMENT).and_then(Value::as_object);
    let Some(given) = given.filter(|_| trigger.get("strategy") == Some(&Value::Bool(true))) else {
        let is_of_strategy = own.contains_key(TRAFFIC) && !super::has_clusters(own);
        return if is_of_strategy {
            let name = &stage.stage.name;
            Err(format!(
                "stage \"{name}\" is part of a strategy, and no deployment has started it; name \
                 the strategy in a deploy stage"
            ))
        } else {
            Ok(None)
        };
    };
    let mut cluster = given.clone();
    cluster.retain(|key, _| !NOT_TAKEN.contains(&key.as_str()) && !key.starts_with("kato."));
    cluster.insert("strategy".to_owned(), "none".into());
    let parameter = |key: &str| {
        let value = trigger.get("parameters")?.get(key)?;
        (!value.is_null() && *value != json!("")).then(|| value.clone())
    };
    let is_local = provider::of(&cluster).key() == "local";
    let images = [("amiName", "amiName"), ("image", "imageId")];
    let of_local = [("imageId", "imageId")];
    let images = if is_local { &of_local[..] } else { &images[..] };
    for (field, key) in images {
        if let Some(value) = parameter(key) {
            cluster.entry(*field).or_insert(value);
        }
    }
    traffic(own, &mut cluster, is_local)?;
    Ok(Some(cluster))
}

/// Whether the new group begins in traffic.
fn traffic(
    own: &Map<String, Value>,
    cluster: &mut Map<String, Value>,
    is_local: bool,
) -> Result<(), PlanError> {
    let asked = own
        .get(TRAFFIC)
        .and_then(Value::as_str)
        .unwrap_or("inherit");
    let wanted = match asked {
        "" | "inherit" => return Ok(()),
        "enable" => true,
        "disable" if is_local => {
            return Err(format!(
                "{TRAFFIC} \"disable\" needs a provider that makes groups out of traffic, which \
                 local is not; use inherit"
            ));
        }
        "disable" => false,
        other => {
            return Err(format!(
                "{TRAFFIC} \"{other}\" is unknown; use inherit, enable or disable"
            ));
        }
    };
    let listed = cluster.get(SUSPENDED).and_then(Value::as_array);
    let mut listed = listed.cloned().unwrap_or_default();
    listed.retain(|process| process != PROCESS);
    if !wanted {
        listed.push(PROCESS.into());
    }
    cluster.insert(SUSPENDED.to_owned(), listed.into());
    Ok(())
}
