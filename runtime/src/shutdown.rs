//! Telling a whole process to end, and giving it time to do so.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// A token that many tasks watch: once begun, a shutdown is never taken back.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// A shutdown that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins it; a second call changes nothing.
    pub fn begin(&self) {
        self.token.cancel();
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Resolves when it begins.
    pub async fn begun(&self) {
        self.token.cancelled().await;
    }

    /// A shutdown of a part: begins with this one, or by itself.
    pub fn child(&self) -> Self {
        Self {
            token: self.token.child_token(),
        }
    }

    /// Runs `future` until it ends or the shutdown begins; `None` in the latter case.
    pub async fn or<F: Future>(&self, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            () = self.begun() => None,
            output = future => Some(output),
        }
    }

    /// Sleeps; returns false if the shutdown began before the time was over.
    pub async fn sleep(&self, time: Duration) -> bool {
        self.or(tokio::time::sleep(time)).await.is_some()
    }
}

/// A shutdown of the whole process: begins with the first [`signal`]. Within a runtime only.
pub fn on_signal() -> Shutdown {
    let shutdown = Shutdown::new();
    let signalled = shutdown.clone();
    tokio::spawn(async move {
        match signal().await {
            Ok(signal) => tracing::info!(signal, "ending"),
            Err(error) => tracing::error!(%error, "signals cannot be watched"),
        }
        signalled.begin();
    });
    shutdown
}

/// Resolves on the first SIGTERM, SIGINT or SIGHUP and says which.
///
/// # Errors
/// When a signal handler cannot be installed.
pub async fn signal() -> std::io::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        _ = hangup.recv() => "SIGHUP",
    })
}
