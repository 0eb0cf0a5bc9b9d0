//! Placeholder of the expression language's interface.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What an expression can see.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// Names by value.
    pub root: &'a Map<String, Value>,
    /// Now, ms.
    pub now_ms: i64,
    /// Recorded answers.
    pub answers: &'a BTreeMap<String, Result<String, String>>,
    /// Where look-ups belong.
    pub place: &'a str,
}
/// How bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Null.
    Info,
    /// Error.
    Error,
}
impl Level {
    /// Name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Error => "ERROR",
        }
    }
}
/// A failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// key
    pub key: String,
    /// desc
    pub description: String,
    /// type
    pub exception_type: Option<String>,
    /// level
    pub level: Level,
}
impl Failure {
    /// Names the key.
    pub fn name(&mut self, _key: &str) {}
}
/// A look-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// key
    pub key: String,
    /// url
    pub url: String,
}
/// Result.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evaluated {
    /// v
    pub value: Value,
    /// f
    pub failures: Vec<Failure>,
    /// n
    pub needs: Vec<Need>,
}
/// Evaluates.
pub fn evaluate(template: &Value, _scope: &Scope<'_>) -> Evaluated {
    Evaluated {
        value: template.clone(),
        ..Evaluated::default()
    }
}
