//! The shim of one local instance: its parent, its log, its end.
//!
//! Owns the instance's process group, its output and the record of its exit, and
//! outlives whoever started it. It never decides anything: it starts what
//! `launch.json` says, once, and stops it when asked. Nothing asynchronous in it.

mod folder;
mod log;
mod process;
mod serve;
mod sockets;
mod supervise;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let verb = arguments
        .next()
        .and_then(|a| a.into_string().ok())
        .unwrap_or_default();
    let Some(folder) = arguments.next().map(PathBuf::from) else {
        eprintln!("usage: instance run FOLDER (FOLDER holds launch.json)");
        return ExitCode::from(64);
    };
    let outcome = match verb.as_str() {
        "run" => process::launch(&folder),
        "supervise" => supervise::run(&folder),
        other => Err(format!(
            "\"{other}\" is not known; write: instance run FOLDER"
        )),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("instance: {}: {error}", folder.display());
            ExitCode::from(1)
        }
    }
}
