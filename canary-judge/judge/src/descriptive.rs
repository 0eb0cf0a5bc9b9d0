//! Descriptive statistics, summed in the order and form of the original, which makes them equal to the last bit.
//!
//! Source: `kayenta: DescriptiveStatistics`, whose mean takes two passes and whose variance corrects itself.

use serde_json::{Map, Value};

use crate::number;

/// What is reported of one side of a metric. All zero without values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Statistics {
    /// Least value.
    pub min: f64,
    /// Greatest value.
    pub max: f64,
    /// Mean; NaN with infinities.
    pub mean: f64,
    /// Standard deviation of a sample.
    pub std: f64,
    /// Number of values.
    pub count: usize,
}

impl Statistics {
    /// Of `values`. NaN among them is no least and no greatest value unless there is no other.
    pub fn of(values: &[f64]) -> Self {
        let Some(first) = values.first() else {
            return Self {
                min: 0.0,
                max: 0.0,
                mean: 0.0,
                std: 0.0,
                count: 0,
            };
        };
        // Of zeros of both signs the last one, as there.
        let (min, max) = values.iter().fold((*first, *first), |(min, max), value| {
            (
                if min < *value || value.is_nan() {
                    min
                } else {
                    *value
                },
                if max > *value || value.is_nan() {
                    max
                } else {
                    *value
                },
            )
        });
        let mean = mean(values);
        Self {
            min,
            max,
            mean,
            std: variance(values, mean).sqrt(),
            count: values.len(),
        }
    }

    /// As results have it, in `stats`.
    pub(crate) fn to_json(self) -> Map<String, Value> {
        let number = |name: &str, value| (name.to_owned(), number::to_json(value));
        let stats: Map<String, Value> = [
            number("min", self.min),
            number("max", self.max),
            number("mean", self.mean),
            number("std", self.std),
            ("count".to_owned(), Value::from(self.count)),
        ]
        .into_iter()
        .collect();
        Map::from_iter([("stats".to_owned(), Value::Object(stats))])
    }
}

/// m₀ + (Σ (x - m₀))/n with m₀ = (Σ x)/n. NaN without values.
pub fn mean(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let first = values.iter().fold(0.0, |sum, value| sum + value) / n;
    let rest = values.iter().fold(0.0, |sum, value| sum + (value - first));
    first + rest / n
}

/// (S₂ - S₁²/n)/(n - 1) with S₁ and S₂ the sums of the deviations from `mean` and of their squares; 0 of one value.
fn variance(values: &[f64], mean: f64) -> f64 {
    if values.len() == 1 {
        return 0.0;
    }
    squares(values, mean) / (values.len() as f64 - 1.0)
}

/// (S₂ - S₁²/n)/n: the variance of a population.
pub(crate) fn population_variance(values: &[f64]) -> f64 {
    if values.len() == 1 {
        return 0.0;
    }
    squares(values, mean(values)) / values.len() as f64
}

fn squares(values: &[f64], mean: f64) -> f64 {
    let (s2, s1) = values.iter().fold((0.0, 0.0), |(s2, s1), value| {
        let deviation = value - mean;
        (s2 + deviation * deviation, s1 + deviation)
    });
    s2 - s1 * s1 / values.len() as f64
}

/// A percentile of ascending values, by the seventh estimate of Hyndman and Fan: with `part` in [0, 1] and
/// pos = 1 + (n-1)·part, the value at pos, interpolated. NaN without values.
pub(crate) fn percentile(ascending: &[f64], part: f64) -> f64 {
    let position = 1.0 + (ascending.len() as f64 - 1.0) * part;
    let whole = position.floor();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at least one and no more than there are values"
    )]
    let lower = (whole as usize).saturating_sub(1);
    match ascending.get(lower..) {
        Some([at, next, ..]) => at + (position - whole) * (next - at),
        Some([at]) => *at,
        Some([]) | None => f64::NAN,
    }
}
