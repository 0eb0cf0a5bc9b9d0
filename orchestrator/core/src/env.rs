//! What a handler is given beside message and subject: everything that would
//! otherwise be ambient.

use std::collections::BTreeMap;

use crate::catalog::StageCatalog;

/// Fresh ids, in an order that a replay repeats.
pub trait IdSource {
    /// A new id, unique in the execution.
    fn next_id(&mut self) -> String;
}

/// Answers to look-ups that were recorded, by their key: the text, or why there is none.
pub type Answers = BTreeMap<String, Result<String, String>>;

/// The engine's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Base of links to this product's page.
    pub page_url: String,
    /// How many characters an expression may have.
    pub longest_expression: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            page_url: "http://127.0.0.1:8084/ui/".to_owned(),
            longest_expression: 10_000,
        }
    }
}

/// The world as a handler sees it.
pub struct Env<'a> {
    /// Now, ms since the epoch.
    pub now: i64,
    /// Source of ids.
    pub ids: &'a mut dyn IdSource,
    /// Recorded answers.
    pub answers: &'a Answers,
    /// What each type of stage is.
    pub stages: &'a dyn StageCatalog,
    /// Settings.
    pub settings: &'a Settings,
}
