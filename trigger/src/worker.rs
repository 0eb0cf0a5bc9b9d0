//! The loop over one of our queues: reserve, handle with a heartbeat, repeat.

use std::future::Future;
use std::time::Duration;

use proto::status::Failure;
use runtime::Shutdown;
use store::{Consumer, ConsumerSettings, Delivery, Lease, Shared};
use tokio::task::JoinSet;

/// How long a lease lasts between heartbeats: what a killed process held waits so long.
const LEASE: Duration = Duration::from_secs(3);
/// Deliveries without success before a message is given up.
const TRIES: u32 = 1_000;
/// Pause before something that failed is tried again.
const RETRY: Duration = Duration::from_secs(2);

const fn millis(duration: Duration) -> u64 {
    duration.as_secs() * 1_000
}

/// Subjects handled at the same time.
const AT_ONCE: usize = 8;

/// Consumes `queue` until the shutdown begins.
///
/// # Errors
/// Never: what fails is tried again.
pub(crate) async fn run<F, A>(
    store: Shared,
    queue: &str,
    shutdown: Shutdown,
    handle: F,
) -> Result<(), Failure>
where
    F: Fn(Delivery) -> A,
    A: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let settings = ConsumerSettings {
        queue: queue.to_owned(),
        lease_ms: millis(LEASE),
        max_tries: TRIES,
    };
    let mut consumer = Consumer::new(store.clone(), settings);
    loop {
        let next = match shutdown.or(consumer.next(AT_ONCE)).await {
            None => return Ok(()),
            Some(Ok(deliveries)) => deliveries,
            Some(Err(error)) => {
                tracing::warn!(queue, reason = %error, "queue cannot be read");
                if !shutdown.sleep(RETRY).await {
                    return Ok(());
                }
                continue;
            }
        };
        let mut running = JoinSet::new();
        for delivery in next {
            let lease = delivery.lease.clone();
            let work = handle(delivery);
            running.spawn(one(store.clone(), lease, shutdown.clone(), work));
        }
        while running.join_next().await.is_some() {}
    }
}

/// Handles one subject; what did not end well is handed back.
async fn one(
    store: Shared,
    lease: Lease,
    shutdown: Shutdown,
    work: impl Future<Output = Result<(), Failure>>,
) {
    let outcome = tokio::select! {
        outcome = work => outcome,
        () = beat(&store, &lease) => return,
        () = shutdown.begun() => {
            // Handed back at once, so that whoever comes next need not wait.
            let _ = store.release(&lease, 0).await;
            return;
        }
    };
    if let Err(failure) = outcome {
        tracing::warn!(
            queue = lease.address.queue,
            subject = lease.address.subject,
            reason = failure.message,
            "will be tried again"
        );
        // If the store cannot take it back now, the lease ends by itself.
        let _ = store.release(&lease, millis(RETRY)).await;
    }
}

/// Keeps a lease; ends when it was taken over.
async fn beat(store: &Shared, lease: &Lease) {
    loop {
        tokio::time::sleep(LEASE / 3).await;
        if let Ok(kept) = store
            .extend(std::slice::from_ref(lease), millis(LEASE))
            .await
            && kept.first() == Some(&false)
        {
            return;
        }
    }
}
