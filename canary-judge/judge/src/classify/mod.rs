//! From two samples to a classification: the classifiers, of which the judge uses the Mann-Whitney one.
//!
//! Source: `kayenta: BaseMetricClassifier` and what extends it.

mod mann_whitney;
mod mean_inequality;
mod random_label;

use serde::{Deserialize, Serialize};

use crate::error::AllTied;
use crate::options::{Direction, NanStrategy, Options};
use crate::random::Random;

pub use mann_whitney::{Comparison, MannWhitney};
pub use mean_inequality::MeanInequality;
pub use random_label::RandomLabel;

/// What a metric is found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Classification {
    /// No bad difference.
    Pass,
    /// Higher than control.
    High,
    /// Lower than control.
    Low,
    /// No data, which fails this metric.
    NodataFailMetric,
    /// No data.
    Nodata,
    /// It could not be tested.
    Error,
}

/// The samples that are compared, after transformation.
#[derive(Debug, Clone, Copy)]
pub struct Samples<'a> {
    /// Name of the metric.
    pub name: &'a str,
    /// Of control, which reasons call Baseline.
    pub control: &'a [f64],
    /// Of the experiment, which reasons call Canary.
    pub experiment: &'a [f64],
}

/// What a classifier needs to know of the metric.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Which difference is bad.
    pub direction: Direction,
    /// What became of missing values: it says what an empty sample means.
    pub nan_strategy: NanStrategy,
    /// Whether a failure fails the canary.
    pub critical: bool,
    /// Whether missing data is a failure.
    pub must_have_data: bool,
}

impl From<&Options> for Rules {
    fn from(options: &Options) -> Self {
        Self {
            direction: options.direction,
            nan_strategy: options.nan_strategy,
            critical: options.critical,
            must_have_data: options.must_have_data,
        }
    }
}

/// A metric's classification.
#[derive(Debug, Clone, PartialEq)]
pub struct Classified {
    /// What it is.
    pub classification: Classification,
    /// Why, for people.
    pub reason: Option<String>,
    /// Reported as the ratio of the means.
    pub deviation: f64,
    /// Whether it fails the canary.
    pub critical: bool,
}

impl Classified {
    /// A pass without a comparison.
    fn pass(reason: Option<&str>) -> Self {
        Self {
            classification: Classification::Pass,
            reason: reason.map(str::to_owned),
            deviation: 1.0,
            critical: false,
        }
    }
}

/// A way to classify metrics.
pub trait Classifier {
    /// Classifies one metric. What is drawn is drawn from `random`.
    fn classify(
        &self,
        samples: Samples<'_>,
        rules: Rules,
        random: &mut Random,
    ) -> Result<Classified, AllTied>;
}

/// What follows where a sample is empty, none if both have values: with missing values replaced it is no reason to
/// complain. `deviation` is reported of a metric without data.
fn without_data(
    samples: Samples<'_>,
    rules: Rules,
    reason: Option<String>,
    deviation: f64,
) -> Option<Classified> {
    if !samples.experiment.is_empty() && !samples.control.is_empty() {
        return None;
    }
    if rules.nan_strategy == NanStrategy::Replace {
        return Some(Classified::pass(None));
    }
    let fails = rules.must_have_data && !rules.critical;
    Some(Classified {
        classification: if fails {
            Classification::NodataFailMetric
        } else {
            Classification::Nodata
        },
        reason,
        deviation: if fails { 1.0 } else { deviation },
        critical: rules.critical && !fails,
    })
}
