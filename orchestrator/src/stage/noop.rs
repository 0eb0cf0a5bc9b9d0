//! `noop`: does nothing; it ends as skipped, and what follows goes on.
//! Source: `orca: NoOpStage`.

use orchestrator_core::{Description, StageDefinition};

use super::StageType;

/// The type.
pub(super) static STAGE: Noop = Noop;

/// See the module.
#[derive(Debug)]
pub(super) struct Noop;

impl StageDefinition for Noop {
    fn kind(&self) -> &'static str {
        "noop"
    }

    fn describe(&self) -> Description {
        Description {
            label: "No operation",
            text: "Does nothing: a place in the graph.",
            category: "flow",
        }
    }
}

impl StageType for Noop {}
