//! The Mann-Whitney test as the original makes it: the interval of location shifts that the test does not reject,
//! and the estimate of the shift.
//!
//! Normal approximation with correction for ties and continuity, no exact branch for small samples and no p-value
//! (`kayenta: MannWhitney`). The interval's ends are the roots of z(μ) = ∓Φ⁻¹(α/2), the estimate that of z(μ) = 0; each
//! is sought between min x - max y and max x - min y. With few points |z| never reaches the quantile: then the ends
//! are those two.

use crate::brent;
use crate::error::AllTied;
use crate::rank::Ranking;

/// The levels of confidence there are. Others would need Φ⁻¹ to the last bit, and the judge uses one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confidence {
    /// 90 %.
    P90,
    /// 95 %.
    P95,
    /// 98 %: the judge's.
    P98,
    /// 99 %.
    P99,
}

impl Confidence {
    /// Φ⁻¹(α/2) with α = 1 - confidence computed in floating point, as the original's library gives it.
    fn quantile(self) -> f64 {
        match self {
            Self::P90 => -1.644_853_626_951_473,
            Self::P95 => -1.959_963_984_540_054,
            Self::P98 => -2.326_347_874_040_841,
            Self::P99 => -2.575_829_303_548_900_4,
        }
    }
}

/// What the test says of the shift of x against y.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
    /// About the median of all differences xᵢ - yⱼ (Hodges and Lehmann).
    pub estimate: f64,
}

/// Tests `x`, the experiment, against `y`, the control. Both have values and none is NaN.
pub fn interval(x: &[f64], y: &[f64], confidence: Confidence) -> Result<Interval, AllTied> {
    interval_of(&mut Ranking::new(x, y), x, y, confidence)
}

/// z(μ): how far the sum of the ranks of `x`, each value less `mu`, is from what is expected without a difference, in
/// standard deviations. NaN if a sample is empty.
pub fn statistic(x: &[f64], y: &[f64], mu: f64) -> Result<f64, AllTied> {
    Ranking::new(x, y).z(mu)
}

/// [`interval`] of samples that are sorted already.
pub(crate) fn interval_of(
    ranking: &mut Ranking,
    x: &[f64],
    y: &[f64],
    confidence: Confidence,
) -> Result<Interval, AllTied> {
    let low = least(x) - greatest(y);
    let high = greatest(x) - least(y);
    let (z_low, z_high) = (ranking.z(low)?, ranking.z(high)?);
    let mut solve = |quantile: f64| {
        let ends = ((low, z_low - quantile), (high, z_high - quantile));
        brent::root(ends.0, ends.1, |mu| Ok(ranking.z(mu)? - quantile))
    };
    let mut end = |quantile: f64| {
        if z_low - quantile <= 0.0 {
            Ok(low)
        } else if z_high - quantile >= 0.0 {
            Ok(high)
        } else {
            solve(quantile)
        }
    };
    let quantile = confidence.quantile();
    Ok(Interval {
        lower: end(-quantile)?,
        upper: end(quantile)?,
        estimate: solve(0.0)?,
    })
}

/// The first of the least values: of zeros of both signs the one that comes first.
fn least(values: &[f64]) -> f64 {
    let values = values.iter().copied();
    values
        .reduce(|a, b| if a <= b { a } else { b })
        .unwrap_or(f64::NAN)
}

/// The first of the greatest values.
fn greatest(values: &[f64]) -> f64 {
    let values = values.iter().copied();
    values
        .reduce(|a, b| if a >= b { a } else { b })
        .unwrap_or(f64::NAN)
}
