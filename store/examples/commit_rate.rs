//! How many commits a second each backend takes, and how long one takes.
//!
//! `cargo run --release -p store --example commit_rate [redis://…]…` measures memory,
//! a file in the folder for temporary files, and each address given. A commit is that of
//! a stage of one task, as a server sees it arrive: of the execution the stage that ends,
//! the one that begins and the hash, an entry of its log, the acknowledgement of the run
//! that ended, the next run leased, and four events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use store::embedded::{Clock, Embedded, FileSettings};
use store::redis::{Redis, RedisSettings};
use store::{Address, Batch, DocumentKey, Mode, Outgoing, Shards, Shared, Then};

const LONG: Duration = Duration::from_secs(2);
const LEASE_MS: u64 = 60_000;
/// Bytes of a stage, of its hash, of an entry of the log, of a run, and of an event.
const STAGE: usize = 570;
const HASH: usize = 42;
const ENTRY: usize = 1_860;
const RUN: usize = 270;
const EVENT: usize = 280;
const EVENTS: usize = 4;

struct MachineClock;

impl Clock for MachineClock {
    fn now_ms(&self) -> i64 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        i64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    println!(
        "{:<32} {:>9} {:>10} {:>8} {:>8}",
        "backend", "in flight", "commits/s", "p50 ms", "p99 ms"
    );
    let memory = Embedded::in_memory(Arc::new(MachineClock), Shards::default());
    measure("memory", &(Arc::new(memory) as Shared)).await?;
    let folder = tempfile::tempdir()?;
    let settings = FileSettings::new(folder.path().join("store.redb"));
    let file = Embedded::open(settings, Shards::default())?;
    measure("file", &(Arc::new(file) as Shared)).await?;
    for url in std::env::args().skip(1) {
        let mut settings = RedisSettings::new(url);
        settings.prefix = format!("rate-{}", std::process::id());
        let redis: Shared = Arc::new(Redis::open(settings, Shards::default()).await?);
        let info = redis.info().await?;
        let mode = info.durability.split(':').next().unwrap_or_default();
        measure(&format!("{} {mode}", info.backend), &redis).await?;
    }
    Ok(())
}

async fn measure(name: &str, store: &Shared) -> Result<()> {
    for lanes in [1, 16, 64] {
        let until = Instant::now() + LONG;
        let tasks: Vec<_> = (0..lanes)
            .map(|number| tokio::spawn(lane(store.clone(), format!("{lanes}-{number}"), until)))
            .collect();
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await??);
        }
        times.sort_unstable();
        let rate = times.len() as f64 / LONG.as_secs_f64();
        let at = |percent: usize| {
            let time = times.get(times.len() * percent / 100).copied();
            time.unwrap_or_default().as_secs_f64() * 1000.0
        };
        let (p50, p99) = (at(50), at(99));
        println!("{name:<32} {lanes:>9} {rate:>10.0} {p50:>8.2} {p99:>8.2}");
    }
    Ok(())
}

/// One execution whose stages follow one another.
async fn lane(store: Shared, id: String, until: Instant) -> Result<Vec<Duration>> {
    let shard = store.shards().of_application(&id);
    let key = DocumentKey::new("execution", &id);
    let log = DocumentKey::new("execution-log", &id);
    // Every run is a subject of its own, under an id as long as a real one's.
    let run = |number: u64| Outgoing {
        to: Address::new("task-runs", &format!("{id:0>26}/{number:0>26}/0/1#1"), &id),
        fingerprint: "run".to_owned(),
        mode: Mode::Leased(LEASE_MS),
        delay_ms: 0,
        body: vec![b'r'; RUN].into(),
    };
    let start = Batch::new(shard, format!("{id}/0"))
        .document(&key, 0)
        .document(&log, 0)
        .message(run(0));
    let started = store.commit(start).await?;
    let mut delivery = started
        .map_err(|refused| anyhow::anyhow!("{refused}"))?
        .leased
        .pop()
        .context("the first run is leased")?;
    let mut times = Vec::new();
    for version in 1.. {
        let mut batch = Batch::new(shard, format!("{id}/{version}"))
            .document(&key, version)
            .set(&format!("s:{}", version % 10), vec![b's'; STAGE])
            .set(&format!("s:{}", (version + 1) % 10), vec![b's'; STAGE])
            .set("d", vec![b'd'; HASH]);
        for _ in 0..EVENTS {
            batch = batch.event(&key, vec![b'e'; EVENT]);
        }
        let batch = batch
            .document(&log, version)
            .set(&format!("{version:010}"), vec![b'l'; ENTRY])
            .acknowledge(&delivery, Then::Release)
            .message(run(version));
        let before = Instant::now();
        let committed = store.commit(batch).await?;
        times.push(before.elapsed());
        let mut committed = committed.map_err(|refused| anyhow::anyhow!("{refused}"))?;
        delivery = committed.leased.pop().context("the next run is leased")?;
        if Instant::now() >= until {
            break;
        }
    }
    Ok(times)
}
