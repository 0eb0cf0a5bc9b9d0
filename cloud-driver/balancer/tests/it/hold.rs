//! Requests held while no instance may be chosen.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::backend::Backend;
use crate::client::{Answer, Connection};
use crate::http2_client::{Http2, read};
use crate::stand::{Stand, config, eventually, group, instance, soon};

/// One load balancer for everything that holds requests.
pub(crate) fn holding(max_ms: u64, max_requests: u32, instances: &[Value]) -> Value {
    let mut config = config(&[group("g", 1, instances)]);
    config["loadBalancers"][0]["holdRequests"] =
        json!({"maxMs": max_ms, "maxRequests": max_requests});
    config
}

async fn figure(stand: &Stand, name: &str) -> u64 {
    stand.state().await["loadBalancers"][0][name]
        .as_u64()
        .unwrap()
}

async fn until_held(stand: &Stand, count: u64) {
    eventually("so many wait", async || match figure(stand, "held").await {
        held if held == count => Ok(()),
        held => Err(held),
    })
    .await;
}

/// Sends a request that will wait.
async fn waiting(stand: &Stand, line: &str, body: &[u8]) -> Connection<TcpStream> {
    let before = figure(stand, "held").await;
    let mut connection = stand.connect().await;
    connection.send(line, &[], body).await.unwrap();
    until_held(stand, before + 1).await;
    connection
}

fn refused(answer: &Answer, name: &str) {
    let told = answer.header("x-balancer-error");
    assert_eq!((answer.status, told), (503, Some(name)));
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn a_swap_on_a_single_host_fails_no_request_of_any_kind() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let stand = Stand::with(&["--workers", "2"], None).await;
    let of = |instances: &[Value]| holding(60_000, 100, instances);
    stand.serve(&of(&[instance("a", &a, "serve")])).await;
    assert_eq!(stand.get("/x").await.text(), "a");
    stand.set(&of(&[instance("a", &a, "drain")])).await;
    stand.wait("a", "drained").await;
    let mut plain = waiting(&stand, "GET /x", b"").await;
    let mut upload = waiting(&stand, "POST /length", b"hello").await;
    let mut tunnel = stand.connect().await;
    let upgrade = [("connection", "upgrade"), ("upgrade", "echo")];
    tunnel.send("GET /tunnel", &upgrade, b"").await.unwrap();
    let client = Http2::open(stand.address).await;
    let (stream, mut body) = client.send("POST", "/x", &[], false).await.unwrap();
    body.send_data(Bytes::from_static(b"hello"), true).unwrap();
    until_held(&stand, 4).await;
    assert!((stand.metric("balancer_held").await - 4.0).abs() < 0.1);
    stand.set(&of(&[instance("b", &b, "serve")])).await;
    assert_eq!(soon("it", plain.receive(false)).await.unwrap().text(), "b");
    assert_eq!(soon("it", upload.receive(false)).await.unwrap().text(), "5");
    assert_eq!(soon("it", tunnel.receive(false)).await.unwrap().status, 101);
    tunnel.stream.write_all(b"hello").await.unwrap();
    assert_eq!(soon("the echo", tunnel.exactly(5)).await.unwrap(), b"hello");
    let answer = read(soon("it", stream).await.unwrap()).await.unwrap();
    assert_eq!((answer.status, answer.text()), (200, "b".into()));
    let state = stand.state().await;
    for name in ["retries", "notRepeated", "ownErrors"] {
        assert_eq!(state[name], 0, "{name}");
    }
    assert_eq!(figure(&stand, "held").await, 0);
    assert_eq!(figure(&stand, "heldTotal").await, 4);
}

#[tokio::test]
async fn held_requests_go_on_in_the_order_in_which_they_came() {
    let b = Backend::start("b").await;
    let stand = Stand::with(&["--workers", "1"], None).await;
    stand.set(&holding(60_000, 100, &[])).await;
    let mut held = Vec::new();
    for number in 0..30 {
        held.push(waiting(&stand, &format!("GET /{number}"), b"").await);
    }
    // One that goes away is passed over.
    drop(held.remove(7));
    until_held(&stand, 29).await;
    stand
        .set(&holding(60_000, 100, &[instance("b", &b, "serve")]))
        .await;
    for connection in &mut held {
        let answer = soon("it goes on", connection.receive(false)).await;
        assert_eq!(answer.unwrap().status, 200);
    }
    let order: Vec<_> = b.seen().iter().map(|seen| seen.line.clone()).collect();
    let numbers = (0..30).filter(|number| *number != 7);
    let expected: Vec<_> = numbers.map(|n| format!("GET /{n} HTTP/1.1")).collect();
    // They run beside one another once they were let go: neighbours may overtake each other on
    // their connections, but nobody is left behind.
    let place = |line: &String| expected.iter().position(|e| e == line).unwrap();
    for (at, line) in order.iter().enumerate() {
        assert!(place(line).abs_diff(at) <= 3, "{order:?}");
    }
}

#[tokio::test]
async fn who_waits_too_long_or_comes_too_late_is_told_so() {
    let stand = Stand::with(&["--workers", "3"], None).await;
    stand.set(&holding(1_500, 2, &[])).await;
    let mut first = waiting(&stand, "GET /x", b"").await;
    let client = Http2::open(stand.address).await;
    let (second, _) = client.send("GET", "/x", &[], true).await.unwrap();
    until_held(&stand, 2).await;
    for _ in 0..6 {
        refused(&stand.get("/x").await, "hold_full");
    }
    refused(
        &soon("its end", first.receive(false)).await.unwrap(),
        "hold_timeout",
    );
    let second = read(soon("its end", second).await.unwrap()).await.unwrap();
    assert_eq!(second.headers["x-balancer-error"], "hold_timeout");
    assert_eq!(figure(&stand, "holdFull").await, 6);
    assert_eq!(figure(&stand, "holdTimeouts").await, 2);
    assert!((stand.metric("balancer_hold_refused_total").await - 8.0).abs() < 0.1);
    // Without holding it is as ever, also for who waits now.
    stand.set(&holding(60_000, 2, &[])).await;
    let mut waits = waiting(&stand, "GET /x", b"").await;
    stand.set(&config(&[group("g", 1, &[])])).await;
    refused(
        &soon("its end", waits.receive(false)).await.unwrap(),
        "no_instance",
    );
    refused(&stand.get("/x").await, "no_instance");
}

#[tokio::test]
async fn who_goes_away_gives_the_place_back() {
    let stand = Stand::with(&["--workers", "2"], None).await;
    stand.set(&holding(60_000, 4, &[])).await;
    let plain = waiting(&stand, "GET /x", b"").await;
    let upload = waiting(&stand, "POST /x", b"hello").await;
    let client = Http2::open(stand.address).await;
    let (one, _) = client.send("GET", "/x", &[], true).await.unwrap();
    let (two, mut body) = client.send("POST", "/x", &[], false).await.unwrap();
    until_held(&stand, 4).await;
    body.send_reset(h2::Reason::CANCEL);
    drop((two, plain, upload));
    until_held(&stand, 1).await;
    drop((one, body));
    client.ended.abort();
    drop(client.sender);
    until_held(&stand, 0).await;
    assert_eq!(figure(&stand, "holdTimeouts").await, 0);
}

#[tokio::test]
async fn uploads_wait_without_being_read() {
    const LENGTH: usize = 64 * 1024 * 1024;
    let b = Backend::start("b").await;
    let stand = Stand::start().await;
    stand.set(&holding(60_000, 4, &[])).await;
    let mut connection = stand.connect().await;
    let length = LENGTH.to_string();
    let headers = [("content-length", length.as_str())];
    connection
        .send("POST /length", &headers, b"")
        .await
        .unwrap();
    let written = Arc::new(AtomicUsize::new(0));
    let (mut reads, mut writes) = tokio::io::split(connection.stream);
    let upload = tokio::spawn({
        let written = written.clone();
        async move {
            let chunk = vec![7; 64 * 1024];
            while written.load(Ordering::SeqCst) < LENGTH {
                writes.write_all(&chunk).await.unwrap();
                written.fetch_add(chunk.len(), Ordering::SeqCst);
            }
            writes
        }
    });
    until_held(&stand, 1).await;
    // Until the buffers of the system are full.
    eventually("the upload stops", async || {
        let before = written.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = written.load(Ordering::SeqCst);
        if before == now { Ok(()) } else { Err(now) }
    })
    .await;
    assert!(written.load(Ordering::SeqCst) < LENGTH / 2);
    stand
        .set(&holding(60_000, 4, &[instance("b", &b, "serve")]))
        .await;
    let writes = soon("the upload goes on", upload).await.unwrap();
    let mut answer = vec![0; 1024];
    let read = tokio::io::AsyncReadExt::read(&mut reads, &mut answer);
    let read = soon("its answer", read).await.unwrap();
    let text = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(text.ends_with(&length), "{text}");
    drop(writes);
}

/// What a held request is answered when an instance that was there all along becomes healthy: no
/// configuration tells the workers of it.
pub(crate) async fn answer_once_healthy(control: Option<&str>) -> Answer {
    let a = Backend::start("a").await;
    let stand = Stand::with(&["--workers", "2"], control).await;
    a.set_sick(true);
    stand
        .set(&holding(3_000, 10, &[instance("a", &a, "serve")]))
        .await;
    stand.wait("a", "warming").await;
    let mut held = waiting(&stand, "GET /x", b"").await;
    a.set_sick(false);
    soon("it goes on", held.receive(false)).await.unwrap()
}

#[tokio::test]
async fn who_waits_is_told_at_once_that_an_instance_came_in() {
    assert_eq!(answer_once_healthy(None).await.text(), "a");
}

#[tokio::test]
async fn what_a_leaving_balancer_holds_goes_on_when_its_successors_instance_serves() {
    let b = Backend::start("b").await;
    let mut stand = Stand::start().await;
    stand.set(&holding(60_000, 10, &[])).await;
    let mut held = waiting(&stand, "GET /x", b"").await;
    let mut before = stand.replace().await;
    stand
        .set(&holding(60_000, 10, &[instance("b", &b, "serve")]))
        .await;
    let answer = soon("it goes on", held.receive(false)).await.unwrap();
    assert_eq!(answer.text(), "b");
    assert!(answer.closes());
    drop(held);
    assert!(before.ended().await.success());
}
