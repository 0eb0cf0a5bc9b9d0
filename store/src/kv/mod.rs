//! The embedded engine's rules over an ordered map of bytes: what a commit and a
//! reservation do, independent of where the bytes are kept.
//!
//! Every function validates before its first write, so that a refused batch
//! disturbs nothing and several may share one transaction.

pub(crate) mod blob;
pub(crate) mod commit;
mod entry;
pub(crate) mod keys;
pub(crate) mod lease;
pub(crate) mod read;
pub(crate) mod reserve;

use crate::error::Error;

/// Keys and values, in order of keys.
pub(crate) type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// Reading an ordered map.
pub(crate) trait KvRead {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;
    /// Rows with `from <= key < to`, at most `most`, from the other end if `reverse`.
    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, most: usize) -> Result<Rows, Error>;
}

/// Writing one.
pub(crate) trait Kv: KvRead {
    /// Sets a key.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error>;
    /// Removes a key, if it is there.
    fn del(&mut self, key: &[u8]) -> Result<(), Error>;
}

pub(crate) fn number(bytes: Option<&[u8]>) -> u64 {
    bytes
        .and_then(|b| b.get(..8))
        .and_then(|b| b.try_into().ok())
        .map_or(0, u64::from_be_bytes)
}

/// Raises a counter of a shard and answers its new value.
pub(crate) fn next(kv: &mut dyn Kv, key: &[u8]) -> Result<u64, Error> {
    let value = number(kv.get(key)?.as_deref()) + 1;
    kv.put(key, &value.to_be_bytes())?;
    Ok(value)
}
