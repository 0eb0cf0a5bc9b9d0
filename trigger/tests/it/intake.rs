//! Notifications: durable, once, decided at once or later, explained.

use std::collections::BTreeMap;
use std::time::Duration;

use proto::status::Kind;
use serde_json::json;

use crate::world::{State, World, docker, eventually, memory, pipeline, slow, with_pipeline};

fn quiet() -> World {
    World::start(memory(), slow(), with_pipeline())
}

#[tokio::test]
async fn a_notification_starts_every_pipeline_that_waits_for_it_once() {
    let world = quiet();
    world.state().pipelines = (0..20)
        .map(|n| pipeline(&format!("p{n}"), &format!("app{n}"), &[docker("a")]))
        .collect();
    let first = world.notify("a", "1", "sha256:x").await.unwrap();
    assert_eq!((first.accepted, first.event_ids.len()), (1, 1));
    let again = world.notify("a", "1", "sha256:x").await.unwrap();
    assert_eq!((again.accepted, &again.event_ids), (0, &first.event_ids));
    let starts = world.starts(20).await;
    let mut applications: Vec<_> = starts.iter().map(|s| s.application.clone()).collect();
    applications.sort();
    applications.dedup();
    assert_eq!(applications.len(), 20);
    assert!(starts.iter().all(|s| s.event_id == first.event_ids[0]));
    assert_eq!(starts[0].trigger["tag"], "1");
    assert_eq!(starts[0].trigger["artifacts"][0]["reference"], "h:1/a:1");
    // The next event's starts come alone: nothing was left over.
    world.state().pipelines.truncate(1);
    let next = world.notify("a", "2", "sha256:y").await.unwrap();
    assert_eq!(world.starts(1).await[0].event_id, next.event_ids[0]);
}

#[tokio::test]
async fn the_same_notification_from_many_sides_at_once_is_one_event() {
    let world = quiet();
    let sent = (0..16).map(|_| world.notify("a", "1", "sha256:x"));
    let replies = futures_util::future::join_all(sent).await;
    let accepted: u32 = replies.into_iter().map(|r| r.unwrap().accepted).sum();
    assert_eq!(accepted, 1);
    world.starts(1).await;
    world.notify("a", "2", "sha256:y").await.unwrap();
    assert_eq!(world.starts(1).await[0].trigger["tag"], "2");
}

#[tokio::test]
async fn a_pipeline_saved_a_moment_ago_is_seen() {
    let world = quiet();
    world.state().pipelines.clear();
    world.notify("a", "1", "sha256:x").await.unwrap();
    world.state().pipelines = with_pipeline().pipelines;
    world.notify("a", "2", "sha256:y").await.unwrap();
    assert_eq!(world.starts(1).await[0].trigger["tag"], "2");
}

#[tokio::test]
async fn an_event_is_kept_while_the_orchestrator_is_away_and_started_later_once() {
    let world = quiet();
    world.state().orchestrator_down = true;
    let reply = world.notify("a", "1", "sha256:x").await.unwrap();
    assert_eq!(reply.accepted, 1);
    assert_eq!(
        world.notify("a", "1", "sha256:x").await.unwrap().accepted,
        0
    );
    world.state().orchestrator_down = false;
    assert_eq!(world.starts(1).await[0].event_id, reply.event_ids[0]);
}

/// A sender gives up after ten seconds, and a killed process leaves calls that nobody answers.
#[tokio::test]
async fn a_sender_does_not_wait_for_an_orchestrator_that_is_silent() {
    let world = quiet();
    world.state().unanswered = 1;
    let sent = world.notify("a", "1", "sha256:x");
    let answered = tokio::time::timeout(Duration::from_secs(8), sent).await;
    let reply = answered.unwrap().unwrap();
    assert_eq!(reply.accepted, 1);
    assert_eq!(world.starts(1).await[0].event_id, reply.event_ids[0]);
}

#[tokio::test]
async fn an_event_that_was_answered_survives_a_restart() {
    let world = quiet();
    world.state().orchestrator_down = true;
    let reply = world.notify("a", "1", "sha256:x").await.unwrap();
    let store = world.end().await;
    let world = World::start(store, slow(), with_pipeline());
    assert_eq!(world.starts(1).await[0].event_id, reply.event_ids[0]);
    assert_eq!(
        world.notify("a", "1", "sha256:x").await.unwrap().accepted,
        0
    );
}

#[tokio::test]
async fn every_decision_is_listed_with_its_reason_newest_first() {
    let world = quiet();
    world.state().pipelines = vec![
        pipeline("p", "shop", &[docker("a"), docker("b")]),
        pipeline("q", "shop", &[docker("c")]),
    ];
    for number in 0..110 {
        let tag = format!("v{number}");
        world.notify("a", &tag, "sha256:x").await.unwrap();
    }
    world.starts(110).await;
    let listed = async {
        loop {
            let (p, q) = (world.decisions("p").await, world.decisions("q").await);
            if p.len() == 100 && q.len() == 100 {
                return (p, q);
            }
        }
    };
    let (p, q) = tokio::time::timeout(std::time::Duration::from_secs(20), listed)
        .await
        .unwrap();
    let outcomes = |list: &[serde_json::Value]| {
        let mut count = BTreeMap::new();
        for decision in list {
            *count
                .entry(decision["outcome"].as_str().unwrap().to_owned())
                .or_insert(0) += 1;
        }
        count
    };
    assert_eq!(outcomes(&q), BTreeMap::from([("rejected".to_owned(), 100)]));
    assert_eq!(outcomes(&p).len(), 2);
    assert_eq!(q[0]["reason"], "repository is \"a\", not \"c\"");
    assert_eq!(q[0]["event"]["repository"], "a");
    for key in [
        "eventId",
        "time",
        "source",
        "triggerId",
        "pipelineId",
        "type",
    ] {
        assert!(!q[0][key].is_null(), "{key}");
    }
}

#[tokio::test]
async fn what_cannot_be_received_says_why_and_leaves_nothing() {
    let world = World::start(
        memory(),
        {
            let mut config = slow();
            let folder = tempfile::tempdir().unwrap().keep();
            std::fs::write(folder.join("secret"), "Bearer s3cret\n").unwrap();
            let secret = format!("file:{}/secret", folder.display()).parse().unwrap();
            config.notification_secrets.insert("r".into(), secret);
            config
        },
        with_pipeline(),
    );
    let event = json!({"events": [{"action": "push",
                       "target": {"repository": "a", "tag": "1", "digest": "sha256:x"}}]});
    let signed = [("Authorization", "Bearer s3cret")];
    for (kind, source, body, headers, expected, fragment) in [
        (
            "helm",
            "r",
            &event,
            &signed[..],
            Kind::Unimplemented,
            "supported are: cron, docker",
        ),
        (
            "docker",
            "other",
            &event,
            &[][..],
            Kind::NotFound,
            "known are: r",
        ),
        (
            "docker",
            "r",
            &event,
            &[][..],
            Kind::Unauthenticated,
            "Authorization",
        ),
        (
            "docker",
            "r",
            &event,
            &[("authorization", "Bearer guess")][..],
            Kind::Unauthenticated,
            "Authorization",
        ),
        (
            "docker",
            "r",
            &json!({}),
            &signed[..],
            Kind::Invalid,
            "events is missing",
        ),
    ] {
        let failure = world
            .receive(kind, source, body, headers)
            .await
            .unwrap_err();
        assert_eq!(failure.kind, expected, "{failure}");
        assert!(
            failure.message.contains(fragment) && !failure.message.contains("s3cret"),
            "{failure}"
        );
    }
    let reply = world.receive("DOCKER", "r", &event, &signed).await.unwrap();
    assert_eq!(reply.accepted, 1, "nothing was kept of what was refused");
}

#[tokio::test]
async fn an_old_event_is_forgotten() {
    let mut config = slow();
    config.event_retention = "1s".parse().unwrap();
    let world = World::start(memory(), config, with_pipeline());
    let id = world
        .notify("a", "1", "sha256:x")
        .await
        .unwrap()
        .event_ids
        .remove(0);
    let (store, shard) = (world.store.clone(), world.store.shards().of_name(&id));
    let key = store::DocumentKey::new("event", &id);
    assert!(store.load(shard, &key).await.unwrap().is_some());
    let gone = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = gone.clone();
    tokio::spawn(async move {
        while store.load(shard, &key).await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
        seen.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    eventually("forgotten", || {
        gone.load(std::sync::atomic::Ordering::SeqCst)
    })
    .await;
}

#[tokio::test]
async fn whoever_a_trigger_runs_as_needs_leave_to_run_the_pipeline() {
    let trigger = |id: &str, user: &str| json!({"type": "docker", "id": id, "enabled": true, "account": "r", "repository": "a", "runAsUser": user});
    let triggers = [
        trigger("nobody", ""),
        trigger("bot", "bot"),
        trigger("other", "stranger"),
    ];
    let account =
        |name: &str, role: &str| (name.to_owned(), json!({"name": name, "memberOf": [role]}));
    let state = State {
        pipelines: vec![pipeline("p", "shop", &triggers)],
        accounts: [account("bot", "team"), account("stranger", "others")].into(),
        permissions: json!({"READ": ["everybody"], "EXECUTE": ["team"]}),
        policy: Some(std::sync::Arc::default()),
        ..State::default()
    };
    let world = World::start(memory(), slow(), state);
    world
        .notify("a", "v1", &format!("sha256:{:064x}", 1))
        .await
        .unwrap();
    let starts = world.starts(1).await;
    assert_eq!(starts[0].trigger_id, "bot");
    let decisions = world.decided("p", 3).await;
    for (id, user) in [("nobody", "anonymous"), ("other", "stranger")] {
        let refused = decisions.iter().find(|d| d["triggerId"] == id).unwrap();
        assert_eq!(
            (&refused["field"], &refused["expected"], &refused["actual"]),
            (
                &json!("runAsUser"),
                &json!("EXECUTE on application shop"),
                &json!(user)
            ),
            "{refused:#}"
        );
    }
}

/// The store was lost, and the archive knows which events started something.
#[tokio::test]
async fn an_event_that_is_known_from_the_archive_starts_nothing_when_it_is_sent_again() {
    let lost = quiet();
    let first = lost.notify("a", "1", "sha256:x").await.unwrap();
    let started = lost.starts(1).await.remove(0);
    lost.end().await;
    let store = memory();
    let past = |id: &str, at| trigger::restore::Past {
        id: id.to_owned(),
        kind: "docker".to_owned(),
        at,
    };
    let old = started.recorded_at_ms - 1_000_000;
    let events = vec![
        past(&first.event_ids[0], started.recorded_at_ms),
        past("too old", old),
    ];
    let keep = Duration::from_secs(900);
    for known in [1, 0] {
        let restored = trigger::restore::restore(&store, keep, events.clone()).await;
        assert_eq!(restored.unwrap(), known);
    }
    let world = World::start(store, slow(), with_pipeline());
    let again = world.notify("a", "1", "sha256:x").await.unwrap();
    assert_eq!((again.accepted, &again.event_ids), (0, &first.event_ids));
    // What is new starts, and nothing was left over.
    let next = world.notify("a", "2", "sha256:y").await.unwrap();
    assert_eq!(world.starts(1).await[0].event_id, next.event_ids[0]);
}
