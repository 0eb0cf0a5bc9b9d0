//! Rules taken away: each of these must be noticed, or the other tests prove nothing.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::backend::Backend;
use crate::client::Connection;
use crate::listeners::lost_by_coming_and_going;
use crate::stand::{Stand, config, group, instance};
use crate::succession::Load;
use crate::tls::Front;
use crate::tls_client::Valid;

#[tokio::test]
async fn control_posts_on_kept_connections_are_lost() {
    let a = Backend::start("a").await;
    let stand = Stand::with(&["--workers", "1"], Some("reuse-post")).await;
    stand
        .serve(&config(&[group("g", 1, &[instance("a", &a, "serve")])]))
        .await;
    a.break_reused();
    let mut lost = 0;
    for _ in 0..6 {
        lost += usize::from(stand.ask("POST /x", &[], b"b").await.unwrap().status == 502);
    }
    assert!(lost > 0);
    assert!(stand.metric("balancer_not_repeated_total").await > 0.5);
}

#[tokio::test]
async fn control_without_draining_an_instance_has_drained_while_it_is_busy() {
    let a = Backend::start("a").await;
    let stand = Stand::with(&[], Some("drain-at-once")).await;
    let role = |role: &str| config(&[group("g", 1, &[instance("a", &a, role)])]);
    stand.serve(&role("serve")).await;
    let mut held = stand.connect().await;
    held.send("GET /hold", &[], b"").await.unwrap();
    crate::stand::eventually("it has arrived", async || {
        if a.count("/hold") == 1 {
            Ok(())
        } else {
            Err("not yet")
        }
    })
    .await;
    stand.set(&role("drain")).await;
    let state = stand.instance("a").await;
    assert_eq!(
        (&state["state"], &state["inFlight"]["requests"]),
        (&"drained".into(), &1.into())
    );
}

async fn failures_of_replacements(control: &str) -> Vec<String> {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let mut stand = Stand::with(&["--workers", "2"], Some(control)).await;
    stand
        .serve(&config(&[group(
            "g",
            1,
            &[instance("a", &a, "serve"), instance("b", &b, "serve")],
        )]))
        .await;
    let load = Load::start(stand.address);
    let mut replaced = Vec::new();
    for _ in 0..20 {
        load.more(100).await;
        replaced.push(stand.replace().await);
        if !load.findings.failed.lock().unwrap().is_empty() {
            break;
        }
    }
    let findings = load.stop().await;
    findings.failed.lock().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_predecessor_that_closes_idle_connections_fails_their_next_request() {
    let failed = failures_of_replacements("close-idle").await;
    assert!(!failed.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_socket_of_its_own_loses_what_waits_in_the_old_ones_queue() {
    let failed = failures_of_replacements("reuse-port").await;
    assert!(!failed.is_empty());
}

#[tokio::test]
async fn control_a_held_request_that_is_not_told_waits_until_its_time_is_over() {
    let answer = crate::hold::answer_once_healthy(Some("no-wake")).await;
    assert_eq!(answer.header("x-balancer-error"), Some("hold_timeout"));
}

#[tokio::test]
async fn control_a_client_that_stays_whatever_happens_holds_a_drain_up() {
    let control = Some("stick-always,no-second-look");
    assert_eq!(crate::sticky::answers_for_draining(control).await, "a");
}

#[tokio::test]
async fn control_without_its_floor_a_group_falls_below_it() {
    let group = crate::outlier::left_of_four(Some("no-floor")).await;
    assert_eq!(group["capacity"], 2, "{group}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_socket_closed_at_once_loses_what_waits_in_its_queue() {
    let mut lost = Vec::new();
    for _ in 0..10 {
        lost = lost_by_coming_and_going(Some("close-at-once"), 4).await;
        if !lost.is_empty() {
            break;
        }
    }
    assert!(!lost.is_empty());
}

#[tokio::test]
async fn control_without_trust_anybody_names_a_client() {
    let more = json!({"proxyProtocol": "optional", "trusted": ["10.0.0.0/8"]});
    let (front, _) = Front::with(&[], Some("trust-all"), &[&["a.test"]], more).await;
    let mut stream = tokio::net::TcpStream::connect(front.address).await.unwrap();
    let header = b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 443\r\n";
    stream.write_all(header).await.unwrap();
    let client = front.authority.client().speaking(&["http/1.1"]);
    let mut connection = Connection::over(client.over(stream, "a.test").await.unwrap());
    assert_eq!(
        connection.ask("GET /x", &[], b"").await.unwrap().status,
        200
    );
    let seen = front.backend.seen().remove(0);
    assert_eq!(seen.header("x-forwarded-for"), Some("203.0.113.7"));
}

#[tokio::test]
async fn control_a_broken_certificate_that_is_taken_is_noticed_by_new_clients() {
    let (front, pairs) = Front::with(&[], Some("drop-broken"), &[&["a.test"]], json!({})).await;
    let other = front.authority.pair(&["a.test"], Valid::Now);
    std::fs::write(front.files(0).key, other.key).unwrap();
    drop(pairs);
    let client = front.authority.client();
    crate::stand::eventually("a handshake fails", async || {
        match client.connect(front.address, "a.test").await {
            Ok(_) => Err("it does not"),
            Err(_) => Ok(()),
        }
    })
    .await;
}

#[tokio::test]
async fn control_with_one_handshake_at_a_time_a_slow_one_holds_up_the_others() {
    let more = json!({"greetingTimeoutMs": 5_000});
    let arguments = ["--workers", "1"];
    let (front, _) = Front::with(&arguments, Some("one-handshake"), &[&["a.test"]], more).await;
    let mut slow = tokio::net::TcpStream::connect(front.address).await.unwrap();
    slow.write_all(b"\x16\x03\x01").await.unwrap();
    let client = front.authority.client();
    // It has the place once a later one has to wait.
    let held = tokio::time::timeout(Duration::from_secs(2), async {
        while client.connect(front.address, "a.test").await.is_ok() {}
    });
    assert!(held.await.is_err());
}
