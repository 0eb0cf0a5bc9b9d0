//! From the start of `gennaker up` on an empty folder to 200 on `/health`.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tests::measure::percentile;
use tests::{Setup, Stack};

use crate::Row;

const RUNS: usize = 15;

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let stack = Stack::prepare(Setup::default()).await?;
        let client = stack.gate.http().clone();
        let begin = Instant::now();
        let mut program = stack.spawn()?;
        loop {
            ensure!(program.ended()?.is_none(), "it ended:\n{}", program.tail());
            ensure!(
                begin.elapsed() < Duration::from_secs(30),
                "not healthy within 30 s"
            );
            if client
                .get("/health")
                .await
                .is_ok_and(|answer| answer.status == 200)
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        times.push(begin.elapsed());
        program.kill().await?;
    }
    let (median, worst) = (percentile(&times, 50), percentile(&times, 100));
    Ok(vec![Row::new(
        format!("start on an empty folder to `/health` 200, {RUNS} runs"),
        "≤ 500 ms",
        format!(
            "median {} ms, worst {} ms",
            median.as_millis(),
            worst.as_millis()
        ),
    )])
}
