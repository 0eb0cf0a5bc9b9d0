//! Why a metric store gave no values, in its own words.

use std::fmt;

use crate::query::Fault;

/// Characters of a store's answer, or of a query, that an error repeats.
const LONGEST: usize = 600;

/// Who has to do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The query is faulty: asked again it fails again.
    Invalid,
    /// Nobody: asked again it may succeed.
    Transient,
    /// The operator: the account, or the store itself.
    Refused,
}

/// Why there are no values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SourceError {
    /// Who has to do something about it.
    pub class: Class,
    /// Account and type of the store; empty if none was reached.
    pub store: String,
    /// The metric, if one was asked for.
    pub metric: String,
    /// What is wrong, in the store's own words where it spoke.
    pub why: String,
    /// The query as it was sent, without secrets.
    pub query: String,
    /// Where to fix it.
    pub remedy: String,
}

impl SourceError {
    pub(crate) fn new(class: Class, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            class,
            store: String::new(),
            metric: String::new(),
            why: why.into(),
            query: String::new(),
            remedy: remedy.into(),
        }
    }

    /// The same about a metric and a query.
    pub(crate) fn about(mut self, metric: &str, query: &str) -> Self {
        metric.clone_into(&mut self.metric);
        self.query = bounded(query);
        self
    }
}

impl From<Fault> for SourceError {
    fn from(fault: Fault) -> Self {
        let why = format!("{} is {}", fault.field, fault.value);
        Self::new(Class::Invalid, why, fault.remedy)
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.metric.is_empty() {
            write!(f, "metric {:?}: ", self.metric)?;
        }
        if !self.store.is_empty() {
            write!(f, "{}: ", self.store)?;
        }
        f.write_str(&self.why)?;
        if !self.query.is_empty() {
            write!(f, "; asked was: {}", self.query)?;
        }
        write!(f, "; {}", self.remedy)
    }
}

/// A text of somebody else on one line, shortened.
pub(crate) fn bounded(text: &str) -> String {
    let plain: String = text
        .chars()
        .filter(|c| !c.is_control() || c.is_whitespace())
        .collect();
    let line = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut shown: String = line.chars().take(LONGEST).collect();
    if shown.len() < line.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_metric_store_reason_query_and_remedy() {
        let mut error = SourceError::new(Class::Refused, "it answers 500", "look at its log");
        error.store = "prometheus account prod".into();
        let error = error.about("errors", "sum(\n  x)");
        assert_eq!(
            error.to_string(),
            "metric \"errors\": prometheus account prod: it answers 500; asked was: sum( x); look at its log"
        );
    }

    #[test]
    fn what_a_store_says_is_repeated_shortened() {
        let text = bounded(&"x".repeat(10_000));
        assert_eq!(text.chars().count(), LONGEST + 1);
        assert_eq!(bounded("a\n\u{7}b"), "a b");
    }
}
