//! Events of every type, from the post to the start.

use hmac::{Hmac, Mac};
use proto::message::{PIPELINE_COMPLETED, PipelineCompleted};
use serde_json::{Value, json};
use sha2::Sha256;
use store::{Address, Batch, Mode, Outgoing};

use crate::world::{State, World, memory, pipeline, slow};

fn world(pipelines: Vec<Value>) -> World {
    let state = State {
        pipelines,
        ..State::default()
    };
    World::start(memory(), slow(), state)
}

fn push() -> Value {
    json!({
        "ref": "refs/heads/main", "after": "abc",
        "repository": {"name": "shop", "owner": {"name": "team", "login": "team"}},
    })
}

fn signature(secret: &str, body: &Value) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.to_string().as_bytes());
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn a_signed_push_starts_and_a_forged_one_does_not() {
    let trigger = json!({"type": "git", "id": "g", "enabled": true, "source": "github",
        "project": "team", "slug": "shop", "branch": "main", "secret": "s3cret"});
    let world = world(vec![pipeline("p", "shop", &[trigger])]);
    let good = signature("s3cret", &push());
    let bad = signature("other", &push());
    for (delivery, signature) in [("1", &bad), ("2", &good), ("2", &good)] {
        let headers = [
            ("X-GitHub-Event", "push"),
            ("X-GitHub-Delivery", delivery),
            ("X-Hub-Signature-256", signature.as_str()),
        ];
        world
            .receive("git", "github", &push(), &headers)
            .await
            .unwrap();
    }
    let start = world.starts(1).await.remove(0);
    assert_eq!(start.trigger["hash"], "abc");
    assert!(start.trigger.get("secret").is_none());
    let decisions = world.decided("p", 2).await;
    let refused = decisions
        .iter()
        .find(|d| d["outcome"] == "rejected")
        .unwrap();
    assert_eq!(refused["field"], "secret");
    assert!(!refused.to_string().contains("s3cret"));
}

#[tokio::test]
async fn a_webhook_brings_parameters_and_is_told_apart_by_its_delivery() {
    let trigger = json!({"type": "webhook", "id": "w", "enabled": true, "source": "ci",
        "payloadConstraints": {"$.branch.name": "^main$"}});
    let mut one = pipeline("p", "shop", &[trigger]);
    one["parameterConfig"] = json!([{"name": "v", "required": true}]);
    let world = world(vec![one]);
    let body = json!({"parameters": {"v": "1"}, "branch": {"name": "main"}});
    let other = json!({"parameters": {"v": "1"}, "branch": {"name": "side"}});
    for (body, key) in [(&other, "a"), (&body, "b"), (&body, "b"), (&body, "c")] {
        let headers = [("Idempotency-Key", key)];
        world
            .receive("webhook", "ci", body, &headers)
            .await
            .unwrap();
    }
    let starts = world.starts(2).await;
    assert!(
        starts
            .iter()
            .all(|s| s.trigger["parameters"] == json!({"v": "1"}))
    );
    assert_ne!(starts[0].event_id, starts[1].event_id);
}

#[tokio::test]
async fn the_end_of_a_pipeline_starts_those_that_wait_for_it_once() {
    let waits = |status: &str| {
        json!({"type": "pipeline", "id": format!("t-{status}"), "enabled": true,
            "application": "shop", "pipeline": "parent", "status": [status]})
    };
    let world = world(vec![
        pipeline("child", "shop", &[waits("successful")]),
        pipeline("alarm", "shop", &[waits("failed")]),
    ]);
    let shard = world.store.shards().of_application("shop");
    let id = world
        .store
        .shards()
        .mint_id(1_795_000_000_000, "seed", shard);
    world.state().executions = vec![json!({
        "id": id, "name": "Parent", "application": "shop", "status": "SUCCEEDED",
        "pipelineConfigId": "parent", "trigger": {"user": "ann", "dryRun": true, "artifacts": [{"type": "a"}]},
        "stages": [{"outputs": {"artifacts": [{"type": "b"}]}}],
    })];
    let ended = PipelineCompleted {
        execution_id: id.clone(),
        pipeline_config_id: "parent".into(),
        status: "SUCCEEDED".into(),
        ended_at_ms: 5,
    };
    for n in 0..2 {
        let batch = Batch::new(shard, format!("ended-{n}")).message(Outgoing {
            to: Address::new(PIPELINE_COMPLETED, &id, "shop"),
            fingerprint: "5".into(),
            mode: Mode::Ensure,
            delay_ms: 0,
            body: serde_json::to_vec(&ended).unwrap().into(),
        });
        world.store.commit(batch).await.unwrap().unwrap();
    }
    let start = world.starts(1).await.remove(0);
    assert_eq!(start.pipeline_config_id, "child");
    assert_eq!(start.trigger["user"], "ann");
    assert_eq!(start.trigger["parentExecution"]["name"], "Parent");
    // What it made is read where the child starts; a dry run starts nothing in earnest.
    assert_eq!(start.trigger["parentExecution"]["stages"], Value::Null);
    assert_eq!(start.trigger["artifacts"], Value::Null);
    assert_eq!(start.trigger["dryRun"], true);
    let refused = world.decided("alarm", 1).await;
    assert_eq!(refused[0]["field"], "status");
}

#[tokio::test]
async fn a_schedule_fires_each_of_its_times_once_whoever_looks() {
    let trigger = json!({"type": "cron", "id": "c", "enabled": true,
        "cronExpression": "* * * * * ?", "timeZone": "Europe/Berlin"});
    let store = memory();
    let replica = || {
        let state = State {
            pipelines: vec![pipeline("p", "shop", std::slice::from_ref(&trigger))],
            ..State::default()
        };
        World::start(store.clone(), slow(), state)
    };
    let worlds: Vec<World> = (0..3).map(|_| replica()).collect();
    let starts = worlds[0].starts(4).await;
    let mut events: Vec<_> = starts.iter().map(|s| s.event_id.clone()).collect();
    events.sort();
    events.dedup();
    assert_eq!(events.len(), 4);
    let mut times: Vec<i64> = starts.iter().map(|s| s.recorded_at_ms / 1_000).collect();
    times.sort_unstable();
    times.dedup();
    assert_eq!(times.len(), 4, "two in one second: {starts:#?}");
}

#[tokio::test]
async fn a_webhook_of_megabytes_starts_with_all_of_its_payload() {
    let trigger =
        json!({"type": "webhook", "id": "w", "enabled": true, "source": "ci", "secret": "s3cret"});
    let world = world(vec![pipeline("p", "shop", &[trigger])]);
    let body = json!({"text": "\u{e9}x".repeat(1_000_000), "n": 7});
    let signature = signature("s3cret", &body);
    let headers = [("X-Hub-Signature-256", signature.as_str())];
    world
        .receive("webhook", "ci", &body, &headers)
        .await
        .unwrap();
    let start = world.starts(1).await.remove(0);
    assert_eq!(start.trigger["payload"], body);
    let decided = world.decided("p", 1).await.remove(0);
    assert_eq!(decided["outcome"], "started");
    let told = decided["event"]["payload"].as_str().unwrap();
    assert!(told.contains("more than the 2048"), "{told}");
    assert_eq!(decided["event"]["source"], "ci");
}
