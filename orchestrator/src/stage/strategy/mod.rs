//! Deploy strategies: which stages surround or replace the creation of a server
//! group. To add one: its file, and two adjacent lines here.

mod in_place_drain;
mod none;

use orchestrator_core::{NewStage, PlanError, StageView};
use serde_json::Value;

/// Every strategy.
pub static STRATEGIES: &[&dyn Strategy] = &[&in_place_drain::STRATEGY, &none::STRATEGY];

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

    /// Stages before the group is made.
    fn before(&self, _stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        Ok(Vec::new())
    }

    /// Stages after it was made.
    fn after(&self, _stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        Ok(Vec::new())
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
pub(super) fn named(value: Option<&Value>) -> Result<&'static dyn Strategy, PlanError> {
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
            STRATEGIES.len() + 1
        );
    }
}
