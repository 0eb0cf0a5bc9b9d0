//! Long-running tasks with a name and a policy for their failure.

use std::fmt::Display;
use std::future::Future;

use tokio::task::JoinHandle;

use crate::retry::Backoff;
use crate::shutdown::Shutdown;

/// What happens when a task ends with an error or panics before the shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// The process cannot do its work without it: the shutdown begins.
    ShutDown,
    /// It is started again, with growing pauses up to 5 s.
    Restart,
    /// It is logged, and that is all.
    Log,
}

/// Spawns `make()` as a task that is told of the shutdown by the token it gets.
pub fn spawn<M, F, E>(
    name: &'static str,
    policy: OnError,
    shutdown: Shutdown,
    mut make: M,
) -> JoinHandle<()>
where
    M: FnMut(Shutdown) -> F + Send + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Display + Send + 'static,
{
    tokio::spawn(async move {
        let mut failures = 0;
        loop {
            let outcome = match tokio::spawn(make(shutdown.clone())).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(error) if error.is_panic() => "panicked".to_owned(),
                Err(_) => return,
            };
            if shutdown.has_begun() {
                tracing::warn!(task = name, error = outcome, "task failed during shutdown");
                return;
            }
            tracing::error!(task = name, error = outcome, policy = ?policy, "task failed");
            match policy {
                OnError::ShutDown => {
                    shutdown.begin();
                    return;
                }
                OnError::Log => return,
                OnError::Restart => {
                    failures += 1;
                    if !shutdown.sleep(Backoff::PEERS.pause(failures, 0.0)).await {
                        return;
                    }
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_task_that_fails_is_started_again_until_it_ends_well() {
        let runs = Arc::new(AtomicU32::new(0));
        let counted = runs.clone();
        spawn("t", OnError::Restart, Shutdown::new(), move |_| {
            let counted = counted.clone();
            async move {
                if counted.fetch_add(1, Ordering::SeqCst) < 2 {
                    Err("no")
                } else {
                    Ok(())
                }
            }
        })
        .await
        .unwrap();
        assert_eq!(runs.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_task_the_process_needs_takes_it_down() {
        let shutdown = Shutdown::new();
        spawn("t", OnError::ShutDown, shutdown.clone(), |_| async {
            Err::<(), _>("no")
        })
        .await
        .unwrap();
        assert!(shutdown.has_begun());
    }
}
