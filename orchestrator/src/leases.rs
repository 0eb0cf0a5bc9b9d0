//! The leases this process holds, kept alive while their work goes on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runtime::Shutdown;
use store::{Delivery, Lease, Shared};
use tokio::time::Instant;

/// The leases held. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Leases {
    store: Shared,
    lease_ms: u64,
    held: Arc<Mutex<BTreeMap<(u16, u64), Held>>>,
}

#[derive(Debug)]
struct Held {
    lease: Lease,
    renewed: Instant,
}

/// A lease as long as its work goes on; letting go of it does not end the lease.
#[derive(Debug)]
pub(crate) struct Guard {
    leases: Leases,
    key: (u16, u64),
}

impl Leases {
    pub(crate) fn new(store: Shared, lease_ms: u64) -> Self {
        Self {
            store,
            lease_ms,
            held: Arc::default(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(u16, u64), Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a delivery's lease alive until the guard is dropped.
    pub(crate) fn hold(&self, delivery: &Delivery) -> Guard {
        let lease = delivery.lease.clone();
        let key = (lease.shard.number(), lease.token);
        self.lock().insert(
            key,
            Held {
                lease,
                renewed: Instant::now(),
            },
        );
        Guard {
            leases: self.clone(),
            key,
        }
    }

    /// Renews what is a third of its time old, until the shutdown begins.
    pub(crate) async fn keep(self, shutdown: Shutdown) -> Result<(), store::Error> {
        let third = Duration::from_millis(self.lease_ms / 3);
        while shutdown.sleep(third / 2).await {
            let due: Vec<_> = {
                let held = self.lock();
                let old = held.iter().filter(|(_, h)| h.renewed.elapsed() >= third);
                old.map(|(key, h)| (*key, h.lease.clone())).collect()
            };
            if due.is_empty() {
                continue;
            }
            let leases: Vec<Lease> = due.iter().map(|(_, lease)| lease.clone()).collect();
            match self.store.extend(&leases, self.lease_ms).await {
                Ok(extended) => {
                    let mut held = self.lock();
                    for ((key, _), ours) in due.iter().zip(extended) {
                        // One that was taken over is worthless; its commit is refused.
                        if !ours {
                            held.remove(key);
                        } else if let Some(held) = held.get_mut(key) {
                            held.renewed = Instant::now();
                        }
                    }
                }
                Err(error) => tracing::warn!(error = %error, "leases cannot be renewed now"),
            }
        }
        Ok(())
    }

    /// Hands back what is still held, so that another worker begins at once.
    pub(crate) async fn release_all(&self) {
        let held: Vec<Lease> = std::mem::take(&mut *self.lock())
            .into_values()
            .map(|h| h.lease)
            .collect();
        for lease in held {
            if let Err(error) = self.store.release(&lease, 0).await {
                tracing::warn!(error = %error, "a lease cannot be handed back");
                return;
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.leases.lock().remove(&self.key);
    }
}
