//! From the answer to one webhook stage to the request of the next, seen by the webhook's server, on both
//! stores; and how many commands Redis is sent for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::fixture::webhook_chain;
use tests::measure::percentile;
use tests::program::installed;
use tests::redis::{Fsync, PROGRAM, Redis};
use tests::sink::Sink;
use tests::{Backend, Setup, Stack};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::Row;

const STAGES: usize = 50;
const RUNS: usize = 10;

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let backends = [
        ("embedded, fsync on", Backend::Embedded),
        ("Redis, AOF always", Backend::Redis(Fsync::Always)),
        ("Redis, AOF everysec", Backend::Redis(Fsync::EverySecond)),
    ];
    for (name, backend) in backends {
        let what = format!("webhook answered to next webhook requested, {name}");
        if backend != Backend::Embedded && !installed(PROGRAM) {
            rows.push(Row::new(
                what,
                "p50 ≤ 5 ms",
                "skipped: redis-server is not installed",
            ));
            continue;
        }
        let sink = Sink::start().await?;
        let arguments = vec!["--egress-allow".to_owned(), sink.address()];
        let stack = Stack::up(Setup {
            backend,
            arguments,
            ..Setup::default()
        })
        .await?;
        stack.gate.save_application("bench").await?;
        let chain = webhook_chain("bench", "Chain", &sink.url("/call"), STAGES);
        stack.gate.save_pipeline(&chain).await?;

        let mut gaps = Vec::new();
        let mut commands = Vec::new();
        for _ in 0..=RUNS {
            let before = sink.deliveries("/call").len();
            let counter = match &stack.redis {
                Some(redis) => Some(Monitor::start(redis).await?),
                None => None,
            };
            let id = stack.gate.start("bench", "Chain", &json!({})).await?;
            let execution = stack
                .gate
                .wait_for_execution(&id, Duration::from_secs(120))
                .await?;
            ensure!(
                execution["status"] == "SUCCEEDED",
                "a chain ended {}",
                execution["status"]
            );
            commands.extend(counter.map(Monitor::stop));
            let calls = sink.deliveries("/call").split_off(before);
            ensure!(calls.len() == STAGES, "{} calls of {STAGES}", calls.len());
            gaps.push(
                calls
                    .windows(2)
                    .map(|pair| pair[1].at - pair[0].at)
                    .collect::<Vec<_>>(),
            );
        }
        // The first run warms up.
        let gaps = gaps.split_off(1).concat();
        let show = |percent| {
            format!(
                "p{percent} {:.2} ms",
                percentile(&gaps, percent).as_secs_f64() * 1000.0
            )
        };
        let times = format!("{}, {}, {}", show(50), show(95), show(99));
        rows.push(Row::new(what, "p50 ≤ 5 ms", times));
        if let Some(fewest) = commands.iter().skip(1).min() {
            let most = commands
                .iter()
                .skip(1)
                .max()
                .context("no run was counted")?;
            let per_stage = |count: usize| format!("{:.2}", ratio(count, STAGES));
            rows.push(Row::new(
                format!("commands sent to Redis a stage, {name} (whole run ÷ {STAGES} stages)"),
                "≤ 3",
                format!("{} to {}", per_stage(*fewest), per_stage(*most)),
            ));
        }
    }
    Ok(rows)
}

/// Counts the commands that clients send; those that scripts call are not sent.
struct Monitor {
    count: Arc<AtomicUsize>,
    reading: tokio::task::JoinHandle<()>,
}

impl Monitor {
    async fn start(redis: &Redis) -> Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", redis.port)).await?;
        stream.write_all(b"MONITOR\r\n").await?;
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next_line().await?.unwrap_or_default();
        ensure!(first == "+OK", "redis answered MONITOR with {first:?}");
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let reading = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                // `+1700000000.000000 [0 lua] "hget" …` is a script's own call.
                if !line.contains(" lua] ") {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Ok(Self { count, reading })
    }

    fn stop(self) -> usize {
        self.reading.abort();
        self.count.load(Ordering::Relaxed)
    }
}

#[allow(clippy::cast_precision_loss)] // counts of one run
fn ratio(count: usize, of: usize) -> f64 {
    count as f64 / of as f64
}
