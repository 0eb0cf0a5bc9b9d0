//! HTTP/2, from clients and to instances.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::http2_backend::Http2Backend;
use crate::http2_client::{Http2, read};
use crate::stand::{Stand, config, eventually, group, instance, soon};

const GRPC: (&str, &str) = ("content-type", "application/grpc");

fn h2(id: &str, backend: &Http2Backend, role: &str) -> Value {
    json!({"id": id, "address": backend.address.to_string(), "role": role})
}

/// A group whose instances are probed by connecting.
fn h2_group(protocol: Option<&str>, instances: &[Value]) -> Value {
    let mut group = json!({
        "name": "v1", "weight": 1, "instances": instances,
        "health": {"intervalMs": 50, "warmIntervalMs": 10},
    });
    if let Some(protocol) = protocol {
        group["protocol"] = json!(protocol);
    }
    group
}

#[tokio::test]
async fn clients_of_both_versions_are_answered_on_one_port() {
    let (stand, backend) = (Stand::start().await, Backend::start("a").await);
    stand
        .serve(&config(&[group(
            "v1",
            1,
            &[instance("a", &backend, "serve")],
        )]))
        .await;
    let client = Http2::open(stand.address).await;
    let headers = [("cookie", "a=1"), ("cookie", "b=2"), ("x-mine", "yes")];
    let answer = client.ask("GET", "/name", &headers, b"").await.unwrap();
    assert_eq!((answer.status, answer.text()), (200, "a".into()));
    let seen = backend.seen().remove(0);
    assert_eq!(seen.line, "GET /name HTTP/1.1");
    for (name, value) in [
        ("host", "shop.test"),
        ("cookie", "a=1; b=2"),
        ("x-mine", "yes"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "shop.test"),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    let upload = vec![7; 3 * 1024 * 1024];
    let length = upload.len().to_string();
    let headers = [("content-length", length.as_str())];
    let answer = client.ask("POST", "/length", &headers, &upload).await;
    let answer = answer.unwrap();
    assert_eq!(answer.text(), length);
    assert!(answer.headers.get("connection").is_none());
    let chunked = client.get("/chunked").await.unwrap();
    assert_eq!(chunked.text(), "hellohellohello");
    let lost = client.get("/break").await.unwrap();
    assert_eq!(lost.status, 502);
    assert_eq!(stand.get("/name").await.text(), "a", "HTTP/1.1 beside it");
    // Many at the same time on one connection.
    let many = (0..200).map(|_| client.get("/name"));
    for answer in futures(many).await {
        assert_eq!(answer.unwrap().text(), "a");
    }
}

/// Runs futures beside one another.
async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.map(|f| (Box::pin(f), None)).collect();
    std::future::poll_fn(|cx| {
        let mut waits = false;
        for (future, done) in &mut all {
            if done.is_none() {
                match future.as_mut().poll(cx) {
                    std::task::Poll::Ready(value) => *done = Some(value),
                    std::task::Poll::Pending => waits = true,
                }
            }
        }
        if waits {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(())
        }
    })
    .await;
    all.into_iter().map(|(_, done)| done.unwrap()).collect()
}

#[tokio::test]
async fn grpc_streams_pass_both_ways_with_their_trailers() {
    let (stand, backend) = (Stand::start().await, Http2Backend::start("a").await);
    stand
        .serve(&config(&[h2_group(None, &[h2("a", &backend, "serve")])]))
        .await;
    let client = Http2::open(stand.address).await;
    let sent = client
        .send("POST", "/echo", &[GRPC, ("te", "trailers")], false)
        .await;
    let (answer, mut stream) = sent.unwrap();
    let answer = soon("the head", answer).await.unwrap();
    let mut body = answer.into_body();
    for number in 0..50 {
        let piece = format!("message {number}");
        stream.send_data(Bytes::from(piece.clone()), false).unwrap();
        let back = soon("the piece back", body.data()).await.unwrap().unwrap();
        assert_eq!(back, piece, "each comes back before the next is sent");
        body.flow_control().release_capacity(back.len()).unwrap();
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", HeaderValue::from_static("9"));
    stream.send_trailers(trailers).unwrap();
    assert!(body.data().await.is_none());
    let trailers = body.trailers().await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers["x-checksum"], "9", "the client's own came through");
    let error = client.ask("POST", "/error", &[GRPC], b"x").await.unwrap();
    assert_eq!(error.headers["grpc-status"], "5");
    let seen = backend.seen().remove(0);
    assert_eq!(seen.headers["te"], "trailers");
    assert_eq!(seen.uri, "http://shop.test/echo");
    assert_eq!(seen.method, "POST");
    assert_eq!(backend.accepted(), 1, "requests share a connection");
}

#[tokio::test]
async fn a_burst_shares_connections_up_to_their_room() {
    let (stand, backend) = (
        Stand::with(&["--workers", "1"], None).await,
        Http2Backend::start("a").await,
    );
    stand
        .serve(&config(&[h2_group(
            Some("http2"),
            &[h2("a", &backend, "serve")],
        )]))
        .await;
    let client = Http2::open(stand.address).await;
    let held = tokio::spawn(async move {
        let many = (0..150).map(|_| client.get("/hold"));
        futures(many).await
    });
    eventually("all are there", async || {
        let seen = backend.seen().len();
        if seen == 150 { Ok(()) } else { Err(seen) }
    })
    .await;
    assert_eq!(backend.accepted(), 2);
    let state = stand.instance("a").await;
    assert_eq!(state["inFlight"]["requests"], 150);
    assert_eq!(state["connections"]["open"], 2);
    backend.release(150);
    for answer in held.await.unwrap() {
        assert_eq!(answer.unwrap().text(), "a");
    }
    // HTTP/1.1 clients reach instances of HTTP/2 as well.
    assert_eq!(stand.get("/name").await.text(), "a");
    let state = stand.instance("a").await;
    assert_eq!(state["connections"], json!({"open": 2, "idle": 2}));
}

#[tokio::test]
async fn an_instance_of_http2_drains_when_its_last_stream_has_ended_and_its_connection_is_closed() {
    let (stand, a, b) = (
        Stand::start().await,
        Http2Backend::start("a").await,
        Http2Backend::start("b").await,
    );
    let with = |role: &str| {
        config(&[h2_group(
            Some("http2"),
            &[h2("a", &a, role), h2("b", &b, "serve")],
        )])
    };
    stand.serve(&with("serve")).await;
    let client = Http2::open(stand.address).await;
    let held = [
        client.send("GET", "/hold", &[], true).await.unwrap().0,
        client.send("GET", "/hold", &[], true).await.unwrap().0,
    ];
    eventually("each has one", async || {
        let seen = (a.seen().len(), b.seen().len());
        if seen == (1, 1) { Ok(()) } else { Err(seen) }
    })
    .await;
    stand.set(&with("drain")).await;
    for _ in 0..20 {
        assert_eq!(client.get("/name").await.unwrap().text(), "b");
    }
    let state = stand.instance("a").await;
    assert_eq!(state["state"], "draining");
    assert_eq!(state["inFlight"]["requests"], 1);
    assert_eq!(a.open(), 1);
    a.release(1);
    b.release(1);
    for answer in held {
        assert_eq!(read(answer.await.unwrap()).await.unwrap().status, 200);
    }
    stand.wait("a", "drained").await;
    let state = stand.instance("a").await;
    assert_eq!(state["connections"], json!({"open": 0, "idle": 0}));
    eventually("a's connection is closed", async || match a.open() {
        0 => Ok(()),
        open => Err(open),
    })
    .await;
}

#[tokio::test]
async fn what_is_cut_ends_for_clients_of_http2_too() {
    let (stand, old, new) = (
        Stand::start().await,
        Backend::start("old").await,
        Http2Backend::start("new").await,
    );
    let with = |role: &str| {
        json!({
            "routes": [{"path": "/", "loadBalancer": "old"}, {"path": "/hold", "host": "new.test", "loadBalancer": "new"}],
            "loadBalancers": [
                {"name": "old", "groups": [group("v1", 1, &[instance("old", &old, role)])]},
                {"name": "new", "groups": [h2_group(Some("http2"), &[h2("new", &new, role)])]},
            ],
        })
    };
    stand.serve(&with("serve")).await;
    let client = Http2::open(stand.address).await;
    let (over_http1, _) = client.send("GET", "/hold", &[], true).await.unwrap();
    let over_http2 = {
        let mut request = http::Request::new(());
        *request.uri_mut() = "http://new.test/hold".parse().unwrap();
        let mut ready = client.sender.clone().ready().await.unwrap();
        ready.send_request(request, true).unwrap().0
    };
    eventually("both hold one", async || {
        let seen = (old.seen().len(), new.seen().len());
        if seen == (1, 1) { Ok(()) } else { Err(seen) }
    })
    .await;
    stand.set(&with("drain")).await;
    for id in ["old", "new"] {
        let cut = stand
            .admin(&format!("POST /v1/drain/{id}/cut"), &[], b"")
            .await;
        assert_eq!(cut.json()["requests"], 1, "{id}: {}", cut.text());
    }
    assert!(soon("the one", over_http1).await.unwrap_err().is_reset());
    assert!(soon("the other", over_http2).await.unwrap_err().is_reset());
    stand.wait("old", "drained").await;
    stand.wait("new", "drained").await;
}

#[tokio::test]
async fn a_leaving_balancer_says_so_and_answers_what_it_has() {
    let (mut stand, backend) = (Stand::start().await, Backend::start("a").await);
    stand
        .serve(&config(&[group(
            "v1",
            1,
            &[instance("a", &backend, "serve")],
        )]))
        .await;
    let client = Http2::open(stand.address).await;
    assert_eq!(client.get("/name").await.unwrap().text(), "a");
    let (held, _) = client.send("GET", "/hold", &[], true).await.unwrap();
    eventually("it is there", async || match backend.count("/hold") {
        1 => Ok(()),
        other => Err(other),
    })
    .await;
    let mut before = stand.replace().await;
    // The client is told: it takes no more requests.
    eventually("GOAWAY", async || {
        match client.sender.clone().ready().await {
            Err(error) if error.is_go_away() => Ok(()),
            Err(error) => Err(error.to_string()),
            Ok(_) => Err("it takes more".to_owned()),
        }
    })
    .await;
    let again = Http2::open(stand.address).await;
    assert_eq!(again.get("/name").await.unwrap().text(), "a");
    tokio::time::sleep(Duration::from_millis(200)).await;
    backend.release(1);
    let answer = read(soon("its answer", held).await.unwrap()).await.unwrap();
    assert_eq!(answer.text(), "a");
    assert!(client.ended.await.unwrap().is_ok());
    assert!(before.ended().await.success());
}

#[tokio::test]
async fn a_refused_stream_goes_elsewhere_unless_its_body_was_sent() {
    let (stand, a, b) = (
        Stand::start().await,
        Http2Backend::start("a").await,
        Http2Backend::start("b").await,
    );
    let instances = [h2("a", &a, "serve"), h2("b", &b, "serve")];
    stand
        .serve(&config(&[h2_group(Some("http2"), &instances)]))
        .await;
    a.refuse(true);
    let client = Http2::open(stand.address).await;
    for method in ["GET", "POST", "PATCH"] {
        for _ in 0..3 {
            let answer = client.ask(method, "/name", &[], b"").await.unwrap();
            assert_eq!(
                (answer.status, answer.text()),
                (200, "b".into()),
                "{method}"
            );
        }
    }
    b.refuse(true);
    let answer = client.get("/name").await.unwrap();
    assert_eq!(answer.status, 502, "three tries at the most");
    b.refuse(false);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let answer = client.ask("POST", "/name", &[], b"body").await.unwrap();
        statuses.push(answer.status);
    }
    assert!(
        statuses.contains(&502),
        "{statuses:?}: what was sent is not sent again"
    );
}

#[tokio::test]
async fn a_request_to_change_to_http2_is_answered_in_http1() {
    let (stand, backend) = (Stand::start().await, Backend::start("a").await);
    stand
        .serve(&config(&[group(
            "v1",
            1,
            &[instance("a", &backend, "serve")],
        )]))
        .await;
    let headers = [
        ("connection", "Upgrade, HTTP2-Settings"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"),
    ];
    let answer = stand.ask("GET /tunnel", &headers, b"").await.unwrap();
    assert_eq!((answer.status, answer.text()), (200, "a".into()));
    let seen = backend.seen().remove(0);
    for name in ["upgrade", "http2-settings", "connection"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
}
