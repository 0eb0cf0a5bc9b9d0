//! Stages that wait for their time: how late they wake up when many do, what a great many of them cost while
//! nothing is due, and whether one application suffers from another.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::fixture::{pipeline, stage};
use tests::program::installed;
use tests::redis::{Fsync, PROGRAM, Redis};
use tests::{Backend, Setup, Stack, measure};

use crate::Row;
use crate::load::{control_plane, count, start_all, time};

/// Executions at once, each of so many waits of so many seconds.
const EXECUTIONS: usize = 10_000;
const WAITS: usize = 20;
const SECONDS: i64 = 10;
/// The single execution of another application.
const LONE_WAITS: usize = 20;
const LONE_SECONDS: i64 = 1;
/// Stages that all wait: executions of so many branches.
const IDLE: usize = 1_000;
const BRANCHES: usize = 100;
const REST: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(900);

pub(crate) async fn measure() -> Result<Vec<Row>> {
    if !installed(PROGRAM) {
        let reason = "skipped: redis-server is not installed";
        return Ok(vec![Row::new("waiting stages", "", reason)]);
    }
    let mut rows = many_wake().await?;
    rows.extend(many_wait().await?);
    Ok(rows)
}

async fn up() -> Result<Stack> {
    let setup = Setup {
        backend: Backend::Redis(Fsync::EverySecond),
        ..Setup::default()
    };
    let stack = Stack::up(setup).await?;
    for application in ["many", "lone"] {
        stack.gate.save_application(application).await?;
    }
    Ok(stack)
}

fn waits(application: &str, many: usize, seconds: i64) -> Value {
    let stages: Vec<Value> = (0..many)
        .map(|number| {
            let after = number.checked_sub(1).map(|before| before.to_string());
            let after: Vec<&str> = after.iter().map(String::as_str).collect();
            let id = number.to_string();
            stage("wait", &id, &id, &after, json!({"waitTime": seconds}))
        })
        .collect();
    pipeline(application, "Waits", &stages)
}

/// How late each stage of an execution ended that waited so many seconds.
fn lags(execution: &Value, seconds: i64) -> Result<Vec<Duration>> {
    ensure!(
        execution["status"] == "SUCCEEDED",
        "it ended {}",
        execution["status"]
    );
    let stages = execution["stages"].as_array().context("no stages")?;
    let lag = |stage: &Value| -> Result<Duration> {
        let late = time(stage, "endTime")? - time(stage, "startTime")? - 1_000 * seconds;
        ensure!(late >= 0, "a wait ended {} ms early", -late);
        Ok(Duration::from_millis(u64::try_from(late)?))
    };
    stages.iter().map(lag).collect()
}

/// Ten thousand executions that wake up again and again; a single one of another application beside them.
async fn many_wake() -> Result<Vec<Row>> {
    let stack = up().await?;
    let lone = waits("lone", LONE_WAITS, LONE_SECONDS);
    let alone = lone_lag(&stack, &lone).await?;
    let many = waits("many", WAITS, SECONDS);
    let ids = start_all(&stack.gate, &many, EXECUTIONS).await?;
    let before = spent(&stack)?;
    let clock = std::time::Instant::now();
    let beside = lone_lag(&stack, &lone).await?;
    let cost =
        (spent(&stack)?.saturating_sub(before)).as_secs_f64() / clock.elapsed().as_secs_f64();
    let mut all = Vec::new();
    for id in &ids {
        let ended = stack.gate.wait_for_execution(id, PATIENCE).await?;
        all.extend(lags(&ended, SECONDS)?);
    }
    let late = |percent: usize| measure::percentile(&all, percent).as_millis();
    Ok(vec![
        Row::new(
            format!(
                "{EXECUTIONS} executions at once, {WAITS} waits of {SECONDS} s each: how late they wake, p99"
            ),
            "≤ 250 ms",
            format!("{} ms (p50 {}, all {})", late(99), late(50), late(100)),
        ),
        Row::new(
            "processor meanwhile, control plane and Redis",
            "",
            format!("{:.0} % of a core", 100.0 * cost),
        ),
        Row::new(
            "the single execution of another application beside them: how late it wakes, mean",
            "≤ 2 × alone",
            format!(
                "{:.1} × ({:.2} ms, alone {:.2} ms)",
                beside / alone,
                beside,
                alone
            ),
        ),
    ])
}

/// How late the waits of a single execution ended, mean, ms.
async fn lone_lag(stack: &Stack, pipeline: &Value) -> Result<f64> {
    let id = stack.gate.start_ad_hoc(pipeline).await?;
    let ended = stack.gate.wait_for_execution(&id, PATIENCE).await?;
    let lags = lags(&ended, LONE_SECONDS)?;
    let sum: Duration = lags.iter().sum();
    Ok(1000.0 * sum.as_secs_f64() / count(lags.len()))
}

fn redis(stack: &Stack) -> Result<&Redis> {
    stack.redis.as_ref().context("no redis")
}

fn spent(stack: &Stack) -> Result<Duration> {
    Ok(measure::cpu(control_plane(stack)?)? + measure::cpu(redis(stack)?.pid()?)?)
}

/// A hundred thousand stages of which none is due.
async fn many_wait() -> Result<Vec<Row>> {
    let stack = up().await?;
    let branches: Vec<Value> = (0..BRANCHES)
        .map(|number| {
            let id = number.to_string();
            stage("wait", &id, &id, &[], json!({"waitTime": 86_400}))
        })
        .collect();
    let wide = pipeline("many", "Wide", &branches);
    start_all(&stack.gate, &wide, IDLE).await?;
    // What follows from a start may still be on its way.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let seconds = i64::try_from(REST.as_secs())? + 5;
    let first = stack.gate.start_ad_hoc(&waits("many", 1, seconds)).await?;
    let (ours, theirs) = (control_plane(&stack)?, redis(&stack)?.pid()?);
    let before = (measure::cpu(ours)?, measure::cpu(theirs)?);
    tokio::time::sleep(REST).await;
    let after = (measure::cpu(ours)?, measure::cpu(theirs)?);
    let memory = (measure::pss_kib(ours)?, measure::pss_kib(theirs)?);
    let ended = stack.gate.wait_for_execution(&first, PATIENCE).await?;
    let late = measure::percentile(&lags(&ended, seconds)?, 100).as_millis();
    let share = |spent: Duration| 100.0 * spent.as_secs_f64() / REST.as_secs_f64();
    let ours = share(after.0.saturating_sub(before.0));
    let theirs = share(after.1.saturating_sub(before.1));
    let mib = |kib: u64| count(usize::try_from(kib).unwrap_or(usize::MAX)) / 1024.0;
    let stages = IDLE * BRANCHES;
    Ok(vec![
        Row::new(
            format!("{stages} stages that wait, over {} s", REST.as_secs()),
            "≤ 0.5 % of a core",
            format!("{ours:.2} % (Redis {theirs:.2} %)"),
        ),
        Row::new(
            "memory of the control plane then, PSS",
            "≤ 400 MiB",
            format!("{:.0} MiB (Redis {:.0})", mib(memory.0), mib(memory.1)),
        ),
        Row::new(
            "the first wake-up afterwards",
            "≤ 100 ms late",
            format!("{late} ms"),
        ),
    ])
}
