//! The end of everything a data folder runs, for `gennaker down`: needs no
//! control plane, only what the folder holds.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ::instance::{LAUNCH, Launch};
use tokio::task::JoinSet;

use super::shim;

/// How long past the grace period an exit may take.
const MARGIN: Duration = Duration::from_secs(5);

/// Stops the balancer and every instance of the folder and returns when they
/// have exited; the names of those that did not.
pub async fn stop_all(data: &Path, grace: Duration) -> Vec<String> {
    let data = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
    let mut folders = vec![data.join("balancer/shim")];
    if let Ok(entries) = std::fs::read_dir(data.join("instances")) {
        folders.extend(entries.flatten().map(|e| e.path()));
    }
    let mut stops = JoinSet::new();
    for folder in folders {
        if folder.join(LAUNCH).exists() {
            stops.spawn(async move { stop_one(folder, grace).await });
        }
    }
    let mut left = Vec::new();
    while let Some(ended) = stops.join_next().await {
        left.extend(ended.unwrap_or_default());
    }
    left.sort();
    left
}

async fn stop_one(folder: PathBuf, grace: Duration) -> Option<String> {
    let name = folder.display().to_string();
    let text = std::fs::read(folder.join(LAUNCH)).ok()?;
    let Ok(launch) = serde_json::from_slice::<Launch>(&text) else {
        return Some(name);
    };
    let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
    let end = tokio::time::Instant::now() + grace + MARGIN;
    while !shim::has_ended(&folder, &launch.token).await {
        if tokio::time::Instant::now() > end {
            return Some(name);
        }
        if let Err(error) = shim::stop(&folder, &name, &launch.token, grace_ms).await {
            tracing::warn!(%error, "not stopped yet");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}
