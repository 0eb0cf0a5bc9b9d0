//! From the last byte of a registry's notification to the first stage RUNNING: in one process over the
//! embedded store, fsync on; and with two processes of each service over Redis.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::fixture::{pipeline, stage};
use tests::measure::percentile;
use tests::redis::Fsync;
use tests::stack::Backend;
use tests::world::{APPLICATION, REGISTRY, REPOSITORY};
use tests::{Setup, World, eventually};

use crate::Row;

const NOTIFICATIONS: usize = 200;
const EVERY: Duration = Duration::from_millis(100);

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let processes = Setup {
        backend: Backend::Redis(Fsync::Always),
        arguments: ["--processes", "--replicas", "2"]
            .map(str::to_owned)
            .to_vec(),
        ..Setup::default()
    };
    let mut rows = Vec::new();
    for (setup, place) in [
        (Setup::default(), "one process, fsync on"),
        (
            processes,
            "two processes of each service, Redis, AOF always",
        ),
    ] {
        rows.push(measure_in(setup, place).await?);
    }
    Ok(rows)
}

async fn measure_in(setup: Setup, place: &str) -> Result<Row> {
    let world = World::up(setup).await?;
    let gate = &world.stack.gate;
    let mut definition = pipeline(
        APPLICATION,
        "Notified",
        &[stage("wait", "Wait", "1", &[], json!({"waitTime": 0}))],
    );
    definition["triggers"] = json!([{
        "type": "docker", "enabled": true, "account": REGISTRY, "repository": REPOSITORY,
    }]);
    gate.save_pipeline(&definition).await?;

    let mut sent = Vec::new();
    // Latency, not throughput: registries do not push two hundred images in a second.
    let mut pace = tokio::time::interval(EVERY);
    for number in 0..NOTIFICATIONS {
        pace.tick().await;
        let tag = format!("t{number}");
        let event = json!({"events": [{
            "action": "push",
            "target": {
                "digest": format!("sha256:{number:064x}"), "repository": REPOSITORY, "tag": tag,
            },
            "request": {"host": world.registry.address()},
        }]});
        // The client writes the request in one piece; the last byte leaves before its answer comes.
        let at = epoch_ms();
        let answer = gate
            .http()
            .post(&format!("/webhooks/docker/{REGISTRY}"), &event)
            .await?;
        ensure!(
            answer.status.is_success(),
            "refused: {} {}",
            answer.status,
            answer.text()
        );
        sent.push((tag, at));
    }
    let executions = eventually(
        "every execution has ended",
        Duration::from_secs(60),
        async || match gate.executions(APPLICATION).await {
            Ok(found) => {
                let ended = found
                    .iter()
                    .filter(|execution| execution["status"] == "SUCCEEDED");
                let ended = ended.count();
                if ended == NOTIFICATIONS {
                    Ok(found)
                } else {
                    Err(format!("{ended} ended"))
                }
            }
            Err(error) => Err(format!("{error:#}")),
        },
    )
    .await?;
    let mut delays = Vec::new();
    for (tag, at) in sent {
        let execution = executions
            .iter()
            .find(|execution| execution["trigger"]["tag"] == tag.as_str())
            .with_context(|| format!("no execution of {tag}"))?;
        let started = execution["stages"][0]["startTime"]
            .as_u64()
            .context("no startTime")?;
        delays.push(Duration::from_millis(started.saturating_sub(at)));
    }
    let show = |percent| percentile(&delays, percent).as_millis();
    Ok(Row::new(
        format!("notification to first stage RUNNING, {NOTIFICATIONS} notifications, {place}"),
        "p95 ≤ 50 ms",
        format!(
            "p50 {} ms, p95 {} ms, p99 {} ms",
            show(50),
            show(95),
            show(99)
        ),
    ))
}

fn epoch_ms() -> u64 {
    let epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(epoch.as_millis()).unwrap_or(u64::MAX)
}
