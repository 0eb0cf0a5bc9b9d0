//! Messages that were lost, put again at somebody's wish; and nothing else happens by it.

use std::collections::BTreeSet;
use std::sync::Arc;

use orchestrator::services::fake::Fake;
use orchestrator::services::{Http, HttpError, HttpRequest, HttpResponse};
use proto::orchestrator::v1::HydrateRequest;
use proto::status::{Failure, Kind};
use serde_json::{Value, json};
use store::{Address, Batch, MAILBOX, Mode, Outgoing, Reserve, Shared};

use crate::rig::{Rig, eventually, is_complete, make, memory, quick, stage, webhook};

async fn hydrate(rig: &Rig, id: &str, dry_run: bool) -> Result<Value, Failure> {
    let request = HydrateRequest {
        id: id.to_owned(),
        dry_run,
    };
    let told = rig.executions.clone().hydrate(request).await;
    let told = told.map_err(Failure::from)?.into_inner();
    let told = told.value("report").unwrap();
    assert_eq!(told["dryRun"], dry_run);
    Ok(told["executions"].clone())
}

/// Whether anything waits in a mailbox, of any execution of this one's shard.
async fn any_waits(store: &Shared, id: &str) -> bool {
    let what = Reserve {
        queue: MAILBOX,
        most: 0,
        lease_ms: 1,
        max_tries: 1,
    };
    let shard = store.shards().of_id(id);
    let waits = store.reserve(shard, what).await.unwrap();
    waits.next_ms.is_some()
}

fn wait(ref_id: &str, after: &[&str], seconds: u32) -> Value {
    make("wait", ref_id, after, json!({"waitTime": seconds}))
}

#[tokio::test]
async fn a_message_that_was_taken_away_is_put_again_and_it_ends() {
    let (store, fake) = (memory(), Fake::new());
    let mut rig = Rig::over(store.clone(), fake.clone(), quick()).await;
    let id = rig
        .start_stages(json!([wait("1", &[], 5), webhook("2", &["1"])]))
        .await;
    let waiting = rig.stage_is(&id, "1", "RUNNING").await;
    rig.kill();
    let stage_id = waiting["id"].as_str().unwrap();
    let removed = Outgoing {
        to: Address::new(MAILBOX, &id, "app"),
        fingerprint: format!("runTask/{stage_id}/1"),
        mode: Mode::Remove,
        delay_ms: 0,
        body: Vec::new().into(),
    };
    assert!(any_waits(&store, &id).await);
    let batch = Batch::new(store.shards().of_id(&id), "by hand".to_owned()).message(removed);
    store.commit(batch).await.unwrap().unwrap();
    // Nothing would ever take it on.
    eventually("nothing waits", async || !any_waits(&store, &id).await).await;

    let rig = Rig::over(store.clone(), fake, quick()).await;
    let told = hydrate(&rig, &id, true).await.unwrap();
    assert!(!any_waits(&store, &id).await);
    assert_eq!(told[&id]["canApply"], true);
    assert_eq!(told[&id]["startTime"], rig.get(&id).await["startTime"]);
    let action = &told[&id]["actions"][0];
    assert_eq!(
        action["description"],
        "Task is running and can be run again"
    );
    assert_eq!(
        action["message"],
        json!({"kind": "runTask", "stageId": stage_id, "taskId": "1", "executionId": id,
            "executionType": "PIPELINE", "application": "app"})
    );
    assert_eq!(action["context"]["stageType"], "wait");
    assert_eq!(hydrate(&rig, &id, false).await.unwrap(), told);
    rig.ends(&id, "SUCCEEDED").await;
    // Over, it waits for nothing.
    assert_eq!(hydrate(&rig, &id, false).await.unwrap(), json!({}));
    let unknown = hydrate(&rig, "none", false).await.unwrap_err();
    assert_eq!(unknown.kind, Kind::NotFound);
}

#[tokio::test]
async fn one_that_lost_nothing_ends_as_without_it_and_runs_nothing_twice() {
    let rig = Rig::up().await;
    let stages = json!([
        webhook("1", &[]),
        wait("2", &["1"], 1),
        webhook("3", &["2"]),
        webhook("4", &["1"]),
        wait("5", &[], 1),
        webhook("6", &["3", "4", "5"]),
    ]);
    let id = rig.start_stages(stages).await;
    let mut applied = 0;
    loop {
        let told = hydrate(&rig, &id, false).await.unwrap();
        applied += u32::from(told[&id]["canApply"] == true);
        if is_complete(&rig.get(&id).await["status"]) {
            break;
        }
    }
    assert!(applied > 0, "it was never between two runs");
    let execution = rig.ends(&id, "SUCCEEDED").await;
    let sent: Vec<String> = rig
        .fake
        .requests()
        .into_iter()
        .map(|r| r.effect_id)
        .collect();
    assert_eq!(sent.len(), 4, "{sent:?}");
    assert_eq!(sent.iter().collect::<BTreeSet<_>>().len(), 4);
    // Those that wait were not asked before their time.
    for ref_id in ["2", "5"] {
        let waited = stage(&execution, ref_id);
        let time = |key: &str| waited[key].as_i64().unwrap();
        assert!(time("endTime") - time("startTime") >= 1_000, "{waited:#}");
    }
}

/// Never answers.
struct Silent(Fake);

#[async_trait::async_trait]
impl Http for Silent {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let _ = self.0.send(request).await;
        std::future::pending().await
    }
}

#[tokio::test]
async fn what_a_worker_has_is_told_and_nothing_is_put() {
    let fake = Fake::new();
    let silent = Arc::new(Silent(fake.clone()));
    let rig = Rig::with(memory(), fake.clone(), Arc::new(fake), silent, quick()).await;
    let id = rig.start_stages(json!([webhook("1", &[])])).await;
    eventually("it was sent", async || rig.fake.requests().len() == 1).await;
    let told = hydrate(&rig, &id, false).await.unwrap();
    assert_eq!(told[&id]["canApply"], false);
    let action = &told[&id]["actions"][0];
    assert_eq!(action["message"], Value::Null);
    assert!(
        action["description"]
            .as_str()
            .unwrap()
            .contains("with a worker")
    );
    assert!(!any_waits(&rig.store, &id).await);
    // Paused, it waits for whoever lets it go on.
    let pause = rig.executions.clone().pause(Rig::action(&id)).await;
    pause.unwrap();
    assert_eq!(hydrate(&rig, &id, false).await.unwrap(), json!({}));
}
