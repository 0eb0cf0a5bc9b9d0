//! `redblack`: when the new group serves, the old ones are taken out of traffic and
//! kept for a rollback. Source: `orca: RedBlackStrategy`.
//!
//! Fields: `maxRemainingAsgs`, how many groups stay (0: all); `delayBeforeCleanup`
//! and `delayBeforeScaleDownSec`, in seconds; `scaleDown`, what is out of traffic
//! is resized to nothing; `allowDeleteActive`, `allowScaleDownActive`.

use orchestrator_core::{NewStage, PlanError, StageView, Status};
use serde_json::{Value, json};

use super::{Strategy, steps};

/// The strategy.
pub(super) static STRATEGY: RedBlack = RedBlack;

/// See the module.
#[derive(Debug)]
pub(super) struct RedBlack;

impl Strategy for RedBlack {
    fn key(&self) -> &'static str {
        "redblack"
    }

    fn label(&self) -> &'static str {
        "Red/Black"
    }

    fn after(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        if steps::source(stage).is_none() {
            return Ok(Vec::new());
        }
        let mut planned = Vec::new();
        let remaining = steps::number(stage, &["maxRemainingAsgs"]);
        if let Some(remaining) = remaining.filter(|n| *n > 0) {
            let active = stage.stage.flag("allowDeleteActive") == Some(true);
            let own = json!({
                "shrinkToSize": remaining, "allowDeleteActive": active,
                "retainLargerOverNewer": false,
            });
            let context = steps::with(stage, own);
            planned.push(NewStage::new("shrinkCluster", "shrinkCluster", context));
        }
        planned.extend(steps::wait(stage, "Wait Before Disable", &steps::DELAY));
        planned.push(steps::disable_cluster(stage));
        if let Some(scale_down) = steps::scale_down(stage) {
            let delay = ["delayBeforeScaleDownSec"];
            planned.extend(steps::wait(stage, "Wait Before Scale Down", &delay));
            planned.push(scale_down);
        }
        Ok(planned)
    }

    /// The old group was not touched while the new one was made, so taking that out
    /// of traffic is enough.
    fn rollback(&self, stage: StageView<'_>) -> Option<Value> {
        let failed = |s: Status| s == Status::Terminal;
        let own = stage.stage.tasks.iter().any(|t| failed(t.status));
        own.then(|| json!({"disableOnly": true, "onlyEnabledServerGroups": true}))
    }
}
