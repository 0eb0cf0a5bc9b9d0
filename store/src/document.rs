//! Documents: a version and named parts, so that a write costs what changed.

use std::collections::BTreeMap;

use bytes::Bytes;

/// How often a document was committed; 0 means it does not exist.
pub type Version = u64;

/// The name of a document within a shard, such as `execution:01H…`.
///
/// Printable ASCII without spaces is what callers use; anything but NUL works.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentKey(String);

impl DocumentKey {
    /// A key in a collection: `execution` and an id give `execution:<id>`.
    pub fn new(collection: &str, id: &str) -> Self {
        Self(format!("{collection}:{id}").replace('\0', ""))
    }

    /// The whole key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for DocumentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A document as it was at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// Its version at that moment.
    pub version: Version,
    /// Its parts by name.
    pub parts: BTreeMap<String, Bytes>,
}

impl Document {
    /// A part as text; none if it is absent or not UTF-8.
    pub fn text(&self, part: &str) -> Option<&str> {
        std::str::from_utf8(self.parts.get(part)?).ok()
    }
}
