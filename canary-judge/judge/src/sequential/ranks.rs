//! Evidence from signs and sizes: a bet whose stake grows with the rank of the difference among those before it.
//!
//! rₜ = (#{i<t: |dᵢ| < |dₜ|} + ½·#{i<t: |dᵢ| = |dₜ|} + ½)/t, hₜ = sign(dₜ)·rₜ, and
//!
//! E = mean over λ in {0.05, 0.10, …, 0.95} of ∏ (1 + λ·hₜ),
//!
//! a supermartingale if, given the past and |dₜ|, dₜ is no likelier above zero than below: as of noise that is
//! symmetric. It decides sooner than signs alone where the large differences are all on one side. Ramdas, Ruf, Larsson,
//! Koolen (arXiv 2009.03167); Shekhar, Ramdas (arXiv 2112.09162).

use super::order::Ordered;
use super::signs::Sign;

/// Number of stakes.
const STAKES: usize = 19;
/// Beyond this the products are scaled down.
const LARGE: f64 = 1e200;

/// The bets so far.
#[derive(Debug, Clone)]
pub(crate) struct Ranks {
    sizes: Ordered,
    seen: u64,
    products: [f64; STAKES],
    /// ln of what the products were divided by.
    ln_scale: f64,
}

impl Default for Ranks {
    fn default() -> Self {
        Self {
            sizes: Ordered::default(),
            seen: 0,
            products: [1.0; STAKES],
            ln_scale: 0.0,
        }
    }
}

impl Ranks {
    /// One more difference, of which only sign and size count.
    pub(crate) fn push(&mut self, sign: Sign, size: f64) {
        if size.is_nan() {
            return;
        }
        self.seen += 1;
        let (below, equal) = self.sizes.below_and_equal(size);
        let rank = (below as f64 + equal as f64 / 2.0 + 0.5) / self.seen as f64;
        self.sizes.insert(size);
        let bet = match sign {
            Sign::Tie => return,
            Sign::Above => rank,
            Sign::Below => -rank,
        };
        for (index, product) in self.products.iter_mut().enumerate() {
            *product *= 1.0 + (index + 1) as f64 * 0.05 * bet;
        }
        if self.products.iter().any(|product| *product > LARGE) {
            self.products
                .iter_mut()
                .for_each(|product| *product /= LARGE);
            self.ln_scale += LARGE.ln();
        }
    }

    /// ln E.
    pub(crate) fn ln(&self) -> f64 {
        let sum: f64 = self.products.iter().sum();
        (sum / STAKES as f64).ln() + self.ln_scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_difference_has_half_a_rank() {
        let mut ranks = Ranks::default();
        ranks.push(Sign::Above, 3.0);
        // The mean of 1 + λ/2 over the stakes, whose mean is one half.
        assert!((ranks.ln() - 1.25_f64.ln()).abs() < 1e-12);
        ranks.push(Sign::Tie, 0.0);
        assert!(
            (ranks.ln() - 1.25_f64.ln()).abs() < 1e-12,
            "a tie says nothing"
        );
    }

    #[test]
    fn large_differences_count_more_than_small_ones() {
        let told = |large: Sign, small: Sign| {
            let mut ranks = Ranks::default();
            (0..20).for_each(|_| {
                ranks.push(large, 100.0);
                ranks.push(small, 1.0);
            });
            ranks.ln()
        };
        assert!(told(Sign::Above, Sign::Below) > f64::ln(10.0));
        assert!(told(Sign::Below, Sign::Above) < 0.0);
    }

    #[test]
    fn a_thousand_bad_steps_do_not_overflow() {
        let mut ranks = Ranks::default();
        (0..3000).for_each(|step| ranks.push(Sign::Above, f64::from(step)));
        assert!(ranks.ln() > 1500.0 && ranks.ln().is_finite());
    }
}
