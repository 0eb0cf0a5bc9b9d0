//! Another balancer in place of the one that runs, for `gennaker balancer upgrade`: needs no control
//! plane, only what the data folder holds.
//!
//! The successor takes the listening sockets over, serves, and tells its predecessor to leave. Until it
//! has said that it serves, the predecessor keeps everything: one that cannot begin changes nothing.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use ::balancer::State;
use http::{Method, StatusCode};
use tokio::time::Instant;

use super::balancer::Admin;
use super::shim::{self, Change, Shims};
use super::{Error, stop, unix};
use crate::config::Config;

/// How long the successor may take to serve.
const LIMIT: Duration = Duration::from_secs(15);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// A successor that does not serve has nobody to let finish.
const GRACE: Duration = Duration::from_secs(1);
/// Held by whoever upgrades.
const LOCK: &str = "upgrade.lock";

/// What an upgrade did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgraded {
    /// Process that served before; it ends when its last connection does.
    pub before: u32,
    /// Process that serves now.
    pub now: u32,
    /// What it was told otherwise.
    pub changes: Vec<Change>,
}

/// What of its settings a balancer is told by its command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The same as the one before.
    Again,
    /// What the configuration says; it listens where the one before does.
    Configured,
}

/// In what the balancer that runs in a data folder was started otherwise than is configured now. Nothing
/// when none runs there.
pub async fn pending(config: &Config) -> Vec<Change> {
    let folder = config.data.join("balancer");
    if unix::connect(&folder, ::balancer::ADMIN_SOCKET)
        .await
        .is_err()
    {
        return Vec::new();
    }
    let order = shim::order(&shim::balancer_shim(&folder));
    order.map_or_else(Vec::new, |order| {
        shim::changes(&order.command, &config.local)
    })
}

/// Replaces the balancer of a data folder by this installation's.
///
/// # Errors
/// When none runs there, somebody else upgrades it, or the successor does not begin to serve within 15 s;
/// the present one then serves on.
pub async fn upgrade_balancer(config: &Config, told: Told) -> Result<Upgraded, Error> {
    let folder = config.data.join("balancer");
    let failed = |reason: String| Error::Balancer(reason);
    let before = state(&folder).await.map_err(|error| {
        failed(format!(
            "none runs in {}, so there is nothing to upgrade; gennaker up starts this installation's: {error}",
            folder.display()
        ))
    })?;
    let lock = File::create(folder.join(LOCK)).map_err(|e| failed(e.to_string()))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(failed(
                "somebody else is upgrading it; wait for that".to_owned(),
            ));
        }
        Err(TryLockError::Error(error)) => return Err(failed(error.to_string())),
    }
    let shims = Shims::open(config)?;
    let local = (told == Told::Configured).then_some(&config.local);
    let (shim, changes) = shims.start_successor(&folder, local).await?;
    let end = Instant::now() + LIMIT;
    while Instant::now() < end {
        // Between the two nobody answers for a moment.
        if let Ok(now) = state(&folder).await
            && now.applied.epoch != before.applied.epoch
        {
            return Ok(Upgraded {
                before: before.pid,
                now: now.pid,
                changes,
            });
        }
        tokio::time::sleep(LOOK).await;
    }
    let lines = shims.balancer_tail().await.join("\n");
    // Its shim would go on trying.
    stop::stop_one(shim.clone(), GRACE).await;
    // The former one is in force again.
    std::fs::remove_dir_all(&shim).map_err(|e| failed(e.to_string()))?;
    Err(failed(format!(
        "its successor does not serve within 15 s, so process {} serves on; the successor's last lines:\n{lines}",
        before.pid
    )))
}

async fn state(folder: &Path) -> Result<State, Error> {
    let admin = Admin::new(folder);
    let answer = admin.ask(Method::GET, "/v1/state", &[], Vec::new()).await?;
    if answer.status != StatusCode::OK {
        return Err(Error::Balancer(format!("its state is {}", answer.status)));
    }
    serde_json::from_slice(&answer.body).map_err(|error| Error::Balancer(error.to_string()))
}
