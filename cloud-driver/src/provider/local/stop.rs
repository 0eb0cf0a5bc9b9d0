//! The end of everything a data folder runs, for `gennaker down`: needs no
//! control plane, only what the folder holds.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::instance::{LAUNCH, LOCK, Launch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::shim;

/// An order that seems to have been lost is given again after this time.
const AGAIN: Duration = Duration::from_secs(2);

/// How long past the grace period an exit may take.
const MARGIN: Duration = Duration::from_secs(5);

/// What became of everything a folder ran.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stopped {
    /// How many had been running and have exited.
    pub ended: usize,
    /// The folders of those that have not.
    pub left: Vec<String>,
}

/// Stops the balancer and then every instance and job of the folder, and returns when they
/// have exited.
pub async fn stop_all(data: &Path, grace: Duration) -> Stopped {
    let data = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
    let mut stopped = Stopped::default();
    // Users first: no request is taken any more when the instances go.
    let balancers = shim::balancer_shims(&data.join("balancer"));
    stop_each(balancers, grace, &mut stopped).await;
    for folder in ["instances", shim::job::JOBS] {
        let entries = std::fs::read_dir(data.join(folder));
        let each = entries.map(|entries| entries.flatten().map(|e| e.path()).collect());
        stop_each(each.unwrap_or_default(), grace, &mut stopped).await;
    }
    stopped.left.sort();
    stopped
}

async fn stop_each(folders: Vec<PathBuf>, grace: Duration, stopped: &mut Stopped) {
    let mut stops = JoinSet::new();
    for folder in folders {
        if folder.join(LAUNCH).exists() {
            stops.spawn(async move { stop_one(folder, grace).await });
        }
    }
    while let Some(ended) = stops.join_next().await {
        match ended {
            Ok(Ended::Before) => {}
            Ok(Ended::Now) => stopped.ended += 1,
            Ok(Ended::Not(name)) => stopped.left.push(name),
            Err(error) => stopped.left.push(error.to_string()),
        }
    }
}

/// What became of one.
pub(super) enum Ended {
    /// It had ended, or was never started.
    Before,
    /// It was running and has exited.
    Now,
    /// It has not; its folder.
    Not(String),
}

/// Waits for a shim that is just starting its instance.
async fn wait_for_start(folder: &Path) {
    let Ok(lock) = File::open(folder.join(LOCK)) else {
        return;
    };
    let waiting = tokio::task::spawn_blocking(move || lock.lock_shared());
    // One that takes longer is found by its records all the same.
    let _late = tokio::time::timeout(MARGIN, waiting).await;
}

/// Stops what a shim's folder runs, and returns when it has exited.
pub(super) async fn stop_one(folder: PathBuf, grace: Duration) -> Ended {
    let name = folder.display().to_string();
    let order = std::fs::read(folder.join(LAUNCH)).ok();
    let Some(launch) = order.and_then(|text| serde_json::from_slice::<Launch>(&text).ok()) else {
        return Ended::Not(name);
    };
    wait_for_start(&folder).await;
    let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
    let end = Instant::now() + grace + MARGIN;
    let mut asked: Option<Instant> = None;
    while !shim::has_ended(&folder, &launch.token).await {
        let now = Instant::now();
        if now > end {
            return Ended::Not(name);
        }
        if asked.is_none_or(|at| now.duration_since(at) > AGAIN) {
            asked = Some(now);
            if let Err(error) = shim::stop(&folder, &name, &launch.token, grace_ms).await {
                tracing::warn!(%error, "not stopped yet");
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    match asked {
        Some(_) => Ended::Now,
        None => Ended::Before,
    }
}
