//! A trigger that fires too often is held, and events start exactly once while
//! replicas come and go.

use std::collections::BTreeSet;

use proto::trigger::v1::{ReceiveRequest, TestRequest, TriggerKey};
use serde_json::json;

use crate::world::{World, memory, slow, with_pipeline};

fn limited(limit: u32) -> trigger::Config {
    trigger::Config {
        burst_limit: limit,
        ..slow()
    }
}

fn digest(number: usize) -> String {
    format!("sha256:{number:064x}")
}

async fn push(world: &World, number: usize) {
    let tag = format!("t{number}");
    world.notify("a", &tag, &digest(number)).await.unwrap();
}

/// What a test of the triggers says about a push: outcome and field.
async fn tried(world: &World) -> (String, String) {
    let body = json!({"events": [{"action": "push",
        "target": {"repository": "a", "tag": "x", "digest": digest(999)}}]});
    let request = TestRequest {
        event: Some(ReceiveRequest {
            r#type: "docker".into(),
            source: "r".into(),
            headers: Vec::new(),
            body: body.to_string().into_bytes(),
        }),
        ..TestRequest::default()
    };
    let reply = world.events.clone().test(request).await.unwrap();
    let told = reply.into_inner().decisions[0].value("d").unwrap();
    let text = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
    (text("outcome"), text("field"))
}

#[tokio::test]
async fn replicas_count_together_and_a_held_trigger_waits_for_its_release() {
    let store = memory();
    let replicas: Vec<World> = (0..3)
        .map(|_| World::start(store.clone(), limited(4), with_pipeline()))
        .collect();
    let all = (0..12).map(|number| push(&replicas[number % 3], number));
    futures_util::future::join_all(all).await;
    let first = replicas[0].starts(4).await;
    assert_eq!(first.len(), 4);
    let decisions = replicas[0].decided("p", 12).await;
    let refused: Vec<_> = decisions
        .iter()
        .filter(|d| d["outcome"] == "rejected")
        .collect();
    assert_eq!(refused.len(), 8);
    for decision in refused {
        assert_eq!(decision["field"], "burst-limit");
        let remedy = decision["remedy"].as_str().unwrap();
        assert!(
            remedy.contains("/pipelines/p/triggers/t-a/hold"),
            "{remedy}"
        );
    }
    let held = ("rejected".to_owned(), "burst-limit".to_owned());
    assert_eq!(tried(&replicas[1]).await, held);

    let key = TriggerKey {
        pipeline_id: "p".into(),
        trigger_id: "t-a".into(),
    };
    for _ in 0..2 {
        let mut events = replicas[2].events.clone();
        events.release_trigger(key.clone()).await.unwrap();
    }
    // What was refused stays refused; what comes now starts.
    push(&replicas[0], 0).await;
    push(&replicas[0], 100).await;
    let next = replicas[0].starts(1).await;
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].trigger["tag"], "t100");
}

#[tokio::test]
async fn without_a_limit_nothing_is_held() {
    let world = World::start(memory(), limited(0), with_pipeline());
    for number in 0..12 {
        push(&world, number).await;
    }
    assert_eq!(world.starts(12).await.len(), 12);
    assert_eq!(tried(&world).await.0, "started");
}

#[tokio::test]
async fn five_hundred_pushes_told_to_replicas_that_come_and_go_are_one_start_each() {
    let store = memory();
    let replica = || World::start(store.clone(), limited(1_000), with_pipeline());
    let mut replicas: Vec<World> = (0..3).map(|_| replica()).collect();
    let mut started = Vec::new();
    for number in 0..500 {
        // Told twice, to two of them at once, as a sender that lost the answer does.
        let (one, other) = (&replicas[number % 3], &replicas[(number + 1) % 3]);
        tokio::join!(push(one, number), push(other, number));
        if number % 50 == 25 {
            started.extend(replicas[0].starts_so_far().await);
            replicas.remove(number / 50 % 3);
            replicas.push(replica());
        }
    }
    started.extend(replicas[0].starts(500 - started.len()).await);
    // Whatever was told twice is told once more; nothing of it starts.
    for number in 0..500 {
        push(&replicas[number % 3], number).await;
    }
    push(&replicas[0], 500).await;
    started.extend(replicas[0].starts(1).await);
    let events: BTreeSet<_> = started.iter().map(|s| s.event_id.clone()).collect();
    assert_eq!((started.len(), events.len()), (501, 501));
}
