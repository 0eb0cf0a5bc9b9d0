//! `highlander`: when the new group serves, all others are drained and destroyed.
//! Source: `orca: HighlanderStrategy`.

use orchestrator_core::{NewStage, PlanError, StageView};
use serde_json::json;

use super::{Strategy, steps};

/// The strategy.
pub(super) static STRATEGY: Highlander = Highlander;

/// See the module.
#[derive(Debug)]
pub(super) struct Highlander;

impl Strategy for Highlander {
    fn key(&self) -> &'static str {
        "highlander"
    }

    fn label(&self) -> &'static str {
        "Highlander"
    }

    fn after(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        let own = json!({
            "shrinkToSize": 1, "allowDeleteActive": true, "retainLargerOverNewer": false,
        });
        let context = steps::with(stage, own);
        Ok(vec![NewStage::new(
            "shrinkCluster",
            "shrinkCluster",
            context,
        )])
    }
}
