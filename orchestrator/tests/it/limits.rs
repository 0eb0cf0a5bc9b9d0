//! Limits of concurrency: one that is newer than what runs, and the smallest there is.

use orchestrator::Config;
use orchestrator::services::fake::Fake;
use proto::message::{EXECUTION_REQUESTS, ExecutionRequested};
use serde_json::{Value, json};
use store::{Address, Batch, Mode, Outgoing};

use crate::rig::{Rig, eventually, is_complete, make, memory, pipeline, quick};

#[tokio::test]
async fn what_began_without_a_limit_counts_once_there_is_one() {
    let rig = Rig::up().await;
    let mut body = pipeline("p", json!([make("manualJudgment", "1", &[], json!({}))]));
    body["id"] = json!("cfg");
    body["keepWaitingPipelines"] = json!(true);
    let approve = async |id: &str| {
        let ask = rig.stage_is(id, "1", "RUNNING").await;
        let answer = json!({"judgmentStatus": "continue"});
        rig.update_stage(id, &ask, answer).await.unwrap();
        rig.ends(id, "SUCCEEDED").await;
    };
    let free = rig.start(&body).await;
    rig.stage_is(&free, "1", "RUNNING").await;
    body["limitConcurrent"] = json!(true);
    let second = rig.start(&body).await;
    let third = rig.start(&body).await;
    let status = async |id: &str| -> Value { rig.get(id).await["status"].clone() };
    assert_eq!(status(&second).await, "NOT_STARTED");
    approve(&free).await;
    approve(&second).await;
    approve(&third).await;
    // Nothing is left behind that would keep the next one out.
    let last = rig.start(&body).await;
    approve(&last).await;
}

#[tokio::test]
async fn a_service_with_one_place_serves_every_queue() {
    let config = Config {
        turns: 1,
        ..quick()
    };
    let rig = Rig::over(memory(), Fake::new(), config).await;
    let wait = json!([make("wait", "1", &[], json!({"waitTime": 0}))]);
    let saved = rig.save(&pipeline("p", wait)).await.unwrap();
    let asked = ExecutionRequested {
        application: "app".to_owned(),
        pipeline_config_id: saved["id"].as_str().unwrap().to_owned(),
        trigger_id: "t".to_owned(),
        event_id: "push".to_owned(),
        recorded_at_ms: 1_700_000_000_000,
        trigger: json!({"type": "docker"}),
    };
    let shard = rig.store.shards().of_application("app");
    let seed = format!("{}/t/push", asked.pipeline_config_id);
    let id = rig
        .store
        .shards()
        .mint_id(asked.recorded_at_ms, &seed, shard);
    let batch = Batch::new(shard, "push").message(Outgoing {
        to: Address::new(EXECUTION_REQUESTS, "push", "app"),
        fingerprint: "push".to_owned(),
        mode: Mode::Ensure,
        delay_ms: 0,
        body: serde_json::to_vec(&asked).unwrap().into(),
    });
    rig.store.commit(batch).await.unwrap().unwrap();
    let executions = orchestrator::executions::Executions::new(rig.store.clone());
    eventually("it was started and has ended", async || {
        let found = executions.get(&id, None).await;
        found.is_ok_and(|e| is_complete(&e.status.as_str().into()))
    })
    .await;
}
