//! From a Prometheus URL to a first verdict in at most six fields, as the README has it.

use canary_judge::Config;
use proto::canary_judge::v1::StartRunRequest;
use proto::common::v1::Json;
use serde_json::{Value, json};

use crate::service::on_disk;
use crate::stub::{Answer, Stub};
use crate::world::{World, fields};

/// A server that answers range queries as Prometheus does: `new` is slower.
async fn prometheus() -> Stub {
    Stub::new(|request| {
        let at = |name: &str| {
            let text = request.parameters[name].as_str();
            let instant: jiff::Timestamp = text.parse().unwrap();
            instant.as_second()
        };
        let base = if request.parameters["query"].contains("new") {
            300
        } else {
            100
        };
        let times = (at("start")..=at("end")).step_by(60);
        let values = times.map(|t| json!([t, (base + t / 60 % 7).to_string()]));
        let values: Value = values.collect();
        let body = json!({"status": "success", "data": {"resultType": "matrix",
            "result": [{"metric": {}, "values": values}]}});
        Answer::With(200, body.to_string())
    })
    .await
}

#[tokio::test]
async fn from_a_prometheus_url_to_a_first_verdict_in_at_most_six_fields() {
    let folder = tempfile::tempdir().unwrap();
    let settings = json!({"accounts": [
        {"name": "metrics", "type": "prometheus", "base-url": prometheus().await.url()},
    ]});
    let question = json!({
        "query": "latency{version=\"${scope}\"}", "control": "old", "experiment": "new",
    });
    assert!(fields(&settings) + fields(&question) <= 6);
    let config: Config = serde_json::from_value(settings).unwrap();
    let world = World::configured(on_disk(&folder), &config);
    let asked = StartRunRequest {
        config: Some(Json::of(&question)),
        ..StartRunRequest::default()
    };
    let told = world.client.clone().dry_run(asked.clone()).await.unwrap();
    let told = told.into_inner().value("told").unwrap();
    let result = &told["result"]["judgeResult"];
    assert_eq!(result["score"]["classification"], "Fail", "{told}");
    assert_eq!(result["results"][0]["classification"], "High");
    let query = told["queries"][1]["query"].as_str().unwrap();
    assert!(query.contains("latency{version=\"new\"}"), "{query}");
    // What was tried is a config that can be saved, and the same is a run.
    assert!(told["canaryConfig"]["metrics"][0]["query"]["customInlineTemplate"].is_string());
    let id = world.start(asked).await.unwrap();
    let run = world.ended(&id).await;
    assert_eq!(run["result"]["judgeResult"]["score"], result["score"]);
}
