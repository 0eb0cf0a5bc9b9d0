//! `gennaker restart`: asks the supervisor to replace every process, and waits.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::folder;

/// A restart of all takes no longer, or is given up by whoever waits.
const LIMIT: Duration = Duration::from_secs(300);

/// What came of the last restart.
#[derive(Debug, Serialize, Deserialize)]
struct Restarted {
    /// How many there were.
    count: u64,
    /// Why the last one was not finished.
    error: Option<String>,
}

fn file(data: &Path) -> PathBuf {
    super::folder(data).join("restarted.json")
}

fn last(data: &Path) -> Option<Restarted> {
    serde_json::from_slice(&std::fs::read(file(data)).ok()?).ok()
}

/// Writes down that a restart ended.
pub(super) fn note(data: &Path, error: Option<&anyhow::Error>) -> anyhow::Result<()> {
    let restarted = Restarted {
        count: last(data).map_or(1, |last| last.count + 1),
        error: error.map(|e| format!("{e:#}")),
    };
    let new = file(data).with_extension("new");
    std::fs::write(&new, serde_json::to_vec(&restarted)?)?;
    Ok(std::fs::rename(new, file(data))?)
}

/// Runs the command.
pub(crate) fn run(data: &Path) -> anyhow::Result<ExitCode> {
    let shown = data.display().to_string();
    let data = data
        .canonicalize()
        .with_context(|| format!("there is no data folder {shown}"))?;
    let holder = folder::holder(&data).filter(folder::Holder::is_alive);
    let Some(holder) = holder else {
        bail!("nothing runs on {shown}; start it with: gennaker up --processes");
    };
    if !holder.processes {
        bail!(
            "the gennaker on {shown} runs in one process; repeat gennaker up there instead, \
             or start it with --processes"
        );
    }
    let before = last(&data).map_or(0, |last| last.count);
    let pid = Pid::from_raw(i32::try_from(holder.pid)?).context("process 0 holds the folder")?;
    kill_process(pid, Signal::HUP).context("the supervisor cannot be told")?;
    let begun = Instant::now();
    while begun.elapsed() < LIMIT && holder.is_alive() {
        if let Some(restarted) = last(&data).filter(|last| last.count > before) {
            if let Some(error) = restarted.error {
                bail!("{error}");
            }
            println!("every process was replaced");
            return Ok(ExitCode::SUCCESS);
        }
        // Another process's file has no event to wait for without a watch on the folder.
        let pause = rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: 50_000_000,
        };
        let _ = rustix::thread::nanosleep(&pause);
    }
    bail!("the supervisor did not finish; look at its log")
}
