//! Values too large for a part: kept by content hash in the shard of their owner.

use sha2::{Digest, Sha256};

use crate::error::Error;

/// Values above this size become blobs, in bytes.
pub const THRESHOLD: usize = 64 * 1024;
/// A blob is no larger, in bytes.
pub const MAX_BLOB: usize = 10 * 1024 * 1024;

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
