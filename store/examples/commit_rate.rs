//! How many commits a second each backend takes, and how long one takes.
//!
//! `cargo run --release -p store --example commit_rate [redis://…]…` measures memory,
//! a file in the folder for temporary files, and each address given. A commit is what
//! a stage costs: two parts of 2 KiB, the acknowledgement that continues the lease, a
//! message at once and one in an hour, an event of 300 bytes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use store::embedded::{Clock, Embedded, FileSettings};
use store::redis::{Redis, RedisSettings};
use store::{Address, Batch, DocumentKey, MAILBOX, Mode, Outgoing, Shards, Shared, Then};

const LONG: Duration = Duration::from_secs(2);
const LEASE_MS: u64 = 60_000;
const HOUR_MS: u64 = 3_600_000;

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
    let message = |fingerprint: &str, mode, delay_ms| Outgoing {
        to: Address::new(MAILBOX, &id, &id),
        fingerprint: fingerprint.to_owned(),
        mode,
        delay_ms,
        body: vec![b'm'; 200].into(),
    };
    let start = Batch::new(shard, format!("{id}/0"))
        .document(&key, 0)
        .message(message("next", Mode::Leased(LEASE_MS), 0));
    let started = store.commit(start).await?;
    let mut delivery = started
        .map_err(|refused| anyhow::anyhow!("{refused}"))?
        .leased
        .pop()
        .context("the first message is leased")?;
    let mut times = Vec::new();
    for version in 1.. {
        let batch = Batch::new(shard, format!("{id}/{version}"))
            .document(&key, version)
            .set("h", vec![b'h'; 2048])
            .set(&format!("s:{}", version % 10), vec![b's'; 2048])
            .acknowledge(&delivery, Then::Continue(LEASE_MS))
            .message(message("next", Mode::Push, 0))
            .message(message("later", Mode::Push, HOUR_MS))
            .event(&key, vec![b'e'; 300]);
        let before = Instant::now();
        let committed = store.commit(batch).await?;
        times.push(before.elapsed());
        let mut committed = committed.map_err(|refused| anyhow::anyhow!("{refused}"))?;
        delivery = committed.next.pop().context("the lease goes on")?;
        if Instant::now() >= until {
            break;
        }
    }
    Ok(times)
}
