//! Evidence from signs: a bet on each difference being above zero, mixed over all stakes.
//!
//! With P differences above zero and N below, n = P + N, and the stake λ uniform in [0, 1],
//!
//! E = ∫ (1+λ)ᴾ (1−λ)ᴺ dλ = [Σ_{k=0..P} C(n+1, k)] / [(n+1)·C(n, P)].
//!
//! For each λ the product is a nonnegative supermartingale if, given the past, a difference is no likelier above zero
//! than below, and so is the mixture; by Ville's inequality (1939) it ever reaches 1/α with probability at most α.
//! Robbins (Ann. Math. Stat. 1970) for mixtures; Ramdas, Ruf, Larsson, Koolen (arXiv 2009.03167) for symmetry by
//! betting; Waudby-Smith, Ramdas (JRSS-B 2024) for the wager.
//!
//! Computed without cancellation: with T = 2ⁿ⁺¹/((n+1)·C(n, P)), whose logarithm is kept, E(P, N) + E(N, P) = T. Where
//! P ≤ N the sum is taken from its largest term down, which ends after about √n terms; else it is T less that sum.

/// Signs seen so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Signs {
    /// Above zero.
    pub(crate) above: u64,
    /// Below zero.
    pub(crate) below: u64,
    /// ln T.
    ln_whole: f64,
    begun: bool,
}

impl Signs {
    /// One more, unless it is a tie.
    pub(crate) fn push(&mut self, sign: Sign) {
        if !self.begun {
            self.begun = true;
            self.ln_whole = std::f64::consts::LN_2;
        }
        let count = match sign {
            Sign::Tie => return,
            Sign::Above => &mut self.above,
            Sign::Below => &mut self.below,
        };
        *count += 1;
        let part = *count as f64;
        let n = (self.above + self.below) as f64;
        self.ln_whole += (2.0 * part / (n + 1.0)).ln();
    }

    /// ln E.
    pub(crate) fn ln(&self) -> f64 {
        if !self.begun {
            return 0.0;
        }
        if self.above <= self.below {
            return lesser(self.above, self.below).ln();
        }
        let lesser = lesser(self.below, self.above).ln();
        self.ln_whole + (-(lesser - self.ln_whole).exp()).ln_1p()
    }
}

/// ln E of `above` and `below`, however they came.
pub(crate) fn ln_of(above: u64, below: u64) -> f64 {
    if above <= below {
        return lesser(above, below).ln();
    }
    // ln C(n, k) as a sum of k logarithms, k being the lesser.
    let n = above + below;
    let factors = (1..=below).map(|k| ((n - below + k) as f64 / k as f64).ln());
    let choose: f64 = factors.sum();
    let whole = (n + 1) as f64 * std::f64::consts::LN_2 - ((n + 1) as f64).ln() - choose;
    whole + (-(lesser(below, above).ln() - whole).exp()).ln_1p()
}

/// E where `above` ≤ `below`: 1/(N+1)·(1 + P/(n+2−P)·(1 + (P−1)/(n+3−P)·(…))).
fn lesser(above: u64, below: u64) -> f64 {
    let (mut term, mut sum) = (1.0, 1.0);
    let beyond = (below + 2) as f64;
    for (done, left) in (1..=above).rev().enumerate() {
        term *= left as f64 / (beyond + done as f64);
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    sum / (below + 1) as f64
}

/// Where a difference lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// Above zero.
    Above,
    /// Below zero.
    Below,
    /// At zero.
    Tie,
}

impl Sign {
    /// Of `difference`; what is no number says nothing.
    pub(crate) fn of(difference: f64) -> Self {
        if difference > 0.0 {
            Self::Above
        } else if difference < 0.0 {
            Self::Below
        } else {
            Self::Tie
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The formula of the module, in floating point for small numbers.
    fn direct(above: u64, below: u64) -> f64 {
        let choose = |n: u64, k: u64| (1..=k).fold(1.0, |c, i| c * (n - k + i) as f64 / i as f64);
        let n = above + below;
        let sum: f64 = (0..=above).map(|k| choose(n + 1, k)).sum();
        sum / ((n + 1) as f64 * choose(n, above))
    }

    #[test]
    fn the_recurrence_is_the_formula() {
        for above in 0..30 {
            for below in 0..30 {
                let mut signs = Signs::default();
                (0..below).for_each(|_| signs.push(Sign::Below));
                (0..above).for_each(|_| signs.push(Sign::Above));
                let expected = direct(above, below).ln();
                assert!((signs.ln() - expected).abs() < 1e-9, "{above} {below}");
                assert!(
                    (ln_of(above, below) - expected).abs() < 1e-9,
                    "{above} {below}"
                );
            }
        }
    }

    #[test]
    fn seven_eight_nine_and_thirteen_bad_blocks_in_a_row_decide() {
        for (alpha, needed) in [(0.05, 7), (0.02, 8), (0.01, 9), (0.001, 13)] {
            let enough = |n: &u64| ln_of(*n, 0) >= f64::ln(1.0 / alpha);
            assert_eq!((1..50).find(enough), Some(needed), "{alpha}");
        }
    }

    #[test]
    fn evidence_of_long_runs_stays_a_number() {
        let mut signs = Signs::default();
        (0..100_000).for_each(|i| signs.push(if i % 3 == 0 { Sign::Above } else { Sign::Below }));
        assert!(signs.ln().is_finite() && signs.ln() < 0.0);
        (0..100_000).for_each(|_| signs.push(Sign::Above));
        assert!((signs.ln() - ln_of(signs.above, signs.below)).abs() < 1e-6);
        assert!(signs.ln() > 1000.0);
    }
}
