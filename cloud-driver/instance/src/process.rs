//! Starting: the launcher half that returns at once, and the facts of processes.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use instance::{EXIT, Exit, Ids, LAUNCH, Launch, STATE};

use crate::folder;

/// Start time of a process in clock ticks since boot, and its state letter; none
/// if there is no such process.
pub(crate) fn stat(pid: u32) -> Option<(u64, char)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything, so count from behind it.
    let rest = &text[text.rfind(')')? + 1..];
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((fields.nth(18)?.parse().ok()?, state))
}

/// Whether the process with this start time runs: not another one of the same
/// id, not one that waits to be reaped.
pub(crate) fn is_running(pid: u32, start: u64) -> bool {
    matches!(stat(pid), Some((there, state)) if there == start && !matches!(state, 'Z' | 'X'))
}

/// The machine's boot, which ends every process.
pub(crate) fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// Starts the shim for a folder, which begins a session of its own, and returns once
/// the instance runs or is known not to. A second call finds the first.
pub(crate) fn launch(folder: &Path) -> Result<(), String> {
    let launch: Option<Launch> = folder::read(&folder.join(LAUNCH))?;
    if launch.is_none() {
        return Err(format!("there is no {LAUNCH}; write it first"));
    }
    if folder.join(EXIT).exists() {
        return Ok(());
    }
    if let Some(ids) = folder::read::<Ids>(&folder.join(STATE))?
        && ids.boot_id == boot_id()
        && is_running(ids.shim_pid, ids.shim_start)
    {
        return Ok(());
    }
    let folder = &folder
        .canonicalize()
        .map_err(|e| format!("cannot enter: {e}"))?;
    let program = std::env::current_exe().map_err(|e| format!("cannot find myself: {e}"))?;
    let mut shim = Command::new(program)
        .arg("supervise")
        .arg(folder)
        .current_dir("/")
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("cannot start the shim: {e}"))?;
    // The shim says one line, `up` or why not, and closes its end.
    let mut said = String::new();
    if let Some(mut pipe) = shim.stdout.take() {
        pipe.read_to_string(&mut said)
            .map_err(|e| format!("the shim said nothing: {e}"))?;
    }
    match said.trim() {
        "up" => Ok(()),
        "" => Err("the shim ended without a word".to_owned()),
        why => Err(why.to_owned()),
    }
}

/// Writes the record of an instance that could not be started.
pub(crate) fn record_failure(folder: &Path, failure: &str) {
    let now = folder::now_ms();
    let exit = Exit {
        failure: Some(failure.to_owned()),
        started_ms: now,
        ended_ms: now,
        ..Exit::default()
    };
    // Nobody is left to tell if the folder cannot be written either.
    let _lost = folder::write(&folder.join(EXIT), &exit);
}
