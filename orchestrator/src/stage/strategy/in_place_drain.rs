//! `inplacedrain`: host by host, the old instance is drained, stopped, and the new
//! one takes its place; for services that run once per host.
//!
//! Fields: `floor`, how many must serve at each instant (default: all but one);
//! `allowOutage`, for a service on one host. The moves are one operation of
//! cloud-driver, `replaceInPlace`, which puts everything back if it fails.

use orchestrator_core::{NewStage, PlanError, StageView};
use serde_json::Value;

use super::Strategy;

/// The strategy.
pub(super) static STRATEGY: InPlaceDrain = InPlaceDrain;

/// What the replacement does not take over from the stage that deploys.
const NOT_INHERITED: &[&str] = &[
    "strategy",
    "rollback",
    "deploy.server.groups",
    "kato.",
    "exception",
    "expressionEvaluationSummary",
    "restartDetails",
    "stageTimeoutMs",
    "type",
    "name",
];

/// See the module.
#[derive(Debug)]
pub(super) struct InPlaceDrain;

impl Strategy for InPlaceDrain {
    fn key(&self) -> &'static str {
        "inplacedrain"
    }

    fn label(&self) -> &'static str {
        "In place, drained"
    }

    fn replaces_basic_steps(&self) -> bool {
        true
    }

    fn after(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        let mut context = stage.stage.context.clone();
        context.retain(|key, _| !NOT_INHERITED.iter().any(|n| key.starts_with(n)));
        let source = context.get("source").and_then(|s| s.get("serverGroupName"));
        let name = match source.and_then(Value::as_str) {
            Some(source) => format!("Replace {source} in place"),
            None => "Deploy the first server group".to_owned(),
        };
        Ok(vec![NewStage::new("replaceInPlace", &name, context)])
    }
}
