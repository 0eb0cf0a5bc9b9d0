//! Why a judgement as a whole fails. A metric that cannot be tested is not among it: it is classified `Error`.

use serde_json::Value;

/// Why there is no judgement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A metric set pair is of no metric of the canary config. The text is the original's.
    #[error("Could not find metric config for {name}")]
    NoMetricConfig {
        /// The name of the pair.
        name: String,
    },
    /// `outlierFactor` is not above zero, and outliers are to be removed. The text is the original's.
    #[error("requirement failed: factor must be greater than zero")]
    OutlierFactor,
    /// Nobody registered a judge of this name. The text is the original's.
    #[error("Unable to resolve canary judge '{name}'.")]
    UnknownJudge {
        /// The name.
        name: String,
    },
    /// Something in the input is not what it must be.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// A field that is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}: {remedy}")]
pub struct Unreadable {
    /// Its path, as in `canaryConfig.metrics[0].groups`.
    pub field: String,
    /// What it is, shortened.
    pub value: String,
    /// What it must be.
    pub remedy: &'static str,
}

impl Unreadable {
    /// `value` at `field`, none if it is not there.
    pub(crate) fn new(field: &str, value: Option<&Value>, remedy: &'static str) -> Self {
        const LONGEST: usize = 60;
        let value = match value {
            None => "missing".to_owned(),
            Some(Value::Object(_)) => "an object".to_owned(),
            Some(Value::Array(_)) => "a list".to_owned(),
            Some(value @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_))) => {
                let text = value.to_string();
                if text.chars().count() > LONGEST {
                    text.chars().take(LONGEST).chain("…".chars()).collect()
                } else {
                    text
                }
            }
        };
        Self {
            field: field.to_owned(),
            value,
            remedy,
        }
    }
}

/// The test cannot be made: every value of both samples is tied, so their ranks have no spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot compute confidence interval when all observations are tied")]
pub struct AllTied;
