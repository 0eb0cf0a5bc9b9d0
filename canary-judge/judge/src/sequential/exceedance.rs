//! The last look at a canary that was too short for e-values.
//!
//! Below about a dozen blocks no e-value can reach 1/α, whatever the values: nothing of the risk α can have been spent.
//! Then it is spent whole on one test at the end: R, the number of canary values that exceed each value of the baseline by
//! more than the margin. If within each pair both values may as well be exchanged, the R greatest of all values are all
//! the canary's with probability at most 2⁻ᴿ, since they are of R different pairs. A baseline that does
//! not vary at all has no swing that would tie values to their step; then all values may be exchanged, and with n of each
//! side the probability is C(2n−R, n)/C(2n, n) (Rosenbaum, Ann. Math. Stat. 1954). It sees what medians do not: that most values are as ever and some are terrible.

use super::align::Both;
use super::shift::Minded;

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Exceedance {
    /// Values of the canary beyond all of the baseline.
    pub(crate) beyond: usize,
    /// Of so many.
    pub(crate) of: usize,
    /// The probability of as many in a good canary, at most.
    pub(crate) probability: f64,
    /// Whether they lie above.
    pub(crate) up: bool,
}

/// The rarer of the directions that are minded.
pub(crate) fn exceedance(values: &[Both], minded: Minded) -> Option<Exceedance> {
    let mut sizes: Vec<f64> = values.iter().map(|(_, baseline)| baseline.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    let median = *sizes.get(sizes.len() / 2)?;
    let sides = [(minded.up, 1.0), (minded.down, -1.0)];
    let both = minded.up.is_some() && minded.down.is_some();
    let found = sides.into_iter().filter_map(|(margins, sign)| {
        let margin = margins?.allowed;
        let margin = if margin > 0.0 { margin * median } else { 0.0 };
        let fence = values
            .iter()
            .map(|(_, baseline)| baseline * sign)
            .fold(f64::NEG_INFINITY, f64::max);
        let beyond = values
            .iter()
            .filter(|(canary, _)| canary * sign > fence + margin)
            .count();
        let still = values
            .iter()
            .all(|(_, baseline)| baseline.total_cmp(&values[0].1).is_eq());
        let tail = if still {
            of_all(values.len(), beyond)
        } else {
            of_pairs(beyond)
        };
        Some(Exceedance {
            beyond,
            of: values.len(),
            probability: if both { (2.0 * tail).min(1.0) } else { tail },
            up: sign > 0.0,
        })
    });
    found.min_by(|a, b| a.probability.total_cmp(&b.probability))
}

/// 2⁻ᴿ.
fn of_pairs(beyond: usize) -> f64 {
    0.5_f64.powi(i32::try_from(beyond).unwrap_or(i32::MAX))
}

/// C(2n−R, n)/C(2n, n): the product of (n−i)/(2n−i) for i below R.
fn of_all(n: usize, beyond: usize) -> f64 {
    (0..beyond)
        .map(|i| (n - i) as f64 / (2 * n - i) as f64)
        .product()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seven_of_ten_are_one_way_in_646() {
        assert!((of_all(10, 7) - 286.0 / 184_756.0).abs() < 1e-15);
        assert_eq!((of_all(10, 0), of_pairs(0)), (1.0, 1.0));
        assert!(of_all(100, 7) < of_pairs(7));
    }
}
