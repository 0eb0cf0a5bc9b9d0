//! What is in flight, exactly, and draining.

use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::backend::Backend;
use crate::stand::{Stand, config, eventually, group, instance, soon};

async fn in_flight(stand: &Stand, id: &str, requests: u64, tunnels: u64) {
    eventually("the count is right", async || {
        let seen = stand.instance(id).await["inFlight"].clone();
        if seen == json!({"requests": requests, "tunnels": tunnels}) {
            Ok(())
        } else {
            Err(seen)
        }
    })
    .await;
}

#[tokio::test]
async fn slow_answers_open_uploads_and_tunnels_all_count_and_nothing_is_left_of_them() {
    let backend = Backend::start("a").await;
    let stand = Stand::with(&["--workers", "2"], None).await;
    stand
        .serve(&config(&[group(
            "g",
            1,
            &[instance("i", &backend, "serve")],
        )]))
        .await;
    let mut slow = Vec::new();
    for _ in 0..5 {
        let mut connection = stand.connect().await;
        connection.send("GET /hold", &[], b"").await.unwrap();
        slow.push(connection);
    }
    let mut uploads = Vec::new();
    for path in ["/length", "/early", "/early"] {
        let mut connection = stand.connect().await;
        let headers = [("content-length", "100")];
        connection
            .send(&format!("POST {path}"), &headers, b"")
            .await
            .unwrap();
        connection.stream.write_all(b"half").await.unwrap();
        uploads.push(connection);
    }
    let mut tunnels = Vec::new();
    for _ in 0..2 {
        let mut connection = stand.connect().await;
        let headers = [("connection", "upgrade"), ("upgrade", "echo")];
        let answer = connection.ask("GET /tunnel", &headers, b"").await.unwrap();
        assert_eq!(answer.status, 101);
        tunnels.push(connection);
    }
    in_flight(&stand, "i", 8, 2).await;

    // An answer that came before its request's body has ended does not end the request.
    let early = soon("the early answer", uploads[1].receive(false))
        .await
        .unwrap();
    assert_eq!(early.text(), "early");
    in_flight(&stand, "i", 8, 2).await;
    uploads[1].stream.write_all(&[b'x'; 96]).await.unwrap();
    in_flight(&stand, "i", 7, 2).await;

    backend.release(2);
    in_flight(&stand, "i", 5, 2).await;
    drop(tunnels.pop());
    in_flight(&stand, "i", 5, 1).await;
    // Clients that go away take everything along.
    drop((slow, uploads, tunnels));
    in_flight(&stand, "i", 0, 0).await;
    eventually("connections in use are closed", async || {
        let seen = stand.instance("i").await["connections"].clone();
        if seen["open"] == seen["idle"] {
            Ok(())
        } else {
            Err(seen)
        }
    })
    .await;
}

#[tokio::test]
async fn a_draining_instance_ends_what_it_has_gets_nothing_new_and_drained_is_latched() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let stand = Stand::with(&["--workers", "2"], None).await;
    let roles = |role: &str| {
        config(&[group(
            "g",
            1,
            &[instance("a", &a, role), instance("b", &b, "serve")],
        )])
    };
    stand.serve(&roles("serve")).await;
    for _ in 0..20 {
        stand.get("/x").await;
    }
    let mut held = Vec::new();
    while a.count("/hold") == 0 {
        let mut connection = stand.connect().await;
        connection.send("GET /hold", &[], b"").await.unwrap();
        let sent = held.len() + 1;
        held.push(connection);
        eventually("it has arrived", async || {
            let there = a.count("/hold") + b.count("/hold");
            if there == sent { Ok(()) } else { Err(there) }
        })
        .await;
    }
    stand.set(&roles("drain")).await;
    let before = a.seen().len();
    assert_eq!(stand.instance("a").await["state"], "draining");
    for _ in 0..50 {
        assert_eq!(stand.get("/x").await.text(), "b");
    }
    assert_eq!(a.seen().len(), before, "nothing new");
    let state = stand.instance("a").await;
    assert_eq!(state["inFlight"]["requests"], 1);
    assert_eq!(
        state["connections"],
        json!({"open": 1, "idle": 0}),
        "kept connections are closed"
    );

    a.release(1);
    b.release(held.len());
    for connection in &mut held {
        let answer = soon("the held answer", connection.receive(false))
            .await
            .unwrap();
        assert_eq!(answer.status, 200);
    }
    stand.wait("a", "drained").await;
    eventually("the instance sees its connections closed", async || {
        if a.open() == 0 { Ok(()) } else { Err(a.open()) }
    })
    .await;
    let state = stand.instance("a").await;
    assert_eq!(state["connections"], json!({"open": 0, "idle": 0}));

    // Removed, it is forgotten; back again under the role `serve`, it begins anew.
    stand.set(&roles("warm")).await;
    stand.wait("a", "ready").await;
    stand.serve(&roles("serve")).await;
    assert!(
        stand
            .instance("a")
            .await
            .get("firstServedGeneration")
            .is_none()
    );
    eventually("it serves again", async || {
        stand.get("/x").await;
        stand.instance("a").await["firstServedGeneration"]
            .as_u64()
            .ok_or("not yet")
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_is_removed_while_busy_is_shown_until_it_has_drained() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let stand = Stand::start().await;
    stand
        .serve(&config(&[group("g", 1, &[instance("a", &a, "serve")])]))
        .await;
    let mut held = stand.connect().await;
    held.send("GET /hold", &[], b"").await.unwrap();
    in_flight(&stand, "a", 1, 0).await;
    stand
        .serve(&config(&[group("g", 1, &[instance("b", &b, "serve")])]))
        .await;
    let state = stand.instance("a").await;
    assert_eq!(
        (&state["state"], state.get("role")),
        (&json!("draining"), None)
    );
    a.release(1);
    soon("the held answer", held.receive(false)).await.unwrap();
    eventually("it is gone", async || {
        let seen = stand.instance("a").await;
        if seen.is_null() { Ok(()) } else { Err(seen) }
    })
    .await;
}

#[tokio::test]
async fn the_least_loaded_instance_is_chosen() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let stand = Stand::with(&["--workers", "2"], None).await;
    let both = config(&[group(
        "g",
        1,
        &[instance("a", &a, "serve"), instance("b", &b, "serve")],
    )]);
    stand.serve(&both).await;
    let mut held = Vec::new();
    for sent in 1..=10 {
        let mut connection = stand.connect().await;
        connection.send("GET /hold", &[], b"").await.unwrap();
        held.push(connection);
        eventually("it has arrived", async || {
            let there = a.count("/hold") + b.count("/hold");
            if there == sent { Ok(()) } else { Err(there) }
        })
        .await;
    }
    assert_eq!((a.count("/hold"), b.count("/hold")), (5, 5));
}

#[tokio::test]
async fn a_cut_ends_what_is_left_and_says_what_it_was() {
    let backend = Backend::start("a").await;
    let stand = Stand::with(&["--workers", "2"], None).await;
    let role = |role: &str| config(&[group("g", 1, &[instance("i@x", &backend, role)])]);
    stand.serve(&role("serve")).await;
    let mut held = stand.connect().await;
    held.send("GET /hold", &[], b"").await.unwrap();
    let mut half = stand.connect().await;
    half.send("GET /half", &[], b"").await.unwrap();
    half.until(b"half").await.unwrap();
    let mut tunnel = stand.connect().await;
    let headers = [("connection", "upgrade"), ("upgrade", "websocket")];
    tunnel.ask("GET /tunnel", &headers, b"").await.unwrap();
    in_flight(&stand, "i@x", 2, 1).await;

    let path = "POST /v1/drain/i%40x/cut";
    assert_eq!(
        stand.admin(path, &[], b"{}").await.status,
        409,
        "it is not draining"
    );
    assert_eq!(
        stand
            .admin("POST /v1/drain/none/cut", &[], b"")
            .await
            .status,
        404
    );
    stand.set(&role("drain")).await;
    let cut = stand.admin(path, &[], b"{\"deadlineMs\": 1}").await;
    assert_eq!(
        (cut.status, cut.json()),
        (200, json!({"requests": 2, "tunnels": 1}))
    );
    assert!(soon("the end", held.receive(false)).await.is_err());
    assert_eq!(soon("the end", half.rest()).await, b"");
    assert_eq!(
        soon("the close frame", tunnel.rest()).await,
        [0x88, 2, 0x03, 0xe9]
    );
    stand.wait("i@x", "drained").await;
}
