//! The demonstration's canary: a config of the judge that decides after each step, and a pipeline that deploys only
//! what it lets pass. The metrics are the balancer's own, so that a laptop needs no store.

use proto::canary_judge::v1::canary_service_client::CanaryServiceClient;
use proto::canary_judge::v1::{ConfigKey, SaveConfigRequest};
use proto::common::v1::Json;
use runtime::auth::AuthContext;
use serde_json::{Value, json};
use tonic::Code;

use super::{APPLICATION, USER, cluster};
use crate::up::wire::Peers;

const CONFIG: &str = "demo-canary";
/// The pipeline.
pub(super) const PIPELINE: &str = "canary";

fn by_demo<T>(message: T) -> tonic::Request<T> {
    let context = AuthContext {
        user: USER.into(),
        ..AuthContext::default()
    };
    context.request(message)
}

/// Saves the config, if it is not there.
pub(super) async fn save_config(peers: &Peers) -> anyhow::Result<()> {
    let mut judge = CanaryServiceClient::new(peers.canary_judge.of("deploy"));
    let key = ConfigKey {
        id: CONFIG.into(),
        version: 0,
    };
    match judge.get_config(by_demo(key)).await {
        Ok(_) => return Ok(()),
        Err(status) if status.code() == Code::NotFound => {}
        Err(status) => return Err(status.into()),
    }
    let request = SaveConfigRequest {
        document: Some(Json::of(&config())),
        id: String::new(),
    };
    judge.save_config(by_demo(request)).await?;
    Ok(())
}

/// Errors count with their requests; latency is the median of each second.
fn config() -> Value {
    let metric = |name: &str, metric: &str, groups: Value, canary: Value| {
        json!({
            "name": name, "scopeName": "default", "groups": groups,
            "query": {"type": "local", "metricName": metric},
            "analysisConfigurations": {"canary": canary},
        })
    };
    json!({
        "id": CONFIG, "name": CONFIG, "applications": [APPLICATION], "configVersion": "1",
        "description": "errors and latency of the demonstration, as its balancer measures them",
        "judge": {"name": "SequentialJudge-v1.0", "judgeConfigurations": {}},
        "metrics": [
            metric("requests", "requests", json!([]), json!({"muted": true})),
            metric("errors", "errors", json!(["Errors"]), json!({
                "direction": "increase", "critical": true, "sequential": {"requests": "requests"},
            })),
            metric("latency", "latency_p50", json!(["Latency"]), json!({
                "direction": "increase",
                "effectSize": {"allowedIncrease": 1.1, "criticalIncrease": 1.5},
            })),
        ],
        "templates": {},
        "classifier": {
            "groupWeights": {"Errors": 60.0, "Latency": 40.0},
            "scoreThresholds": {"pass": 75.0, "marginal": 50.0},
        },
    })
}

/// A canary with a tenth of the requests beside an equal baseline; what passes is deployed.
pub(super) fn pipeline(registry: &str) -> Value {
    let image = format!("{registry}/demo:${{parameters.version}}");
    let side = |details: &str| {
        let mut group = cluster("prod", &image, "");
        group["freeFormDetails"] = details.into();
        group["capacity"] = json!({"min": 1, "max": 1, "desired": 1});
        if let Some(fields) = group.as_object_mut() {
            fields.retain(|key, _| key != "rollback" && key != "strategy");
        }
        group
    };
    let mut experiment = side("canary");
    experiment["env"] = json!({
        "ERROR_RATE": "${parameters.errorRate}", "LATENCY_MS": "${parameters.latencyMs}",
    });
    json!({
        "application": APPLICATION, "name": PIPELINE, "limitConcurrent": true,
        "keepWaitingPipelines": false, "spelEvaluator": "v4", "triggers": [],
        "parameterConfig": [
            {"name": "version", "required": true, "description": "a version that was pushed"},
            {"name": "errorRate", "default": "0", "description": "share of the canary's answers that are errors, as 0.05"},
            {"name": "latencyMs", "default": "20", "description": "the canary's latency; the baseline has 20"},
        ],
        "stages": [
            {
                "type": "kayentaCanary", "name": "Canary", "refId": "1", "requisiteStageRefIds": [],
                "analysisType": "realTimeAutomatic", "onInconclusive": "pause",
                "canaryConfig": {
                    "canaryConfigId": CONFIG, "metricsAccountName": "local",
                    "lifetimeDuration": "PT3M", "beginCanaryAnalysisAfterSeconds": 5,
                    "scoreThresholds": {"pass": "75", "marginal": "50"},
                    "scopes": [{"scopeName": "default", "step": 1}],
                },
                "deployments": {
                    "baseline": {
                        "application": APPLICATION, "account": "prod", "cluster": format!("{APPLICATION}-prod"),
                        "cloudProvider": "local",
                    },
                    "serverGroupPairs": [{"control": side("baseline"), "experiment": experiment}],
                    "trafficShare": 10,
                },
            },
            super::deploy("prod", &image, "inplacedrain", "2", &["1"]),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canary_differs_from_the_baseline_in_what_the_parameters_say() {
        let pipeline = pipeline("127.0.0.1:5000");
        let pair = &pipeline["stages"][0]["deployments"]["serverGroupPairs"][0];
        let (mut control, mut experiment) = (pair["control"].clone(), pair["experiment"].clone());
        for side in [&mut control, &mut experiment] {
            side.as_object_mut()
                .unwrap()
                .retain(|key, _| key != "env" && key != "freeFormDetails");
        }
        assert_eq!(control, experiment);
    }
}
