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
async fn a_new_client_gets_a_snapshot_a_marker_and_then_each_event() {
    let gate = Gate::up();
    let (status, mut stream) = connect(&gate, None).await;
    assert_eq!(status, 200);
    let snapshot = next(&mut stream).await.unwrap();
    assert!(
        snapshot.contains("event: snapshot") && snapshot.contains("\"E3\""),
        "{snapshot}"
    );
    let marker = next(&mut stream).await.unwrap();
    assert!(marker.contains("event: marker"), "{marker}");
    for (cursor, id) in [("c1", "id: 1@c1"), ("c2", "id: 2@c2")] {
        assert!(gate.peers.publish(event(cursor)).await);
        let delta = next(&mut stream).await.unwrap();
        assert!(
            delta.contains("event: execution") && delta.contains(id),
            "{delta}"
        );
        assert!(delta.contains("stageStarted"), "{delta}");
    }
}

#[tokio::test]
async fn a_client_that_comes_back_goes_on_where_it_was() {
    let gate = Gate::up();
    let (_, mut first) = connect(&gate, None).await;
    for number in 1..=3 {
        gate.peers.publish(event(&format!("c{number}"))).await;
    }
    // The snapshot, the marker and all three: the tail has them.
    for _ in 0..5 {
        next(&mut first).await.unwrap();
    }
    let (_, mut stream) = connect(&gate, Some("1@c1")).await;
    for id in ["id: 2@c2", "id: 3@c3"] {
        let missed = next(&mut stream).await.unwrap();
        assert!(missed.contains(id), "no snapshot: {missed}");
    }
    assert_eq!(gate.peers.calls("watch").len(), 1, "one tail for both");
}

#[tokio::test]
async fn a_client_of_another_time_is_brought_to_the_shared_tail() {
    let gate = Gate::up();
    let (_, mut stream) = connect(&gate, Some("6@c7")).await;
    while gate.peers.calls("watch").len() < 2 {
        tokio::task::yield_now().await;
    }
    let watch = gate.peers.calls("watch").remove(1);
    assert!(watch.contains("cursor: \"c7\""), "{watch}");
    for (cursor, id) in [("c8", "id: 7@c8"), ("c9", "id: 8@c9"), ("c10", "id: 9@c10")] {
        gate.peers.publish(event(cursor)).await;
        let delta = next(&mut stream).await.unwrap();
        assert!(delta.contains(id), "each once: {delta}");
    }
}

#[tokio::test]
async fn all_clients_share_one_tail_of_the_feed() {
    let gate = Gate::up();
    let mut streams = Vec::new();
    for _ in 0..50 {
        streams.push(connect(&gate, None).await.1);
    }
    gate.peers.publish(event("c1")).await;
    for stream in &mut streams {
        let told = [next(stream).await, next(stream).await, next(stream).await];
        assert!(told[2].as_ref().unwrap().contains("id: 1@c1"), "{told:?}");
    }
    assert_eq!(gate.peers.calls("watch").len(), 1);
}

#[tokio::test]
async fn only_the_application_asked_for_is_told_of() {
    let gate = Gate::up();
    let request = Request::builder().uri("/live?application=B");
    let answer = gate.open(request.body(Body::empty()).unwrap()).await;
    let mut stream = answer.into_body().into_data_stream();
    let snapshot = next(&mut stream).await.unwrap();
    assert!(snapshot.contains("\"executions\":[]"), "{snapshot}");
    next(&mut stream).await.unwrap();
    let other = WatchEvent {
        application: "b".into(),
        ..event("c2")
    };
    gate.peers.publish(event("c1")).await;
    gate.peers.publish(other).await;
    let delta = next(&mut stream).await.unwrap();
    assert!(delta.contains("id: 1@c2"), "without a gap: {delta}");
}

#[tokio::test]
async fn a_store_that_lost_commits_makes_the_client_begin_anew() {
    for last in [None, Some("1@c7")] {
        let gate = Gate::up();
        let (_, mut stream) = connect(&gate, last).await;
        match last {
            None => {
                next(&mut stream).await.unwrap();
                next(&mut stream).await.unwrap();
            }
            Some(_) => {
                while gate.peers.calls("watch").len() < 2 {
                    tokio::task::yield_now().await;
                }
            }
        }
        let lost = WatchEvent {
            reset: true,
            ..event("c1")
        };
        gate.peers.publish(lost).await;
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
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off_and_bounded() {
    let gate = Gate::with(Config {
        live_buffer: 4,
        ..Config::default()
    });
    let (_, mut stream) = connect(&gate, None).await;
    for number in 0..50 {
        gate.peers.publish(event(&format!("c{number}"))).await;
    }
    let mut got = Vec::new();
    while let Some(event) = next(&mut stream).await {
        got.push(event);
    }
    assert!((2..=5).contains(&got.len()), "{got:?}");
    let last = got.last().unwrap();
    assert!(
        last.contains("event: end") && last.contains("too slowly"),
        "{last}"
    );
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

/// Milliseconds of processor time this process has used.
fn processor_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split(' ').collect();
    // After the name: user and system time are the 12th and 13th, in hundredths of a second.
    (fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap()) * 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "ten seconds under load; prints its figures"]
async fn two_hundred_clients_at_a_hundred_changes_a_second_are_half_a_second_late_at_most() {
    const CLIENTS: usize = 200;
    const CHANGES: usize = 1_000;
    let gate = Gate::up();
    let mut readers = Vec::new();
    // One that never reads: it is held, and its queue stays bounded.
    let (_, _idle) = connect(&gate, None).await;
    for _ in 0..CLIENTS {
        let (_, mut stream) = connect(&gate, None).await;
        readers.push(tokio::spawn(async move {
            let (mut seen, mut latest, mut text) = (0, Duration::ZERO, String::new());
            while seen < CHANGES {
                text.push_str(&next(&mut stream).await.unwrap());
                while let Some(end) = text.find("\n\n") {
                    let told: String = text.drain(..end + 2).collect();
                    if let Some(at) = told.split("\"sentAt\":").nth(1) {
                        let digits: String = at.chars().take_while(char::is_ascii_digit).collect();
                        let sent = Duration::from_millis(digits.parse().unwrap());
                        latest = latest.max(epoch().saturating_sub(sent));
                        seen += 1;
                    }
                }
            }
            latest
        }));
    }
    let (begun, used) = (std::time::Instant::now(), processor_ms());
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    for number in 0..CHANGES {
        pace.tick().await;
        let sent = u64::try_from(epoch().as_millis()).unwrap();
        let change = WatchEvent {
            event: Some(Json::of(&json!({"type": "stageStarted", "sentAt": sent}))),
            ..event(&format!("c{number}"))
        };
        assert!(gate.peers.publish(change).await);
    }
    let mut latest = Duration::ZERO;
    for reader in readers {
        latest = latest.max(reader.await.unwrap());
    }
    let cores = (processor_ms() - used) as f64 / begun.elapsed().as_millis() as f64;
    println!("{CLIENTS} clients, 100 changes a second: {latest:?} late at most, {cores:.2} cores");
    assert!(latest <= Duration::from_millis(500), "{latest:?}");
    assert!(cores <= 1.0, "{cores}");
    assert_eq!(gate.peers.calls("watch").len(), 1);
}

fn epoch() -> Duration {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap()
}
