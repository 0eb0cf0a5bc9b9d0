//! What is done to each side of a metric before it is compared: missing values first, then outliers, then noise where
//! both sides are constant. Source: `kayenta: Transforms`.

use std::borrow::Cow;

use crate::error::Error;
use crate::options::{NanStrategy, Options, OutlierStrategy};
use crate::outlier::{Detector, Quartiles};
use crate::random::Random;

/// Noise is this part of the constant it is added to.
const NOISE: f64 = 1e-5;

/// `values` as the options of the metric have them. Infinities stay.
pub fn transform<'a>(values: &'a [f64], options: &Options) -> Result<Cow<'a, [f64]>, Error> {
    let values = match options.nan_strategy {
        _ if !values.iter().any(|value| value.is_nan()) => Cow::Borrowed(values),
        NanStrategy::Remove => values.iter().copied().filter(|v| !v.is_nan()).collect(),
        NanStrategy::Replace => {
            let replaced = |value: &f64| if value.is_nan() { 0.0 } else { *value };
            values.iter().map(replaced).collect()
        }
    };
    match options.outlier_strategy {
        OutlierStrategy::Keep => Ok(values),
        OutlierStrategy::Remove => {
            let detector = Quartiles::new(options.outlier_factor)?;
            Ok(without_outliers(&values, &detector).into())
        }
    }
}

/// Those of `values` that `detector` leaves.
pub fn without_outliers(values: &[f64], detector: &dyn Detector) -> Vec<f64> {
    let outliers = detector.detect(values);
    let kept = values.iter().zip(outliers).filter(|(_, out)| !out);
    kept.map(|(value, _)| *value).collect()
}

/// Each of equal `values` plus a normal number times 10⁻⁵ of the constant: a negative constant turns it round, and
/// zero keeps it away but not from being drawn. The normal number has the mean 0, which is added as there: of the zeros
/// it leaves one that is positive.
pub(crate) fn with_noise(values: &[f64], random: &mut Random) -> Vec<f64> {
    let scale = values.first().map_or(0.0, |value| value * NOISE);
    let noisy = |value: &f64| value + (random.gaussian() * scale + 0.0);
    values.iter().map(noisy).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_leaves_no_negative_zero() {
        let noisy = with_noise(&[-0.0; 20], &mut Random::new(42));
        assert!(noisy.iter().all(|value| value.to_bits() == 0), "{noisy:?}");
    }
}
