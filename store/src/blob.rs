//! Values too large for a part: kept by content hash beside the document they belong to.

use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::Store;
use crate::document::DocumentKey;
use crate::error::Error;
use crate::shard::Shard;

/// Values above this size become blobs, in bytes.
pub const THRESHOLD: usize = 64 * 1024;
/// A blob is no larger, in bytes.
pub const MAX_BLOB: usize = 10 * 1024 * 1024;
/// What begins a value whose content is a blob: the name follows.
pub const PREFIX: &[u8] = b"blob:";
/// So long a value waits for a commit that makes its document.
pub const UNOWNED: Duration = Duration::from_secs(24 * 3600);

/// The name of a value: `sha256:` and 64 hex digits.
///
/// # Errors
/// When it is larger than [`MAX_BLOB`].
pub fn hash(content: &[u8]) -> Result<String, Error> {
    if content.len() > MAX_BLOB {
        let what = "a blob".to_owned();
        return Err(Error::Limit {
            what,
            actual: content.len(),
            limit: MAX_BLOB,
        });
    }
    Ok(format!("sha256:{}", hex::encode(Sha256::digest(content))))
}

/// A value that was put aside: what stands in its place, its name, and its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// What is stored in its place.
    pub stands: Bytes,
    /// Its content hash, which the batch [keeps](crate::Batch::blob).
    pub hash: String,
    /// What is to be [put](Store::put_blob) before that.
    pub content: Bytes,
}

/// Puts a value above [`THRESHOLD`] aside; none for one that stays where it is.
pub fn outsource(content: &Bytes) -> Option<Aside> {
    if content.len() <= THRESHOLD {
        return None;
    }
    // Larger than any blob: the store refuses it and names the limit.
    let hash = hash(content).ok()?;
    Some(Aside {
        stands: [PREFIX, hash.as_bytes()].concat().into(),
        hash,
        content: content.clone(),
    })
}

impl Aside {
    /// What stands in its place in a message: whoever gets it finds the value at its document.
    pub fn in_message(&self, shard: Shard, owner: &DocumentKey) -> Bytes {
        let stands = String::from_utf8_lossy(&self.stands);
        format!("{stands}@{}/{owner}", shard.number()).into()
    }
}

/// The body of a message, which may have been put [aside](Aside::in_message) with a document.
///
/// # Errors
/// When the store cannot be read, `Damaged` when the blob is not there.
pub async fn resolve_message(
    store: &dyn Store,
    shard: Shard,
    content: Bytes,
) -> Result<Bytes, Error> {
    let text = std::str::from_utf8(&content).unwrap_or_default();
    let place = text
        .split_once('@')
        .filter(|_| content.starts_with(PREFIX))
        .and_then(|(stands, place)| {
            let (shard, owner) = place.split_once('/')?;
            let (collection, id) = owner.split_once(':')?;
            let shard = store.shards().numbered(shard.parse().ok()?);
            Some((stands.to_owned(), shard, DocumentKey::new(collection, id)))
        });
    match place {
        Some((stands, shard, owner)) => resolve(store, shard, &owner, stands.into()).await,
        // It was put when large values had no owner.
        None => resolve(store, shard, &DocumentKey::new("", ""), content).await,
    }
}

/// The value that was put aside for a document; any other is itself.
///
/// # Errors
/// When the store cannot be read, `Damaged` when the blob is not there.
pub async fn resolve(
    store: &dyn Store,
    shard: Shard,
    owner: &DocumentKey,
    content: Bytes,
) -> Result<Bytes, Error> {
    let Some(name) = content.strip_prefix(PREFIX) else {
        return Ok(content);
    };
    let name = String::from_utf8_lossy(name).into_owned();
    let found = store.get_blob(shard, owner, &name).await?;
    found.ok_or_else(|| Error::Damaged(format!("the blob {name} of {owner} is gone")))
}
