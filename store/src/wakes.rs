//! Waking those who wait, inside the process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::shard::{Shard, Shards};

#[derive(Default)]
struct Waiting {
    shards: Mutex<BTreeSet<Shard>>,
    notify: Notify,
}

/// Which shards of which queue have news, and that some feed has.
#[derive(Default)]
pub(crate) struct Wakes {
    queues: Mutex<BTreeMap<String, Arc<Waiting>>>,
    feed: watch::Sender<u64>,
}

impl Wakes {
    fn of(&self, queue: &str) -> Arc<Waiting> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        match queues.get(queue) {
            Some(waiting) => waiting.clone(),
            None => queues.entry(queue.to_owned()).or_default().clone(),
        }
    }

    pub(crate) fn wake(&self, queue: &str, shard: Shard) {
        let waiting = self.of(queue);
        waiting
            .shards
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(shard);
        waiting.notify.notify_one();
    }

    pub(crate) async fn wait(&self, queue: &str, most: Duration) -> Vec<Shard> {
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

    /// From now on [`Self::wake_all`] knows the queue.
    pub(crate) fn expect(&self, queue: &str) {
        self.of(queue);
    }

    /// Everything may have news, as after a time without hearing any.
    pub(crate) fn wake_all(&self, shards: Shards) {
        let queues: Vec<_> = self
            .queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .cloned()
            .collect();
        for queue in queues {
            for shard in shards.all() {
                self.wake(&queue, shard);
            }
        }
        self.wake_feed();
    }

    pub(crate) fn wake_feed(&self) {
        self.feed.send_modify(|news| *news += 1);
    }

    /// Counts the news of all feeds. Who marks it as seen before reading misses none.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.feed.subscribe()
    }
}
