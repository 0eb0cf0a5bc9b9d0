//! Values of both sides, step by step: what belongs together is compared, and nothing else.
//!
//! Where a pair says when its values are of, by times or by the begin and step of each side's scope, those of one time
//! belong together, to the length of a step; else those of one place. If the windows of both sides begin at different
//! times, or no time has both, they are different windows, as a canary of today and a baseline of yesterday: then times
//! count from the begin of each side's window. A step that lacks a side says nothing. Infinities are values.

use std::collections::BTreeSet;

use crate::error::Unreadable;
use crate::metric_set::MetricSetPair;
use crate::options::NanStrategy;

/// A value of the canary and one of the baseline.
pub(crate) type Both = (f64, f64);

/// The steps of a pair, in the order of time.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Steps {
    /// When each is, Unix milliseconds; none if nobody said.
    pub(crate) times: Option<Vec<i64>>,
    /// What it has; none if a side is missing.
    pub(crate) values: Vec<Option<Both>>,
}

impl Steps {
    /// Of `pair`, without its newest `unsettled` steps.
    pub(crate) fn of(
        pair: &MetricSetPair,
        nan_strategy: NanStrategy,
        unsettled: usize,
    ) -> Result<Self, Unreadable> {
        let (canary, baseline) = (pair.side("experiment")?, pair.side("control")?);
        let times = |side: &str, count| {
            let given = pair.timestamps.get(side).cloned();
            given.or_else(|| of_scope(pair, side, count))
        };
        let times = (
            times("experiment", canary.len()),
            times("control", baseline.len()),
        );
        let mut steps = match times {
            (Some(canary_times), Some(baseline_times)) => {
                let windows = Windows::of(pair, &canary_times, &baseline_times);
                let canary = (windows.keys(0, &canary_times), canary);
                let baseline = (windows.keys(1, &baseline_times), baseline);
                by_time(canary, baseline, nan_strategy)
            }
            (Some(_) | None, None) | (None, Some(_)) => {
                let length = canary.len().max(baseline.len());
                let both =
                    |place: usize| both(canary.get(place), baseline.get(place), nan_strategy);
                Self {
                    times: None,
                    values: (0..length).map(both).collect(),
                }
            }
        };
        let settled = steps.values.len().saturating_sub(unsettled);
        steps.values.truncate(settled);
        if let Some(times) = &mut steps.times {
            times.truncate(settled);
        }
        Ok(steps)
    }

    /// Those that have both sides.
    pub(crate) fn valid(&self) -> impl Iterator<Item = Both> + '_ {
        self.values.iter().copied().flatten()
    }
}

/// A number of the scope of `side`.
fn scope(pair: &MetricSetPair, side: &str, field: &str) -> Option<i64> {
    pair.rest.get("scopes")?.get(side)?.get(field)?.as_i64()
}

/// When `count` values are of, by the scope of `side`.
fn of_scope(pair: &MetricSetPair, side: &str, count: usize) -> Option<Vec<i64>> {
    let start = scope(pair, side, "startTimeMillis")?;
    let step = scope(pair, side, "stepMillis").filter(|step| *step > 0)?;
    let place = |place: usize| {
        i64::try_from(place)
            .ok()?
            .checked_mul(step)?
            .checked_add(start)
    };
    (0..count).map(place).collect()
}

/// By how much the baseline's window begins later than the canary's, Unix milliseconds, where values have times of
/// their own; none if it begins in the same step. That windows which were told apart overlap after a while must not
/// change what is compared with what.
pub(crate) fn baseline_later(pair: &MetricSetPair) -> Option<i64> {
    if pair.timestamps.is_empty() {
        return None;
    }
    let begin = |side| scope(pair, side, "startTimeMillis");
    let later = begin("control")?.saturating_sub(begin("experiment")?);
    let step = scope(pair, "experiment", "stepMillis").unwrap_or(1).max(1);
    (later.unsigned_abs() >= step.unsigned_abs()).then_some(later)
}

/// The windows of both sides, canary first.
struct Windows {
    /// Length of a step, milliseconds, if both sides have one.
    step: Option<i64>,
    /// What is taken from the times of each side.
    from: [i64; 2],
}

impl Windows {
    fn of(pair: &MetricSetPair, canary: &[i64], baseline: &[i64]) -> Self {
        let scope = |side: &str, field: &str| scope(pair, side, field);
        let (own, other) = (
            scope("experiment", "stepMillis"),
            scope("control", "stepMillis"),
        );
        let step = own.filter(|step| own == other && *step > 0);
        if let Some(later) = baseline_later(pair) {
            return Self {
                step,
                from: [0, later],
            };
        }
        let absolute = Self { step, from: [0, 0] };
        let known: BTreeSet<i64> = absolute.keys(0, canary).into_iter().collect();
        if absolute
            .keys(1, baseline)
            .iter()
            .any(|time| known.contains(time))
        {
            return absolute;
        }
        let begin = |side: &str, times: &[i64]| {
            scope(side, "startTimeMillis").or_else(|| times.iter().min().copied())
        };
        let begins = [begin("experiment", canary), begin("control", baseline)];
        match begins {
            // The times of the canary stay what they are.
            [Some(canary), Some(baseline)] => Self {
                step,
                from: [0, baseline.saturating_sub(canary)],
            },
            [_, _] => absolute,
        }
    }

    /// What the times of a side are compared by.
    fn keys(&self, side: usize, times: &[i64]) -> Vec<i64> {
        let from = self.from[side];
        let key = |time: &i64| {
            let time = time.saturating_sub(from);
            self.step.map_or(time, |step| time.div_euclid(step) * step)
        };
        times.iter().map(key).collect()
    }
}

/// A value that is there, as the option has it.
fn present(value: Option<&f64>, nan_strategy: NanStrategy) -> Option<f64> {
    let value = *value?;
    match nan_strategy {
        NanStrategy::Replace if value.is_nan() => Some(0.0),
        NanStrategy::Replace | NanStrategy::Remove => (!value.is_nan()).then_some(value),
    }
}

fn both(canary: Option<&f64>, baseline: Option<&f64>, nan_strategy: NanStrategy) -> Option<Both> {
    Some((
        present(canary, nan_strategy)?,
        present(baseline, nan_strategy)?,
    ))
}

/// A time has one value a side: of several the last one.
fn by_time(
    canary: (Vec<i64>, &[f64]),
    baseline: (Vec<i64>, &[f64]),
    nan_strategy: NanStrategy,
) -> Steps {
    let sorted = |(times, values): (Vec<i64>, &[f64])| {
        let mut sorted: Vec<(i64, f64)> = times.into_iter().zip(values.iter().copied()).collect();
        sorted.sort_by_key(|(time, _)| *time);
        sorted.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 = later.1;
            }
            same
        });
        sorted
    };
    let (canary, baseline) = (sorted(canary), sorted(baseline));
    let (mut c, mut b) = (canary.iter().peekable(), baseline.iter().peekable());
    let (mut times, mut values) = (Vec::new(), Vec::new());
    loop {
        let next = [c.peek(), b.peek()]
            .into_iter()
            .flatten()
            .map(|(time, _)| *time)
            .min();
        let Some(time) = next else {
            break;
        };
        let canary = c.next_if(|(at, _)| *at == time).map(|(_, value)| value);
        let baseline = b.next_if(|(at, _)| *at == time).map(|(_, value)| value);
        times.push(time);
        values.push(both(canary, baseline, nan_strategy));
    }
    Steps {
        times: Some(times),
        values,
    }
}
