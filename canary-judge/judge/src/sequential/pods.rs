//! Whether a canary's pods are worse than its baseline's: pods are what is compared, and time is not.
//!
//! At a look the mean of each pod since the begin is ranked among those of all pods, the baseline's moved by the margin,
//! and the sum of the canary's ranks is compared with that of every way to label as many pods: exact if under the
//! hypothesis the labels are exchangeable, however the noise of a pod is correlated in time (Fisher 1935; Wilcoxon 1945).
//! The ways are counted, not drawn: the number of subsets by size and rank sum, ties as middle ranks.
//!
//! Looks are made after 10, 20, 40, 80 … steps, and the level is spent on them as ½, ¼, ⅛ … of it; what a look cannot
//! spend, because there are few ways, the next one has (Lan, DeMets, Biometrika 1983). With six pods a side there are 924
//! ways, enough for a level of 0.01; fewer pods are not compared as such. Once it is proved at level l, the e-value is
//! 1/l, before that 0: it takes part in no sum.
//!
//! Whether pods are compared or, as there are too few, the means of the sides step by step ([`super::shift`]) is chosen once:
//! by the pods that have a value in the first ten steps in which both sides have one, so that a canary has time to start.
//! Pods that come later take part, and change nothing of the choice. Were the evidence swapped when the sixth pod comes, a
//! verdict could be taken back and the level be spent twice; and had each of both half of the level, both would need more
//! evidence, of which six pods have little to give. The choice follows when there are values and not what they are, so
//! each evidence is worth what it is worth alone. Before the choice it is 0: what is not chosen yet says nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::align::{Steps, baseline_later};
use super::settings::Margins;
use super::shift::{Minded, Point};
use crate::error::Unreadable;
use crate::metric_set::MetricSetPair;

/// The fewest pods of a side.
pub(crate) const FEWEST: usize = 6;
/// More pods of a side are not told apart: they are averaged into so many.
const MOST: usize = 24;
/// Steps before the first look, and with both sides before it is chosen what is compared.
pub(crate) const FIRST_LOOK: usize = 10;

/// Values of one pod by step.
type Series = BTreeMap<usize, f64>;

/// The pods of a metric.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pods {
    canary: BTreeMap<String, Series>,
    baseline: BTreeMap<String, Series>,
    /// When each step is, Unix milliseconds; none if nobody said.
    pub(crate) times: Option<Vec<i64>>,
    /// How many steps there are.
    pub(crate) steps: usize,
}

impl Pods {
    /// Those that `tag` names among `pairs`, without the newest `unsettled` steps. A pair without the tag is none.
    pub(crate) fn of(
        pairs: &[&MetricSetPair],
        tag: &str,
        unsettled: usize,
    ) -> Result<Self, Unreadable> {
        const SIDES: [&str; 2] = ["experiment", "control"];
        let times = |pair: &MetricSetPair, side: &str| {
            let mut times = pair.timestamps.get(side)?.clone();
            if side == "control"
                && let Some(later) = baseline_later(pair)
            {
                times
                    .iter_mut()
                    .for_each(|time| *time = time.saturating_sub(later));
            }
            Some(times)
        };
        let all = pairs
            .iter()
            .flat_map(|pair| SIDES.map(|side| times(pair, side)));
        let all: Option<Vec<Vec<i64>>> = all.collect();
        let grid: Option<Vec<i64>> = all.map(|times| {
            let times: BTreeSet<i64> = times.into_iter().flatten().collect();
            times.into_iter().collect()
        });
        let longest = pairs
            .iter()
            .flat_map(|pair| pair.values.values().map(Vec::len))
            .max();
        let steps = grid
            .as_ref()
            .map_or_else(|| longest.unwrap_or(0), Vec::len)
            .saturating_sub(unsettled);
        let mut pods = Self {
            times: grid,
            steps,
            ..Self::default()
        };
        for pair in pairs {
            let Some(pod) = pair
                .tags
                .as_ref()
                .and_then(|tags| tags.get(tag))
                .and_then(Value::as_str)
            else {
                continue;
            };
            for side in SIDES {
                let values = pair.side(side)?;
                let known = pods.times.as_deref().zip(times(pair, side));
                let mut series = Series::new();
                for (place, value) in values.iter().enumerate() {
                    let place = match &known {
                        None => Some(place),
                        Some((grid, times)) => times
                            .get(place)
                            .and_then(|time| grid.binary_search(time).ok()),
                    };
                    let Some(place) = place.filter(|place| *place < steps) else {
                        continue;
                    };
                    if !value.is_nan() {
                        series.insert(place, *value);
                    }
                }
                // A missing partner is all NaN: that is no pod, even where NaN is zero.
                if !series.is_empty() {
                    let side = if side == "control" {
                        &mut pods.baseline
                    } else {
                        &mut pods.canary
                    };
                    side.entry(pod.to_owned()).or_default().extend(series);
                }
            }
        }
        if let Some(times) = &mut pods.times {
            times.truncate(steps);
        }
        Ok(pods)
    }

    /// Pods of canary and baseline that have a value in the first `steps` steps.
    pub(crate) fn counts(&self, steps: usize) -> (usize, usize) {
        let begun = |series: &&Series| series.range(..steps).next().is_some();
        let of = |side: &BTreeMap<String, Series>| side.values().filter(begun).count();
        (of(&self.canary), of(&self.baseline))
    }

    /// The means over the pods of each side, step by step: what is compared where there are too few.
    pub(crate) fn averaged(&self) -> Steps {
        let mean = |side: &BTreeMap<String, Series>, step: usize| {
            let values: Vec<f64> = side
                .values()
                .filter_map(|series| series.get(&step).copied())
                .collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            (!mean.is_nan()).then_some(mean)
        };
        let both = |step| Some((mean(&self.canary, step)?, mean(&self.baseline, step)?));
        Steps {
            times: self.times.clone(),
            values: (0..self.steps).map(both).collect(),
        }
    }

    /// Evidence after each step, proved at `level` for harm and at `beta` for safety.
    pub(crate) fn points(&self, minded: Minded, level: f64, beta: f64) -> Vec<Point> {
        let sides = f64::from(u8::from(minded.up.is_some()) + u8::from(minded.down.is_some()));
        let new = |level: f64| Spending {
            level: level / sides.max(1.0),
            ..Spending::default()
        };
        let mut harm = [new(level), new(level)];
        // To be safe on both sides both must be proved: no level is shared.
        let safe = |given: Option<Margins>| {
            given.map(|_| Spending {
                level: beta,
                ..Spending::default()
            })
        };
        let mut safe = [safe(minded.up), safe(minded.down)];
        // No bet: what is not proved yet adds nothing to the sum of all metrics.
        let mut point = Point {
            harm: 0.0,
            safe: 0.0,
        };
        let mut next = FIRST_LOOK;
        let mut points = Vec::with_capacity(self.steps);
        for step in 1..=self.steps {
            if step == next {
                next *= 2;
                let (canary, baseline) = (means(&self.canary, step), means(&self.baseline, step));
                if canary.len() >= FEWEST && baseline.len() >= FEWEST {
                    let sides = [(minded.up, 1.0), (minded.down, -1.0)];
                    for (index, (margins, sign)) in sides.into_iter().enumerate() {
                        let Some(margins) = margins else { continue };
                        let harmful = share(&canary, &baseline, sign, margins.allowed, false);
                        if harm
                            .get_mut(index)
                            .is_some_and(|spending| spending.proves(harmful))
                        {
                            point.harm = 1.0 / level;
                        }
                        let harmless = share(&canary, &baseline, sign, margins.critical, true);
                        if let Some(Some(spending)) = safe.get_mut(index) {
                            spending.proves(harmless);
                        }
                    }
                    if safe.iter().flatten().all(|spending| spending.proved) {
                        point.safe = 1.0 / beta;
                    }
                }
            }
            points.push(point);
        }
        points
    }
}

/// After how many of these `steps` it is chosen what is compared; none if that is still to come.
pub(crate) fn chosen(steps: &Steps) -> Option<usize> {
    let both = steps.values.iter().enumerate();
    let mut both = both.filter(|(_, values)| values.is_some());
    both.nth(FIRST_LOOK - 1).map(|(place, _)| place + 1)
}

/// Takes away what `points` say before it is `chosen` that they are asked.
pub(crate) fn hide(points: &mut [Point], chosen: Option<usize>) {
    let hidden = chosen.map_or(points.len(), |chosen| chosen - 1);
    points.iter_mut().take(hidden).for_each(|point| {
        *point = Point {
            harm: 0.0,
            safe: 0.0,
        };
    });
}

/// A level that is spent look by look.
#[derive(Debug, Clone, Copy, Default)]
struct Spending {
    level: f64,
    looks: i32,
    left: f64,
    proved: bool,
}

impl Spending {
    /// Whether a share of ways, out of `ways`, is small enough for this look or was for an earlier one.
    fn proves(&mut self, (share, ways): (f64, f64)) -> bool {
        self.looks += 1;
        self.left += self.level * 0.5_f64.powi(self.looks);
        // What can be spent is a whole number of ways.
        let spent = (self.left * ways).floor() / ways;
        self.proved |= spent > 0.0 && share <= spent;
        self.left -= spent;
        self.proved
    }
}

/// The means of the pods over the first `steps` steps, pods without a value left out; averaged if there are many.
fn means(pods: &BTreeMap<String, Series>, steps: usize) -> Vec<f64> {
    let of = |series: &Series| {
        let values: Vec<f64> = series.range(..steps).map(|(_, value)| *value).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (!mean.is_nan()).then_some(mean)
    };
    let means: Vec<f64> = pods.values().filter_map(of).collect();
    let size = means.len().div_ceil(MOST).max(1);
    // Groups of one size, or they would not be exchangeable.
    let groups = means.chunks_exact(size);
    groups
        .map(|group| group.iter().sum::<f64>() / size as f64)
        .collect()
}

/// The share of labellings whose canary has a rank sum as large or larger, and how many there are. `reversed` asks for one
/// as small or smaller.
fn share(canary: &[f64], baseline: &[f64], sign: f64, margin: f64, reversed: bool) -> (f64, f64) {
    let mut sorted = baseline.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0).abs();
    let turn = if reversed { -sign } else { sign };
    let margin = if margin > 0.0 { margin * median } else { 0.0 };
    let moved = baseline.iter().map(|value| (value + sign * margin) * turn);
    let own = canary.iter().map(|value| value * turn);
    let mut pool: Vec<(f64, bool)> = own
        .map(|value| (value, true))
        .chain(moved.map(|v| (v, false)))
        .collect();
    pool.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Twice the middle ranks: whole numbers.
    let mut ranks = Vec::with_capacity(pool.len());
    for run in pool.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let begin = ranks.len();
        ranks.extend(run.iter().map(|_| 2 * begin + run.len() + 1));
    }
    let observed: usize = pool
        .iter()
        .zip(&ranks)
        .filter(|((_, own), _)| *own)
        .map(|(_, rank)| *rank)
        .sum();
    let (chosen, most) = (canary.len(), ranks.iter().sum::<usize>());
    // ways[k][s]: subsets of k pods with the sum s.
    let mut ways = vec![vec![0.0_f64; most + 1]; chosen + 1];
    ways[0][0] = 1.0;
    for rank in ranks {
        for size in (1..=chosen).rev() {
            let (fewer, more) = ways.split_at_mut(size);
            let (Some(fewer), Some(more)) = (fewer.last(), more.first_mut()) else {
                continue;
            };
            more.iter_mut()
                .skip(rank)
                .zip(fewer)
                .for_each(|(more, fewer)| *more += fewer);
        }
    }
    let last = &ways[chosen];
    let all: f64 = last.iter().sum();
    (last.iter().skip(observed).sum::<f64>() / all, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_labellings_is_exact() {
        let (low, high) = (
            [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            [7.0, 8.0, 9.0, 10.0, 11.0, 12.0],
        );
        let one = 1.0 / 924.0;
        for (canary, baseline, sign, reversed, expected) in [
            (&high, &low, 1.0, false, one),
            (&low, &high, 1.0, false, 1.0),
            (&low, &high, -1.0, false, one),
            (&low, &high, 1.0, true, one),
        ] {
            let (found, ways) = share(canary, baseline, sign, 0.0, reversed);
            assert!((found - expected).abs() < 1e-12 && (ways - 924.0).abs() < 1e-9);
        }
        // Within the margin: ten times the median of the baseline.
        assert!(share(&high, &low, 1.0, 10.0, false).0 > 0.99);
    }

    #[test]
    fn a_level_is_spent_once() {
        let mut spending = Spending {
            level: 0.01,
            ..Spending::default()
        };
        let mut spent = 0.0;
        for _ in 0..20 {
            let before = spending.left + 0.01 * 0.5_f64.powi(spending.looks + 1);
            assert!(!spending.proves((1.0, 924.0)));
            spent += before - spending.left;
        }
        assert!(spent <= 0.01 && spent > 0.008, "{spent}");
    }
}
