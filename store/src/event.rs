//! Events: one feed per shard, resumable.

use bytes::Bytes;

use crate::document::DocumentKey;
use crate::shard::Shard;

/// Events a shard's feed keeps, about; older ones are forgotten and readers start anew. Readers are seconds
/// behind: what it holds is memory of every shard for nothing.
pub const FEED_LENGTH: u64 = 10_000;

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
