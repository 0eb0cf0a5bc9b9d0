//! What callers are told of a metric store that gives no values: whether asking again may help.

use canary_judge::Config;
use proto::canary_judge::v1::{QueryRequest, StartRunRequest};
use proto::common::v1::Json;
use serde_json::json;
use tonic::Code;

use crate::service::on_disk;
use crate::stub::{Answer, Stub};
use crate::world::{SECRET, World};

/// What a query and a dry run end with if the store answers with `status`.
async fn told(status: u16, body: &'static str) -> [tonic::Status; 2] {
    let stub = Stub::new(move |_| Answer::With(status, body.to_owned())).await;
    let settings = json!({"accounts": [
        {"name": "metrics", "type": "prometheus", "base-url": stub.url()},
    ]});
    let config: Config = serde_json::from_value(settings).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let world = World::configured(on_disk(&folder), &config);
    let mut client = world.client.clone();
    let query = QueryRequest {
        account: "metrics".to_owned(),
        query: Some(Json::of(
            &json!({"type": "prometheus", "metricName": "errors"}),
        )),
        scope: Some(Json::of(&json!({
            "scope": "old", "start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:05:00Z", "step": 60,
        }))),
        ..QueryRequest::default()
    };
    let trial = StartRunRequest {
        config: Some(Json::of(&json!({
            "query": "errors{version=\"${scope}\"}", "control": "old", "experiment": "new",
        }))),
        ..StartRunRequest::default()
    };
    [
        client.query(query).await.unwrap_err(),
        client.dry_run(trial).await.unwrap_err(),
    ]
}

#[tokio::test]
async fn a_store_that_refuses_is_not_asked_again_and_one_that_is_away_is() {
    for (status, body, expected) in [
        (401, "who are you?", Code::FailedPrecondition),
        (302, "", Code::FailedPrecondition),
        (400, r#"{"error": "parse error"}"#, Code::InvalidArgument),
        (503, "starting", Code::Unavailable),
    ] {
        for told in told(status, body).await {
            assert_eq!(told.code(), expected, "{status}: {told:?}");
            assert!(told.message().contains(&status.to_string()), "{told:?}");
        }
    }
}

#[tokio::test]
async fn a_scope_that_may_not_be_told_is_neither_run_nor_tried_nor_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::on(on_disk(&folder));
    let mut client = world.client.clone();
    let run = StartRunRequest {
        application: "shop".to_owned(),
        config: Some(Json::of(&json!({
            "type": "script", "query": "errors", "control": "old", "experiment": SECRET,
        }))),
        ..StartRunRequest::default()
    };
    let query = QueryRequest {
        application: "shop".to_owned(),
        query: Some(Json::of(&json!({"type": "script"}))),
        scope: Some(Json::of(&json!({
            "scope": SECRET, "start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:05:00Z", "step": 60,
        }))),
        ..QueryRequest::default()
    };
    for told in [
        client.start_run(run.clone()).await.unwrap_err(),
        client.dry_run(run).await.unwrap_err(),
        client.query(query).await.unwrap_err(),
    ] {
        assert_eq!(told.code(), Code::PermissionDenied, "{told:?}");
        assert_eq!(told.message(), "secret is not of shop");
    }
}
