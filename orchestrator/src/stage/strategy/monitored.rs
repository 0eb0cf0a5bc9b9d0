//! `monitored`: the new group grows step by step, and a service of the operator's
//! says after each whether it may go on. Source: `orca: MonitoredDeployStrategy`.
//!
//! Fields: `deploySteps`, closed by 100; `deploymentMonitor` with `id`, `parameters`,
//! `maxAnalysisMinutesOverride`, `failOnErrorOverride`; `failureActions` with
//! `rollback` (None, Automatic, Manual) and `destroyInstances`; `scaleDown`,
//! `delayBeforeScaleDownSec`, `maxRemainingAsgs`.

use orchestrator_core::{NewStage, PlanError, Settings, StageView};
use serde_json::{Map, Value, json};

use super::rolling_red_black::{self as rolling, STRATEGY as ROLLING};
use super::{Strategy, steps};
use crate::stage::create_server_group::deployed_here;
use crate::stage::deployment_monitor::monitor_of;

/// The strategy.
pub(super) static STRATEGY: Monitored = Monitored;

const STEPS: &str = "deploySteps";
/// How its failure lets those beside it go on.
const GOES_ON: &str = "allowSiblingStagesToContinueOnFailure";

/// See the module.
#[derive(Debug)]
pub(super) struct Monitored;

/// A stage that asks the service, if the deployment names one.
fn asked(stage: StageView<'_>, kind: &str, name: &str, own: Value) -> Option<NewStage> {
    let monitor = stage.stage.context.get("deploymentMonitor")?;
    let id = monitor.get("id").and_then(Value::as_str);
    id.filter(|id| !id.is_empty())?;
    let deployed = deployed_here(stage).map(|(_, name)| name);
    let fields = json!({
        "account": steps::account(stage), "newServerGroup": deployed,
        "oldServerGroup": steps::source(stage), "deploymentMonitor": monitor,
        "parameters": monitor.get("parameters"), "hasDeploymentFailed": false, GOES_ON: true,
    });
    let mut context = steps::with(stage, fields);
    if let Value::Object(own) = own {
        context.extend(own);
    }
    Some(NewStage::new(kind, name, context))
}

fn completed(stage: StageView<'_>, failed: bool) -> Option<NewStage> {
    let own = json!({"hasDeploymentFailed": failed, "continuePipeline": true});
    let name = "Notify monitored deploy complete";
    asked(stage, "notifyDeployCompleted", name, own)
}

/// The same stage, whose failure fails nothing.
fn lenient(mut stage: NewStage) -> NewStage {
    for key in [GOES_ON, "continuePipeline"] {
        stage.context.insert(key.to_owned(), true.into());
    }
    stage
}

fn action<'a>(stage: StageView<'a>, key: &str) -> Option<&'a Value> {
    stage.stage.context.get("failureActions")?.get(key)
}

/// What brings the old group back, and takes the new one away after that.
fn undone(stage: StageView<'_>) -> Vec<NewStage> {
    let asked = action(stage, "rollback")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let wanted = ["automatic", "manual"].contains(&asked.to_lowercase().as_str());
    let Some((region, deployed)) = deployed_here(stage).filter(|_| wanted) else {
        return Vec::new();
    };
    let base = steps::base(stage);
    let cluster = base
        .get("cluster")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut context = base.clone();
    context.shift_remove("cluster");
    context.shift_remove("region");
    let own = json!({
        "regions": [region], "serverGroup": deployed, "stageTimeoutMs": 1_800_000,
        "additionalRollbackContext": {"enableAndDisableOnly": true, "onlyEnabledServerGroups": true},
    });
    context.extend(own.as_object().cloned().unwrap_or_default());
    let mut planned = vec![NewStage::new(
        "rollbackCluster",
        &format!("Rollback {cluster}"),
        context,
    )];
    if action(stage, "destroyInstances") == Some(&Value::Bool(true)) {
        let own = json!({"serverGroupName": deployed, "region": region, "stageTimeoutMs": 300_000});
        let name = format!("Destroy {deployed} due to rollback");
        let context = steps::with(stage, own);
        planned.push(NewStage::new("destroyServerGroup", &name, context));
    }
    planned
}

impl Strategy for Monitored {
    fn key(&self) -> &'static str {
        "monitored"
    }

    fn label(&self) -> &'static str {
        "Monitored"
    }

    fn is_rolling(&self) -> bool {
        true
    }

    /// As a rolling one; what is done after a failure, it says itself.
    fn prepare(&self, context: &Map<String, Value>) -> Map<String, Value> {
        let mut changes = ROLLING.prepare(context);
        changes.insert("rollback".to_owned(), json!({}));
        changes
    }

    fn faults(&self, context: &Map<String, Value>) -> Vec<(&'static str, String)> {
        let steps = steps::percentages(context, STEPS).err();
        steps.into_iter().map(|m| (STEPS, m)).collect()
    }

    fn unset(&self, context: &Map<String, Value>, settings: &Settings) -> Option<String> {
        monitor_of(context, settings).err()
    }

    fn before(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        ROLLING.before(stage)
    }

    fn after(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        let percentages = steps::percentages(&stage.stage.context, STEPS)
            .map_err(|message| format!("{STEPS}: {message}"))?;
        let source = steps::source(stage);
        let source = source.as_deref();
        let deployed = deployed_here(stage)
            .map(|(_, name)| name)
            .unwrap_or_default();
        let mut planned = vec![steps::determine(stage)];
        planned.extend(source.map(|s| rolling::pin(stage, s, false)));
        let name = "Notify monitored deploy starting";
        planned.extend(asked(stage, "notifyDeployStarting", name, json!({})));
        for step in percentages {
            let mut grow = rolling::grow(stage, source, step);
            grow.name = format!("Grow {deployed} to {step}% of Desired Size");
            planned.push(grow);
            planned.extend(source.map(|s| rolling::disable(stage, s, step)));
            let name = "Evaluate health of deployed instances";
            let own = json!({ "currentProgress": step });
            planned.extend(asked(stage, "evaluateDeploymentHealth", name, own));
        }
        if let Some(source) = source {
            match steps::scale_down(stage) {
                Some(scale_down) => {
                    let delay = ["delayBeforeScaleDownSec", "delayBeforeScaleDown"];
                    let wait = steps::wait(stage, "Wait Before Scale Down", &delay);
                    planned.extend(wait.map(lenient));
                    planned.push(lenient(scale_down));
                }
                None => planned.push(rolling::pin(stage, source, true)),
            }
        }
        if let Some(remain) = steps::number(stage, &["maxRemainingAsgs"]).filter(|n| *n > 0) {
            let own = json!({
                "shrinkToSize": remain, "allowDeleteActive": false, "retainLargerOverNewer": false,
            });
            let context = steps::with(stage, own);
            planned.push(lenient(NewStage::new(
                "shrinkCluster",
                "shrinkCluster",
                context,
            )));
        }
        planned.extend(completed(stage, false));
        Ok(planned)
    }

    fn on_failure(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        // Before its first task there is no source, and nothing was changed.
        let Some(source) = steps::source(stage) else {
            return Ok(Vec::new());
        };
        let mut planned = undone(stage);
        let mut unpin = rolling::pin(stage, &source, true);
        let limit = 1_200_000.into();
        unpin.context.insert("stageTimeoutMs".to_owned(), limit);
        planned.push(unpin);
        planned.extend(completed(stage, true));
        Ok(planned)
    }
}
