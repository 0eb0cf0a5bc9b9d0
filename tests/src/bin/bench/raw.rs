//! The rate of commits that a store takes by itself: `commit_rate` of the crate `store`, which this crate does not link.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use tests::program;
use tests::redis::Redis;

/// The best rate of commits a second on a server, over the numbers in flight that are tried.
///
/// # Errors
/// The example is not built (`cargo build --release -p store --example commit_rate`), or fails.
pub(crate) fn commits_a_second(redis: &Redis) -> Result<f64> {
    let path = program::folder()?.join("examples/commit_rate");
    let run = Command::new(&path).arg(redis.url()).output();
    let run = run.with_context(|| format!("cannot run {}", path.display()))?;
    ensure!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let text = String::from_utf8_lossy(&run.stdout);
    // Backend, its durability, in flight, commits a second, and times.
    let rates = text
        .lines()
        .filter(|line| line.contains("redis"))
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().rev().collect();
            fields.get(2)?.parse::<f64>().ok()
        });
    rates
        .reduce(f64::max)
        .with_context(|| format!("no rate in {text}"))
}
