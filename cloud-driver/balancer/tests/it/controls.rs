//! Rules taken away: each of these must be noticed, or the other tests prove nothing.

use crate::backend::Backend;
use crate::stand::{Stand, config, group, instance};
use crate::succession::Load;

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
