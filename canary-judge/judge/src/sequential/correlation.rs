//! How much each difference resembles the one before it.
//!
//! Lag-1 autocorrelation r₁ = Σ (dₜ−d̄)(dₜ₊₁−d̄) / Σ (dₜ−d̄)². A canary that turns bad halfway makes differences alike too,
//! and must not be mistaken for noise that wanders; so a run is cut into windows of 16 blocks, each about its own mean,
//! and the median of the windows counts. In a window of n, r₁ of noise with autocorrelation φ is about
//! φ − (1 + 3φ)/n (Marriott, Pope, Biometrika 1954), which is undone.

/// Blocks of a window.
const WINDOW: usize = 16;
/// From this autocorrelation on a block length is refused.
pub const TOO_MUCH: f64 = 0.3;
/// What the median of k windows may be above by chance, 1 in 20, is this by √k.
const CHANCE: f64 = 0.63;

/// r₁ of `values`, those that are not finite left out; none of fewer than three, or of equal ones.
pub(crate) fn lag_one(values: &[f64]) -> Option<f64> {
    let finite: Vec<f64> = values
        .iter()
        .copied()
        .filter(|value| value.is_finite())
        .collect();
    if finite.len() < 3 {
        return None;
    }
    let scaled = scaled(finite);
    let mean = scaled.iter().sum::<f64>() / scaled.len() as f64;
    let deviations = self::scaled(scaled.iter().map(|value| value - mean).collect());
    let square: f64 = deviations.iter().map(|value| value * value).sum();
    let pairs = deviations.iter().zip(deviations.iter().skip(1));
    let product: f64 = pairs.map(|(a, b)| a * b).sum();
    let ratio = product / square;
    ratio.is_finite().then_some(ratio)
}

/// `values` by the power of two that is next to the largest of them: the unit changes nothing, and squares of very large or
/// very small values would be infinite or zero. A power of two rounds nothing.
fn scaled(mut values: Vec<f64>) -> Vec<f64> {
    let largest = values
        .iter()
        .fold(0.0, |most: f64, value| most.max(value.abs()));
    let power = f64::from_bits(largest.to_bits() & f64::INFINITY.to_bits());
    let power = power.max(f64::MIN_POSITIVE);
    values.iter_mut().for_each(|value| *value /= power);
    values
}

/// The autocorrelation of a run so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Correlation {
    window: Vec<f64>,
    /// Of the windows that are full, ascending.
    windows: Vec<f64>,
}

impl Correlation {
    /// One more difference.
    pub(crate) fn push(&mut self, difference: f64) {
        self.window.push(difference);
        if self.window.len() == WINDOW {
            if let Some(found) = lag_one(&self.window) {
                let n = WINDOW as f64;
                let undone = ((n * found + 1.0) / (n - 3.0)).clamp(-1.0, 1.0);
                let place = self.windows.partition_point(|other| *other < undone);
                self.windows.insert(place, undone);
            }
            self.window.clear();
        }
    }

    /// Whether there are windows enough to see noise that wanders.
    pub(crate) fn sees(&self) -> bool {
        self.windows.len() > 1
    }

    /// What it is, none before the first window is full.
    pub(crate) fn found(&self) -> Option<f64> {
        let (lower, upper) = (
            self.windows.len().saturating_sub(1) / 2,
            self.windows.len() / 2,
        );
        Some(f64::midpoint(
            *self.windows.get(lower)?,
            *self.windows.get(upper)?,
        ))
    }

    /// What it is, if it is more than [`TOO_MUCH`], and not by chance.
    pub(crate) fn too_much(&self) -> Option<f64> {
        let chance = CHANCE / (self.windows.len() as f64).sqrt();
        self.found().filter(|found| *found > TOO_MUCH + chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn refused(coefficient: f64, shift_at: usize, runs: i64) -> i64 {
        let run = |seed: &i64| {
            let mut random = Random::new(*seed);
            let mut correlation = Correlation::default();
            let mut noise = 0.0;
            for step in 0..200 {
                noise = coefficient * noise + random.gaussian();
                correlation.push(noise + if step >= shift_at { 8.0 } else { 0.0 });
            }
            correlation.too_much().is_some()
        };
        i64::try_from((0..runs).filter(run).count()).unwrap()
    }

    #[test]
    fn wandering_noise_is_told_from_a_canary_that_turns_bad() {
        assert!(refused(0.8, 1000, 200) >= 180);
        assert!(refused(0.0, 1000, 200) <= 4);
        assert!(refused(0.0, 100, 200) <= 4, "a shift is no correlation");
    }

    #[test]
    fn noise_that_wanders_is_seen_whatever_its_unit() {
        let noise = |unit: f64| {
            let mut random = Random::new(5);
            let mut correlation = Correlation::default();
            let mut noise = 0.0;
            let steps: Vec<(f64, f64)> = (0..3000)
                .map(|_| {
                    noise = 0.8 * noise + random.gaussian();
                    correlation.push(unit * noise);
                    (unit * (100.0 + noise), unit * 100.0)
                })
                .collect();
            (
                crate::sequential::block_for(&steps).map(|found| found.block),
                correlation.too_much().is_some(),
            )
        };
        let (block, refused) = noise(1.0);
        assert!(
            refused && block.as_ref().is_ok_and(|block| *block > 10),
            "{block:?}"
        );
        for unit in [1e158, 1e-165, 1e305, 1e-300] {
            assert_eq!(noise(unit), (block, refused), "{unit:e}");
        }
    }

    #[test]
    fn the_scale_changes_no_bit_where_squares_are_numbers() {
        let mut random = Random::new(6);
        let values: Vec<f64> = (0..500).map(|_| 1e-3 * random.gaussian()).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let square: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
        let pairs = values.iter().zip(values.iter().skip(1));
        let product: f64 = pairs.map(|(a, b)| (a - mean) * (b - mean)).sum();
        let found = lag_one(&values).map(f64::to_bits);
        assert_eq!(found, Some((product / square).to_bits()));
    }

    #[test]
    fn what_does_not_vary_has_no_correlation() {
        assert_eq!(lag_one(&[1.0; 10]), None);
        assert_eq!(lag_one(&[1.0, f64::NAN, f64::INFINITY]), None);
        let alternating: Vec<f64> = (0..100).map(|i| f64::from(i % 2)).collect();
        assert!(lag_one(&alternating).is_some_and(|found| found < -0.9));
    }
}
