//! How a metric is compared: what stands under `analysisConfigurations.canary` (`kayenta: NetflixACAJudge`).
//!
//! Nothing is checked before a metric is judged, and what is checked is what the original's casts check: a truth
//! value must be one, a number must be one of JSON and, if whole, fit into 32 bits. Null is false or zero; where a
//! text is expected it is an error. What is no known word means the default.

use serde_json::{Map, Value};

use crate::error::Unreadable;
use crate::number;

/// Which difference is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Higher values.
    Increase,
    /// Lower values.
    Decrease,
    /// Both; the default.
    Either,
}

impl Direction {
    /// Whether higher values are bad.
    pub fn minds_increase(self) -> bool {
        self != Self::Decrease
    }

    /// Whether lower values are bad.
    pub fn minds_decrease(self) -> bool {
        self != Self::Increase
    }
}

/// What becomes of missing values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NanStrategy {
    /// They are left out; the default.
    Remove,
    /// They are zero.
    Replace,
}

/// What becomes of outliers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutlierStrategy {
    /// They are left out.
    Remove,
    /// They stay; the default.
    Keep,
}

/// What the size of a difference is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// The ratio of the means; the default.
    MeanRatio,
    /// The common language effect size.
    Cles,
}

/// How one metric is compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Which difference is bad.
    pub direction: Direction,
    /// What becomes of missing values.
    pub nan_strategy: NanStrategy,
    /// What becomes of outliers.
    pub outlier_strategy: OutlierStrategy,
    /// How far out outliers are.
    pub outlier_factor: f64,
    /// Whether a failure of this metric fails the canary.
    pub critical: bool,
    /// Whether missing data is a failure of this metric.
    pub must_have_data: bool,
    /// Whether it is reported and not scored.
    pub muted: bool,
    /// What the size of a difference is measured by.
    pub measure: Measure,
    /// A higher value is a failure from this effect on.
    pub allowed_increase: f64,
    /// A lower value is a failure up to this effect.
    pub allowed_decrease: f64,
    /// A failure by higher values is critical from this effect on.
    pub critical_increase: f64,
    /// A failure by lower values is critical up to this effect.
    pub critical_decrease: f64,
}

impl Options {
    /// Of the metric `name`, from its `analysisConfigurations.canary`.
    pub fn read(name: &str, analysis: Option<&Map<String, Value>>) -> Result<Self, Unreadable> {
        let source = Source { name, analysis };
        let direction = match source.text(&["direction"])? {
            Some("increase") => Direction::Increase,
            Some("decrease") => Direction::Decrease,
            _ => Direction::Either,
        };
        let nan_strategy = match source.text(&["nanStrategy"])? {
            Some("replace") => NanStrategy::Replace,
            _ => NanStrategy::Remove,
        };
        let outlier_strategy = match source.text(&["outliers", "strategy"])? {
            Some("remove") => OutlierStrategy::Remove,
            _ => OutlierStrategy::Keep,
        };
        let measure = match source.text(&["effectSize", "measure"])? {
            Some("cles") => Measure::Cles,
            _ => Measure::MeanRatio,
        };
        let neutral = match measure {
            Measure::MeanRatio => 1.0,
            Measure::Cles => 0.5,
        };
        let effect = |field: &str| source.number(&["effectSize", field], neutral);
        Ok(Self {
            direction,
            nan_strategy,
            outlier_strategy,
            outlier_factor: source.number(&["outliers", "outlierFactor"], 3.0)?,
            critical: source.truth("critical")?,
            must_have_data: source.truth("mustHaveData")?,
            muted: source.truth("muted")?,
            measure,
            allowed_increase: effect("allowedIncrease")?,
            allowed_decrease: effect("allowedDecrease")?,
            critical_increase: effect("criticalIncrease")?,
            critical_decrease: effect("criticalDecrease")?,
        })
    }
}

/// Where the options of a metric are found.
#[derive(Clone, Copy)]
struct Source<'a> {
    name: &'a str,
    analysis: Option<&'a Map<String, Value>>,
}

/// What stands at the end of a path.
enum Found<'a> {
    One(&'a Value),
    /// A list on the way, whose members have it: never what is expected.
    Several,
}

/// What `path` leads to. What has no fields has nothing there.
fn find<'a>(value: &'a Value, path: &[&str]) -> Option<Found<'a>> {
    let [first, rest @ ..] = path else {
        return Some(Found::One(value));
    };
    match value {
        Value::Object(object) => find(object.get(*first)?, rest),
        Value::Array(list) => {
            let any = list.iter().any(|value| find(value, path).is_some());
            any.then_some(Found::Several)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

impl<'a> Source<'a> {
    fn find(self, path: &[&str]) -> Option<Found<'a>> {
        let [first, rest @ ..] = path else {
            return None;
        };
        find(self.analysis?.get(*first)?, rest)
    }

    fn refused(self, path: &[&str], value: &Found<'_>, remedy: &'static str) -> Unreadable {
        let path = path.join(".");
        let field = format!(
            "analysisConfigurations.canary.{path} of metric {:?}",
            self.name
        );
        let list = Value::Array(Vec::new());
        let value = match value {
            Found::One(value) => value,
            Found::Several => &list,
        };
        Unreadable::new(&field, Some(value), remedy)
    }

    /// A word. What is no text is no known word either.
    fn text(self, path: &[&str]) -> Result<Option<&'a str>, Unreadable> {
        match self.find(path) {
            None | Some(Found::Several) => Ok(None),
            Some(found @ Found::One(Value::Null)) => {
                Err(self.refused(path, &found, "leave it out or give a text"))
            }
            Some(Found::One(value)) => Ok(value.as_str()),
        }
    }

    fn truth(self, field: &str) -> Result<bool, Unreadable> {
        match self.find(&[field]) {
            None | Some(Found::One(Value::Null)) => Ok(false),
            Some(Found::One(Value::Bool(truth))) => Ok(*truth),
            Some(found) => Err(self.refused(&[field], &found, "give true or false, not a text")),
        }
    }

    fn number(self, path: &[&str], default: f64) -> Result<f64, Unreadable> {
        const REMEDY: &str = "give a number, not a text; a whole one must fit into 32 bits";
        match self.find(path) {
            None => Ok(default),
            Some(Found::One(Value::Null)) => Ok(0.0),
            Some(Found::One(Value::Number(number)))
                if number::is_fraction(number) || number.as_str().parse::<i32>().is_ok() =>
            {
                Ok(number::of_number(number))
            }
            Some(found) => Err(self.refused(path, &found, REMEDY)),
        }
    }
}
