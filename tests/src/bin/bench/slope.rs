//! Whether the control plane's memory grows with what it has done.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::fixture::{pipeline, stage};
use tests::program::installed;
use tests::redis::{Fsync, PROGRAM};
use tests::{Backend, Setup, Stack, measure};

use crate::Row;
use crate::load::{control_plane, count, start_all};

/// Executions in all, and after how many of them memory is read.
const EXECUTIONS: usize = 100_000;
const EACH: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(60);
/// Half the width of the interval that holds 95 of 100, in standard errors.
const WIDTH: f64 = 1.96;

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let what = format!("memory per 10,000 executions, second half of {EXECUTIONS}");
    let promised = "95 % interval contains 0 or ≤ 1 MiB";
    if !installed(PROGRAM) {
        let reason = "skipped: redis-server is not installed";
        return Ok(vec![Row::new(what, promised, reason)]);
    }
    let stack = Stack::up(Setup {
        backend: Backend::Redis(Fsync::EverySecond),
        ..Setup::default()
    })
    .await?;
    stack.gate.save_application("slope").await?;
    let variables = json!({"variables": [{"key": "two", "value": "${1 + 1}"}]});
    let stages = [
        stage("evaluateVariables", "1", "1", &[], variables),
        stage("wait", "2", "2", &["1"], json!({"waitTime": 0})),
    ];
    let small = pipeline("slope", "Small", &stages);
    let process = control_plane(&stack)?;
    let mut seen = Vec::new();
    for round in 1..=EXECUTIONS / EACH {
        let ids = start_all(&stack.gate, &small, EACH).await?;
        let last = ids.last().context("nothing was started")?;
        stack.gate.wait_for_execution(last, PATIENCE).await?;
        let kib = measure::pss_kib(process)?;
        seen.push((
            count(round * EACH) / 10_000.0,
            count(usize::try_from(kib)?) / 1024.0,
        ));
    }
    let half = seen.split_off(seen.len() / 2);
    let (slope, error) = line(&half).context("too few points")?;
    let (first, last) = (half.first(), half.last());
    let ends = first.zip(last).context("no points")?;
    ensure!(slope.is_finite(), "no slope");
    Ok(vec![Row::new(
        what,
        promised,
        format!(
            "{slope:.2} MiB, from {:.2} to {:.2} (PSS {:.1} to {:.1} MiB)",
            slope - WIDTH * error,
            slope + WIDTH * error,
            ends.0.1,
            ends.1.1
        ),
    )])
}

/// Slope of the least-squares line, and its standard error.
fn line(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let number = count(points.len());
    if points.len() < 3 {
        return None;
    }
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / number;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let spread: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    let slope = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum::<f64>() / spread;
    let off = |p: &(f64, f64)| (p.1 - y - slope * (p.0 - x)).powi(2);
    let rest: f64 = points.iter().map(off).sum();
    Some((slope, (rest / (number - 2.0) / spread).sqrt()))
}
