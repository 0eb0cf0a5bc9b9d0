//! What can go wrong: a text that does not parse, an evaluation that fails, and how
//! both are told to people.
//!
//! Codes and texts are those that Orca shows (Spring's numbers `EL1008E` and so on),
//! because people search for them. Truth: the recorded `detail` of failing
//! expressions.

use serde_json::{Map, Value, json};

/// How bad a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The value was null: the text stays as it is.
    Info,
    /// The evaluation failed.
    Error,
}

impl Level {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Error => "ERROR",
        }
    }
}

/// Why a text stayed as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The key in `expressionEvaluationSummary`: the expression without its braces.
    pub key: String,
    /// `Failed to evaluate [<keys>] <reason>`, as Orca writes it.
    pub description: String,
    /// The Java class Orca names; none if the value was null.
    pub exception_type: Option<String>,
    /// How bad.
    pub level: Level,
    /// Where in the text, in characters from its start.
    pub position: usize,
    /// What would help, if we can guess it.
    pub suggestion: Option<String>,
    reason: String,
}

impl Failure {
    pub(crate) fn new(
        key: String,
        keys: &str,
        reason: String,
        exception_type: Option<String>,
        level: Level,
    ) -> Self {
        let mut failure = Self {
            key,
            description: String::new(),
            exception_type,
            level,
            position: 0,
            suggestion: None,
            reason,
        };
        failure.name(keys);
        failure
    }

    pub(crate) fn located(mut self, position: usize, suggestion: Option<String>) -> Self {
        self.position = position;
        self.suggestion = suggestion;
        self
    }

    /// Says of which key the text was the value; for callers that evaluate a map key
    /// by key.
    pub fn name(&mut self, key: &str) {
        let text = format!("Failed to evaluate [{key}] {}", self.reason);
        self.description = match self.level {
            Level::Info => text,
            // A description must not look like an expression itself.
            Level::Error => text.replace('$', ""),
        };
    }
}

/// Failures in the shape of a context's `expressionEvaluationSummary`: key → list of
/// `{description, exceptionType, timestamp, level}`.
pub fn summary(failures: &[Failure], now_ms: i64) -> Map<String, Value> {
    let mut summary: Map<String, Value> = Map::new();
    for failure in failures {
        let mut entry = json!({"description": failure.description});
        if let Some(fields) = entry.as_object_mut() {
            if let Some(class) = &failure.exception_type {
                fields.insert("exceptionType".to_owned(), class.clone().into());
            }
            fields.insert("timestamp".to_owned(), now_ms.into());
            fields.insert("level".to_owned(), failure.level.as_str().into());
        }
        if let Value::Array(list) = summary
            .entry(failure.key.clone())
            .or_insert_with(|| json!([]))
        {
            list.push(entry);
        }
    }
    summary
}

/// A text that is no template: what is wrong with it and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at character {position}{}", suggestion.as_ref().map_or_else(String::new, |s| format!("; {s}")))]
pub struct ParseError {
    /// In characters from the start of the text.
    pub position: usize,
    /// What is wrong.
    pub problem: String,
    /// What would help, if we can guess it.
    pub suggestion: Option<String>,
}
