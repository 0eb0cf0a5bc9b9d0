//! A place among the turns of a process, left while somebody outside is waited for.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One of so many places. It is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    all: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// A place that was taken.
    pub(crate) fn of(held: OwnedSemaphorePermit) -> Self {
        Self {
            all: Arc::clone(held.semaphore()),
            held: Some(held),
        }
    }

    /// Lets somebody else have it.
    pub(crate) fn leave(&mut self) {
        self.held = None;
    }

    /// Waits for a place again.
    pub(crate) async fn back(&mut self) {
        if self.held.is_none() {
            // Nobody closes it; who did would end the process.
            self.held = Arc::clone(&self.all).acquire_owned().await.ok();
        }
    }
}
