//! What a process costs, by `/proc`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

/// What `/proc` counts processor time in: 100 on every architecture we build for.
const TICKS_PER_SECOND: u64 = 100;

/// The proportional set size of a process, KiB: its own pages and its share of shared ones.
///
/// # Errors
/// The process has ended, or belongs to somebody else.
pub fn pss_kib(pid: i32) -> Result<u64> {
    rollup_kib(pid, "Pss:")
}

/// The part of it that no file stands behind, KiB: heap and stacks. Pages of the program itself are not in it, which
/// the kernel takes back and brings in again by the dozen as it sees fit.
///
/// # Errors
/// The process has ended, or belongs to somebody else.
pub fn anonymous_kib(pid: i32) -> Result<u64> {
    rollup_kib(pid, "Pss_Anon:")
}

fn rollup_kib(pid: i32, field: &str) -> Result<u64> {
    let path = PathBuf::from(format!("/proc/{pid}/smaps_rollup"));
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    text.lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("{} has no {field}", path.display()))
}

/// How many descriptors a process has open.
///
/// # Errors
/// The process has ended, or belongs to somebody else.
pub fn descriptors(pid: i32) -> Result<usize> {
    let path = PathBuf::from(format!("/proc/{pid}/fd"));
    let entries =
        std::fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(entries.count())
}

/// The processor time a process has used, all its threads, user and system.
///
/// # Errors
/// The process has ended.
pub fn cpu(pid: i32) -> Result<Duration> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let fields: Vec<&str> = text[text.rfind(')').map_or(0, |at| at + 1)..]
        .split_whitespace()
        .collect();
    let ticks = |index: usize| -> Result<u64> {
        let field = fields
            .get(index)
            .with_context(|| format!("{} is short", path.display()))?;
        field
            .parse()
            .with_context(|| format!("{} is malformed", path.display()))
    };
    // Fields 14 and 15 of the file; the slice begins with field 3.
    let total = ticks(11)? + ticks(12)?;
    Ok(Duration::from_millis(
        total.saturating_mul(1_000 / TICKS_PER_SECOND),
    ))
}

/// The nearest-rank percentile of a list of durations; zero for an empty list.
pub fn percentile(durations: &[Duration], percent: usize) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).copied().unwrap_or_default()
}
