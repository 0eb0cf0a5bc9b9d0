//! What a commit leaves in the store, on both backends.

use orchestrator::commit::{self, fold};
use orchestrator::executions::Executions;
use orchestrator::services::fake::Fake;
use orchestrator_core::Execution;
use serde_json::{Value, json};
use servers::Redis;
use store::{Order, Reserve, Shared};

use crate::rig::{Rig, make, memory, on, pipeline, quick, stage, webhook};

/// The store in memory, and Redis where it is installed.
pub(crate) async fn backends() -> Vec<(&'static str, Shared, Option<Redis>)> {
    let mut all = vec![("memory", memory(), None)];
    if let Some(server) = Redis::start("everysec") {
        all.push(("redis", on(&server).await, Some(server)));
    }
    all
}

async fn load(store: &Shared, id: &str) -> Execution {
    Executions::new(store.clone()).get(id, None).await.unwrap()
}

#[tokio::test]
async fn the_log_folds_to_what_is_stored_at_every_commit() {
    for (backend, store, _server) in backends().await {
        let rig = Rig::over(store.clone(), Fake::new(), quick()).await;
        let stages = json!([
            webhook("1", &[]),
            make(
                "checkPreconditions",
                "2",
                &["1"],
                json!({"preconditions": [
                    {"type": "stageStatus", "context": {"stageName": "webhook 1", "stageStatus": "SUCCEEDED"}},
                ]})
            ),
            make("manualJudgment", "3", &["2"], json!({})),
        ]);
        let id = rig.start_stages(stages).await;
        let ask = rig.stage_is(&id, "3", "RUNNING").await;
        rig.update_stage(&id, &ask, json!({"judgmentStatus": "stop"}))
            .await
            .unwrap();
        rig.ends(&id, "TERMINAL").await;
        // A restart takes synthetic stages away and makes new ones.
        let execution = rig.get(&id).await;
        rig.restart(&id, stage(&execution, "1")).await.unwrap();
        let ask = rig.stage_is(&id, "3", "RUNNING").await;
        rig.update_stage(&id, &ask, json!({"judgmentStatus": "continue"}))
            .await
            .unwrap();
        rig.ends(&id, "SUCCEEDED").await;

        let log = Executions::new(store.clone()).log(&id).await.unwrap();
        let stored = load(&store, &id).await;
        assert_eq!(fold(&log).unwrap().to_json(), stored.to_json(), "{backend}");
        let loaded = Executions::new(store.clone())
            .load(&id)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            u64::try_from(log.len()).unwrap(),
            loaded.version,
            "an entry per version"
        );
        for upto in 1..=log.len() {
            fold(&log[..upto]).unwrap();
        }
        assert!(
            log.iter()
                .all(|entry| entry["inputs"].is_array() && entry["at"].is_number())
        );
        let requested = log
            .iter()
            .flat_map(|e| e["inputs"].as_array().unwrap())
            .collect::<Vec<_>>();
        assert!(requested.iter().any(|i| i["kind"] == "taskFinished"));
    }
}

#[tokio::test]
async fn nothing_of_a_finished_execution_is_left_in_a_queue() {
    for (backend, store, _server) in backends().await {
        let rig = Rig::over(store.clone(), Fake::new(), quick()).await;
        let stages = json!([
            webhook("1", &[]),
            webhook("2", &["1"]),
            make("wait", "3", &["1"], json!({"waitTime": 3600})),
        ]);
        let id = rig.start_stages(stages).await;
        let waiting = rig.stage_is(&id, "3", "RUNNING").await;
        rig.update_stage(&id, &waiting, json!({"skipRemainingWait": true}))
            .await
            .unwrap();
        rig.ends(&id, "SUCCEEDED").await;
        let shard = store.shards().of_id(&id);
        for queue in [
            "mailbox",
            "task-runs-http",
            "task-runs-cloud-driver",
            "task-runs-definitions",
        ] {
            let begun = std::time::Instant::now();
            loop {
                let what = Reserve {
                    queue,
                    most: 10,
                    lease_ms: 1,
                    max_tries: 5,
                };
                let reserved = store.reserve(shard, what).await.unwrap();
                if reserved.deliveries.is_empty() && reserved.next_ms.is_none() {
                    break;
                }
                assert!(
                    begun.elapsed() < crate::rig::SOON,
                    "{backend} {queue}: {reserved:?}"
                );
                for delivery in reserved.deliveries {
                    store.release(&delivery.lease, 0).await.unwrap();
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            assert!(store.dead(shard, queue).await.unwrap().is_empty());
        }
    }
}

#[tokio::test]
async fn indexes_say_what_is_active_and_what_is_done() {
    for (backend, store, _server) in backends().await {
        let rig = Rig::over(store.clone(), Fake::new(), quick()).await;
        let mut body = pipeline("p", json!([make("manualJudgment", "1", &[], json!({}))]));
        body["id"] = json!("config");
        let id = rig.start(&body).await;
        let ask = rig.stage_is(&id, "1", "RUNNING").await;
        let shard = store.shards().of_id(&id);
        let members = async |index: &str| {
            let page = store
                .page(shard, index, None, Order::Ascending, 10)
                .await
                .unwrap();
            page.into_iter().map(|e| e.member).collect::<Vec<_>>()
        };
        let active = commit::active_of("pipelines", "app");
        assert_eq!(
            members(&active).await,
            std::slice::from_ref(&id),
            "{backend}"
        );
        assert_eq!(members(commit::DONE).await, [""; 0]);
        rig.update_stage(&id, &ask, json!({"judgmentStatus": "stop"}))
            .await
            .unwrap();
        rig.ends(&id, "TERMINAL").await;
        assert_eq!(members(&active).await, [""; 0]);
        assert_eq!(members(commit::DONE).await, std::slice::from_ref(&id));
        rig.restart(&id, &ask).await.unwrap();
        rig.stage_is(&id, "1", "RUNNING").await;
        assert_eq!(members(&active).await, std::slice::from_ref(&id));
        assert_eq!(members(commit::DONE).await, [""; 0]);
        rig.cancel(&id).await.unwrap();
        rig.ends(&id, "CANCELED").await;
        rig.executions
            .clone()
            .delete(Rig::action(&id))
            .await
            .unwrap();
        for index in [
            active,
            commit::listing("pipelines", ""),
            commit::listing("pipelines", "APP"),
            commit::of_pipeline("config"),
            commit::DONE.to_owned(),
        ] {
            assert_eq!(members(&index).await, [""; 0], "{backend} {index}");
        }
        for key in [commit::execution_key(&id), commit::log_key(&id)] {
            assert!(store.load(shard, &key).await.unwrap().is_none());
        }
    }
}

#[tokio::test]
async fn commands_of_many_at_once_are_all_applied() {
    for (backend, store, _server) in backends().await {
        let rig = Rig::over(store, Fake::new(), quick()).await;
        let stages: Vec<Value> = (0..8)
            .map(|n| make("manualJudgment", &n.to_string(), &[], json!({})))
            .collect();
        let id = rig.start_stages(stages.into()).await;
        let execution = rig
            .wait(&id, "all ask", |e| {
                e["stages"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|s| s["status"] == "RUNNING")
            })
            .await;
        let judged = execution["stages"].as_array().unwrap().iter().map(|asked| {
            let rig = &rig;
            let id = &id;
            async move {
                let context = json!({"judgmentStatus": "continue"});
                rig.update_stage(id, asked, context).await.unwrap();
            }
        });
        futures_util::future::join_all(judged).await;
        let execution = rig.ends(&id, "SUCCEEDED").await;
        assert_eq!(
            execution["stages"].as_array().unwrap().len(),
            8,
            "{backend}"
        );
    }
}
