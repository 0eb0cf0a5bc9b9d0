//! Deploy strategies: which stages surround or replace the creation of a server
//! group. To add one: its file, and two adjacent lines here.

mod canary;
pub(crate) mod custom;
mod highlander;
mod in_place_drain;
mod monitored;
mod none;
mod red_black;
mod rolling_red_black;
mod steps;

pub(super) use steps::base;

use orchestrator_core::graph::Fault;
use orchestrator_core::{NewStage, Owner, PlanError, Settings, StageView};
use serde_json::{Map, Value};

/// Every strategy.
pub static STRATEGIES: &[&dyn Strategy] = &[
    &canary::STRATEGY,
    &custom::STRATEGY,
    &highlander::STRATEGY,
    &in_place_drain::STRATEGY,
    &monitored::STRATEGY,
    &none::STRATEGY,
    &red_black::STRATEGY,
    &rolling_red_black::STRATEGY,
];

/// One strategy. All of it is a function of the stage that deploys.
pub trait Strategy: Send + Sync {
    /// Its key, as in the stage's `strategy`.
    fn key(&self) -> &'static str;

    /// For people.
    fn label(&self) -> &'static str;

    /// The after-stages do what creating and waiting would do.
    fn replaces_basic_steps(&self) -> bool {
        false
    }

    /// The group begins empty and takes over step by step.
    fn is_rolling(&self) -> bool {
        false
    }

    /// What of the stage's context is to be otherwise before the group is made.
    fn prepare(&self, _context: &Map<String, Value>) -> Map<String, Value> {
        Map::new()
    }

    /// Fields it reads that are wrong, as (name, message).
    fn faults(&self, _context: &Map<String, Value>) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// What of it the operator has not set, as one sentence.
    fn unset(&self, _context: &Map<String, Value>, _settings: &Settings) -> Option<String> {
        None
    }

    /// With `rollback.onFailure`: what of a rollback is done (`additionalRollbackContext`).
    fn rollback(&self, _stage: StageView<'_>) -> Option<Value> {
        None
    }

    /// Old groups may already be out of traffic when the stage fails there.
    fn may_have_disabled(&self, stage: StageView<'_>) -> bool {
        let mut below = stage
            .execution
            .synthetics(&stage.stage.id, Some(Owner::StageAfter));
        let takes_away = ["disableCluster", "shrinkCluster", "disableServerGroup"];
        below.any(|s| takes_away.contains(&s.kind.as_str()) && s.start_time.is_some())
    }

    /// Stages after a failure, beside the rollback.
    fn on_failure(&self, _stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        Ok(Vec::new())
    }

    /// Stages before the group is made.
    fn before(&self, _stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        Ok(Vec::new())
    }

    /// Stages after it was made.
    fn after(&self, _stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        Ok(Vec::new())
    }
}

/// What is wrong with the strategy of a stage as written.
pub(super) fn faults(context: &Map<String, Value>, path: &str) -> Vec<Fault> {
    let value = context.get("strategy");
    if value
        .and_then(Value::as_str)
        .is_some_and(|t| t.contains("${"))
    {
        return Vec::new();
    }
    let at = |field: &str, message: String| Fault::new(format!("{path}.{field}"), message);
    match named(value) {
        Ok(strategy) => {
            let faults = strategy.faults(context).into_iter();
            faults.map(|(field, message)| at(field, message)).collect()
        }
        Err(message) => vec![at("strategy", message)],
    }
}

/// The strategy of a stage; an absent or empty one is `none`.
///
/// Differs from Spinnaker: there an unknown strategy is silently none, and both
/// versions stay in traffic.
///
/// # Errors
/// When there is no such strategy, naming those there are.
pub(super) fn of(stage: StageView<'_>) -> Result<&'static dyn Strategy, PlanError> {
    named(stage.stage.context.get("strategy"))
}

/// The same from the field's value.
pub(crate) fn named(value: Option<&Value>) -> Result<&'static dyn Strategy, PlanError> {
    let key = value
        .and_then(Value::as_str)
        .unwrap_or_default()
        .trim()
        .to_lowercase();
    let key = if key.is_empty() { "none" } else { key.as_str() };
    STRATEGIES
        .iter()
        .copied()
        .find(|s| s.key() == key)
        .ok_or_else(|| {
            let known: Vec<_> = STRATEGIES.iter().map(|s| s.key()).collect();
            format!(
                "strategy \"{key}\" is unknown; use one of {}",
                known.join(", ")
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn strategies_are_found_by_key_whatever_its_case() {
        assert_eq!(
            named(Some(&json!("InPlaceDrain"))).unwrap().key(),
            "inplacedrain"
        );
        assert_eq!(named(Some(&json!(""))).unwrap().key(), "none");
        assert_eq!(named(None).unwrap().key(), "none");
        assert!(
            named(Some(&json!("teleport")))
                .err()
                .unwrap()
                .contains("use one of")
        );
    }

    #[test]
    fn the_list_is_the_folder() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/stage/strategy");
        assert_eq!(
            std::fs::read_dir(folder).unwrap().count(),
            STRATEGIES.len() + 2
        );
    }
}
