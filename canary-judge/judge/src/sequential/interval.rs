//! Which ratios of canary to baseline are still believable: a confidence sequence, right at all times at once.
//!
//! A ratio a is ruled out from below when E_sign of the signs of x − a·y reaches 2/α, from above when that of the reversed
//! signs does; so with probability 1 − α the median ratio never leaves the interval, however often one looks. E depends on
//! the number of signs alone: with P* the fewest of n that suffice, the ends are the P*-th ratio from either end (Howard,
//! Ramdas, *Sequential estimation of quantiles*, Bernoulli 2022, arXiv 1906.09712). Where a baseline is not above zero
//! there is no ratio, and the same is said of the difference.

use super::blocks::Block;
use super::signs::ln_of;

/// An interval that may be open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Interval {
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Of the ratio canary/baseline; else of the difference.
    pub(crate) of_ratio: bool,
}

/// Of `blocks`, at confidence 1 − `alpha`; none of none.
pub(crate) fn interval(blocks: &[Block], alpha: f64) -> Option<Interval> {
    let of_ratio = blocks
        .iter()
        .all(|block| block.baseline > 0.0 && block.baseline.is_finite());
    let mut values: Vec<f64> = blocks
        .iter()
        .map(|block| {
            if of_ratio {
                block.canary / block.baseline
            } else {
                block.difference()
            }
        })
        .filter(|value| !value.is_nan())
        .collect();
    if values.is_empty() {
        return None;
    }
    values.sort_by(f64::total_cmp);
    let n = values.len();
    let enough = (2.0 / alpha).ln();
    let suffices = |above: usize| ln_of(above as u64, (n - above) as u64) >= enough;
    // From half of them on E grows with their number.
    let (mut few, mut many) = (n / 2, n);
    if !suffices(n) {
        return Some(Interval {
            low: f64::NEG_INFINITY,
            high: f64::INFINITY,
            of_ratio,
        });
    }
    while many - few > 1 {
        let middle = few.midpoint(many);
        if suffices(middle) {
            many = middle
        } else {
            few = middle
        }
    }
    Some(Interval {
        low: values.get(n - many).copied().unwrap_or(f64::NEG_INFINITY),
        high: values.get(many - 1).copied().unwrap_or(f64::INFINITY),
        of_ratio,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_where_signs_rule_out() {
        let blocks = |n: u32| -> Vec<Block> {
            (0..n)
                .map(|i| Block {
                    canary: f64::from(100 + i),
                    baseline: 100.0,
                })
                .collect()
        };
        let open = interval(&blocks(8), 0.01).unwrap();
        assert_eq!((open.low, open.high), (f64::NEG_INFINITY, f64::INFINITY));
        let found = interval(&blocks(41), 0.01).unwrap();
        assert!(found.of_ratio && found.low > 1.0 && found.low < 1.2 && found.high > 1.2);
        // Symmetric about the median.
        assert!((found.low - 1.0 - (1.4 - found.high)).abs() < 1e-9);
        let below = [Block {
            canary: 1.0,
            baseline: -1.0,
        }];
        assert!(!interval(&below, 0.01).unwrap().of_ratio);
        assert_eq!(interval(&[], 0.01), None);
    }
}
