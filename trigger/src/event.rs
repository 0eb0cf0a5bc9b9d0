//! What came in: one event, whoever told of it.
//!
//! The id is derived from what happened, never from who told of it or when, so
//! a notification, its repetition and the poll that finds the same push are one
//! event. This file is pure.

use proto::message::ExecutionRequested;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::proof::Proof;

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Derived from `kind` and what happened; 40 characters.
    pub id: String,
    /// The trigger type it can fire: `docker`, …
    pub kind: String,
    /// Where it came from, for people: `notification`, `poll`.
    pub via: String,
    /// When it was received, milliseconds since the epoch.
    pub received_at_ms: i64,
    /// When it happened by our clock, milliseconds since the epoch; 0 where the source does not tell: then it
    /// counts as happening when it was received.
    #[serde(default)]
    pub happened_at_ms: i64,
    /// What happened, as the source describes it: for `docker` account,
    /// registry, repository, tag and digest.
    pub content: Map<String, Value>,
    /// Artifacts it brings.
    pub artifacts: Vec<Value>,
    /// What it brings to show who sent it.
    #[serde(default)]
    pub proof: Proof,
}

impl Event {
    /// A text of the content, empty when it is not there.
    pub fn text(&self, key: &str) -> &str {
        self.content
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

/// The id of an event of this kind that is told apart by these parts alone.
pub fn id(kind: &str, parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in [&[kind], parts].concat() {
        // With its length, so that ("ab", "c") and ("a", "bc") differ.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut id = hex::encode(hash.finalize());
    id.truncate(40);
    id
}

/// The fingerprint of a start: one per trigger and event, whatever is repeated.
pub fn start_fingerprint(request: &ExecutionRequested) -> String {
    id(
        "start",
        &[
            &request.pipeline_config_id,
            &request.trigger_id,
            &request.event_id,
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_depends_on_each_part_and_on_where_they_end() {
        let base = id("docker", &["a", "b"]);
        assert_eq!(base.len(), 40);
        assert_eq!(base, id("docker", &["a", "b"]));
        for other in [
            id("docker", &["ab", ""]),
            id("docker", &["", "ab"]),
            id("docker", &["b", "a"]),
            id("dockera", &["", "b"]),
            id("docker", &["a", "b", ""]),
        ] {
            assert_ne!(base, other);
        }
    }
}
