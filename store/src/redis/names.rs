//! Keys: prefix, the hash tag of the shard, kind, name. Everything of a shard
//! lies in one cluster slot.

use crate::document::DocumentKey;
use crate::shard::Shard;

/// Keys that belong to one queue, in the order that the scripts expect.
const QUEUE_KEYS: [&str; 7] = [
    "entries", "ready", "groups", "leased", "order", "bodies", "dead",
];

/// Names under one prefix.
#[derive(Debug, Clone)]
pub(super) struct Names {
    prefix: String,
    store: String,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        // A brace would become the hash tag.
        Self {
            prefix: prefix.replace(['{', '}'], ""),
            store: String::new(),
        }
    }

    /// From now on scripts are told that this store is meant.
    pub(super) fn belong(&mut self, store: String) {
        self.store = store;
    }

    /// Which store is meant.
    pub(super) fn store(&self) -> &str {
        &self.store
    }

    fn key(&self, shard: Shard, kind: &str, name: &str) -> String {
        format!("{}:{{{}}}:{kind}:{name}", self.prefix, shard.tag())
    }

    /// What the store was created with; the only key without a shard.
    pub(super) fn layout(&self) -> String {
        format!("{}:layout", self.prefix)
    }

    /// Channel on which every process hears of news.
    pub(super) fn channel(&self) -> String {
        format!("{}:news", self.prefix)
    }

    /// Counters of a shard: commits, epoch, last token, last feed position.
    pub(super) fn meta(&self, shard: Shard) -> String {
        format!("{}:{{{}}}:meta", self.prefix, shard.tag())
    }

    pub(super) fn feed(&self, shard: Shard) -> String {
        format!("{}:{{{}}}:feed", self.prefix, shard.tag())
    }

    pub(super) fn document(&self, shard: Shard, key: &DocumentKey) -> String {
        self.key(shard, "d", key.as_str())
    }

    /// The list of events that version 0.1 kept beside a document; goes with it.
    pub(super) fn former_log(&self, shard: Shard, key: &DocumentKey) -> String {
        self.key(shard, "log", key.as_str())
    }

    pub(super) fn index(&self, shard: Shard, name: &str) -> String {
        self.key(shard, "ix", name)
    }

    pub(super) fn unique(&self, shard: Shard, name: &str) -> String {
        self.key(shard, "key", name)
    }

    pub(super) fn lease(&self, shard: Shard, name: &str) -> String {
        self.key(shard, "lease", name)
    }

    /// Large values of a document, by content hash.
    pub(super) fn blobs(&self, shard: Shard, owner: &DocumentKey) -> String {
        self.key(shard, "blobs", owner.as_str())
    }

    /// Where a large value was before it had an owner.
    pub(super) fn shared_blob(&self, shard: Shard, hash: &str) -> String {
        self.key(shard, "blob", hash)
    }

    /// Marks for two minutes that one call was applied, for batches that leave no
    /// document to see it by.
    pub(super) fn applied(&self, shard: Shard, call: &str) -> String {
        self.key(shard, "applied", call)
    }

    pub(super) fn queue(&self, shard: Shard, queue: &str) -> impl Iterator<Item = String> {
        QUEUE_KEYS
            .map(|kind| self.key(shard, &format!("q:{queue}"), kind))
            .into_iter()
    }

    pub(super) fn dead(&self, shard: Shard, queue: &str) -> String {
        self.key(shard, &format!("q:{queue}"), "dead")
    }
}
