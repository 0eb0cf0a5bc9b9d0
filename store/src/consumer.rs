//! A consumer of one queue over all shards: reserve, hand out, wait. It blocks
//! while nothing is due and is woken; it never polls.

use std::time::Duration;

use tokio::time::Instant;

use crate::Shared;
use crate::error::Error;
use crate::queue::{Delivery, Reserve};

/// A look at every shard at least this often, should a wake ever be lost.
const FALLBACK: Duration = Duration::from_secs(30);

/// How a queue is consumed.
#[derive(Debug, Clone)]
pub struct ConsumerSettings {
    /// Queue.
    pub queue: String,
    /// How long a lease lasts between heartbeats, in ms.
    pub lease_ms: u64,
    /// Deliveries without an acknowledgement before a message is given up.
    pub max_tries: u32,
}

/// The state of one consumer: when to look at which shard.
#[derive(Debug)]
pub struct Consumer {
    store: Shared,
    settings: ConsumerSettings,
    look_at: Vec<Instant>,
    first: usize,
}

impl Consumer {
    /// A consumer that looks at every shard first.
    pub fn new(store: Shared, settings: ConsumerSettings) -> Self {
        let look_at = store.shards().all().map(|_| Instant::now()).collect();
        Self {
            store,
            settings,
            look_at,
            first: 0,
        }
    }

    /// The next deliveries, 1 to `most`; waits until there are any. Dropping the
    /// future between two calls loses nothing.
    ///
    /// # Errors
    /// When the store is unavailable; call again after a pause.
    pub async fn next(&mut self, most: usize) -> Result<Vec<Delivery>, Error> {
        let most = most.max(1);
        loop {
            let count = self.look_at.len();
            let start = self.first;
            self.first = (start + 1) % count.max(1);
            for step in 0..count {
                let number = (start + step) % count;
                if self.look_at[number] > Instant::now() {
                    continue;
                }
                let found = self.look(number, most).await?;
                if !found.is_empty() {
                    return Ok(found);
                }
            }
            let now = Instant::now();
            let wake = self.look_at.iter().min().copied().unwrap_or(now + FALLBACK);
            let most = wake.saturating_duration_since(now).min(FALLBACK);
            if most.is_zero() {
                continue;
            }
            for shard in self.store.wait(&self.settings.queue, most).await? {
                if let Some(at) = self.look_at.get_mut(usize::from(shard.number())) {
                    *at = now;
                }
            }
        }
    }

    async fn look(&mut self, number: usize, most: usize) -> Result<Vec<Delivery>, Error> {
        let shard = self
            .store
            .shards()
            .numbered(u16::try_from(number).unwrap_or(0));
        let what = Reserve {
            queue: &self.settings.queue,
            most,
            lease_ms: self.settings.lease_ms,
            max_tries: self.settings.max_tries,
        };
        let asked = Instant::now();
        let reserved = self.store.reserve(shard, what).await?;
        let pause = reserved
            .next_ms
            .map_or(FALLBACK, Duration::from_millis)
            .min(FALLBACK);
        self.look_at[number] = asked + pause;
        Ok(reserved.deliveries)
    }
}
