//! Routes, heads, bodies, shares, limits.

use std::collections::BTreeMap;

use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::backend::Backend;
use crate::stand::{Stand, config, group, instance, soon};

#[tokio::test]
async fn requests_go_by_host_and_path_and_what_fits_nothing_is_answered_so() {
    let (a, b, c) = (
        Backend::start("a").await,
        Backend::start("b").await,
        Backend::start("c").await,
    );
    let stand = Stand::start().await;
    let one = |name: &str, backend: &Backend| json!({"name": name, "groups": [group("g", 1, &[instance(name, backend, "serve")])]});
    let config = json!({
        "routes": [
            {"host": "a.test", "path": "/", "loadBalancer": "a"},
            {"host": "a.test", "path": "/sub", "loadBalancer": "b"},
            {"path": "/any", "loadBalancer": "c"},
        ],
        "loadBalancers": [one("a", &a), one("b", &b), one("c", &c)],
    });
    stand.serve(&config).await;
    for (host, path, expected) in [
        ("a.test", "/", (200, "a")),
        ("A.TEST:80", "/x?y=1", (200, "a")),
        ("a.test", "/sub/x", (200, "b")),
        ("a.test", "/subx", (200, "a")),
        ("b.test", "/any/x", (200, "c")),
        ("b.test", "/other", (404, "no_route")),
    ] {
        let answer = stand
            .ask(&format!("GET {path}"), &[("host", host)], b"")
            .await
            .unwrap();
        let text = answer.text();
        assert_eq!(
            (answer.status, &text[..expected.1.len()]),
            expected,
            "{host}{path}"
        );
        assert_eq!(
            answer.header("x-balancer-error").is_some(),
            expected.0 == 404
        );
    }
    let answer = stand.ask("CONNECT a.test:443", &[], b"").await.unwrap();
    assert_eq!(
        (answer.status, answer.header("x-balancer-error")),
        (501, Some("connect_refused"))
    );
}

#[tokio::test]
async fn heads_lose_what_belongs_to_one_connection_and_say_where_a_request_came_from() {
    let backend = Backend::start("a").await;
    let stand = Stand::start().await;
    stand
        .serve(&config(&[group(
            "g",
            1,
            &[instance("i", &backend, "serve")],
        )]))
        .await;
    let headers = [
        ("host", "shop.test"),
        ("connection", "X-Mine, keep-alive"),
        ("x-mine", "1"),
        ("x-kept", "2"),
        ("x-forwarded-for", "10.0.0.1"),
    ];
    let answer = stand.ask("GET /chunked", &headers, b"").await.unwrap();
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "hellohellohello")
    );
    assert_eq!(
        (answer.header("x-own"), answer.header("x-other")),
        (None, Some("2"))
    );
    let seen = &backend.seen()[0];
    for (name, value) in [
        ("host", Some("shop.test")),
        ("x-mine", None),
        ("x-kept", Some("2")),
        ("x-forwarded-for", Some("10.0.0.1, 127.0.0.1")),
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-host", Some("shop.test")),
    ] {
        assert_eq!(seen.header(name), value, "{name}");
    }
    // As to a proxy: the target names the host, and the host header is overruled.
    let absolute = [("host", "other.test")];
    stand
        .ask("GET http://shop.test/x?y=1", &absolute, b"")
        .await
        .unwrap();
    let seen = backend.seen().pop().unwrap();
    assert_eq!(
        (seen.line.as_str(), seen.header("host")),
        ("GET /x?y=1 HTTP/1.1", Some("shop.test"))
    );
}

#[tokio::test]
async fn bodies_of_every_size_and_kind_pass_on_one_connection() {
    let backend = Backend::start("a").await;
    let stand = Stand::start().await;
    stand
        .serve(&config(&[group(
            "g",
            1,
            &[instance("i", &backend, "serve")],
        )]))
        .await;
    let mut connection = stand.connect().await;
    for size in [0, 1, 1_000, 100_000, 3_000_000] {
        let body = vec![b'x'; size];
        let answer = connection.ask("POST /length", &[], &body).await.unwrap();
        assert_eq!((answer.status, answer.text()), (200, size.to_string()));
    }
    let answer = connection.ask("HEAD /x", &[], b"").await.unwrap();
    assert_eq!(
        (answer.status, answer.header("content-length")),
        (200, Some("1"))
    );
    let answer = connection.ask("GET /500", &[], b"").await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (500, "broken"));
    assert!(
        answer.header("x-balancer-error").is_none(),
        "it is the instance's own"
    );
    assert_eq!(
        connection
            .ask("GET /chunked", &[], b"")
            .await
            .unwrap()
            .text(),
        "hellohellohello"
    );
    assert_eq!(
        connection.ask("GET /x", &[], b"").await.unwrap().text(),
        "a"
    );
}

#[tokio::test]
async fn shares_are_exact_over_all_workers() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let (c, d) = (Backend::start("c").await, Backend::start("d").await);
    let stand = Stand::with(&["--workers", "2"], None).await;
    let groups = |weights: [u32; 3]| {
        config(&[
            group(
                "old",
                weights[0],
                &[instance("a", &a, "serve"), instance("b", &b, "serve")],
            ),
            group("new", weights[1], &[instance("c", &c, "serve")]),
            group("none", weights[2], &[instance("d", &d, "serve")]),
        ])
    };
    for (weights, expected) in [([9, 1, 0], [180, 20, 0]), ([1, 3, 0], [50, 150, 0])] {
        stand.serve(&groups(weights)).await;
        let mut got: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..200 {
            *got.entry(stand.get("/").await.text()).or_default() += 1;
        }
        let of = |name: &str| got.get(name).copied().unwrap_or_default();
        assert_eq!([of("a") + of("b"), of("c"), of("d")], expected);
    }
    let state = stand.state().await;
    let weights: Vec<_> = state["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|g| &g["weightEffective"])
        .collect();
    assert_eq!(weights, [1, 3, 0]);
}

#[tokio::test]
async fn a_group_without_a_serving_instance_leaves_its_share_to_the_others() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    b.set_sick(true);
    let stand = Stand::start().await;
    let both = config(&[
        group("old", 1, &[instance("a", &a, "serve")]),
        group("new", 9, &[instance("b", &b, "serve")]),
    ]);
    stand.set(&both).await;
    stand.wait("a", "serving").await;
    for _ in 0..20 {
        assert_eq!(stand.get("/").await.text(), "a");
    }
    let state = stand.state().await;
    assert_eq!(
        (
            &state["groups"][1]["weightEffective"],
            &state["groups"][1]["capacity"]
        ),
        (&json!(0), &json!(0))
    );
    b.set_sick(false);
    stand.wait("b", "serving").await;
    let of_b = async || {
        let mut count = 0;
        for _ in 0..20 {
            count += usize::from(stand.get("/").await.text() == "b");
        }
        count
    };
    assert_eq!(of_b().await, 18);
}

#[tokio::test]
async fn without_an_instance_the_answer_is_503_and_says_when_to_come_back() {
    let backend = Backend::start("a").await;
    let stand = Stand::start().await;
    assert_eq!(stand.get("/").await.status, 404, "nothing is configured");
    stand
        .set(&config(&[group(
            "g",
            1,
            &[instance("i", &backend, "warm")],
        )]))
        .await;
    stand.wait("i", "ready").await;
    let answer = stand.get("/").await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(answer.header("x-balancer-error"), Some("no_instance"));
    assert!((stand.metric("balancer_no_instance_total").await - 1.0).abs() < 0.1);
    assert_eq!(backend.seen().len(), 0);
}

#[tokio::test]
async fn limits_are_refused_by_name() {
    let backend = Backend::start("a").await;
    let stand = Stand::with(&["--workers", "1", "--max-connections", "2"], None).await;
    stand
        .serve(&config(&[group(
            "g",
            1,
            &[instance("i", &backend, "serve")],
        )]))
        .await;
    let long = "x".repeat(70_000);
    let answer = stand.ask("GET /", &[("x-long", &long)], b"").await;
    assert!(
        matches!(&answer, Ok(answer) if answer.status == 431),
        "{answer:?}"
    );

    let mut open = Vec::new();
    for _ in 0..2 {
        let mut connection = stand.connect().await;
        assert_eq!(connection.ask("GET /", &[], b"").await.unwrap().status, 200);
        open.push(connection);
    }
    let mut refused = stand.connect().await;
    let answer = soon("the refusal", refused.receive(false)).await.unwrap();
    assert_eq!(
        (answer.status, answer.header("x-balancer-error")),
        (503, Some("too_many_connections"))
    );
    assert!(stand.metric("balancer_clients_refused_total").await > 0.5);
}

#[tokio::test]
async fn heads_that_can_be_read_in_two_ways_are_refused_by_name_and_the_connection_ends() {
    let backend = Backend::start("a").await;
    let stand = Stand::start().await;
    stand
        .serve(&config(&[group(
            "g",
            1,
            &[instance("i", &backend, "serve")],
        )]))
        .await;
    for (head, status, error) in [
        ("GET t:80 HTTP/1.1\r\nhost: t", 400, "bad_target"),
        ("GET http://u@t/ HTTP/1.1\r\nhost: t", 400, "bad_target"),
        ("GET / HTTP/1.1", 400, "bad_host"),
        ("GET / HTTP/1.1\r\nhost: t\r\nhost: u", 400, "bad_host"),
        ("GET / HTTP/1.1\r\nhost: a b", 400, "bad_host"),
        (
            "GET / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: gzip, chunked",
            501,
            "bad_transfer_coding",
        ),
        ("CONNECT t:80 HTTP/1.1\r\nhost: t", 501, "connect_refused"),
    ] {
        let mut connection = stand.connect().await;
        let text = format!("{head}\r\n\r\nGET /behind HTTP/1.1\r\nhost: t\r\n\r\n");
        connection.stream.write_all(text.as_bytes()).await.unwrap();
        let answer = soon(head, connection.receive(false)).await.unwrap();
        assert_eq!(
            (answer.status, answer.header("x-balancer-error")),
            (status, Some(error)),
            "{head}"
        );
        assert!(answer.closes(), "{head}");
        assert_eq!(soon("the end", connection.rest()).await, b"", "{head}");
    }
    assert_eq!(backend.seen().len(), 0);
    // HTTP/1.0 may do without a host; an instance is not asked without one.
    let mut connection = stand.connect().await;
    let old = b"GET /old HTTP/1.0\r\n\r\n";
    connection.stream.write_all(old).await.unwrap();
    let answer = soon("the answer", connection.rest()).await;
    assert!(
        answer.starts_with(b"HTTP/1.0 200 "),
        "{}",
        answer.escape_ascii()
    );
    assert_eq!(backend.seen()[0].header("host"), Some(""));
}

#[tokio::test]
async fn nothing_is_smuggled_behind_a_request_with_two_lengths() {
    let backend = Backend::start("a").await;
    let stand = Stand::start().await;
    stand
        .serve(&config(&[group(
            "g",
            1,
            &[instance("i", &backend, "serve")],
        )]))
        .await;
    for heads in [
        "content-length: 30\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 30",
        "content-length: 5\r\ncontent-length: 30",
        "transfer-encoding: chunked, x",
    ] {
        let mut connection = stand.connect().await;
        let text = format!(
            "POST /first HTTP/1.1\r\nhost: t\r\n{heads}\r\n\r\n0\r\n\r\n\
             GET /smuggled HTTP/1.1\r\nhost: t\r\n\r\n"
        );
        connection.stream.write_all(text.as_bytes()).await.unwrap();
        // One answer, whichever, and the end of the connection.
        let rest = soon("the end", connection.rest()).await;
        let text = String::from_utf8_lossy(&rest).into_owned();
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{heads}: {text}");
    }
    assert_eq!(backend.count("/smuggled"), 0);
    let both = |seen: &crate::backend::Seen| {
        seen.header("content-length").is_some() && seen.header("transfer-encoding").is_some()
    };
    assert!(!backend.seen().iter().any(both));
}
