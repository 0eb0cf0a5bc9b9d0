//! Programs that are started, measured and ended.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Result;

/// Clock ticks a second in `/proc/<pid>/stat`; fixed by the kernel's interface.
const TICKS: f64 = 100.0;

/// Longest time a program takes until it listens, and until it has ended.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A process that ends, with its workers, when this is dropped.
#[derive(Debug)]
pub(crate) struct Program(Child);

impl Program {
    /// Starts it without input; what it prints is dropped, its complaints are not.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Ok(Self(child.map_err(|e| format!("{command:?}: {e}"))?))
    }

    /// The process and its children.
    fn pids(&self) -> Vec<u32> {
        let pid = self.0.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let children = children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok());
        std::iter::once(pid).chain(children).collect()
    }

    /// Seconds of processor time so far, user and system, of all its processes and threads.
    pub(crate) fn cpu(&self) -> f64 {
        let ticks = self.pids().into_iter().filter_map(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
            let user: f64 = fields.next()?.parse().ok()?;
            let system: f64 = fields.next()?.parse().ok()?;
            Some(user + system)
        });
        ticks.sum::<f64>() / TICKS
    }

    /// Resident memory of all its processes, KiB. Pages that they share count for each.
    pub(crate) fn resident_kib(&self) -> u64 {
        let resident = self.pids().into_iter().filter_map(|pid| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        });
        resident.sum()
    }
}

impl Drop for Program {
    /// Asked first: a killed nginx would leave its workers behind.
    fn drop(&mut self) {
        let _asked = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// Waits until somebody listens on a port.
///
/// # Errors
/// When nobody does in time.
pub(crate) fn wait_for(port: u16) -> Result<()> {
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if begun.elapsed() > PATIENCE {
            return Err(format!("nobody listens on port {port}").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
