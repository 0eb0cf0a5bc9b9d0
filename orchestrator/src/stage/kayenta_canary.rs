//! `kayentaCanary`: compares a new version with the one that serves, by metrics, and decides.
//! Source: `orca: KayentaCanaryStage`, `AggregateCanaryResultsTask`.
//!
//! Before its task: `resolveCanaryConfig`, `deployCanaryServerGroups` if there are `deployments`, and
//! `runCanaryIntervals`; after it, whatever happened once the deployment began, `cleanupCanaryClusters`. With a judge
//! that decides after each step there is one run instead of one per interval, and its decision ends the stage as soon
//! as it is there.
//!
//! Differs from Spinnaker: the config is read before anything is deployed, so that one that is missing deploys
//! nothing; a cancelled stage takes away what it deployed, there it stays; and a failure says which metric, by how
//! much.

mod aggregate;
pub(super) mod deployments;
pub(super) mod duration;
pub(super) mod scopes;
pub(super) mod settings;
pub(super) mod thresholds;
pub(super) mod verdict;

use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, NewStage, PlanError, Stage, StageDefinition, StageView, TaskError, TaskResult,
    TaskSpec,
};
use serde_json::{Map, Value, json};

use super::cleanup_canary_clusters::CLEAN_UP_CANCELED;
use super::deploy_canary_server_groups::begun;
use super::{StageType, accounts_of, schema};
use crate::services::OnBehalf;
use crate::task::{Task, TaskContext, failed};
use aggregate::Aggregate;
use settings::Settings;

/// The type.
pub(super) static STAGE: KayentaCanary = KayentaCanary;

/// What a stage does with a judge that cannot tell, under `onInconclusive`.
pub(super) const ON_INCONCLUSIVE: &str = "onInconclusive";
/// The decision of the judge, in the contexts of `runCanary` and of this stage.
pub(super) const DECISION: &str = "canaryDecision";
/// Which metrics spoke against the canary, in the context of `runCanary`.
pub(super) const FINDINGS: &str = "canaryFindings";

/// What is left in the context of one that ran.
const MADE: [&str; 5] = [
    "intervalStageId",
    "canaryScores",
    "canaryScoreMessage",
    DECISION,
    FINDINGS,
];

/// See the module.
#[derive(Debug)]
pub(super) struct KayentaCanary;

impl StageDefinition for KayentaCanary {
    fn kind(&self) -> &'static str {
        "kayentaCanary"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Canary analysis",
            text: "Compares a canary with a baseline by metrics, and fails if it is worse.",
            category: "deploy",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new(
            "aggregateCanaryResults",
            Aggregate.kind(),
        )])
    }

    fn before(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        let context = &stage.stage.context;
        let config = context.get("canaryConfig").cloned().unwrap_or_default();
        let settings = Settings::read(Some(&config))?;
        if settings.end_ms.is_none() {
            settings.schedule(0)?;
        }
        pauses(context)?;
        let mut own = Map::new();
        own.insert("canaryConfig".to_owned(), config);
        let mut planned = vec![NewStage::new(
            "resolveCanaryConfig",
            "Resolve Canary Config",
            own.clone(),
        )];
        if let Some(found) = deployments::of(stage) {
            let found = found?;
            super::unbuilt::require_provider_of("deployCanaryServerGroups", &found.baseline)?;
            let name = "Deploy Canary Server Groups";
            planned.push(NewStage::new("deployCanaryServerGroups", name, Map::new()));
        }
        for key in ["continuePipeline", ON_INCONCLUSIVE] {
            if let Some(value) = context.get(key).filter(|v| !v.is_null()) {
                own.insert(key.to_owned(), value.clone());
            }
        }
        planned.push(NewStage::new(
            "runCanaryIntervals",
            "Run Canary Intervals",
            own,
        ));
        Ok(NewStage::chain(planned))
    }

    fn after(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        let mut planned = Vec::new();
        let context = &stage.stage.context;
        if context.get(DECISION) == Some(&json!("INCONCLUSIVE")) && pauses(context)? {
            let text = context.get("canaryScoreMessage").and_then(Value::as_str);
            let own = json!({
                "instructions": text.unwrap_or("The canary judge could not decide."),
                "judgmentInputs": [], "failPipeline": true,
            });
            let own = own.as_object().cloned().unwrap_or_default();
            planned.push(NewStage::new(
                "manualJudgment",
                "Go on with the canary?",
                own,
            ));
        }
        planned.extend(clean_up(stage));
        Ok(NewStage::chain(planned))
    }

    fn on_failure(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        Ok(clean_up(stage).into_iter().collect())
    }

    fn cancel_task(&self, stage: StageView<'_>) -> Option<&'static str> {
        deployments::of(stage).map(|_| CLEAN_UP_CANCELED.kind())
    }

    fn prepare_restart(&self, stage: &mut Stage) {
        for key in MADE {
            stage.context.shift_remove(key);
        }
    }

    /// What judge and metric store say is no expression.
    fn own_expressions(&self) -> &'static [&'static str] {
        &[FINDINGS, "canaryScoreMessage"]
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let mut faults = settings::faults(context, path);
        let at = |field: &str, message: String| Fault::new(format!("{path}.{field}"), message);
        let automatic = context.get("analysisType") == Some(&json!("realTimeAutomatic"));
        match context.get("deployments").filter(|d| !d.is_null()) {
            None if automatic => {
                let message = "it is missing; say what to deploy for the comparison";
                faults.push(at("deployments", message.to_owned()));
            }
            Some(found) if !orchestrator_core::context::has_template(found) => {
                let application = context.get("application").and_then(Value::as_str);
                let found = deployments::Deployments::of(found, application.unwrap_or("app"));
                faults.extend(found.err().map(|message| at("deployments", message)));
            }
            None | Some(_) => {}
        }
        faults.extend(
            pauses(context)
                .err()
                .map(|message| at(ON_INCONCLUSIVE, message)),
        );
        faults
    }

    fn schema(&self) -> Value {
        let side = json!({"type": "object", "title": "A server group, as in a deployment"});
        let scope = json!({
            "type": "object",
            "properties": {
                "scopeName": {"type": "string", "default": "default"},
                "controlScope": {"type": "string", "title": "Baseline"},
                "controlLocation": {"type": "string"},
                "experimentScope": {"type": "string", "title": "Canary"},
                "experimentLocation": {"type": "string"},
                "startTimeIso": {"type": "string"},
                "endTimeIso": {"type": "string"},
                "step": {"type": "integer", "title": "Seconds between points", "default": 60},
                "extendedScopeParams": {"type": "object"},
            },
        });
        schema(
            &json!({
                "analysisType": {"type": "string", "enum": ["realTime", "realTimeAutomatic", "retrospective"]},
                "canaryConfig": {
                    "type": "object",
                    "properties": {
                        "canaryConfigId": {"type": "string", "title": "Canary config"},
                        "canaryConfigName": {"type": "string"},
                        "metricsAccountName": {"type": "string", "title": "Metric store"},
                        "scopes": {"type": "array", "items": scope},
                        "scoreThresholds": {
                            "type": "object",
                            "properties": {
                                "pass": {"type": "integer", "default": 75},
                                "marginal": {"type": "integer", "default": 50},
                            },
                        },
                        "lifetimeDuration": {"type": "string", "title": "How long, as in PT1H"},
                        "beginCanaryAnalysisAfterMins": {"type": "integer", "title": "Warm-up"},
                        "canaryAnalysisIntervalMins": {"type": "integer", "title": "Between judgements"},
                        "lookbackMins": {"type": "integer"},
                        "baselineAnalysisOffsetInMins": {"type": "integer"},
                    },
                },
                "deployments": {
                    "type": "object",
                    "properties": {
                        "baseline": {"type": "object", "title": "The cluster that serves"},
                        "serverGroupPairs": {
                            "type": "array",
                            "items": {"type": "object", "properties": {"control": side, "experiment": side}},
                        },
                        "trafficShare": {"type": "number", "title": "Percentage of the requests for each of the two"},
                        "delayBeforeCleanup": {"type": "string", "default": "PT0S"},
                    },
                },
                "onInconclusive": {"type": "string", "enum": ["fail", "pause"], "default": "fail"},
            }),
            &["canaryConfig"],
        )
    }
}

impl StageType for KayentaCanary {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Aggregate]
    }

    fn accounts(&self, stage: &Map<String, Value>) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let deployments = stage.get("deployments");
        if let Some(Value::Object(baseline)) = deployments.and_then(|d| d.get("baseline")) {
            found.extend(accounts_of(baseline, "deployments.baseline."));
        }
        let pairs = deployments.and_then(|d| d.get("serverGroupPairs")?.as_array());
        for (n, pair) in pairs.into_iter().flatten().enumerate() {
            for side in ["control", "experiment"] {
                if let Some(Value::Object(group)) = pair.get(side) {
                    let path = format!("deployments.serverGroupPairs[{n}].{side}.");
                    found.extend(accounts_of(group, &path));
                }
            }
        }
        found
    }
}

/// The stage that takes away what was deployed, if anything may have been.
fn clean_up(stage: StageView<'_>) -> Option<NewStage> {
    deployments::of(stage)?.ok()?;
    begun(stage)?;
    let name = "Cleanup Canary Clusters";
    Some(NewStage::new("cleanupCanaryClusters", name, Map::new()))
}

/// Whether a person is asked where the judge cannot tell; otherwise the stage fails.
pub(super) fn pauses(context: &Map<String, Value>) -> Result<bool, String> {
    match context.get(ON_INCONCLUSIVE) {
        None | Some(Value::Null) => Ok(false),
        Some(value) => match value.as_str() {
            Some("" | "fail") => Ok(false),
            Some("pause") => Ok(true),
            Some(text) if text.contains("${") => Ok(false),
            _ => Err(format!(
                "{ON_INCONCLUSIVE} {} is unknown; use fail or pause",
                settings::short(value)
            )),
        },
    }
}

/// An answer with what judge and metric store said in it as words: they are not asked for expressions, so what would
/// begin one is written apart.
pub(super) fn in_words(answer: Result<TaskResult, TaskError>) -> Result<TaskResult, TaskError> {
    let each = |map: &mut Map<String, Value>| map.values_mut().for_each(without_expressions);
    match answer {
        Ok(mut result) => {
            each(&mut result.context);
            each(&mut result.outputs);
            Ok(result)
        }
        Err(mut error) => {
            each(&mut error.context);
            Err(error)
        }
    }
}

fn without_expressions(value: &mut Value) {
    match value {
        Value::String(text) if text.contains("${") => *text = text.replace("${", "$ {"),
        Value::Array(list) => list.iter_mut().for_each(without_expressions),
        Value::Object(map) => map.values_mut().for_each(without_expressions),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Who the judge is asked for.
pub(super) async fn on_behalf(ctx: &TaskContext<'_>) -> Result<OnBehalf, TaskError> {
    let roles = ctx.services.access().roles(ctx.user()).await;
    Ok(OnBehalf {
        user: ctx.user().to_owned(),
        roles: roles.map_err(failed)?,
    })
}

/// Where a run is shown: below the address of the page.
pub(super) fn link(ctx: &TaskContext<'_>, run: &str) -> String {
    let page = ctx.services.settings().page_url.trim_end_matches('/');
    let base = page.strip_suffix("/ui").unwrap_or(page);
    format!("{base}/v2/canaries/canary/{run}")
}
