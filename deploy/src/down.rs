//! `gennaker down`: ends control plane, balancer and instances of a folder, and
//! returns when they have exited.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use cloud_driver::provider::local::stop::stop_all;
use rustix::process::{Pid, Signal, kill_process};

use crate::folder;

/// The control plane ends within five seconds; a little more for a busy machine.
const CONTROL_PLANE: Duration = Duration::from_secs(15);
/// Instances get this long to end by themselves; they have no users any more.
const GRACE: Duration = Duration::from_secs(5);

/// Stops everything of the folder; success also when nothing runs.
pub(crate) fn run(data: &Path) -> anyhow::Result<ExitCode> {
    if !data.exists() {
        println!("nothing runs: there is no folder {}", data.display());
        return Ok(ExitCode::SUCCESS);
    }
    let data = data.canonicalize()?;
    if folder::is_held(&data)? {
        let first = folder::holder(&data).filter(folder::Holder::is_alive);
        let pid = first.and_then(|first| Pid::from_raw(i32::try_from(first.pid).ok()?));
        // One that is not named yet has just begun, or is ending; the wait below tells.
        if let Some(pid) = pid {
            // It may have ended between the look and the signal.
            let _gone = kill_process(pid, Signal::TERM);
        }
    }
    // The lock is kept while instances are stopped, so that nobody starts new ones.
    let Some(held) = folder::wait_free(&data, CONTROL_PLANE)? else {
        let pid = folder::holder(&data).map_or(0, |h| h.pid);
        bail!("the control plane (process {pid}) did not end within 15 s; end it and repeat");
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let stopped = runtime.block_on(stop_all(&data, GRACE));
    drop(held);
    if !stopped.left.is_empty() {
        bail!(
            "these did not end; look at their {} and repeat:\n{}",
            instance::LOG,
            stopped.left.join("\n")
        );
    }
    println!("stopped {} processes of {}", stopped.ended, data.display());
    Ok(ExitCode::SUCCESS)
}
