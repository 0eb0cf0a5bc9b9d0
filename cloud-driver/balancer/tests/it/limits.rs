//! Limits of routes.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::backend::Backend;
use crate::client::{Answer, Failure};
use crate::http2_client::{Http2, read};
use crate::stand::{Stand, config, eventually, group, instance, soon};

/// A balancer with one instance, behind a route with these limits.
async fn limited(backend: &Backend, limits: Value) -> Stand {
    let stand = Stand::with(&["--workers", "2"], None).await;
    let mut config = config(&[group("g", 1, &[instance("i", backend, "serve")])]);
    config["routes"][0]["limits"] = limits;
    config["routes"][0]["name"] = json!("all");
    stand.serve(&config).await;
    stand
}

fn refused(answer: &Answer, status: u16, name: &str) {
    let told = answer.header("x-balancer-error");
    assert_eq!(
        (answer.status, told),
        (status, Some(name)),
        "{}",
        answer.text()
    );
}

async fn arrived(backend: &Backend, path: &str, count: usize) {
    eventually("they have arrived", async || {
        let seen = backend.count(path);
        if seen == count { Ok(()) } else { Err(seen) }
    })
    .await;
}

/// The figure of a route's state.
async fn figure(stand: &Stand, name: &str) -> u64 {
    stand.state().await["routes"][0][name].as_u64().unwrap()
}

/// Nothing went wrong at the instance, and it has nothing any more.
async fn is_clean(stand: &Stand) {
    eventually("nothing is in flight", async || {
        let state = stand.instance("i").await;
        let inner = &state["inFlight"];
        if inner["requests"] == 0 && inner["tunnels"] == 0 {
            Ok(())
        } else {
            Err(state)
        }
    })
    .await;
    eventually("the route is empty", async || {
        match figure(stand, "inFlight").await {
            0 => Ok(()),
            some => Err(some),
        }
    })
    .await;
    assert_eq!(stand.instance("i").await["state"], "serving");
    let state = stand.state().await;
    assert_eq!(
        (&state["retries"], &state["notRepeated"]),
        (&json!(0), &json!(0))
    );
    for name in [
        "balancer_broken_total",
        "balancer_client_gone_total",
        "balancer_cut_total",
    ] {
        assert!(stand.metric(name).await < 0.5, "{name}");
    }
}

#[tokio::test]
async fn no_more_requests_are_in_flight_than_the_route_allows_over_all_workers() {
    let backend = Backend::start("a").await;
    let stand = limited(&backend, json!({"maxInFlight": 4})).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut connection = stand.connect().await;
        connection.send("GET /hold", &[], b"").await.unwrap();
        held.push(connection);
    }
    arrived(&backend, "/hold", 3).await;
    let mut tunnel = stand.connect().await;
    let upgrade = [("connection", "upgrade"), ("upgrade", "echo")];
    let answer = tunnel.ask("GET /tunnel", &upgrade, b"").await.unwrap();
    assert_eq!(answer.status, 101);
    for _ in 0..4 {
        let answer = stand.get("/x").await;
        refused(&answer, 429, "route_limit");
        assert_eq!(answer.header("retry-after"), Some("1"));
        let text = "route_limit: route all: 4 requests are under way, as many as it allows\n";
        assert_eq!(answer.text(), text);
    }
    let client = Http2::open(stand.address).await;
    let answer = client.get("/x").await.unwrap();
    assert_eq!(
        (answer.status, &answer.headers["retry-after"]),
        (429, &"1".parse().unwrap())
    );
    assert_eq!(figure(&stand, "inFlight").await, 4);
    backend.release(3);
    for connection in &mut held {
        assert_eq!(connection.receive(false).await.unwrap().status, 200);
    }
    assert_eq!(figure(&stand, "inFlight").await, 1, "the tunnel");
    assert_eq!(stand.get("/x").await.status, 200);
    drop(tunnel);
    is_clean(&stand).await;
    assert_eq!(figure(&stand, "refusedInFlight").await, 5);
    assert!((stand.metric("balancer_route_refused_total").await - 5.0).abs() < 0.1);
    assert_eq!(stand.state().await["ownErrors"], 0);
}

#[tokio::test]
async fn no_more_requests_come_than_the_rate_and_its_burst_allow_over_all_workers() {
    let backend = Backend::start("a").await;
    let stand = limited(&backend, json!({"requestsPerSecond": 1, "burst": 7})).await;
    let mut statuses = Vec::new();
    let began = std::time::Instant::now();
    for _ in 0..30 {
        statuses.push(stand.get("/x").await.status);
    }
    let more = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    let passed = statuses.iter().filter(|status| **status == 200).count();
    assert!((7..=7 + more).contains(&passed), "{statuses:?}");
    assert_eq!(
        statuses.iter().filter(|status| **status == 429).count(),
        30 - passed
    );
    assert_eq!(backend.count("/x"), passed);
    assert_eq!(figure(&stand, "refusedRate").await, 30 - passed as u64);
    eventually("the next comes through", async || {
        let answer = stand.get("/x").await;
        match answer.status {
            200 => Ok(()),
            _ => Err(answer.header("retry-after").unwrap().to_owned()),
        }
    })
    .await;
}

/// Sends a body in pieces until it is answered.
async fn upload(stand: &Stand, path: &str, pieces: usize) -> Result<Answer, Failure> {
    let mut connection = stand.connect().await;
    let headers = [("transfer-encoding", "chunked")];
    connection
        .send(&format!("POST {path}"), &headers, b"")
        .await
        .unwrap();
    for _ in 0..pieces {
        if connection
            .stream
            .write_all(b"5\r\nhello\r\n")
            .await
            .is_err()
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    soon("the answer", connection.receive(false)).await
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_before_or_while_it_comes() {
    let backend = Backend::start("a").await;
    let stand = limited(&backend, json!({"maxBodyBytes": 20})).await;
    let answer = stand.ask("POST /length", &[], &[7; 20]).await.unwrap();
    assert_eq!(answer.text(), "20");
    let answer = stand.ask("POST /length", &[], &[7; 21]).await.unwrap();
    refused(&answer, 413, "body_too_large");
    assert_eq!(backend.count("/length"), 1, "it did not even see it");
    let answer = upload(&stand, "/hold", 5).await.unwrap();
    refused(&answer, 413, "body_too_large");
    assert_eq!(backend.count("/hold"), 1);
    // An answer that has begun cannot be taken back: it is torn.
    let torn = upload(&stand, "/half", 5).await;
    assert!(matches!(torn, Err(Failure::Torn(_))), "{torn:?}");
    // One that has ended is not.
    assert_eq!(upload(&stand, "/x", 5).await.unwrap().status, 200);
    let client = Http2::open(stand.address).await;
    let answer = client.ask("POST", "/hold", &[], &[7; 21]).await.unwrap();
    assert_eq!(answer.status, 413);
    assert_eq!(answer.headers["x-balancer-error"], "body_too_large");
    assert_eq!(
        client.get("/x").await.unwrap().status,
        200,
        "its connection lives"
    );
    assert!(figure(&stand, "bodyTooLarge").await >= 4);
    is_clean(&stand).await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_ended_and_the_instance_has_nothing_of_it_any_more() {
    let backend = Backend::start("a").await;
    let stand = limited(&backend, json!({"requestTimeoutMs": 700})).await;
    let answer = stand.get("/hold").await;
    refused(&answer, 504, "request_timeout");
    assert_eq!(answer.header("retry-after"), Some("1"));
    let mut connection = stand.connect().await;
    for body in [&b""[..], b"body"] {
        // The client's connection goes on.
        let answer = connection.ask("PUT /hold", &[], body).await.unwrap();
        refused(&answer, 504, "request_timeout");
    }
    assert_eq!(
        connection.ask("GET /x", &[], b"").await.unwrap().text(),
        "a"
    );
    let torn = soon("its end", connection.ask("GET /half", &[], b"")).await;
    assert!(matches!(torn, Err(Failure::Torn(_))), "{torn:?}");
    let client = Http2::open(stand.address).await;
    let (held, _) = client.send("GET", "/hold", &[], true).await.unwrap();
    let (half, _) = client.send("GET", "/half", &[], true).await.unwrap();
    assert_eq!(client.get("/x").await.unwrap().status, 200);
    let answer = read(soon("its answer", held).await.unwrap()).await.unwrap();
    assert_eq!(answer.status, 504);
    assert_eq!(answer.headers["x-balancer-error"], "request_timeout");
    let torn = read(soon("its head", half).await.unwrap());
    assert!(soon("its end", torn).await.unwrap_err().is_reset());
    assert_eq!(client.get("/x").await.unwrap().status, 200);
    is_clean(&stand).await;
    assert_eq!(figure(&stand, "requestTimeouts").await, 6);
    assert_eq!(stand.state().await["ownErrors"], 4);
    // A tunnel may live longer.
    let mut tunnel = stand.connect().await;
    let upgrade = [("connection", "upgrade"), ("upgrade", "echo")];
    assert_eq!(
        tunnel
            .ask("GET /tunnel", &upgrade, b"")
            .await
            .unwrap()
            .status,
        101
    );
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    tunnel.stream.write_all(b"still").await.unwrap();
    assert_eq!(soon("the echo", tunnel.exactly(5)).await.unwrap(), b"still");
    let refusing = tunnel_to(&stand, "/hold").await;
    refused(&refusing, 504, "request_timeout");
}

/// Asks for a tunnel.
async fn tunnel_to(stand: &Stand, path: &str) -> Answer {
    let upgrade = [("connection", "upgrade"), ("upgrade", "echo")];
    stand
        .ask(&format!("GET {path}"), &upgrade, b"")
        .await
        .unwrap()
}

#[tokio::test]
async fn who_is_silent_for_too_long_is_ended_and_who_is_slow_is_not() {
    let backend = Backend::start("a").await;
    let stand = limited(&backend, json!({"idleTimeoutMs": 900})).await;
    refused(&stand.get("/hold").await, 504, "idle_timeout");
    refused(&tunnel_to(&stand, "/hold").await, 504, "idle_timeout");
    let torn = stand.ask("GET /half", &[], b"").await;
    assert!(matches!(torn, Err(Failure::Torn(_))), "{torn:?}");
    // 2 s in all, with a byte each 100 ms.
    let mut slow = stand.connect().await;
    slow.send("POST /length", &[("content-length", "20")], b"")
        .await
        .unwrap();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        slow.stream.write_all(b"x").await.unwrap();
    }
    assert_eq!(slow.receive(false).await.unwrap().text(), "20");
    // An upload that stops.
    slow.send("POST /length", &[("content-length", "20")], b"")
        .await
        .unwrap();
    slow.stream.write_all(b"x").await.unwrap();
    refused(
        &soon("its end", slow.receive(false)).await.unwrap(),
        504,
        "idle_timeout",
    );
    let client = Http2::open(stand.address).await;
    let (held, mut body) = client.send("POST", "/hold", &[], false).await.unwrap();
    body.send_data(Bytes::from_static(b"x"), false).unwrap();
    let answer = read(soon("its answer", held).await.unwrap()).await.unwrap();
    assert_eq!(answer.headers["x-balancer-error"], "idle_timeout");
    is_clean(&stand).await;
    assert_eq!(figure(&stand, "idleTimeouts").await, 5);
}

#[tokio::test]
async fn a_tunnel_lives_as_long_as_bytes_pass() {
    let backend = Backend::start("a").await;
    let stand = limited(&backend, json!({"idleTimeoutMs": 900})).await;
    let mut tunnel = stand.connect().await;
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
    assert_eq!(
        tunnel
            .ask("GET /tunnel", &upgrade, b"")
            .await
            .unwrap()
            .status,
        101
    );
    let ping = [0x89, 0x00];
    for _ in 0..15 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        tunnel.stream.write_all(&ping).await.unwrap();
        assert_eq!(soon("the echo", tunnel.exactly(2)).await.unwrap(), ping);
    }
    let rest = soon("the end", tunnel.rest()).await;
    assert_eq!(rest, [0x88, 0x02, 0x03, 0xe9], "going away");
    is_clean(&stand).await;
    assert_eq!(figure(&stand, "idleTimeouts").await, 1);
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_neither_instance_nor_route() {
    let backend = Backend::start("a").await;
    let stand = limited(&backend, json!({"idleTimeoutMs": 2_500, "maxInFlight": 2})).await;
    let mut plain = stand.connect().await;
    plain.send("GET /big", &[], b"").await.unwrap();
    let client = Http2::open(stand.address).await;
    let (stream, _) = client.send("GET", "/big", &[], true).await.unwrap();
    let body = soon("its head", stream).await.unwrap().into_body();
    arrived(&backend, "/big", 2).await;
    assert_eq!(stand.get("/x").await.status, 429, "both are under way");
    eventually("both are ended", async || {
        match figure(&stand, "idleTimeouts").await {
            2 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    is_clean(&stand).await;
    assert_eq!(stand.get("/x").await.status, 200);
    // Once they read, they see that it is torn.
    let torn = soon("its end", plain.receive(false)).await;
    assert!(matches!(torn, Err(Failure::Torn(_))), "{torn:?}");
    let mut body = body;
    let end = async {
        while let Some(piece) = body.data().await {
            let length = piece?.len();
            body.flow_control().release_capacity(length)?;
        }
        Ok::<_, h2::Error>(())
    };
    assert!(soon("its end", end).await.unwrap_err().is_reset());
    // One that reads slowly is not ended: it takes something all the time.
    let mut slow = stand.connect().await;
    slow.send("GET /big", &[], b"").await.unwrap();
    slow.until(b"\r\n\r\n").await.unwrap();
    for _ in 0..64 {
        tokio::time::sleep(Duration::from_millis(30)).await;
        let more = soon("more", slow.exactly(1024 * 1024)).await;
        let ended = figure(&stand, "idleTimeouts").await;
        assert!(
            more.is_ok() && ended == 2,
            "{:?}, {ended} ended",
            more.err()
        );
    }
}

#[tokio::test]
async fn an_upload_that_stops_after_its_answer_is_ended_too() {
    let backend = Backend::start("a").await;
    let stand = limited(&backend, json!({"idleTimeoutMs": 900})).await;
    let mut connection = stand.connect().await;
    let headers = [("content-length", "1000000")];
    connection.send("POST /early", &headers, b"").await.unwrap();
    connection.stream.write_all(&[7; 1000]).await.unwrap();
    let answer = soon("the answer", connection.receive(false)).await;
    assert_eq!(answer.unwrap().text(), "early");
    assert_eq!(stand.instance("i").await["inFlight"]["requests"], 1);
    is_clean(&stand).await;
}
