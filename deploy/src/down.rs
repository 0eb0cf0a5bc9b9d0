//! `gennaker down`: ends control plane, balancer and instances of a folder, and
//! returns when they have exited.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use instance::{Answer, EXIT, LAUNCH, Launch, Request, SOCKET};
use rustix::process::{Pid, Signal, kill_process};

use crate::folder;

/// The control plane ends within five seconds; a little more for a busy machine.
const CONTROL_PLANE: Duration = Duration::from_secs(15);
/// Instances get this long to end by themselves; they have no users any more.
const GRACE_MS: u64 = 5_000;
/// After that they are killed, which takes no time.
const INSTANCES: Duration = Duration::from_secs(20);
/// Folders looked into for shims, so deep and no deeper.
const DEPTH: usize = 4;

/// Stops everything of the folder; success also when nothing runs.
pub(crate) fn run(data: &Path) -> anyhow::Result<ExitCode> {
    if !data.exists() {
        println!("nothing runs: there is no folder {}", data.display());
        return Ok(ExitCode::SUCCESS);
    }
    let data = data.canonicalize()?;
    if folder::is_held(&data)? {
        let first = folder::holder(&data).context("somebody holds the folder without a name")?;
        let pid = i32::try_from(first.pid)
            .ok()
            .and_then(Pid::from_raw)
            .context("no process id")?;
        // It may have ended between the look and the signal.
        let _gone = kill_process(pid, Signal::TERM);
    }
    // The lock is kept while instances are stopped, so that nobody starts new ones.
    let Some(held) = folder::wait_free(&data, CONTROL_PLANE)? else {
        let pid = folder::holder(&data).map_or(0, |h| h.pid);
        bail!("the control plane (process {pid}) did not end within 15 s; end it and repeat");
    };
    let mut shims = Vec::new();
    find_shims(&data, DEPTH, &mut shims);
    // Users first: the balancer stops taking requests before instances go.
    shims.sort_by_key(|folder| !folder.components().any(|c| c.as_os_str() == "balancer"));
    let mut asked = Vec::new();
    for shim in shims {
        if stop(&shim) {
            asked.push(shim);
        }
    }
    let end = Instant::now() + INSTANCES;
    for shim in &asked {
        while !shim.join(EXIT).exists() && state(shim).is_some() {
            if Instant::now() > end {
                bail!(
                    "{} did not end; look at its {}",
                    shim.display(),
                    instance::LOG
                );
            }
            pause();
        }
    }
    drop(held);
    println!("stopped {} processes of {}", asked.len(), data.display());
    Ok(ExitCode::SUCCESS)
}

fn pause() {
    // The end of a process of another session has no event to wait for.
    let time = rustix::time::Timespec {
        tv_sec: 0,
        tv_nsec: 20_000_000,
    };
    let _early = rustix::thread::nanosleep(&time);
}

fn find_shims(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    if folder.join(SOCKET).exists() && folder.join(LAUNCH).exists() {
        found.push(folder.to_owned());
        return;
    }
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let is_folder = entry.file_type().is_ok_and(|t| t.is_dir());
        // Unpacked images hold thousands of folders and never a shim.
        if depth > 0 && is_folder && entry.file_name() != "images" {
            find_shims(&entry.path(), depth - 1, found);
        }
    }
}

fn token(shim: &Path) -> Option<String> {
    let launch: Launch = serde_json::from_slice(&std::fs::read(shim.join(LAUNCH)).ok()?).ok()?;
    Some(launch.token)
}

/// Whether the shim of a folder lives and takes the stop order.
fn stop(shim: &Path) -> bool {
    let Some(token) = token(shim) else {
        return false;
    };
    ask(
        shim,
        &Request::Stop {
            token,
            grace_ms: Some(GRACE_MS),
        },
    )
    .is_some()
}

fn state(shim: &Path) -> Option<Answer> {
    let token = token(shim)?;
    ask(shim, &Request::State { token, port: None })
}

/// One exchange with a shim; none if nobody answers.
fn ask(shim: &Path, request: &Request) -> Option<Answer> {
    let mut stream = UnixStream::connect(socket(shim)?).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    writeln!(stream, "{}", serde_json::to_string(request).ok()?).ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}

/// The kernel takes no socket path above 107 bytes; a relative one is short.
fn socket(shim: &Path) -> Option<PathBuf> {
    let plain = shim.join(SOCKET);
    if plain.as_os_str().len() < 100 {
        return Some(plain);
    }
    let here = std::env::current_dir().ok()?;
    plain.strip_prefix(here).ok().map(ToOwned::to_owned)
}
