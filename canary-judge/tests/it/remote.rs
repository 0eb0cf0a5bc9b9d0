//! A judge of somebody's own, behind an address.

use std::sync::Arc;

use canary_judge::Config;
use proto::canary_judge::v1::StartRunRequest;
use proto::common::v1::Json;
use serde_json::{Value, json};
use store::Shards;
use store::embedded::{Embedded, FileSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::world::{World, config, planned};

/// Answers 500 first, and then a score that follows from how many values it was sent.
async fn judge() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut asked = 0;
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut text = Vec::new();
            let body = loop {
                let mut some = [0; 65_536];
                let read = socket.read(&mut some).await.unwrap();
                text.extend_from_slice(&some[..read]);
                let all = String::from_utf8_lossy(&text).into_owned();
                let body = all.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
                if let Some(Ok(body)) = body.map(|b| serde_json::from_str::<Value>(&b)) {
                    assert!(all.starts_with("POST /own/judge "), "{all}");
                    break body;
                }
            };
            asked += 1;
            let count = body["metricSetPairList"][0]["values"]["control"]
                .as_array()
                .unwrap()
                .len();
            assert_eq!(body["scoreThresholds"]["pass"].to_string(), "95.0");
            let (status, answer) = match asked {
                1 => ("500 Oops", json!({"message": "not yet"})),
                _ => (
                    "200 OK",
                    json!({"judgeName": "mine", "results": [], "groupScores": [],
                      "score": {"score": count, "classification": "Marginal", "classificationReason": ""}}),
                ),
            };
            let answer = answer.to_string();
            let answer = format!(
                "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{answer}",
                answer.len()
            );
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    format!("http://{address}/own")
}

#[tokio::test]
async fn a_judge_behind_an_address_judges_and_is_asked_again_when_it_fails() {
    let folder = tempfile::tempdir().unwrap();
    let store = |name: &str| {
        let settings = FileSettings::new(folder.path().join(name));
        Arc::new(Embedded::open(settings, Shards::default()).unwrap())
    };
    let asked = StartRunRequest {
        config: Some(Json::of(&config("RemoteJudge-v1.0"))),
        ..planned("", 1, 5)
    };
    let without = World::on(store("without"));
    let refused = without.start(asked.clone()).await.unwrap_err();
    assert!(
        refused.message().contains("set canary-judge.remote-judge"),
        "{refused}"
    );
    let settings = Config {
        remote_judge: Some(judge().await),
        ..Config::default()
    };
    let world = World::set(store("with"), &settings);
    let id = world.start(asked).await.unwrap();
    let told = world.ended(&id).await;
    let result = &told["result"]["judgeResult"];
    assert_eq!(
        (&result["judgeName"], &result["score"]["score"]),
        (&json!("mine"), &json!(6.0))
    );
}
