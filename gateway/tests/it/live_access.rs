//! Live updates reach who may read them, as long as that is so.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use http::Request;
use proto::common::v1::Json;
use proto::orchestrator::v1::WatchEvent;
use serde_json::json;
use tokio_stream::StreamExt;

use crate::identity::{Guarded, basic};

/// Older than the permissions that live updates are decided by may be.
const STALE: Duration = Duration::from_millis(1_100);
const SOON: Duration = Duration::from_secs(20);

fn restricted(guarded: &Guarded, role: &str) {
    guarded.gate.peers.kept(|kept| {
        kept.application = json!({"READ": [role], "WRITE": [role]});
    });
}

async fn connect(guarded: &Guarded, user: &str) -> BodyDataStream {
    let request = Request::builder()
        .uri("/live")
        .header("authorization", basic(user));
    let answer = guarded
        .gate
        .open(request.body(Body::empty()).unwrap())
        .await;
    assert_eq!(answer.status(), 200);
    answer.into_body().into_data_stream()
}

async fn next(stream: &mut BodyDataStream) -> Option<String> {
    let chunk = tokio::time::timeout(SOON, stream.next()).await.unwrap();
    chunk.map(|bytes| String::from_utf8(bytes.unwrap().to_vec()).unwrap())
}

/// A change in an application.
async fn change(guarded: &Guarded, application: &str, cursor: &str) {
    let event = WatchEvent {
        cursor: cursor.into(),
        execution_id: "E1".into(),
        application: application.into(),
        event: Some(Json::of(&json!({"type": "stageStarted"}))),
        reset: false,
    };
    assert!(guarded.gate.peers.publish(event).await);
}

#[tokio::test]
async fn an_event_reaches_only_those_who_may_read_its_application() {
    let guarded = Guarded::with(&[("ann", "team"), ("eve", "other"), ("root", "admin")]);
    restricted(&guarded, "team");
    let mut streams = Vec::new();
    for (user, sees) in [("ann", true), ("eve", false), ("root", true)] {
        let mut stream = connect(&guarded, user).await;
        let snapshot = next(&mut stream).await.unwrap();
        assert!(snapshot.contains("event: snapshot"), "{snapshot}");
        assert_eq!(snapshot.contains("\"E1\""), sees, "{user}: {snapshot}");
        assert!(next(&mut stream).await.unwrap().contains("event: marker"));
        streams.push((user, stream));
    }
    let expect = async |streams: &mut Vec<(&str, BodyDataStream)>, user: &str, id: &str| {
        let of = streams.iter_mut().find(|(name, _)| *name == user);
        let told = next(&mut of.unwrap().1).await.unwrap();
        assert!(told.contains(id), "{user}: {told}");
    };
    change(&guarded, "a", "c1").await;
    expect(&mut streams, "ann", "id: 1@c1").await;
    expect(&mut streams, "root", "id: 1@c1").await;
    restricted(&guarded, "other");
    tokio::time::sleep(STALE).await;
    change(&guarded, "a", "c2").await;
    // The sequence of each client has no gaps, whatever it does not get.
    expect(&mut streams, "eve", "id: 1@c2").await;
    expect(&mut streams, "root", "id: 2@c2").await;
    restricted(&guarded, "team");
    tokio::time::sleep(STALE).await;
    change(&guarded, "a", "c3").await;
    expect(&mut streams, "ann", "id: 2@c3").await;
}

#[tokio::test]
async fn a_connection_ends_when_its_user_is_removed() {
    let guarded = Guarded::with(&[("ann", "team"), ("root", "admin")]);
    let mut stream = connect(&guarded, "ann").await;
    for _ in 0..2 {
        next(&mut stream).await.unwrap();
    }
    guarded.users(&[("root", "admin")]);
    let told = next(&mut stream).await.unwrap();
    assert!(
        told.contains("event: end") && told.contains("log in"),
        "{told}"
    );
    assert_eq!(next(&mut stream).await, None);
}
