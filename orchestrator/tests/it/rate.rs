//! What a stage costs: commits and commands are counted, times are only printed.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use orchestrator::Config;
use orchestrator::services::fake::{Fake, ok};
use orchestrator::services::{Http, HttpError, HttpRequest, HttpResponse};
use serde_json::{Value, json};
use servers::Redis;
use store::embedded::{Embedded, FileSettings};
use store::{Shards, Shared};

use crate::rig::{Rig, eventually, on, pipeline, webhook};

const STAGES: usize = 50;

/// Notes when each request came.
#[derive(Default)]
struct Timed(Mutex<Vec<Instant>>);

#[async_trait]
impl Http for Timed {
    async fn send(&self, _request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.0.lock().unwrap().push(Instant::now());
        Ok(ok(&json!({})))
    }
}

fn chain() -> Value {
    let stages: Vec<Value> = (0..STAGES)
        .map(|n| {
            let before = (n.max(1) - 1).to_string();
            webhook(
                &n.to_string(),
                if n == 0 {
                    &[]
                } else {
                    std::slice::from_ref(&before)
                }
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .as_slice(),
            )
        })
        .collect();
    pipeline("chain", stages.into())
}

/// Gaps between requests of some runs, sorted.
async fn gaps(store: Shared, runs: usize) -> Vec<Duration> {
    let timed = Arc::new(Timed::default());
    let fake = Fake::new();
    let driver = Arc::new(fake.clone());
    let http: Arc<dyn Http> = timed.clone();
    let rig = Rig::with(store, fake, driver, http, Config::default()).await;
    let mut gaps = Vec::new();
    for _ in 0..runs {
        timed.0.lock().unwrap().clear();
        let id = rig.start(&chain()).await;
        rig.ends(&id, "SUCCEEDED").await;
        let times = timed.0.lock().unwrap().clone();
        assert_eq!(times.len(), STAGES);
        gaps.extend(times.windows(2).map(|pair| pair[1] - pair[0]));
    }
    gaps.sort();
    gaps
}

fn print(what: &str, gaps: &[Duration]) {
    let at = |share: usize| gaps[(gaps.len() - 1) * share / 100];
    println!(
        "{what}: webhook to webhook p50 {:?}, p90 {:?}, p99 {:?}",
        at(50),
        at(90),
        at(99)
    );
}

#[tokio::test]
async fn a_stage_of_one_webhook_is_few_commands_to_redis() {
    let Some(server) = Redis::start("always") else {
        return;
    };
    let store = on(&server).await;
    print("redis, always", &gaps(store.clone(), 3).await);
    let fake = Fake::new();
    let rig = Rig::over(store, fake, Config::default()).await;
    let id = rig.start(&chain()).await;
    rig.ends(&id, "SUCCEEDED").await;
    // Without a watcher or a reader: the engine alone.
    let before = server.calls();
    let id = rig.start(&chain()).await;
    let all = async || rig.fake.requests().len() == 2 * STAGES;
    eventually("every webhook was sent", all).await;
    let after = server.calls();
    // What a client sends: scripts, waits, plain reads. The rest is inside scripts.
    let grown =
        |name: &str| after.get(name).copied().unwrap_or(0) - before.get(name).copied().unwrap_or(0);
    let sent: u64 = ["evalsha", "eval", "fcall", "blpop", "xread"]
        .into_iter()
        .map(grown)
        .sum();
    println!("redis: {sent} commands sent for {STAGES} stages");
    let stages = u64::try_from(STAGES).unwrap();
    assert!(sent <= 3 * stages, "{sent} commands for {STAGES} stages");
    rig.ends(&id, "SUCCEEDED").await;
}

#[tokio::test]
async fn a_chain_of_webhooks_on_a_file_takes_its_time_from_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let settings = FileSettings::new(folder.path().join("store.redb"));
    let store: Shared = Arc::new(Embedded::open(settings, Shards::default()).unwrap());
    print("embedded, fsync", &gaps(store, 3).await);
    print("memory", &gaps(crate::rig::memory(), 3).await);
}
