//! One replica's place: started, watched, started again when it dies, replaced on a
//! restart only when its successor is ready.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use runtime::retry::Backoff;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};

use super::{Kind, READY};

/// A replica is ready within this time, or its start has failed.
const START: Duration = Duration::from_secs(60);
/// It ends by itself within this time after SIGTERM, or is killed.
const END: Duration = Duration::from_secs(9);
/// One that lived so long before it failed begins anew with the shortest pause.
const STEADY: Duration = Duration::from_secs(3);
/// Signals that only somebody else sends: a person, or the system when memory is short. What a process does
/// wrong itself ends it with others.
const FROM_OUTSIDE: [Signal; 4] = [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP];
/// Pauses before one that died is started again.
const AGAIN: Backoff = Backoff {
    initial: Duration::from_millis(50),
    factor: 2.0,
    cap: Duration::from_secs(10),
    jitter: 0.2,
};

/// What a slot is asked.
pub(super) enum Order {
    /// Replace the process; answered when the former one has ended.
    Restart(oneshot::Sender<anyhow::Result<()>>),
    /// End it.
    Stop,
}

/// How to start a replica.
pub(super) struct Slot {
    pub(super) kind: Kind,
    pub(super) number: u32,
    /// The program, by where it was when the supervisor began: what took its place since is what a restart
    /// is to start.
    pub(super) program: PathBuf,
    /// Arguments behind the subcommand.
    pub(super) arguments: Vec<OsString>,
    /// What it accepts from.
    pub(super) listener: OwnedFd,
}

/// A started process.
struct Process {
    child: Child,
    begun: Instant,
}

impl Slot {
    /// Keeps one replica running until it is told to stop. `ready` is told of its first readiness.
    pub(super) async fn keep(
        self,
        ready: oneshot::Sender<()>,
        mut orders: mpsc::Receiver<Order>,
    ) -> anyhow::Result<()> {
        let mut ready = Some(ready);
        let mut failures = 0;
        loop {
            let mut process = match self.start().await {
                Ok(process) => process,
                Err(error) => {
                    failures += 1;
                    tracing::error!("{self} cannot be started: {error:#}");
                    if self.pause(failures, &mut orders).await {
                        return Ok(());
                    }
                    continue;
                }
            };
            if let Some(ready) = ready.take() {
                let _ = ready.send(());
            }
            let status = loop {
                tokio::select! {
                    status = process.child.wait() => break status,
                    order = orders.recv() => match order {
                        Some(Order::Restart(done)) => {
                            // Ready first: then the former one ends.
                            let replaced = self.start().await;
                            let answer = match replaced {
                                Ok(next) => {
                                    let former = std::mem::replace(&mut process, next);
                                    end(former.child).await
                                }
                                Err(error) => Err(error),
                            };
                            let _ = done.send(answer);
                        }
                        Some(Order::Stop) | None => return end(process.child).await,
                    },
                }
            };
            failures = failures_after(failures, process.begun.elapsed(), status.as_ref().ok());
            tracing::warn!("{self} ended: {}; it is started again", told(status));
            if self.pause(failures, &mut orders).await {
                return Ok(());
            }
        }
    }

    /// Waits before the next start; true when it is told to stop.
    async fn pause(&self, failures: u32, orders: &mut mpsc::Receiver<Order>) -> bool {
        let pause = AGAIN.pause(failures, 0.5);
        match tokio::time::timeout(pause, orders.recv()).await {
            Err(_) => false,
            Ok(Some(Order::Stop) | None) => true,
            // It is about to begin anew, which is what is asked for.
            Ok(Some(Order::Restart(done))) => {
                let _ = done.send(Ok(()));
                false
            }
        }
    }

    /// Starts a process and waits until it is ready.
    async fn start(&self) -> anyhow::Result<Process> {
        let mut child = Command::new(&self.program)
            .arg(self.kind.name())
            .args(&self.arguments)
            .args(["--replica", &self.number.to_string()])
            .args(["--supervisor", &std::process::id().to_string()])
            .stdin(Stdio::from(self.listener.try_clone()?))
            .stdout(Stdio::piped())
            // Ctrl-C is the supervisor's.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a process")?;
        let begun = Instant::now();
        let output = child.stdout.take().context("it has no output")?;
        let mut lines = BufReader::new(output).lines();
        let first = tokio::time::timeout(START, lines.next_line()).await;
        match first {
            Ok(Ok(Some(line))) if line == READY => {
                tracing::info!(
                    "{self} is ready as process {}",
                    child.id().unwrap_or_default()
                );
                Ok(Process { child, begun })
            }
            Ok(Ok(_)) => {
                let status = tokio::time::timeout(END, child.wait()).await;
                bail!(
                    "it ended before it was ready: {}",
                    status.map_or_else(|_| "it hangs".to_owned(), told)
                )
            }
            Ok(Err(error)) => bail!("its output cannot be read: {error}"),
            Err(_) => bail!("it was not ready within {} s", START.as_secs()),
        }
    }
}

/// Failures in a row, now that one which had been ready has ended. What is killed again and again must not be
/// kept away for longer each time; what fails by itself is.
fn failures_after(before: u32, lived: Duration, status: Option<&ExitStatus>) -> u32 {
    let signal = status.and_then(ExitStatusExt::signal);
    let from_outside = FROM_OUTSIDE.iter().any(|s| signal == Some(s.as_raw()));
    if from_outside || lived > STEADY {
        1
    } else {
        before + 1
    }
}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.number)
    }
}

fn told(status: std::io::Result<ExitStatus>) -> String {
    status.map_or_else(|error| error.to_string(), |status| status.to_string())
}

/// SIGTERM, time to end, SIGKILL.
async fn end(mut child: Child) -> anyhow::Result<()> {
    let pid = child
        .id()
        .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    if let Some(pid) = pid {
        // It may have ended between the look and the signal.
        let _gone = kill_process(pid, Signal::TERM);
    }
    if tokio::time::timeout(END, child.wait()).await.is_err() {
        child.kill().await.context("a process cannot be killed")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_killed_comes_back_at_once_and_what_fails_by_itself_waits_longer_each_time() {
        let at_once = Duration::from_millis(100);
        for signal in FROM_OUTSIDE {
            let killed = ExitStatus::from_raw(signal.as_raw());
            assert_eq!(failures_after(7, at_once, Some(&killed)), 1);
        }
        let exited = ExitStatus::from_raw(1 << 8);
        let aborted = ExitStatus::from_raw(Signal::ABORT.as_raw());
        for failed in [exited, aborted] {
            assert_eq!(failures_after(7, at_once, Some(&failed)), 8);
            assert_eq!(failures_after(7, STEADY * 2, Some(&failed)), 1);
        }
    }
}
