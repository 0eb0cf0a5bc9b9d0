//! Detectors of outliers: those of the original (`kayenta: IQRDetector`, `KSigmaDetector`).

use crate::descriptive::{mean, percentile, population_variance};
use crate::error::Error;

/// Which values lie too far out.
pub trait Detector {
    /// For each value, in order, whether it is an outlier.
    fn detect(&self, values: &[f64]) -> Vec<bool>;
}

/// By the range between the quartiles Q₁ and Q₃: an outlier lies below min(P₁, Q₁ - f·(Q₃-Q₁)) or above
/// max(P₉₉, Q₃ + f·(Q₃-Q₁)), strictly. The percentiles make it less sensitive than Tukey's.
#[derive(Debug, Clone, Copy)]
pub struct Quartiles {
    factor: f64,
}

impl Quartiles {
    /// With factor f, which is above zero.
    pub fn new(factor: f64) -> Result<Self, Error> {
        if factor > 0.0 {
            Ok(Self { factor })
        } else {
            Err(Error::OutlierFactor)
        }
    }

    /// Lower and upper fence; NaN, which nothing lies beyond, if infinities leave none.
    fn fences(self, values: &[f64]) -> (f64, f64) {
        let mut ascending = values.to_vec();
        ascending.sort_unstable_by(f64::total_cmp);
        let at = |part| percentile(&ascending, part);
        let (q1, q3) = (at(0.25), at(0.75));
        let range = q3 - q1;
        let (lower, upper) = (q1 - self.factor * range, q3 + self.factor * range);
        (
            known(at(0.01), lower, f64::min),
            known(at(0.99), upper, f64::max),
        )
    }
}

/// `choose` of two numbers, NaN if one is NaN.
fn known(a: f64, b: f64, choose: fn(f64, f64) -> f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        choose(a, b)
    }
}

impl Detector for Quartiles {
    fn detect(&self, values: &[f64]) -> Vec<bool> {
        let (lower, upper) = self.fences(values);
        values
            .iter()
            .map(|value| *value > upper || *value < lower)
            .collect()
    }
}

/// By the distance from the mean: an outlier is more than k standard deviations of the population away. No judge
/// uses it.
#[derive(Debug, Clone, Copy)]
pub struct KSigma {
    k: f64,
}

impl KSigma {
    /// With k, none if it is not above zero.
    pub fn new(k: f64) -> Option<Self> {
        (k > 0.0).then_some(Self { k })
    }
}

impl Detector for KSigma {
    fn detect(&self, values: &[f64]) -> Vec<bool> {
        let (mean, deviation) = (mean(values), population_variance(values).sqrt());
        values
            .iter()
            .map(|value| (value - mean).abs() > deviation * self.k)
            .collect()
    }
}
