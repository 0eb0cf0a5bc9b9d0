//! How large a difference is. Source: `kayenta: EffectSizes`.

use crate::descriptive::mean;
use crate::rank::Ranking;

/// mean(experiment) / mean(control), NaN if one of them is zero.
pub fn mean_ratio(control: &[f64], experiment: &[f64]) -> f64 {
    let (control, experiment) = (mean(control), mean(experiment));
    if control == 0.0 || experiment == 0.0 {
        f64::NAN
    } else {
        experiment / control
    }
}

/// The common language effect size: the share of pairs in which the experiment's value is the higher one, a tie
/// counting one half (Vargha and Delaney, 2000). With m experiment values of rank sum R and n of control it is
/// (2R - m(m+1)) / 2nm, the products of counts in 32 bits, which overflow beyond 32 767 values as in the original.
pub fn cles(control: &[f64], experiment: &[f64]) -> f64 {
    cles_of(&mut Ranking::new(experiment, control), control, experiment)
}

/// [`cles`] of samples that are sorted already, x being the experiment.
pub(crate) fn cles_of(ranking: &mut Ranking, control: &[f64], experiment: &[f64]) -> f64 {
    let (m, n) = (narrow(experiment), narrow(control));
    let points = experiment.len() as f64;
    let (doubled, _) = ranking.count(0.0);
    // Twice the rank sum: the pairs, and the ranks that m values have among themselves.
    let ranks = doubled as f64 + points * (points + 1.0);
    let own = f64::from(m.wrapping_mul(m.wrapping_add(1)));
    (ranks - own) / f64::from(2_i32.wrapping_mul(n).wrapping_mul(m))
}

/// The number of values, in 32 bits.
fn narrow(values: &[f64]) -> i32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "the original counts in 32 bits"
    )]
    let count = values.len() as i32;
    count
}
