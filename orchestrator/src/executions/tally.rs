//! How many executions of each pipeline a listing has told so far. It goes along with the
//! cursor, so that a limit for each pipeline holds for the whole of what is asked, however
//! many pages that takes.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// What separates it from the place in a cursor.
pub(super) const MARK: char = '~';

/// Counts by a short digest of the pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally(BTreeMap<String, usize>);

impl Tally {
    /// What a cursor says; none is there for the first page.
    pub(super) fn of_cursor(cursor: &str) -> Self {
        let written = cursor.split_once(MARK).map_or("", |(_, written)| written);
        let entries = written.split(',').filter_map(|entry| {
            let (pipeline, count) = entry.split_once('=')?;
            Some((pipeline.to_owned(), count.parse().ok()?))
        });
        Self(entries.collect())
    }

    /// A place with the counts up to it.
    pub(super) fn cursor(&self, at: &str) -> String {
        if self.0.is_empty() {
            return at.to_owned();
        }
        let entries: Vec<String> = self.0.iter().map(|(p, n)| format!("{p}={n}")).collect();
        format!("{at}{MARK}{}", entries.join(","))
    }

    /// Counts an execution, and whether it is among the first `most` of its pipeline.
    pub(super) fn takes(&mut self, header: &Map<String, Value>, most: usize) -> bool {
        let text = |key: &str| header.get(key).and_then(Value::as_str).unwrap_or_default();
        // Without a definition, its name stands for it.
        let pipeline = match text("pipelineConfigId") {
            "" => format!("name:{}", text("name")),
            id => id.to_owned(),
        };
        let digest = hex::encode(Sha256::digest(pipeline));
        let count = self.0.entry(digest.chars().take(12).collect()).or_default();
        if *count >= most {
            return false;
        }
        *count += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_counts_go_along_with_the_cursor() {
        let of = |fields: &Value| fields.as_object().cloned().unwrap();
        let (one, other) = (
            of(&json!({"pipelineConfigId": "p"})),
            of(&json!({"name": "q"})),
        );
        let mut tally = Tally::default();
        assert_eq!(tally.cursor("1:a"), "1:a");
        assert!(tally.takes(&one, 2));
        let mut later = Tally::of_cursor(&tally.cursor("1:a"));
        assert_eq!(later, tally);
        assert!(later.takes(&one, 2) && !later.takes(&one, 2) && later.takes(&other, 2));
        assert_eq!(Tally::of_cursor("1:a~x"), Tally::default());
    }
}
