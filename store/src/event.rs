//! Events: one sequence per document and one feed per shard, both resumable.

use bytes::Bytes;

use crate::document::DocumentKey;
use crate::shard::Shard;

/// Entries a shard's feed keeps; older ones are forgotten and readers start anew.
pub const FEED_LENGTH: u64 = 100_000;

/// An event of a document's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// 1 for the document's first event.
    pub sequence: u64,
    /// Content.
    pub body: Bytes,
}

/// An event of a shard's feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedEntry {
    /// Position in the shard's feed; grows, may skip.
    pub position: u64,
    /// The document.
    pub document: DocumentKey,
    /// Its version after the commit.
    pub version: u64,
    /// Content.
    pub body: Bytes,
}

/// What a feed answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedPage {
    /// The shard.
    pub shard: Shard,
    /// Entries after the position asked for, oldest first.
    pub entries: Vec<FeedEntry>,
    /// Some entries after that position are forgotten, or the position is from
    /// another life of the store: read the state again.
    pub reset: bool,
    /// The last position there is.
    pub last: u64,
}
