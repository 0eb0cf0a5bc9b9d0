//! The data folder and who holds it.
//!
//! The holder is whoever has the lock on `up.lock`; the kernel releases it when
//! that process ends, however it ends. `up.json` beside it only says who that is.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// Who runs on a folder.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Holder {
    /// Process id.
    pub(crate) pid: u32,
    /// When that process began, in clock ticks since boot: ids are given out again.
    #[serde(default)]
    pub(crate) start: u64,
    /// Port of its REST interface.
    pub(crate) port: u16,
    /// Port of its load balancer.
    pub(crate) balancer_port: u16,
    /// It supervises processes, one or more for each service.
    #[serde(default)]
    pub(crate) processes: bool,
    /// The configuration it was given, absolute; none: that of the folder.
    #[serde(default)]
    pub(crate) config: Option<PathBuf>,
}

impl Holder {
    /// This process with these ports.
    pub(crate) fn this(port: u16, balancer_port: u16) -> Self {
        let pid = std::process::id();
        Self {
            pid,
            start: start_of(pid).unwrap_or_default(),
            port,
            balancer_port,
            processes: false,
            config: None,
        }
    }

    /// Whether it is still the process that wrote this.
    pub(crate) fn is_alive(&self) -> bool {
        start_of(self.pid) == Some(self.start)
    }
}

/// Field 22 of `/proc/<pid>/stat`; none if there is no such process.
fn start_of(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, so count from behind it.
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// A folder that this process holds until the value is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    /// The folder, absolute.
    pub(crate) path: PathBuf,
    _lock: File,
}

fn lock_file(path: &Path) -> anyhow::Result<File> {
    let file = path.join("up.lock");
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&file)
        .with_context(|| format!("cannot open {}", file.display()))
}

/// Whoever holds the folder says this of itself; none if nobody wrote it yet.
pub(crate) fn holder(path: &Path) -> Option<Holder> {
    serde_json::from_slice(&std::fs::read(path.join("up.json")).ok()?).ok()
}

/// Takes the folder, creating it, for `holder`.
pub(crate) fn hold(path: &Path, new: &Holder) -> anyhow::Result<Held> {
    std::fs::create_dir_all(path)
        .with_context(|| format!("cannot create data folder {}", path.display()))?;
    let path = path.canonicalize()?;
    let lock = lock_file(&path)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let data = path.display();
            match holder(&path) {
                Some(first) => bail!(
                    "data folder {data} is held by the gennaker that runs as process {} \
                     (http://127.0.0.1:{}/ui/); stop it with: gennaker down --data {data}",
                    first.pid,
                    first.port
                ),
                None => bail!("data folder {data} is held by another gennaker; choose another"),
            }
        }
        Err(error) => return Err(error).context("cannot lock the data folder"),
    }
    let temporary = path.join("up.json.new");
    let mut file = File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(new)?)?;
    std::fs::rename(&temporary, path.join("up.json"))?;
    Ok(Held { path, _lock: lock })
}

/// Takes the folder once nobody holds it any more; none if that lasts longer than `limit`.
pub(crate) fn wait_free(path: &Path, limit: Duration) -> anyhow::Result<Option<Held>> {
    let lock = lock_file(path)?;
    let end = Instant::now() + limit;
    loop {
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                return Ok(Some(Held {
                    path: path.to_owned(),
                    _lock: lock,
                }));
            }
            Err(Errno::WOULDBLOCK) if Instant::now() < end => {
                // A lock held by another process has no event to wait for.
                let pause = rustix::time::Timespec {
                    tv_sec: 0,
                    tv_nsec: 10_000_000,
                };
                let _ = rustix::thread::nanosleep(&pause);
            }
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error).context("cannot lock the data folder"),
        }
    }
}

/// Whether somebody holds the folder now.
pub(crate) fn is_held(path: &Path) -> anyhow::Result<bool> {
    if !path.join("up.lock").exists() {
        return Ok(false);
    }
    Ok(wait_free(path, Duration::ZERO)?.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_told_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let holder = |pid| Holder {
            pid,
            start: 0,
            port: 8084,
            balancer_port: 8080,
            processes: false,
            config: None,
        };
        let first = hold(folder.path(), &holder(1)).unwrap();
        let refused = hold(folder.path(), &holder(2)).unwrap_err().to_string();
        assert!(
            refused.contains("process 1") && refused.contains("gennaker down"),
            "{refused}"
        );
        assert!(is_held(folder.path()).unwrap());
        drop(first);
        assert!(!is_held(folder.path()).unwrap());
        hold(folder.path(), &holder(2)).unwrap();
    }
}
