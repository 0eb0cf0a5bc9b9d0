//! What is sent again and what never is, row by row.

use tokio::net::TcpListener;

use crate::backend::{Backend, Seen};
use crate::client::Failure;
use crate::stand::{Stand, config, eventually, group, instance, soon};

/// Serving by connecting only: so that probes do not decide.
fn unprobed(name: &str, instances: &[serde_json::Value]) -> serde_json::Value {
    serde_json::json!({"name": name, "weight": 1, "instances": instances, "health": {
        "intervalMs": 60_000, "warmIntervalMs": 5,
    }})
}

async fn repeats(stand: &Stand) -> f64 {
    stand.metric("balancer_retries_total").await
}

#[tokio::test]
async fn no_connection_any_method_goes_to_another_instance() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let stand = Stand::start().await;
    stand
        .serve(&config(&[unprobed(
            "g",
            &[instance("a", &a, "serve"), instance("b", &b, "serve")],
        )]))
        .await;
    drop(b);
    for (line, body) in [
        ("GET /x", &b""[..]),
        ("POST /x", b"body"),
        ("PATCH /x", b"body"),
    ] {
        for _ in 0..2 {
            assert_eq!(
                stand.ask(line, &[], body).await.unwrap().text(),
                "a",
                "{line}"
            );
        }
    }
    assert!(repeats(&stand).await >= 1.0);
    assert!(stand.metric("balancer_not_repeated_total").await < 0.5);
}

#[tokio::test]
async fn no_connection_at_all_is_502_by_name() {
    let a = Backend::start("a").await;
    let stand = Stand::start().await;
    stand
        .serve(&config(&[unprobed("g", &[instance("a", &a, "serve")])]))
        .await;
    drop(a);
    let answer = stand.get("/x").await;
    assert_eq!(
        (answer.status, answer.header("x-balancer-error")),
        (502, Some("no_connection"))
    );
    assert!(
        (repeats(&stand).await - 2.0).abs() < 0.1,
        "three tries in all"
    );
}

#[tokio::test]
async fn without_retry_nothing_is_repeated() {
    let a = Backend::start("a").await;
    let stand = Stand::start().await;
    let mut config = config(&[unprobed("g", &[instance("a", &a, "serve")])]);
    config["settings"] = serde_json::json!({"retry": false});
    stand.serve(&config).await;
    drop(a);
    assert_eq!(stand.get("/x").await.status, 502);
    assert!(repeats(&stand).await < 0.5);
}

#[tokio::test]
async fn a_kept_connection_that_ends_before_the_answer_costs_an_idempotent_request_one_repeat() {
    let a = Backend::start("a").await;
    let stand = Stand::with(&["--workers", "1"], None).await;
    stand
        .serve(&config(&[unprobed("g", &[instance("a", &a, "serve")])]))
        .await;
    a.break_reused();
    let mut number = 0;
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
        let before = repeats(&stand).await;
        // The first leaves a connection behind; the second meets it.
        for _ in 0..2 {
            number += 1;
            let (line, number) = (format!("{method} /x?y=%20"), number.to_string());
            let headers = [
                ("x-number", number.as_str()),
                ("x-more", "1"),
                ("x-more", "2\t3"),
            ];
            let answer = stand.ask(&line, &headers, b"").await;
            assert_eq!(answer.unwrap().status, 200, "{line}");
        }
        assert!(repeats(&stand).await > before, "{method}");
    }
    let seen = a.seen();
    let broken = seen.iter().filter(|seen| seen.nth == 2);
    let (mut repeated, count) = (0, broken.clone().count());
    for broken in broken {
        let same = |seen: &&Seen| seen.header("x-number") == broken.header("x-number");
        for again in seen.iter().filter(same).filter(|seen| seen.nth == 1) {
            assert_eq!(
                (&again.line, &again.headers),
                (&broken.line, &broken.headers)
            );
            assert!(broken.line.contains("/x?y=%20"));
            repeated += 1;
        }
    }
    assert!(count > 0, "a kept connection was used");
    assert_eq!(repeated, count, "each came once more");
}

#[tokio::test]
async fn what_must_not_be_repeated_never_meets_a_kept_connection() {
    let a = Backend::start("a").await;
    let stand = Stand::with(&["--workers", "1"], None).await;
    stand
        .serve(&config(&[unprobed("g", &[instance("a", &a, "serve")])]))
        .await;
    a.break_reused();
    for (line, body) in [
        ("POST /x", &b""[..]),
        ("POST /x", b"b"),
        ("PATCH /x", b""),
        ("PUT /x", b"b"),
    ] {
        for _ in 0..5 {
            assert_eq!(
                stand.ask(line, &[], body).await.unwrap().status,
                200,
                "{line}"
            );
        }
    }
    assert!(a.seen().iter().all(|seen| seen.nth == 1));
    assert!(repeats(&stand).await < 0.5);
    assert!(stand.metric("balancer_not_repeated_total").await < 0.5);
}

#[tokio::test]
async fn a_new_connection_that_ends_before_the_answer_is_never_repeated() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let stand = Stand::start().await;
    stand
        .serve(&config(&[unprobed(
            "g",
            &[instance("a", &a, "serve"), instance("b", &b, "serve")],
        )]))
        .await;
    for line in ["GET /break", "POST /break"] {
        let answer = stand.ask(line, &[], b"").await.unwrap();
        assert_eq!(
            (answer.status, answer.header("x-balancer-error")),
            (502, Some("instance_lost"))
        );
    }
    assert_eq!(a.count("/break") + b.count("/break"), 2);
    assert!((stand.metric("balancer_not_repeated_total").await - 2.0).abs() < 0.1);
    assert!(repeats(&stand).await < 0.5);
}

#[tokio::test]
async fn an_answer_that_has_begun_is_reset_for_the_client_and_never_repeated() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let stand = Stand::start().await;
    stand
        .serve(&config(&[unprobed(
            "g",
            &[instance("a", &a, "serve"), instance("b", &b, "serve")],
        )]))
        .await;
    a.release(1);
    b.release(1);
    let torn = soon("the end", async { stand.ask("GET /half", &[], b"").await }).await;
    // What had come may be lost with the connection; what counts is that it looks whole to nobody.
    assert!(
        matches!(torn, Err(Failure::Torn(_) | Failure::NoAnswer(_))),
        "{torn:?}"
    );
    assert_eq!(a.count("/half") + b.count("/half"), 1);
    assert!(repeats(&stand).await < 0.5);
    assert!((stand.metric("balancer_broken_total").await - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn a_status_of_the_instance_is_passed_on_and_never_repeated() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let stand = Stand::start().await;
    stand
        .serve(&config(&[group(
            "g",
            1,
            &[instance("a", &a, "serve"), instance("b", &b, "serve")],
        )]))
        .await;
    assert_eq!(stand.get("/500").await.status, 500);
    assert_eq!(a.count("/500") + b.count("/500"), 1);
    assert!(repeats(&stand).await < 0.5);
    let state = stand.state().await;
    assert_eq!(state["ownErrors"], 0, "it is the instance's error");
}

#[tokio::test]
async fn repeats_end_where_the_budget_does() {
    let a = Backend::start("a").await;
    let stand = Stand::with(&["--workers", "1"], None).await;
    stand
        .serve(&config(&[unprobed("g", &[instance("a", &a, "serve")])]))
        .await;
    drop(a);
    for _ in 0..30 {
        assert_eq!(stand.get("/x").await.status, 502);
    }
    assert!((repeats(&stand).await - 10.0).abs() < 0.1);
    assert!(stand.metric("balancer_retry_budget_exhausted_total").await > 0.5);
}

#[tokio::test]
async fn a_connection_that_nobody_accepts_is_given_up_in_time() {
    // A full queue: nobody accepts, and the kernel drops what comes.
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
    listener.bind(&any.into()).unwrap();
    listener.listen(1).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let stand = Stand::start().await;
    let mut config = config(&[unprobed(
        "g",
        &[serde_json::json!({"id": "a", "address": address.to_string(), "role": "serve"})],
    )]);
    config["settings"] = serde_json::json!({"connectTimeoutMs": 50, "maxTries": 1});
    stand.serve(&config).await;
    let mut queued = Vec::new();
    let answer = eventually("the queue is full", async || {
        queued.push(tokio::spawn(tokio::net::TcpStream::connect(address)));
        let answer =
            tokio::time::timeout(std::time::Duration::from_millis(500), stand.get("/x")).await;
        answer.map_err(|_| "accepted by the kernel")
    })
    .await;
    assert_eq!(
        (answer.status, answer.header("x-balancer-error")),
        (504, Some("connect_timeout"))
    );
    for connecting in queued {
        connecting.abort();
    }
    drop(TcpListener::bind(any).await);
}
