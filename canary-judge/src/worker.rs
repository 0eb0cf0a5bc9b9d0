//! The loop over the queue of runs: reserve as many as there are places for, handle each with a heartbeat. A run whose
//! metric store is slow holds its own place and no other.

use std::sync::Arc;
use std::time::Duration;

use proto::status::Failure;
use runtime::Shutdown;
use store::{Consumer, ConsumerSettings, Delivery, Lease, Shared};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::run::{QUEUE, Runs};

/// How long a lease lasts between heartbeats: what a killed process held waits so long.
const LEASE: Duration = Duration::from_secs(3);
/// Deliveries without success before a message is given up: its notice is handled like the message.
const TRIES: u32 = 1_000;
/// Pause before something that failed is tried again.
const RETRY: Duration = Duration::from_secs(2);

const fn millis(duration: Duration) -> u64 {
    duration.as_secs() * 1_000
}

/// Consumes the queue until the shutdown begins.
///
/// # Errors
/// Never: what fails is tried again.
pub(crate) async fn run(runs: Runs, at_once: usize, shutdown: Shutdown) -> Result<(), Failure> {
    let settings = ConsumerSettings {
        queue: QUEUE.to_owned(),
        lease_ms: millis(LEASE),
        max_tries: TRIES,
    };
    let at_once = at_once.max(1);
    let places = Arc::new(Semaphore::new(at_once));
    let mut consumer = Consumer::new(runs.store.clone(), settings);
    let mut running = JoinSet::new();
    loop {
        while running.try_join_next().is_some() {}
        // One place at least, so that nothing is reserved that would wait here with its lease running out.
        let Some(Ok(first)) = shutdown.or(Arc::clone(&places).acquire_owned()).await else {
            break;
        };
        let free = places.available_permits() + 1;
        let next = match shutdown.or(consumer.next(free)).await {
            None => break,
            Some(Ok(deliveries)) => deliveries,
            Some(Err(error)) => {
                tracing::warn!(queue = QUEUE, reason = %error, "queue cannot be read");
                if !shutdown.sleep(RETRY).await {
                    break;
                }
                continue;
            }
        };
        let mut place = Some(first);
        for delivery in next {
            let place = match place.take() {
                Some(place) => place,
                // Nobody else takes places, so there is one for each.
                None => match Arc::clone(&places).acquire_owned().await {
                    Ok(place) => place,
                    Err(_) => break,
                },
            };
            running.spawn(one(runs.clone(), delivery, shutdown.clone(), place));
        }
    }
    while running.join_next().await.is_some() {}
    Ok(())
}

/// Handles one run; what did not end well is handed back.
async fn one(runs: Runs, delivery: Delivery, shutdown: Shutdown, _place: OwnedSemaphorePermit) {
    let lease = delivery.lease.clone();
    let store = runs.store.clone();
    let outcome = tokio::select! {
        outcome = runs.handle(&delivery) => outcome,
        () = beat(&store, &lease) => return,
        () = shutdown.begun() => {
            // Handed back at once, so that whoever comes next need not wait.
            let _ = store.release(&lease, 0).await;
            return;
        }
    };
    if let Err(failure) = outcome {
        let subject = lease.address.subject.as_str();
        tracing::warn!(
            canary.id = subject,
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
