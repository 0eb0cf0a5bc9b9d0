//! `custom`: a pipeline of the user's is the strategy. It is told what is to be
//! deployed, and its own `deploy` stage makes the group. Source: `orca:
//! CustomStrategy`.
//!
//! Fields: `strategyApplication`, `strategyPipeline`; `pipelineParameters` for it.

use orchestrator_core::{Execution, NewStage, PlanError, StageId, StageView};
use serde_json::{Map, Value, json};

use super::{Strategy, steps};
use crate::provider;

/// The strategy.
pub(super) static STRATEGY: Custom = Custom;

const APPLICATION: &str = "strategyApplication";
const PIPELINE: &str = "strategyPipeline";
const PARENT: &str = "parentStageId";

/// See the module.
#[derive(Debug)]
pub(super) struct Custom;

fn text<'a>(context: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    context.get(key)?.as_str().filter(|text| !text.is_empty())
}

/// The parameters that a strategy is started with.
fn parameters(stage: StageView<'_>) -> Map<String, Value> {
    let context = &stage.stage.context;
    let base = steps::base(stage);
    let place = ["namespace", "zone"]
        .into_iter()
        .find(|key| text(context, key).is_some());
    let place = place.unwrap_or("region");
    let location = text(context, place).map_or_else(|| steps::region(stage), ToOwned::to_owned);
    let mut all = json!({
        "application": text(context, "application").unwrap_or(&stage.execution.application),
        "credentials": steps::account(stage), "cluster": base.get("cluster"),
        place: location, "cloudProvider": provider::name_of(context), "strategy": true,
        "clone": stage.stage.kind == "cloneServerGroup",
        "parentPipelineId": stage.execution.id.to_string(), PARENT: stage.stage.id.to_string(),
    });
    if let Some(moniker) = base.get("moniker") {
        all["moniker"] = moniker.clone();
    }
    let mut all = all.as_object().cloned().unwrap_or_default();
    all.extend(found_images(stage, place, &location));
    if let Some(Value::Object(own)) = context.get("pipelineParameters") {
        all.extend(own.clone());
    }
    all
}

/// What an earlier stage found to deploy, and which of it belongs to the place.
fn found_images(stage: StageView<'_>, place: &str, location: &str) -> Map<String, Value> {
    let mut found = Map::new();
    let Some(Value::Array(details)) = stage.get("deploymentDetails") else {
        return found;
    };
    let told = details.iter().map(|detail| {
        let keys = ["ami", "imageName", "imageId", "region", "zone"];
        let kept = keys.iter().filter_map(|key| {
            let value = detail.get(*key).filter(|v| !v.is_null())?;
            Some(((*key).to_owned(), value.clone()))
        });
        Value::Object(kept.collect())
    });
    found.insert("deploymentDetails".to_owned(), told.collect());
    let here = details.iter().find(|detail| {
        let own = detail.get(place).and_then(Value::as_str);
        own == Some(location) || (own.is_none() && details.len() == 1)
    });
    for (parameter, key) in [("amiName", "ami"), ("imageId", "imageId")] {
        if let Some(value) = here
            .and_then(|detail| detail.get(key))
            .filter(|v| !v.is_null())
        {
            found.insert(parameter.to_owned(), value.clone());
        }
    }
    found
}

/// Where the trigger of a strategy says what is to be deployed.
pub(in crate::stage) const DEPLOYMENT: &str = "deployment";

/// A trigger that comes from outside says nothing of what a strategy deploys: with that,
/// whoever may start a pipeline could have it deploy something else, in its name.
pub(crate) fn without_deployment(trigger: &mut Value) {
    if let Some(trigger) = trigger.as_object_mut() {
        trigger.shift_remove(DEPLOYMENT);
    }
}

/// What the stage that a strategy is started for has to deploy: the strategy's own
/// `deploy` stage takes it from the trigger. None where it is no strategy that starts.
pub(in crate::stage) fn deployment(
    execution: &Execution,
    starting: &Map<String, Value>,
) -> Option<Value> {
    let parameters = starting.get("pipelineParameters")?;
    if parameters.get("strategy") != Some(&Value::Bool(true)) {
        return None;
    }
    let stage = parameters.get(PARENT)?.as_str()?;
    let stage = execution.stage(&StageId::new(stage))?;
    Some(Value::Object(stage.context.clone()))
}

impl Strategy for Custom {
    fn key(&self) -> &'static str {
        "custom"
    }

    fn label(&self) -> &'static str {
        "Custom"
    }

    fn replaces_basic_steps(&self) -> bool {
        true
    }

    fn faults(&self, context: &Map<String, Value>) -> Vec<(&'static str, String)> {
        let missing = |(key, remedy): &(&'static str, &str)| {
            let fault = (*key, format!("it is missing; {remedy}"));
            text(context, key).is_none().then_some(fault)
        };
        [
            (APPLICATION, "name the application of the strategy"),
            (PIPELINE, "set the id of the strategy"),
        ]
        .iter()
        .filter_map(missing)
        .collect()
    }

    fn after(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        let context = &stage.stage.context;
        let context = json!({
            "application": text(context, "application").unwrap_or(&stage.execution.application),
            "pipelineApplication": context.get(APPLICATION), "pipelineId": context.get(PIPELINE),
            "pipelineParameters": parameters(stage),
        });
        let context = context.as_object().cloned().unwrap_or_default();
        Ok(vec![NewStage::new("pipeline", "pipeline", context)])
    }
}
