//! The share of an instance that has just begun to serve.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::backend::Backend;
use crate::stand::{Stand, config, group, instance};

fn slow(instances: &[Value], ms: u64) -> Value {
    let mut group = group("g", 1, instances);
    group["slowStartMs"] = json!(ms);
    config(&[group])
}

/// How many of 100 requests `b` gets when it comes `together` with `a`, or as long after it as the
/// share of an instance grows; and how long they took.
async fn share_of_a_new_one(window_ms: u64, together: bool) -> (usize, Duration) {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let stand = Stand::with(&["--workers", "1"], None).await;
    if !together {
        let alone = slow(&[instance("a", &a, "serve")], window_ms);
        stand.serve(&alone).await;
        assert_eq!(stand.get("/x").await.text(), "a", "alone it has all");
        tokio::time::sleep(Duration::from_millis(window_ms)).await;
    }
    let both = [instance("a", &a, "serve"), instance("b", &b, "serve")];
    stand.serve(&slow(&both, window_ms)).await;
    let began = Instant::now();
    for _ in 0..100 {
        stand.get("/x").await;
    }
    (b.count("/x"), began.elapsed())
}

#[tokio::test]
async fn a_new_instance_gets_little_at_first() {
    let (share, took) = share_of_a_new_one(8_000, false).await;
    // At the end of a slow run it may have half of what the other one has, or more.
    let part = (took.as_secs_f64() / 8.0).clamp(0.1, 1.0);
    let most = 100.0 * part / (1.0 + part) + 8.0;
    let share = f64::from(u32::try_from(share).unwrap());
    assert!((1.0..=most).contains(&share), "{share} in {took:?}");
}

#[tokio::test]
async fn control_without_slow_start_it_gets_its_whole_share_at_once() {
    let (share, _) = share_of_a_new_one(0, false).await;
    assert!((45..=55).contains(&share), "{share}");
}

#[tokio::test]
async fn instances_that_are_all_new_share_alike() {
    let (share, _) = share_of_a_new_one(600_000, true).await;
    assert!((40..=60).contains(&share), "{share}");
}
