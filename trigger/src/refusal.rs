//! Why a trigger does not fire: the field, what was expected, what came, what to do.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// One reason. Its message is one sentence with all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Field of the trigger, or of its pipeline.
    pub field: String,
    /// What the trigger asks for.
    pub expected: String,
    /// What came, or what is there.
    pub actual: String,
    /// What makes it fire.
    pub remedy: String,
    /// The sentence.
    pub message: String,
}

impl Refusal {
    /// A reason in words of its own.
    pub fn new(field: &str, expected: &str, actual: &str, message: &str, remedy: &str) -> Self {
        Self {
            field: field.to_owned(),
            expected: expected.to_owned(),
            actual: actual.to_owned(),
            remedy: remedy.to_owned(),
            message: message.to_owned(),
        }
    }

    /// Two texts that should be the same.
    pub fn differs(field: &str, expected: &str, actual: &str) -> Self {
        let message = format!("{field} is \"{actual}\", not \"{expected}\"");
        let remedy = format!("set {field} to \"{actual}\" to fire for such events");
        Self::new(field, expected, actual, &message, &remedy)
    }

    /// A text that a pattern does not match.
    pub fn pattern(field: &str, pattern: &str, actual: &str) -> Self {
        let message = format!("{field} \"{actual}\" does not match \"{pattern}\"");
        let remedy = format!("correct the regular expression in {field}");
        Self::new(field, pattern, actual, &message, &remedy)
    }

    /// A pattern that cannot be used.
    pub fn unusable(field: &str, pattern: &str, reason: &str) -> Self {
        let message = format!("{field} pattern \"{pattern}\" cannot be used: {reason}");
        let remedy = format!("correct the regular expression in {field}");
        Self::new(field, "a regular expression", pattern, &message, &remedy)
    }

    /// A field that the trigger lacks.
    pub fn absent(field: &str) -> Self {
        let message = format!("the trigger has no {field}");
        Self::new(field, "a value", "", &message, &format!("set {field}"))
    }

    /// Puts its fields into a decision.
    pub(crate) fn tell(&self, decision: &mut Map<String, Value>) {
        for (key, value) in [
            ("reason", &self.message),
            ("field", &self.field),
            ("expected", &self.expected),
            ("actual", &self.actual),
            ("remedy", &self.remedy),
        ] {
            decision.insert(key.to_owned(), json!(value));
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}
