//! What is left of executions once they are over: nothing.

use std::time::Duration;

use orchestrator::Config;
use orchestrator::services::fake::{Fake, ok};
use runtime::config::Span;
use serde_json::json;
use servers::Redis;

use super::{look, moving};
use crate::rig::{Rig, eventually, make, on, pipeline, webhook};

#[tokio::test]
async fn no_key_of_an_execution_outlives_it() {
    let Some(server) = Redis::start("everysec") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        retention: Span(Duration::from_secs(1)),
        event_retention: Span(Duration::from_secs(3)),
        keep_per_pipeline: 0,
        ..moving(folder.path())
    };
    let store = on(&server).await;
    let fake = Fake::new();
    let body = json!({"text": "x".repeat(100_000)});
    fake.answer("http://hook.test/1", Ok(ok(&body)));
    let rig = Rig::over(store.clone(), fake, config).await;
    // The shard's own: what it counts, its feed, its queues.
    let keys = || -> Vec<String> {
        let all = server.ask(&["keys", "*"]).into_iter();
        let of = |kind: &str, key: &str| key.split('}').nth(1).is_some_and(|k| k.starts_with(kind));
        // Forgotten by themselves within two minutes.
        all.filter(|key| !of(":applied:", key) && !of(":meta", key) && !of(":feed", key))
            .filter(|key| !key.ends_with(":layout") && !key.is_empty())
            .collect()
    };
    let mut pipeline = pipeline(
        "p",
        json!([
            webhook("1", &[]),
            make("wait", "2", &["1"], json!({"waitTime": 0}))
        ]),
    );
    pipeline["id"] = json!("config");
    pipeline["limitConcurrent"] = json!(true);
    for event in ["one", "two", ""] {
        pipeline["trigger"] = json!({"type": "manual", "correlationId": event, "eventId": event});
        let id = rig.try_start(&pipeline, event).await.unwrap();
        let known = rig.try_start(&pipeline, event).await;
        assert!(event.is_empty() || known.as_ref() == Ok(&id), "{known:?}");
        rig.end(&id).await;
    }
    let there = keys();
    let claims = there
        .iter()
        .filter(|key| key.contains(":key:execution-event:"));
    assert!(claims.count() > 0, "{there:?}");
    // Those that were moved end with their segment, the events with the next look.
    eventually("nothing is left", async || {
        look(&store).await;
        let left = keys();
        // Who runs next, and when to look again, is the pipeline's and the shard's; who hears of an end is not here;
        // processes say that they are there.
        let own = |key: &String| {
            let others = [
                "q:retention:",
                "q:pipeline-completed:",
                "d:gate:config",
                "ix:consumers",
                "d:consumer:",
                "d:definitions-archive:known",
            ];
            others.iter().any(|other| key.contains(other))
        };
        let left: Vec<String> = left.into_iter().filter(|key| !own(key)).collect();
        if !left.is_empty() {
            println!("{left:?}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        left.is_empty()
    })
    .await;
}

#[tokio::test]
async fn an_event_of_a_deleted_execution_starts_another() {
    for (backend, store, _server) in crate::commit::backends().await {
        let rig = Rig::over(store, Fake::new(), crate::rig::quick()).await;
        let body = pipeline("p", json!([make("wait", "1", &[], json!({"waitTime": 0}))]));
        let first = rig.try_start(&body, "e").await.unwrap();
        rig.ends(&first, "SUCCEEDED").await;
        assert_eq!(rig.try_start(&body, "e").await.unwrap(), first, "{backend}");
        let delete = rig.executions.clone().delete(Rig::action(&first)).await;
        delete.unwrap();
        let second = rig.try_start(&body, "e").await.unwrap();
        assert_ne!(first, second, "{backend}");
        rig.ends(&second, "SUCCEEDED").await;
        assert_eq!(rig.try_start(&body, "e").await.unwrap(), second);
    }
}
