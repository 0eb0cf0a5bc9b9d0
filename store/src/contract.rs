//! The suite every backend passes: each function is one promise.
//!
//! Time is the backend's own, so delays are short and waited for by the
//! consumer that the services use; nothing sleeps for luck.

// It is called by tests only, and must fail loudly.
#![allow(clippy::unwrap_used)]

mod blobs;
mod model;
mod queues;
mod random;
mod writes;

use std::time::Duration;

use crate::{
    Address, Batch, Committed, Consumer, ConsumerSettings, Delivery, DocumentKey, FeedEntry, Mode,
    Outgoing, Refused, Reserve, Shard, Shared,
};

pub use random::random;

/// Every promise, on a store of its own content: names carry `salt`.
pub async fn all(store: &Shared, salt: &str) {
    let suite = Suite { store, salt };
    suite.writes().await;
    suite.blobs().await;
    suite.queues().await;
}

struct Suite<'a> {
    store: &'a Shared,
    salt: &'a str,
}

/// What the feed of a shard still tells of a document, oldest first.
///
/// # Panics
/// When the store does not answer.
pub async fn events(store: &Shared, shard: Shard, key: &DocumentKey) -> Vec<FeedEntry> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let page = store.feed(shard, after, 500).await;
        let page = page.expect("the store answers");
        let Some(last) = page.entries.last() else {
            return all;
        };
        after = last.position;
        all.extend(page.entries.into_iter().filter(|e| e.document == *key));
    }
}

impl Suite<'_> {
    fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.salt)
    }

    fn key(&self, name: &str) -> DocumentKey {
        DocumentKey::new("test", &self.name(name))
    }

    fn shard(&self, name: &str) -> Shard {
        self.store.shards().of_application(&self.name(name))
    }

    fn address(&self, queue: &str, subject: &str, group: &str) -> Address {
        Address::new(&self.name(queue), subject, group)
    }

    async fn apply(&self, batch: Batch) -> Committed {
        self.commit(batch).await.expect("the batch is accepted")
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, Refused> {
        self.store.commit(batch).await.expect("the store answers")
    }

    async fn events(&self, shard: Shard, key: &DocumentKey) -> Vec<FeedEntry> {
        events(self.store, shard, key).await
    }

    async fn version(&self, shard: Shard, key: &DocumentKey) -> u64 {
        self.store
            .load(shard, key)
            .await
            .expect("the store answers")
            .map_or(0, |d| d.version)
    }

    async fn reserve(
        &self,
        shard: Shard,
        queue: &str,
        most: usize,
        lease_ms: u64,
    ) -> Vec<Delivery> {
        let what = Reserve {
            queue: &self.name(queue),
            most,
            lease_ms,
            max_tries: 3,
        };
        self.store
            .reserve(shard, what)
            .await
            .expect("the store answers")
            .deliveries
    }

    fn consumer(&self, queue: &str, lease_ms: u64, max_tries: u32) -> Consumer {
        let settings = ConsumerSettings {
            queue: self.name(queue),
            lease_ms,
            max_tries,
        };
        Consumer::new(self.store.clone(), settings)
    }

    /// The next delivery within ten seconds.
    async fn next(&self, consumer: &mut Consumer) -> Delivery {
        let next = tokio::time::timeout(Duration::from_secs(10), consumer.next(1));
        next.await
            .expect("woken in time")
            .expect("the store answers")
            .remove(0)
    }
}

fn push(to: Address, fingerprint: &str, body: &str) -> Outgoing {
    let body = bytes::Bytes::copy_from_slice(body.as_bytes());
    Outgoing {
        to,
        fingerprint: fingerprint.to_owned(),
        mode: Mode::Push,
        delay_ms: 0,
        body,
    }
}

fn prints(delivery: &Delivery) -> Vec<&str> {
    delivery
        .messages
        .iter()
        .map(|m| m.fingerprint.as_str())
        .collect()
}
