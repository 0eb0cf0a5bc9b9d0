//! The scores that decide: `scoreThresholds` of a canary stage. Pure.

use serde_json::{Map, Value};

use super::settings::short;
use crate::task::number;

/// Thresholds of a stage that names none.
pub(in crate::stage) const DEFAULT_THRESHOLDS: Thresholds = Thresholds {
    pass: Some(75),
    marginal: Some(50),
};

/// The scores that decide. Whole numbers, as Orca's are: fractions are cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::stage) struct Thresholds {
    /// From here on it passes.
    pub(in crate::stage) pass: Option<i64>,
    /// Up to here it fails.
    pub(in crate::stage) marginal: Option<i64>,
}

impl Thresholds {
    /// Those of a map; the usual ones where there is none.
    pub(in crate::stage) fn of(value: Option<&Value>) -> Result<Self, (String, String)> {
        let given = match value {
            None | Some(Value::Null) => return Ok(DEFAULT_THRESHOLDS),
            Some(Value::Object(given)) => given,
            Some(other) => {
                let message = format!("{} is no object; set {{pass, marginal}}", short(other));
                return Err(("scoreThresholds".to_owned(), message));
            }
        };
        let one = |key: &str| match given.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
            Some(value) => match number(value).filter(|n| (0.0..=100.0).contains(n)) {
                Some(score) => Ok(cut(score)),
                None => Err((
                    format!("scoreThresholds.{key}"),
                    format!("{} is no score from 0 to 100; correct it", short(value)),
                )),
            },
        };
        Ok(Self {
            pass: one("pass")?,
            marginal: one("marginal")?,
        })
    }

    /// As the judge takes them.
    pub(in crate::stage) fn to_json(self) -> Value {
        let mut all = Map::new();
        for (key, value) in [("pass", self.pass), ("marginal", self.marginal)] {
            if let Some(value) = value {
                all.insert(key.to_owned(), value.into());
            }
        }
        all.into()
    }
}

/// A score without its fraction, as Orca's model has it.
pub(in crate::stage) fn cut(score: f64) -> Option<i64> {
    format!("{:.0}", score.trunc()).parse().ok()
}
