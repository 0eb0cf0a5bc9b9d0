//! Probes, suspension, and what watchers are told.

use std::collections::BTreeSet;

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::backend::Backend;
use crate::client::Connection;
use crate::stand::{Stand, config, eventually, group, instance, soon};

#[tokio::test]
async fn an_instance_gets_requests_only_after_its_probes_passed() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    b.set_sick(true);
    let stand = Stand::start().await;
    stand
        .set(&config(&[group(
            "g",
            1,
            &[instance("a", &a, "serve"), instance("b", &b, "serve")],
        )]))
        .await;
    stand.wait("a", "serving").await;
    stand.wait("b", "warming").await;
    for _ in 0..20 {
        assert_eq!(stand.get("/x").await.text(), "a");
    }
    let state = stand.instance("b").await;
    assert_eq!(state["reason"], "/health answers 500");
    b.set_sick(false);
    stand.wait("b", "serving").await;
    assert!(stand.instance("b").await.get("reason").is_none());
}

#[tokio::test]
async fn an_unhealthy_instance_is_left_out_and_all_of_them_serve_when_all_are() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let stand = Stand::start().await;
    stand
        .serve(&config(&[group(
            "g",
            1,
            &[instance("a", &a, "serve"), instance("b", &b, "serve")],
        )]))
        .await;
    a.set_sick(true);
    stand.wait("a", "suspended").await;
    for _ in 0..20 {
        assert_eq!(stand.get("/x").await.text(), "b");
    }
    b.set_sick(true);
    stand.wait("b", "suspended").await;
    let mut answers = BTreeSet::new();
    for _ in 0..20 {
        answers.insert(stand.get("/x").await.text());
    }
    assert_eq!(answers, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
    assert_eq!(stand.state().await["groups"][0]["capacity"], 0);
    a.set_sick(false);
    stand.wait("a", "serving").await;
    for _ in 0..20 {
        assert_eq!(stand.get("/x").await.text(), "a");
    }
}

#[tokio::test]
async fn requests_that_fail_suspend_an_instance_long_before_its_next_probe() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let stand = Stand::with(&["--workers", "1"], None).await;
    let mut group = group(
        "g",
        1,
        &[instance("a", &a, "serve"), instance("b", &b, "serve")],
    );
    group["health"]["intervalMs"] = 3_600_000.into();
    stand.serve(&config(&[group])).await;
    drop(b);
    for _ in 0..20 {
        assert_eq!(stand.get("/x").await.text(), "a");
    }
    stand.wait("b", "suspended").await;
    let repeats = stand.metric("balancer_retries_total").await;
    assert!((2.5..=6.5).contains(&repeats), "{repeats}");
    for _ in 0..20 {
        assert_eq!(stand.get("/x").await.text(), "a");
    }
    assert!((stand.metric("balancer_retries_total").await - repeats).abs() < 0.1);
    // The last one is never suspended by requests: half of a group at most.
    drop(a);
    for _ in 0..6 {
        assert_eq!(stand.get("/x").await.status, 502);
    }
    assert_eq!(stand.instance("a").await["state"], "serving");
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_refused_and_not_the_instances_failure() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let stand = Stand::with(&["--workers", "1"], None).await;
    let both = |role: &str| {
        let instances = [instance("a", &a, "serve"), instance("b", &b, role)];
        let mut group = group("g", 1, &instances);
        group["health"]["intervalMs"] = 3_600_000.into();
        config(&[group])
    };
    stand.serve(&both("warm")).await;
    for _ in 0..6 {
        let mut connection = stand.connect().await;
        let part = b"POST /length HTTP/1.1\r\nhost: t\r\ncontent-length: 100\r\n\r\npart";
        connection.stream.write_all(part).await.unwrap();
        connection.stream.shutdown().await.unwrap();
        let answer = soon("the refusal", connection.receive(false)).await;
        let answer = answer.unwrap();
        assert_eq!(
            (answer.status, answer.header("x-balancer-error")),
            (400, Some("bad_body"))
        );
        assert!(answer.closes());
    }
    stand.serve(&both("serve")).await;
    drop(b);
    for _ in 0..20 {
        stand.get("/x").await;
    }
    // Half of a group at most: were a suspended for the uploads, b would not be.
    stand.wait("b", "suspended").await;
    assert_eq!(stand.instance("a").await["state"], "serving");
}

#[tokio::test]
async fn watchers_are_told_each_change_in_order_and_sent_back_when_they_missed_some() {
    let a = Backend::start("a").await;
    let stand = Stand::start().await;
    let state = stand.state().await;
    let epoch = state["epoch"].as_str().unwrap().to_owned();
    let mut watch = Connection::admin(&stand.socket()).await.unwrap();
    let line = format!("GET /v1/watch?epoch={epoch}&after={}", state["lastEvent"]);
    watch.send(&line, &[], b"").await.unwrap();
    let head = soon(
        "the head, before anything happens",
        watch.until(b"\r\n\r\n"),
    )
    .await
    .unwrap();
    assert!(head.starts_with(b"HTTP/1.1 200"));

    let role = |role: &str| config(&[group("g", 1, &[instance("a", &a, role)])]);
    stand.serve(&role("serve")).await;
    stand.get("/x").await;
    eventually("it answered", async || {
        stand.instance("a").await["firstServedGeneration"]
            .as_u64()
            .ok_or("not yet")
    })
    .await;
    stand.set(&role("drain")).await;
    let mut told: Vec<Value> = Vec::new();
    while told.last().is_none_or(|event| event["kind"] != "drained") {
        let line = soon("an event", watch.until(b"}\n")).await.unwrap();
        let from = line.iter().position(|byte| *byte == b'{').unwrap();
        told.push(serde_json::from_slice(&line[from..]).unwrap());
    }
    let numbers: Vec<_> = told
        .iter()
        .map(|event| event["number"].as_u64().unwrap())
        .collect();
    assert!(
        numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]),
        "{numbers:?}"
    );
    let kinds: Vec<_> = told
        .iter()
        .map(|event| match event["kind"].as_str().unwrap() {
            "state" => event["state"].as_str().unwrap(),
            kind => kind,
        })
        .collect();
    let in_order = ["serving", "firstServed", "drained"];
    let places: Vec<_> = in_order
        .iter()
        .map(|k| kinds.iter().position(|kind| kind == k))
        .collect();
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{kinds:?}"
    );
    assert_eq!(kinds.iter().filter(|kind| **kind == "config").count(), 2);

    for line in [
        "GET /v1/watch?epoch=other&after=0",
        &format!("GET /v1/watch?epoch={epoch}&after=9999"),
    ] {
        assert_eq!(stand.admin(line, &[], b"").await.status, 410, "{line}");
    }
}

#[tokio::test]
async fn the_history_adds_up_to_what_was_asked() {
    let a = Backend::start("a").await;
    let stand = Stand::start().await;
    stand
        .serve(&config(&[group("g", 1, &[instance("a", &a, "serve")])]))
        .await;
    for path in ["/x", "/x", "/x", "/500"] {
        stand.get(path).await;
    }
    let sum = |series: &Value, field: &str| -> u64 {
        series["seconds"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s[field].as_u64().unwrap())
            .sum()
    };
    let series = eventually("the second is over", async || {
        let history = stand
            .admin("GET /v1/history?seconds=30", &[], b"")
            .await
            .json();
        let all = history["series"].as_array().unwrap().clone();
        let series = all.into_iter().find(|s| s["group"] == "g").ok_or("none")?;
        if sum(&series, "ok") + sum(&series, "serverError") == 4 {
            Ok(series)
        } else {
            Err("not yet")
        }
    })
    .await;
    assert_eq!(series["seconds"].as_array().unwrap().len(), 30);
    assert_eq!(
        (
            sum(&series, "ok"),
            sum(&series, "serverError"),
            sum(&series, "ownError")
        ),
        (3, 1, 0)
    );
    assert!(
        series["seconds"]
            .as_array()
            .unwrap()
            .iter()
            .any(|s| s["p99Us"].as_u64() > Some(0))
    );
    assert!((stand.metric("balancer_requests_total").await - 4.0).abs() < 0.1);
}
