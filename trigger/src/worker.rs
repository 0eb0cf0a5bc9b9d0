//! The loop over one of our queues: reserve, handle with a heartbeat, repeat.

use std::future::Future;
use std::time::Duration;

use proto::status::Failure;
use runtime::Shutdown;
use store::{Consumer, ConsumerSettings, Delivery, Shared};

/// How long a lease lasts between heartbeats: what a killed process held waits so long.
const LEASE: Duration = Duration::from_secs(9);
/// Deliveries without success before a message is given up.
const TRIES: u32 = 1_000;
/// Pause before something that failed is tried again.
const RETRY: Duration = Duration::from_secs(2);

const fn millis(duration: Duration) -> u64 {
    duration.as_secs() * 1_000
}

/// Consumes `queue` until the shutdown begins, one subject at a time.
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
    A: Future<Output = Result<(), Failure>>,
{
    let settings = ConsumerSettings {
        queue: queue.to_owned(),
        lease_ms: millis(LEASE),
        max_tries: TRIES,
    };
    let mut consumer = Consumer::new(store.clone(), settings);
    loop {
        let next = match shutdown.or(consumer.next(8)).await {
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
        let mut next = next.into_iter();
        while let Some(delivery) = next.next() {
            let lease = delivery.lease.clone();
            let work = handle(delivery);
            let heart = beat(&store, &lease);
            let outcome = tokio::select! {
                outcome = work => outcome,
                () = heart => continue,
                () = shutdown.begun() => {
                    // Handed back at once, so that whoever comes next need not wait.
                    let left = next.map(|delivery| delivery.lease);
                    for lease in std::iter::once(lease).chain(left) {
                        let _ = store.release(&lease, 0).await;
                    }
                    return Ok(());
                }
            };
            if let Err(failure) = outcome {
                tracing::warn!(
                    queue,
                    subject = lease.address.subject,
                    reason = failure.message,
                    "will be tried again"
                );
                // If the store cannot take it back now, the lease ends by itself.
                let _ = store.release(&lease, millis(RETRY)).await;
            }
        }
    }
}

/// Keeps a lease; ends when it was taken over.
async fn beat(store: &Shared, lease: &store::Lease) {
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
