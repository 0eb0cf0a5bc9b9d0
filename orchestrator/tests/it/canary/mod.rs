//! Canary analyses: what is planned, what a judge's answers lead to, what is deployed and taken away again.

mod check_metric;
mod deploying;
mod judging;
mod permitted;

use orchestrator::services::fake::{Fake, judged};
use orchestrator_core::Stage;
use serde_json::{Value, json};

use crate::bench::{Act, Bench};
use crate::rig::make;
use crate::samples::{Sample, group, sample};

/// A judge with one config of each kind.
pub(super) fn configured(fake: &Fake) {
    for (id, judge) in [("c", "NetflixACAJudge-v1.0"), ("s", "SequentialJudge-v1.0")] {
        fake.canary_config(json!({
            "id": id, "name": format!("{id}-config"), "applications": ["app"], "judge": {"name": judge},
            "metrics": [{"name": "errors", "scopeName": "default"}],
        }));
    }
}

pub(super) fn serving(fake: &Fake) {
    configured(fake);
    fake.server_group(group("app-main-v000", 1, 3, false));
}

/// The `canaryConfig` of a stage with other fields.
pub(super) fn settings(more: Value) -> Value {
    let mut all = json!({
        "canaryConfigId": "c", "lifetimeDuration": "PT1H0M", "canaryAnalysisIntervalMins": "30",
        "metricsAccountName": "m", "scoreThresholds": {"pass": "75", "marginal": "50"},
        "scopes": [{"scopeName": "default", "controlScope": "app-main-v000", "controlLocation": "local",
            "experimentScope": "app-main-v001", "experimentLocation": "local"}],
    });
    all.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    all
}

pub(super) fn deployments() -> Value {
    let group = |details: &str| {
        json!({"account": "prod", "region": "local", "cloudProvider": "local",
        "application": "app", "stack": "main", "freeFormDetails": details, "imageId": "registry/app:2",
        "loadBalancers": ["lb"], "capacity": {"min": 1, "max": 1, "desired": 1}})
    };
    json!({
        "baseline": {"application": "app", "account": "prod", "cluster": "app-main"}, "trafficShare": 10,
        "serverGroupPairs": [{"control": group("baseline"), "experiment": group("canary")}],
    })
}

pub(super) fn canary(more: Value, settings: Value) -> Value {
    let mut fields = json!({"analysisType": "realTime", "canaryConfig": settings});
    fields
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    make("kayentaCanary", "1", &[], fields)
}

/// One of each type, for the battery.
pub(crate) fn samples() -> Vec<Sample> {
    let run = json!({
        "canaryConfigName": "c-config", "scoreThresholds": {"pass": 75, "marginal": 50},
        "scopes": {"default": {"controlScope": {}, "experimentScope": {}}},
    });
    let deployed = json!({"deployments": deployments()});
    vec![
        sample(
            "kayentaCanary",
            json!({"canaryConfig": settings(json!({}))}),
            configured,
        ),
        sample(
            "kayentaCanary",
            json!({"canaryConfig": settings(json!({"canaryConfigId": "s", "lifetimeDuration": "PT30S"}))}),
            configured,
        ),
        sample(
            "resolveCanaryConfig",
            json!({"canaryConfig": settings(json!({}))}),
            configured,
        ),
        sample(
            "runCanaryIntervals",
            json!({"canaryConfig": settings(json!({}))}),
            configured,
        ),
        sample("runCanary", run, configured),
        sample("deployCanaryServerGroups", deployed, serving),
        sample(
            "cleanupCanaryClusters",
            json!({"deployments": deployments()}),
            |fake| {
                fake.server_group(group("app-main-canary-v000", 1, 1, false));
            },
        ),
        sample(
            "checkMetric",
            json!({"query": {"type": "local"}, "scope": "app-main-v000", "threshold": 1}),
            measured,
        ),
    ]
}

pub(super) fn measured(fake: &Fake) {
    let set = json!({"query": "q", "metricSets": [{"name": "m", "tags": {}, "values": [0.5, "NaN", 0.25]}]});
    for _ in 0..20 {
        fake.metrics(Ok(set.clone()));
    }
}

pub(super) async fn driven(fake: &Fake, stage: Value) -> Bench {
    let mut bench = Bench::new(fake.clone(), json!([stage]));
    bench.drive(|_, _| Act::Run).await;
    bench
}

pub(super) fn named<'a>(bench: &'a Bench, name: &str) -> &'a Stage {
    let stages = &bench.execution().stages;
    let found = stages.iter().find(|s| s.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {:#?}", bench.execution()))
}

pub(super) fn names(bench: &Bench) -> Vec<&str> {
    bench
        .execution()
        .stages
        .iter()
        .map(|s| s.name.as_str())
        .collect()
}

/// The first line that says why a stage failed.
pub(super) fn why(stage: &Stage) -> String {
    let errors = json!(stage.context)
        .pointer("/exception/details/errors")
        .cloned();
    errors
        .and_then(|e| Some(e.get(0)?.as_str()?.to_owned()))
        .unwrap_or_default()
}

/// A run whose one metric is worse.
pub(super) fn worse(score: f64, more: Value) -> Value {
    let mut run = judged(score);
    run["result"]["judgeResult"]["results"] = json!([{
        "name": "errors", "classification": "High", "classificationReason": "errors was classified as High",
        "experimentMetadata": {"stats": {"mean": 0.021, "count": 60}},
        "controlMetadata": {"stats": {"mean": 0.0017, "count": 40}},
        "resultMetadata": {"ratio": 12.35},
    }]);
    run.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    run
}
