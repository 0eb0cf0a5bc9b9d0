//! Waking those who wait, inside the process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::shard::Shard;

#[derive(Default)]
struct Waiting {
    shards: Mutex<BTreeSet<Shard>>,
    notify: Notify,
}

/// Which shards of which queue have news.
#[derive(Default)]
pub(super) struct Wakes {
    queues: Mutex<BTreeMap<String, Arc<Waiting>>>,
    feed: Notify,
}

impl Wakes {
    fn of(&self, queue: &str) -> Arc<Waiting> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        match queues.get(queue) {
            Some(waiting) => waiting.clone(),
            None => queues.entry(queue.to_owned()).or_default().clone(),
        }
    }

    pub(super) fn wake(&self, queue: &str, shard: Shard) {
        let waiting = self.of(queue);
        waiting
            .shards
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(shard);
        waiting.notify.notify_one();
    }

    pub(super) async fn wait(&self, queue: &str, most: Duration) -> Vec<Shard> {
        let waiting = self.of(queue);
        let take = || {
            let mut shards = waiting
                .shards
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *shards).into_iter().collect::<Vec<_>>()
        };
        let ready = take();
        if !ready.is_empty() {
            return ready;
        }
        // A wake between the look and the wait leaves a permit, so none is lost.
        let _ = tokio::time::timeout(most, waiting.notify.notified()).await;
        take()
    }

    pub(super) fn wake_feed(&self) {
        self.feed.notify_waiters();
    }

    pub(super) async fn wait_feed(&self, most: Duration) {
        let _ = tokio::time::timeout(most, self.feed.notified()).await;
    }
}
