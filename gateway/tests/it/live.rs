//! Live updates: snapshot, deltas, resuming, limits, the end.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use gateway::Config;
use http::{Request, StatusCode};
use proto::common::v1::Json;
use proto::orchestrator::v1::WatchEvent;
use serde_json::json;
use tokio_stream::StreamExt;

use crate::fake::Gate;

const SOON: Duration = Duration::from_secs(10);

async fn connect(gate: &Gate, last: Option<&str>) -> (StatusCode, BodyDataStream) {
    let mut request = Request::builder().uri("/live");
    if let Some(last) = last {
        request = request.header("Last-Event-ID", last);
    }
    let answer = gate.open(request.body(Body::empty()).unwrap()).await;
    (answer.status(), answer.into_body().into_data_stream())
}

/// The next event's text; none at the end of the stream.
async fn next(stream: &mut BodyDataStream) -> Option<String> {
    let chunk = tokio::time::timeout(SOON, stream.next()).await.unwrap();
    chunk.map(|bytes| String::from_utf8(bytes.unwrap().to_vec()).unwrap())
}

fn event(cursor: &str) -> WatchEvent {
    WatchEvent {
        cursor: cursor.into(),
        execution_id: "E1".into(),
        application: "a".into(),
        event: Some(Json::of(&json!({"type": "stageStarted"}))),
        reset: false,
    }
}

#[tokio::test]
async fn a_new_client_gets_a_snapshot_and_then_each_event() {
    let gate = Gate::up();
    let (status, mut stream) = connect(&gate, None).await;
    assert_eq!(status, 200);
    let snapshot = next(&mut stream).await.unwrap();
    assert!(
        snapshot.contains("event: snapshot") && snapshot.contains("\"E3\""),
        "{snapshot}"
    );
    assert!(gate.peers.publish(event("c1")).await);
    let delta = next(&mut stream).await.unwrap();
    assert!(
        delta.contains("event: execution") && delta.contains("id: c1"),
        "{delta}"
    );
    assert!(delta.contains("stageStarted"), "{delta}");
}

#[tokio::test]
async fn a_client_that_comes_back_goes_on_where_it_was() {
    let gate = Gate::up();
    let (_, mut stream) = connect(&gate, Some("c7")).await;
    let watch = gate.peers.calls("watch").remove(0);
    assert!(watch.contains("cursor: \"c7\""), "{watch}");
    gate.peers.publish(event("c8")).await;
    let first = next(&mut stream).await.unwrap();
    assert!(first.contains("id: c8"), "no snapshot: {first}");
}

#[tokio::test]
async fn a_store_that_lost_commits_makes_the_client_begin_anew() {
    let gate = Gate::up();
    let (_, mut stream) = connect(&gate, Some("c7")).await;
    gate.peers
        .publish(WatchEvent {
            reset: true,
            ..event("c1")
        })
        .await;
    let both = [
        next(&mut stream).await.unwrap(),
        next(&mut stream).await.unwrap(),
    ]
    .concat();
    assert!(
        both.contains("event: reset") && both.contains("event: snapshot"),
        "{both}"
    );
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off_and_bounded() {
    let gate = Gate::with(Config {
        live_buffer: 4,
        ..Config::default()
    });
    let (_, mut stream) = connect(&gate, Some("c0")).await;
    for number in 0..50 {
        gate.peers.publish(event(&format!("c{number}"))).await;
    }
    let mut got = 0;
    while next(&mut stream).await.is_some() {
        got += 1;
    }
    assert!((1..50).contains(&got), "{got}");
}

#[tokio::test]
async fn one_client_too_many_is_refused_until_another_leaves() {
    let gate = Gate::with(Config {
        live_clients: 1,
        ..Config::default()
    });
    let (status, stream) = connect(&gate, None).await;
    assert_eq!(status, 200);
    assert_eq!(connect(&gate, None).await.0, 503);
    drop(stream);
    let again = async {
        while connect(&gate, None).await.0 != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, again).await.unwrap();
}

#[tokio::test]
async fn a_shutdown_ends_the_stream() {
    let gate = Gate::up();
    let (_, mut stream) = connect(&gate, Some("c1")).await;
    gate.shutdown.begin();
    assert_eq!(next(&mut stream).await, None);
}
