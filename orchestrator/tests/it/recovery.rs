//! Workers that end in the middle of something: another one goes on, and nothing
//! outside happens twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use orchestrator::services::fake::{Fake, Plan};
use orchestrator::services::{Http, HttpError, HttpRequest, HttpResponse};
use orchestrator_core::StageId;
use proto::message::{OPERATION_FINISHED, OperationFinished};
use serde_json::{Value, json};
use servers::Redis;
use store::{Address, Batch, Mode, Outgoing, Shared};
use tokio::sync::Notify;

use crate::rig::{Rig, SOON, eventually, make, memory, on, pipeline, quick, stage, webhook};

/// Acts on a request, and never answers the first `silent` of them.
struct Silent {
    fake: Fake,
    silent: AtomicUsize,
    came: Notify,
}

impl Silent {
    fn new(fake: Fake, silent: usize) -> Arc<Self> {
        Arc::new(Self {
            fake,
            silent: AtomicUsize::new(silent),
            came: Notify::new(),
        })
    }
}

#[async_trait]
impl Http for Silent {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = self.fake.send(request).await;
        let left = self.silent.load(Ordering::SeqCst);
        if left > 0 {
            self.silent.store(left - 1, Ordering::SeqCst);
            self.came.notify_one();
            std::future::pending::<()>().await;
        }
        answer
    }
}

async fn backends() -> Vec<(Shared, Option<Redis>)> {
    let mut all = vec![(memory(), None)];
    if let Some(server) = Redis::start("always") {
        all.push((on(&server).await, Some(server)));
    }
    all
}

fn chain() -> Value {
    pipeline(
        "p",
        json!([
            webhook("1", &[]),
            webhook("2", &["1"]),
            webhook("3", &["2"])
        ]),
    )
}

#[tokio::test]
async fn a_task_whose_worker_was_killed_runs_again_under_the_same_effect_id() {
    for (store, _server) in backends().await {
        let fake = Fake::new();
        let silent = Silent::new(fake.clone(), 1);
        let driver = Arc::new(fake.clone());
        let mut rig = Rig::with(store.clone(), fake.clone(), driver, silent.clone(), quick()).await;
        let id = rig.start(&chain()).await;
        tokio::time::timeout(SOON, silent.came.notified())
            .await
            .unwrap();
        rig.kill();
        let rig = Rig::over(store, fake.clone(), quick()).await;
        rig.ends(&id, "SUCCEEDED").await;
        let ids: Vec<String> = fake.requests().into_iter().map(|r| r.effect_id).collect();
        assert_eq!(ids.len(), 4, "{ids:?}");
        assert_eq!(ids[0], ids[1]);
        assert_eq!(
            ids.iter().collect::<std::collections::BTreeSet<_>>().len(),
            3
        );
    }
}

#[tokio::test]
async fn killed_at_any_request_it_ends_the_same() {
    let store = memory();
    let fake = Fake::new();
    let mut started = Vec::new();
    for _ in 0..6 {
        // Each life acts on one request and dies.
        let silent = Silent::new(fake.clone(), 1);
        let driver = Arc::new(fake.clone());
        let mut rig = Rig::with(store.clone(), fake.clone(), driver, silent.clone(), quick()).await;
        started.push(rig.start(&chain()).await);
        tokio::time::timeout(SOON, silent.came.notified())
            .await
            .unwrap();
        rig.kill();
    }
    let rig = Rig::over(store, fake.clone(), quick()).await;
    for id in &started {
        rig.ends(id, "SUCCEEDED").await;
    }
    let ids: std::collections::BTreeSet<String> =
        fake.requests().into_iter().map(|r| r.effect_id).collect();
    assert_eq!(ids.len(), 3 * started.len());
}

#[tokio::test]
async fn the_end_of_an_operation_wakes_its_stage_whoever_works_then() {
    for (store, _server) in backends().await {
        let fake = Fake::new();
        fake.plan("createServerGroup", Plan::Wait);
        let mut rig = Rig::over(store.clone(), fake.clone(), quick()).await;
        let cluster = json!({
            "account": "prod", "region": "local", "application": "app", "imageId": "i:1",
        });
        let stages = json!([make("createServerGroup", "1", &[], cluster)]);
        let id = rig.start_stages(stages).await;
        let monitored = |e: &Value| {
            let tasks = stage(e, "1")["tasks"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            tasks
                .iter()
                .any(|t| t["name"] == "monitorDeploy" && t["status"] == "RUNNING")
        };
        let execution = rig.wait(&id, "monitored", monitored).await;
        rig.kill();

        let operation = fake.operations().remove(0);
        let waiter = operation.waiter.unwrap();
        assert_eq!(waiter.execution_id, id);
        assert_eq!(
            StageId::new(waiter.stage_id.clone()).as_str(),
            stage(&execution, "1")["id"].as_str().unwrap()
        );
        fake.server_group(json!({
            "name": "app-v000", "account": "prod", "region": "local", "loadBalancers": [],
            "capacity": {"min": 1, "max": 1, "desired": 1},
            "instances": [{"health": [{"state": "Up"}]}],
        }));
        fake.finish("op-1", Ok(json!({"serverGroupNames": ["local:app-v000"]})));
        let ended = OperationFinished {
            operation_id: "op-1".into(),
            succeeded: true,
            execution_id: waiter.execution_id,
            stage_id: waiter.stage_id,
            task_id: waiter.task_id,
        };
        let shard = store.shards().of_id(&id);
        let batch = Batch::new(shard, format!("ended {id}")).message(Outgoing {
            to: Address::new(OPERATION_FINISHED, "op-1", &id),
            fingerprint: "op-1".into(),
            mode: Mode::Ensure,
            delay_ms: 0,
            body: serde_json::to_vec(&ended).unwrap().into(),
        });
        store.commit(batch).await.unwrap().unwrap();
        let begun = std::time::Instant::now();
        let rig = Rig::over(store, fake.clone(), quick()).await;
        let execution = rig.ends(&id, "SUCCEEDED").await;
        assert!(begun.elapsed().as_secs() < 14, "it was polled, not woken");
        assert_eq!(
            stage(&execution, "1")["context"]["deploy.server.groups"],
            json!({"local": ["app-v000"]})
        );
        assert_eq!(fake.operations().len(), 1);
    }
}

#[tokio::test]
async fn two_workers_share_the_work_and_one_that_stops_hands_it_over() {
    let store = memory();
    let fake = Fake::new();
    let mut first = Rig::over(store.clone(), fake.clone(), quick()).await;
    let second = Rig::over(store, fake.clone(), quick()).await;
    let mut ids = Vec::new();
    for n in 0..20 {
        let rig = if n % 2 == 0 { &first } else { &second };
        ids.push(rig.start(&chain()).await);
    }
    first.stop().await;
    for id in &ids {
        second.ends(id, "SUCCEEDED").await;
    }
    let sent: Vec<String> = fake.requests().into_iter().map(|r| r.effect_id).collect();
    let distinct: std::collections::BTreeSet<&String> = sent.iter().collect();
    assert_eq!(distinct.len(), 3 * ids.len());
}

#[tokio::test]
async fn slow_webhooks_do_not_stop_the_engine() {
    let fake = Fake::new();
    let silent = Silent::new(fake.clone(), 200);
    let driver = Arc::new(fake.clone());
    let rig = Rig::with(memory(), fake.clone(), driver, silent.clone(), quick()).await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        slow.push(rig.start_stages(json!([webhook("1", &[])])).await);
    }
    eventually("all of them were sent", async || {
        fake.requests().len() == 200
    })
    .await;
    let id = rig
        .start_stages(json!([
            make("wait", "1", &[], json!({"waitTime": 0})),
            make(
                "createServerGroup",
                "2",
                &["1"],
                json!({
                    "account": "prod", "region": "local", "application": "app", "imageId": "i:1",
                })
            ),
            webhook("3", &["2"]),
        ]))
        .await;
    rig.ends(&id, "SUCCEEDED").await;
    for id in &slow {
        assert_eq!(rig.get(id).await["status"], "RUNNING");
    }
}

#[tokio::test]
async fn a_message_that_kills_its_worker_again_and_again_fails_its_owner() {
    let fake = Fake::new();
    let store = memory();
    let config = orchestrator::Config {
        max_tries: 2,
        ..quick()
    };
    let mut id = String::new();
    for life in 0..3 {
        let silent = Silent::new(fake.clone(), 1);
        let driver = Arc::new(fake.clone());
        let mut rig = Rig::with(
            store.clone(),
            fake.clone(),
            driver,
            silent.clone(),
            config.clone(),
        )
        .await;
        if life == 0 {
            id = rig.start_stages(json!([webhook("1", &[])])).await;
        }
        if life < 2 {
            tokio::time::timeout(SOON, silent.came.notified())
                .await
                .unwrap();
            rig.kill();
        } else {
            let execution = rig.ends(&id, "TERMINAL").await;
            let errors = &stage(&execution, "1")["context"]["exception"]["details"]["errors"];
            assert!(
                errors[0].as_str().unwrap().contains("given up"),
                "{execution:#}"
            );
        }
    }
}
