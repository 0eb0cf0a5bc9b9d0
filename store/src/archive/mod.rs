//! What left the store for good keeping: objects by name, segments of many entries,
//! and the catalogue of segments that stays in the store.
//!
//! Knows entries as an id, a time, fields to search by, and bytes; what they mean is
//! the caller's. A segment is never changed and its name never used again, so whoever
//! comes late, to write it or to remove it, harms no other. What of a segment still
//! counts is said by its document in the store alone, which is changed by the same
//! batches that take entries out of the store or put them back.

mod catalog;
mod folder;
mod s3;
mod segment;
mod summary;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Error;

pub use catalog::{
    Catalog, INDEX, Located, Position, SegmentDocument, Walk, document_key, segment_name,
};
pub use folder::Folder;
pub use s3::{S3, S3Settings};
pub use segment::{Layout, MOST_BYTES, MOST_ROWS, Row, Segment, write};
pub use summary::{Filter, Summary};

/// An archive, shared by all who read and write it.
pub type Shared = Arc<dyn Objects>;

/// Objects by name, such as `executions/03/….segment`. Every call may be repeated.
#[async_trait]
pub trait Objects: Send + Sync + std::fmt::Debug {
    /// Keeps an object, durable when this answers; one of the same name is replaced.
    async fn put(&self, name: &str, content: Bytes) -> Result<(), Error>;

    /// Bytes of an object; fewer if it ends before; none if there is no such object.
    async fn read(&self, name: &str, from: u64, length: u64) -> Result<Option<Bytes>, Error>;

    /// The size of an object; none if there is no such object.
    async fn size(&self, name: &str) -> Result<Option<u64>, Error>;

    /// Removes an object, if it is there.
    async fn delete(&self, name: &str) -> Result<(), Error>;

    /// Names that begin with this folder, in order.
    async fn list(&self, folder: &str) -> Result<Vec<String>, Error>;

    /// Where it is, for people: a path or an address without credentials.
    fn place(&self) -> String;
}

/// Names are made of these, and never leave the archive: no part is empty or begins with a dot.
fn checked(name: &str) -> Result<&str, Error> {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    if name.split('/').all(part) {
        return Ok(name);
    }
    Err(Error::Damaged(format!(
        "\"{name}\" is no name of an object in the archive"
    )))
}
