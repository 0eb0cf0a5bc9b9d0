//! The trigger as an execution holds it: open JSON with a few names that count.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

/// A trigger. Every key of what was submitted is kept. It is the largest part of an
/// execution's header and hardly ever changes, so copies share it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trigger(Arc<Map<String, Value>>);

impl Trigger {
    /// A trigger with the fields every one carries (`orca: TriggerDeserializer`).
    pub fn new(mut fields: Map<String, Value>) -> Self {
        for (key, default) in [
            ("type", json!("none")),
            ("user", json!("[anonymous]")),
            ("parameters", json!({})),
            ("artifacts", json!([])),
            ("notifications", json!([])),
            ("rebake", json!(false)),
            ("dryRun", json!(false)),
            ("strategy", json!(false)),
            ("resolvedExpectedArtifacts", json!([])),
        ] {
            if fields.get(key).is_none_or(Value::is_null) {
                fields.insert(key.to_owned(), default);
            }
        }
        fields.retain(|_, value| !value.is_null());
        Self(Arc::new(fields))
    }

    /// A field.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// A field that is text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }

    /// Tasks are replaced by one that does nothing.
    pub fn is_dry_run(&self) -> bool {
        self.0
            .get("dryRun")
            .and_then(Value::as_bool)
            .unwrap_or(false)
    }

    /// All fields.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.0
    }

    /// All fields, to change them.
    pub fn fields_mut(&mut self) -> &mut Map<String, Value> {
        Arc::make_mut(&mut self.0)
    }
}

impl Serialize for Trigger {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Trigger {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Map::deserialize(deserializer).map(|fields| Self(Arc::new(fields)))
    }
}
