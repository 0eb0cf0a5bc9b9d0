//! Values too large for a part: kept by content hash in the shard of their owner.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::Store;
use crate::error::Error;
use crate::shard::Shard;

/// Values above this size become blobs, in bytes.
pub const THRESHOLD: usize = 64 * 1024;
/// A blob is no larger, in bytes.
pub const MAX_BLOB: usize = 10 * 1024 * 1024;
/// What begins a value whose content is a blob: the name follows.
pub const PREFIX: &[u8] = b"blob:";

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

/// Puts a value above [`THRESHOLD`] aside: what stands in its place, and what is to be
/// [put](Store::put_blob) before that is committed.
pub fn outsource(content: Bytes) -> (Bytes, Option<Bytes>) {
    if content.len() <= THRESHOLD {
        return (content, None);
    }
    match hash(&content) {
        Ok(name) => ([PREFIX, name.as_bytes()].concat().into(), Some(content)),
        // Larger than any blob: the store refuses it and names the limit.
        Err(_) => (content, None),
    }
}

/// The value that was put aside; any other is itself.
///
/// # Errors
/// When the store cannot be read, `Damaged` when the blob is not there.
pub async fn resolve(store: &dyn Store, shard: Shard, content: Bytes) -> Result<Bytes, Error> {
    let Some(name) = content.strip_prefix(PREFIX) else {
        return Ok(content);
    };
    let name = String::from_utf8_lossy(name).into_owned();
    let found = store.get_blob(shard, &name).await?;
    found.ok_or_else(|| Error::Damaged(format!("the blob {name} is gone")))
}
