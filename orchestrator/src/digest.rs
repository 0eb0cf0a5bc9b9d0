//! A hash of an execution's state, part by part, so that a commit hashes only what it touched.
//!
//! The hash of a state is the sum of the hashes of its parts: whatever order they were written in, equal
//! states have equal hashes, and one changed part is taken out and put in again. It tells damage, a fault of
//! ours and a changed log; it is no seal against somebody who may write the store. Pure.

use std::fmt;
use std::io::Write;
use std::str::FromStr;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::fields::{Node, Object};

/// The hash of a state; that of no parts is zero. 32 hexadecimal digits as text: a log keeps one with every
/// entry, and more would make it no safer against accidents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest(u128);

impl Digest {
    /// With a part of this name and content.
    #[must_use]
    pub fn with(self, part: &str, content: &impl Object) -> Self {
        Self(self.0.wrapping_add(of_part(part, content)))
    }

    /// Without a part of this name and content, which was in it.
    #[must_use]
    pub fn without(self, part: &str, content: &impl Object) -> Self {
        Self(self.0.wrapping_sub(of_part(part, content)))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("\"{text}\" is no hash of 32 hexadecimal digits");
        if text.len() != 32 {
            return Err(fault());
        }
        u128::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| fault())
    }
}

fn of_part(part: &str, content: &impl Object) -> u128 {
    let mut text = Vec::with_capacity(1024);
    text.extend_from_slice(part.as_bytes());
    text.push(0);
    object(content, &mut text);
    let hash = Sha256::digest(&text);
    hash.iter()
        .take(16)
        .fold(0, |sum, byte| sum << 8 | u128::from(*byte))
}

/// JSON with the keys of every object in their order, numbers as they were written: who only formats a
/// document anew does not change its hash.
fn object(content: &impl Object, text: &mut Vec<u8>) {
    let mut fields: Vec<(&str, Node<'_>)> = content.nodes().collect();
    fields.sort_unstable_by_key(|(key, _)| *key);
    text.push(b'{');
    for (key, node) in fields {
        string(key, text);
        match node {
            Node::Text(content) => string(content, text),
            Node::Map(map) => object(map, text),
            Node::Value(value) => value_of(value, text),
        }
    }
    text.push(b'}');
}

fn value_of(value: &Value, text: &mut Vec<u8>) {
    match value {
        Value::Null => text.push(b'n'),
        Value::Bool(true) => text.push(b't'),
        Value::Bool(false) => text.push(b'f'),
        Value::Number(number) => {
            // Into memory, which does not fail; the end tells it from what follows.
            let _ = write!(text, "{number}#");
        }
        Value::String(content) => string(content, text),
        Value::Array(items) => {
            text.push(b'[');
            for item in items {
                value_of(item, text);
            }
            text.push(b']');
        }
        Value::Object(map) => object(map, text),
    }
}

/// With its length, so that no content looks like two.
fn string(content: &str, text: &mut Vec<u8>) {
    let length = u64::try_from(content.len()).unwrap_or(u64::MAX);
    text.push(b'"');
    text.extend_from_slice(&length.to_le_bytes());
    text.extend_from_slice(content.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, json};

    fn map(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_hash_follows_content_and_not_order() {
        let one = map(json!({"a": 1, "b": {"x": [1, "2", null], "y": 1.50}}));
        let text = r#"{"b": {"y": 1.5, "x": [1, "2", null]}, "a": 1}"#;
        let same = map(serde_json::from_str(text).unwrap());
        let empty = Digest::default();
        assert_eq!(empty.with("s:1", &one), empty.with("s:1", &same));
        for other in [
            json!({"a": 1, "b": {"x": [1, "2", null], "y": 1.51}}),
            json!({"a": "1", "b": {"x": [1, "2", null], "y": 1.50}}),
            json!({"a": 1, "b": {"x": ["2", 1, null], "y": 1.50}}),
            json!({"a": 1, "b": {"x": [1, "2"], "y": 1.50}}),
        ] {
            let other = map(other);
            assert_ne!(
                empty.with("s:1", &one),
                empty.with("s:1", &other),
                "{other:?}"
            );
        }
        assert_ne!(empty.with("s:1", &one), empty.with("s:2", &one));
    }

    #[test]
    fn parts_come_and_go_in_any_order() {
        let (a, b) = (map(json!({"a": 1})), map(json!({"b": 2})));
        let both = Digest::default().with("h", &a).with("s:1", &b);
        assert_eq!(both, Digest::default().with("s:1", &b).with("h", &a));
        assert_eq!(both.without("h", &a), Digest::default().with("s:1", &b));
        assert_eq!(both.to_string().parse(), Ok(both));
        assert!("12".parse::<Digest>().is_err() && "x".repeat(32).parse::<Digest>().is_err());
    }
}
