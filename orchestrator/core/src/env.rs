//! What a handler is given beside message and subject: everything that would
//! otherwise be ambient.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::catalog::StageCatalog;

/// Fresh ids, in an order that a replay repeats.
pub trait IdSource {
    /// A new id, unique in the execution.
    fn next_id(&mut self) -> String;

    /// An id that is the same whenever it is made for the same purpose, at the same time.
    fn derived_id(&mut self, at: i64, purpose: &str) -> String;
}

/// Answers to look-ups that were recorded, by their key: the text, or why there is none.
pub type Answers = BTreeMap<String, Result<String, String>>;

/// The engine's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Base of links to this product's page.
    pub page_url: String,
    /// What the operator set for types of stages, by section; only they know what it means.
    pub stages: Map<String, Value>,
    /// How many characters an expression may have.
    pub longest_expression: usize,
    /// A bug to put into the engine.
    #[cfg(any(test, feature = "testing"))]
    pub mutant: Option<crate::testing::Mutant>,
}

impl Settings {
    /// Settings with this base of links.
    pub fn new(page_url: String) -> Self {
        Self {
            page_url,
            stages: Map::new(),
            longest_expression: 10_000,
            #[cfg(any(test, feature = "testing"))]
            mutant: None,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::new("http://127.0.0.1:8084/ui/".to_owned())
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
