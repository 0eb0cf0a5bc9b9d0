//! Waiting for a condition, with a deadline that says what was last seen.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

/// How often a condition is looked at.
const EVERY: Duration = Duration::from_millis(20);

/// Looks until `look` gives `Ok(value)`, and returns the value. `Err(seen)` means *not yet*.
///
/// # Errors
/// The deadline passed: names what was waited for and what was seen last.
pub async fn eventually<T, S: Debug>(
    what: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Result<T, S>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        let seen = match look().await {
            Ok(value) => return Ok(value),
            Err(seen) => seen,
        };
        if Instant::now() >= end {
            bail!(
                "{what}: not within {} s; last seen: {seen:#?}",
                deadline.as_secs()
            );
        }
        tokio::time::sleep(EVERY).await;
    }
}
