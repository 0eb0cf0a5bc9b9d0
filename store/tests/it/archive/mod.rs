//! The archive: objects, segments, and the catalogue over them.

mod catalog;
mod objects;
mod segment;

use std::collections::BTreeMap;
use std::sync::Arc;

use store::Shared;
use store::archive::{self, Folder, Row};
use store::embedded::{Embedded, ManualClock};

pub(crate) fn memory() -> Shared {
    let clock = Arc::new(ManualClock::at(1));
    Arc::new(Embedded::in_memory(clock, store::Shards::default()))
}

/// A folder that is gone with the test.
pub(crate) fn folder() -> (archive::Shared, tempfile::TempDir) {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::new(root.path().join("archive"));
    (Arc::new(folder), root)
}

pub(crate) fn row(id: &str, at: i64, fields: &[(&str, &str)]) -> Row {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (field, value) in fields {
        all.entry((*field).to_owned())
            .or_default()
            .push((*value).to_owned());
    }
    Row {
        id: id.to_owned(),
        at,
        ended: at + 5,
        fields: all,
    }
}
