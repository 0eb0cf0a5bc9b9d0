//! An execution as it is archived: JSON lines.
//!
//! The first line says what it is, `{"execution": id, "format": 1, "version": n}`; then come its
//! parts as they were stored, `{"part": "h", "value": …}`, and the entries of its log,
//! `{"entry": "0000000001", "value": …}`. Large values are in their places.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use store::Version;

/// The form that is written.
const FORMAT: u32 = 1;

/// An execution with its log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Its id.
    pub id: String,
    /// The version it had.
    pub version: Version,
    /// Its parts by name.
    pub parts: BTreeMap<String, Bytes>,
    /// The parts of its log.
    pub log: BTreeMap<String, Bytes>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    execution: String,
    format: u32,
    version: Version,
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<String>,
    #[serde(borrow)]
    value: &'a RawValue,
}

impl Content {
    /// The lines.
    ///
    /// # Errors
    /// When a part is no JSON.
    pub fn encode(&self) -> Result<Bytes, String> {
        let head = Head {
            execution: self.id.clone(),
            format: FORMAT,
            version: self.version,
        };
        let mut lines = serde_json::to_vec(&head).map_err(|e| e.to_string())?;
        lines.push(b'\n');
        let parts = self
            .parts
            .iter()
            .map(|(name, content)| (true, name, content));
        let log = self
            .log
            .iter()
            .map(|(name, content)| (false, name, content));
        for (is_part, name, content) in parts.chain(log) {
            let fault = |e: serde_json::Error| format!("part {name}: {e}");
            // A line must be one: only text that was written with line breaks is written anew.
            let plain = if content.contains(&b'\n') {
                let value: Value = serde_json::from_slice(content).map_err(fault)?;
                Bytes::from(value.to_string())
            } else {
                content.clone()
            };
            let line = Line {
                part: is_part.then(|| name.clone()),
                entry: (!is_part).then(|| name.clone()),
                value: serde_json::from_slice(&plain).map_err(fault)?,
            };
            serde_json::to_writer(&mut lines, &line).map_err(fault)?;
            lines.push(b'\n');
        }
        Ok(lines.into())
    }

    /// Reads the lines.
    ///
    /// # Errors
    /// When they are damaged, or of a form that a later version writes.
    pub fn decode(content: &[u8]) -> Result<Self, String> {
        let mut lines = content
            .split(|byte| *byte == b'\n')
            .filter(|l| !l.is_empty());
        let head = lines.next().ok_or("it has no lines")?;
        let head: Head = serde_json::from_slice(head).map_err(|e| format!("line 1: {e}"))?;
        if head.format != FORMAT {
            return Err(format!(
                "format {} was written by another version than this one, which reads {FORMAT}",
                head.format
            ));
        }
        let mut read = Self {
            id: head.execution,
            version: head.version,
            ..Self::default()
        };
        for (number, line) in lines.enumerate() {
            let line: Line<'_> =
                serde_json::from_slice(line).map_err(|e| format!("line {}: {e}", number + 2))?;
            let value = Bytes::copy_from_slice(line.value.get().as_bytes());
            match (line.part, line.entry) {
                (Some(part), None) => read.parts.insert(part, value),
                (None, Some(entry)) => read.log.insert(entry, value),
                _ => return Err(format!("line {} is neither part nor entry", number + 2)),
            };
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_give_back_what_was_written() {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let content = Content {
            id: "01X".to_owned(),
            version: 3,
            parts: BTreeMap::from([
                (
                    "h".to_owned(),
                    bytes(r#"{"big":12345678901234567890.10,"a":"\n"}"#),
                ),
                ("s:1".to_owned(), bytes("[]")),
            ]),
            log: BTreeMap::from([("0000000001".to_owned(), bytes("null"))]),
        };
        let lines = content.encode().unwrap();
        assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), 4);
        assert_eq!(Content::decode(&lines).unwrap(), content);
        let broken = Content {
            parts: BTreeMap::from([("h".to_owned(), bytes("{\n\"a\": 1}"))]),
            ..content.clone()
        };
        let read = Content::decode(&broken.encode().unwrap()).unwrap();
        assert_eq!(read.parts["h"], r#"{"a":1}"#);
        let none = Content {
            parts: BTreeMap::from([("h".to_owned(), bytes("{"))]),
            ..content
        };
        assert!(none.encode().unwrap_err().starts_with("part h"));
        for damaged in ["", "{}", "{\"execution\":\"x\",\"format\":2,\"version\":1}"] {
            assert!(Content::decode(damaged.as_bytes()).is_err(), "{damaged}");
        }
        assert!(Content::decode(&lines[..lines.len() - 9]).is_err());
    }
}
