//! From a Prometheus URL to a first verdict in at most six fields, as the README has it.

use std::sync::Arc;

use canary_judge::Config;
use proto::canary_judge::v1::StartRunRequest;
use proto::common::v1::Json;
use serde_json::{Value, json};
use store::Shards;
use store::embedded::{Embedded, FileSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::world::{World, fields};

/// A server that answers range queries as Prometheus does: `new` is slower.
async fn prometheus() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = vec![0; 8192];
            let read = socket.read(&mut head).await.unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            let at = |name: &str| -> i64 {
                let (_, rest) = head.split_once(&format!("{name}=")).unwrap();
                let text = rest.split(['&', ' ']).next().unwrap().replace("%3A", ":");
                let instant = text.parse::<jiff::Timestamp>();
                instant.map_or_else(|_| text.parse().unwrap(), jiff::Timestamp::as_second)
            };
            let base = if head.contains("new") { 300 } else { 100 };
            let times = (at("start")..=at("end")).step_by(60);
            let values = times.map(|t| json!([t, (base + t / 60 % 7).to_string()]));
            let values: Value = values.collect();
            let body = json!({"status": "success", "data": {"resultType": "matrix",
                "result": [{"metric": {}, "values": values}]}});
            let body = body.to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn from_a_prometheus_url_to_a_first_verdict_in_at_most_six_fields() {
    let folder = tempfile::tempdir().unwrap();
    let settings = json!({"accounts": [
        {"name": "metrics", "type": "prometheus", "base-url": prometheus().await},
    ]});
    let question = json!({
        "query": "latency{version=\"${scope}\"}", "control": "old", "experiment": "new",
    });
    assert!(fields(&settings) + fields(&question) <= 6);
    let config: Config = serde_json::from_value(settings).unwrap();
    let store = FileSettings::new(folder.path().join("store"));
    let store = Arc::new(Embedded::open(store, Shards::default()).unwrap());
    let world = World::configured(store, &config);
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
