//! Everything durable: documents, mailboxes, events and leases, written by one
//! atomic [`Batch`] over all four.
//!
//! What the store promises, on every backend:
//! - A batch is applied entirely or refused with a reason, guarded by the
//!   versions that were read and the leases held, *also when it only acknowledges*.
//! - A lease is worthless when somebody else has taken the subject over, not when
//!   a clock passed: a late commit is then refused, whatever it carries.
//! - A commit whose answer was lost is repeated under its commit id and answered
//!   as a duplicate if it had been applied.
//! - Waiting consumers are woken, they do not poll; ready subjects are served one
//!   application in turn.
//! - A message given up leaves a notice in the same mailbox: nothing is unowned.
//!
//! Only this crate knows Redis or the embedded engine. The truth about the
//! promises is `contract`, the suite every backend passes.

pub mod archive;
mod batch;
pub mod blob;
mod consumer;
#[cfg(any(test, feature = "contract"))]
pub mod contract;
mod document;
pub mod embedded;
mod error;
mod event;
mod kv;
pub mod outbox;
mod presence;
mod queue;
pub mod redis;
mod shard;
mod wakes;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use batch::{
    Acknowledgement, Batch, Committed, DocumentChange, Guard, IndexChange, MAX_BATCH, MAX_ENTRIES,
    MAX_PART, Refused, Then,
};
pub use consumer::{Consumer, ConsumerSettings};
pub use document::{Document, DocumentKey, Version};
pub use error::Error;
pub use event::{FEED_LENGTH, FeedEntry, FeedPage};
pub use presence::{Opening, Presence};
pub use queue::{
    Address, Crossing, Delivery, Lease, MOST_BYTES, MOST_MESSAGES, Message, Mode, Outgoing,
    Reserve, Reserved,
};
pub use shard::{ID_LENGTH, Shard, Shards};

/// The queue whose subjects are executions and other owners of engine messages.
pub const MAILBOX: &str = "mailbox";

/// A store, shared by all services of a process.
pub type Shared = Arc<dyn Store>;

/// A member of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// Order.
    pub score: i64,
    /// Member.
    pub member: String,
}

/// Which way an index is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Lowest score first.
    Ascending,
    /// Highest score first.
    Descending,
}

/// A lease that goes by a name, such as `balancer/local`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedLease {
    /// The name.
    pub name: String,
    /// Fencing token: larger than every one given out before in the shard.
    pub token: u64,
}

/// Signs that the backend lost acknowledged commits (kill -9 of Redis under
/// `everysec`, a failover): always whole ones, always the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Epoch {
    /// How many such losses this process has noticed.
    pub rollbacks: u64,
}

/// What a store is and promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// `embedded`, `memory`, `redis` or `redis-cluster`.
    pub backend: &'static str,
    /// The promise in words, as in the README's table.
    pub durability: String,
    /// What an operator should change; empty if nothing.
    pub warnings: Vec<String>,
}

/// The store. Every call may fail with [`Error`]; the same call may be repeated.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// The store's shards.
    fn shards(&self) -> Shards;

    /// Applies a batch entirely or not at all. An unknown outcome is resolved
    /// inside, by repeating under the same commit id.
    async fn commit(&self, batch: Batch) -> Result<Result<Committed, Refused>, Error>;

    /// A document as of one moment; none if it does not exist.
    async fn load(&self, shard: Shard, key: &DocumentKey) -> Result<Option<Document>, Error>;

    /// One part of each of several documents, with their versions; none for those
    /// without it. At most 500 keys.
    async fn load_part(
        &self,
        shard: Shard,
        keys: &[DocumentKey],
        part: &str,
    ) -> Result<Vec<Option<(Version, bytes::Bytes)>>, Error>;

    /// Leases subjects with due messages.
    async fn reserve(&self, shard: Shard, what: Reserve<'_>) -> Result<Reserved, Error>;

    /// Lengthens leases from now on; false for one that was taken over.
    async fn extend(&self, leases: &[Lease], lease_ms: u64) -> Result<Vec<bool>, Error>;

    /// Hands a subject back unhandled, to be served after `delay_ms`. The try does
    /// not count. False if it had been taken over.
    async fn release(&self, lease: &Lease, delay_ms: u64) -> Result<bool, Error>;

    /// Waits until something was pushed to the queue, or something of it is due
    /// within the backend's knowledge, or the time is over; the shards to look at.
    async fn wait(&self, queue: &str, most: Duration) -> Result<Vec<Shard>, Error>;

    /// Members of an index from a position on (exclusive), at most 500.
    async fn page(
        &self,
        shard: Shard,
        index: &str,
        after: Option<&IndexEntry>,
        order: Order,
        most: usize,
    ) -> Result<Vec<IndexEntry>, Error>;

    /// How many members an index has.
    async fn cardinality(&self, shard: Shard, index: &str) -> Result<u64, Error>;

    /// The value of a unique key.
    async fn unique(&self, shard: Shard, key: &str) -> Result<Option<String>, Error>;

    /// Entries of a shard's feed above a position, oldest first: `most`, at most 500, and what else the last
    /// commit among them told.
    async fn feed(&self, shard: Shard, after: u64, most: usize) -> Result<FeedPage, Error>;

    /// A count that changes when some shard's feed has grown. A reader marks it as
    /// seen, reads the feeds, then waits for a change: so it misses nothing.
    fn news(&self) -> tokio::sync::watch::Receiver<u64>;

    /// Takes or renews a named lease for `holder`; none if somebody else holds it.
    /// The same holder keeps its token.
    async fn take(
        &self,
        shard: Shard,
        name: &str,
        holder: &str,
        lease_ms: u64,
    ) -> Result<Option<NamedLease>, Error>;

    /// Keeps a large value of a document under its content hash, and answers the hash. It goes with
    /// the document. One that is put before its document exists, and that no commit
    /// [keeps](Batch::blob) within [`blob::UNOWNED`], goes too.
    async fn put_blob(
        &self,
        shard: Shard,
        owner: &DocumentKey,
        content: bytes::Bytes,
    ) -> Result<String, Error>;

    /// A large value of a document by its content hash.
    async fn get_blob(
        &self,
        shard: Shard,
        owner: &DocumentKey,
        hash: &str,
    ) -> Result<Option<bytes::Bytes>, Error>;

    /// Messages given up in a queue, newest first: (subject, fingerprint), at most 500.
    async fn dead(&self, shard: Shard, queue: &str) -> Result<Vec<(String, String)>, Error>;

    /// The store's clock, ms since the epoch: the one that due times go by.
    async fn now_ms(&self) -> Result<i64, Error>;

    /// Losses of acknowledged commits that were noticed; changes when one is.
    fn epoch(&self) -> tokio::sync::watch::Receiver<Epoch>;

    /// How many such losses a shard has had, as last heard of; the count is kept by the backend, so
    /// every process hears the same. What was written under a lower count may have been undone since.
    fn losses(&self, shard: Shard) -> u64;

    /// When the last of them was noticed, ms since the epoch by the backend's clock; none if there was none.
    async fn lost_at(&self, _shard: Shard) -> Result<Option<i64>, Error> {
        Ok(None)
    }

    /// What this store is and promises.
    async fn info(&self) -> Result<Info, Error>;
}
