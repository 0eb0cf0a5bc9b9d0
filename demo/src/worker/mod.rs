//! The demonstration's worker: takes jobs from a queue and does them, a stand-in for somebody's
//! consumer behind no load balancer.
//!
//! It is drained by its hook (`POST`, `GET` and `DELETE /drain` on its port) or by a signal, and by
//! nothing else: SIGTERM ends it at once with whatever it has, unless that is its signal to drain. A
//! second signal to drain does so too, as with many such programs. Its truth is its environment.

mod hook;
mod queue;
mod settings;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, RwLock};
use tokio::task::JoinSet;

pub use settings::Settings;

/// What it exits with when it is told to drain a second time.
const IMPATIENT: u8 = 9;

/// Between two tries when the queue does not answer.
const PAUSE: Duration = Duration::from_millis(50);

/// What the takers and the hook share.
#[derive(Debug)]
struct Worker {
    settings: Settings,
    /// It takes no more. Whoever takes holds it, so that setting it waits for what is under way.
    paused: RwLock<bool>,
    resumed: Notify,
    in_flight: AtomicUsize,
    ended: Notify,
}

impl Worker {
    /// Takes no more work; true when this returns.
    async fn pause(&self) {
        *self.paused.write().await = true;
        println!("demo-worker takes no more, {} jobs left", self.in_flight());
        self.ended.notify_one();
    }

    async fn resume(&self) {
        *self.paused.write().await = false;
        println!("demo-worker takes jobs");
        self.resumed.notify_waiters();
    }

    async fn is_paused(&self) -> bool {
        *self.paused.read().await
    }

    fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Takes jobs and does them, one after another, for ever.
    async fn take(self: Arc<Self>) {
        loop {
            let resumed = self.resumed.notified();
            let taken = {
                let paused = self.paused.read().await;
                if *paused {
                    None
                } else {
                    let taken = queue::take(&self.settings).await;
                    if matches!(taken, Ok(Some(_))) {
                        self.in_flight.fetch_add(1, Ordering::SeqCst);
                    }
                    Some(taken)
                }
            };
            match taken {
                // It may have been let take again just now.
                None => drop(tokio::time::timeout(PAUSE, resumed).await),
                Some(Ok(None)) => {}
                Some(Ok(Some(job))) => {
                    queue::perform(&self.settings, &job).await;
                    self.in_flight.fetch_sub(1, Ordering::SeqCst);
                    self.ended.notify_one();
                }
                Some(Err(error)) => {
                    eprintln!("demo-worker: the queue does not answer: {error:#}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Resolves when it takes no more and has nothing left.
    async fn idle(&self) {
        while !self.is_paused().await || self.in_flight() > 0 {
            self.ended.notified().await;
        }
    }
}

/// Works until a signal ends it, and returns its exit code: 0 after a drain by a signal or SIGTERM.
///
/// # Errors
/// The port cannot be had, or signals cannot be watched.
pub async fn run(settings: Settings) -> Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let drain = settings.drain_signal.unwrap_or(SignalKind::user_defined1());
    let mut drain = signal(drain).context("cannot watch for the signal to drain")?;
    let by_signal = settings.drain_signal.is_some();
    let by_sigterm = settings.drain_signal == Some(SignalKind::terminate());
    println!("demo-worker {} starting", settings.version);
    let worker = Arc::new(Worker {
        paused: RwLock::new(settings.paused),
        settings,
        resumed: Notify::new(),
        in_flight: AtomicUsize::new(0),
        ended: Notify::new(),
    });
    let mut tasks = JoinSet::new();
    if let Some(port) = worker.settings.port {
        let listener = hook::listen(port).await?;
        tasks.spawn(hook::serve(listener, worker.clone()));
    }
    for _ in 0..worker.settings.concurrency {
        tasks.spawn(worker.clone().take());
    }
    let mut drains = false;
    loop {
        let idle = worker.idle();
        tokio::select! {
            _ = drain.recv(), if by_signal => {
                if std::mem::replace(&mut drains, true) {
                    println!("demo-worker is told to drain a second time and ends at once");
                    return Ok(ExitCode::from(IMPATIENT));
                }
                let worker = worker.clone();
                tasks.spawn(async move { worker.pause().await });
            }
            _ = terminate.recv(), if !by_sigterm => {
                println!("demo-worker ends with {} jobs left", worker.in_flight());
                return Ok(ExitCode::SUCCESS);
            }
            () = idle, if drains && worker.settings.exits => {
                println!("demo-worker has drained and ends");
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}
