//! Where `NetflixACAJudge-v1.0` does not see, told when the values of a canary lie there.
//!
//! Its results stay as they are; this is what must be said beside them. Each spot was measured on the real judge: with two
//! points a side 24 % of good canaries fail; a metric of negative mean that is two deviations worse is found in none; below
//! a range of 1e-4, the tolerance of its root finder, in none; with one infinity in hardly any; events that are four times as many
//! and absent in most steps pass, as do canaries of which 70 % of the values are terrible; noise with an autocorrelation of
//! 0.8 fails 31 % of good ones.

use std::collections::BTreeMap;

use crate::classify::Classification;
use crate::config::CanaryConfig;
use crate::descriptive::Statistics;
use crate::error::Error;
use crate::judges::metric_of;
use crate::metric_set::MetricSetPair;
use crate::options::{Measure, NanStrategy, Options};
use crate::result::{AnalysisResult, JudgeResult};
use crate::sequential::align::Steps;
use crate::sequential::correlation::Correlation;
use crate::transform::transform;

/// Fewer points of a side make the interval the whole range.
const FEW: usize = 5;
/// The tolerance of the root finder.
const TINY: f64 = 1e-4;
/// A share of equal values from which on a middle says nothing.
const SPARSE: f64 = 0.5;
/// A share of values beyond all of the baseline that passes unseen.
const BEYOND: f64 = 0.2;
/// A ratio of deviations that is told.
const SPREAD: f64 = 2.0;
/// A share of values that are missing.
const MISSING: f64 = 0.2;

/// What must be said of `result`, which that judge gave of `pairs`.
pub fn blind_spots(
    config: &CanaryConfig,
    pairs: &[MetricSetPair],
    result: &JudgeResult,
) -> Result<Vec<String>, Error> {
    let mut told = Vec::new();
    for (pair, result) in pairs.iter().zip(&result.results) {
        let options = Options::read(&pair.name, metric_of(config, pair)?.analysis.as_ref())?;
        let spots = Spots {
            pair,
            result,
            experiment: &transform(pair.side("experiment")?, &options)?,
            control: &transform(pair.side("control")?, &options)?,
            options: &options,
        };
        let found = spots.all()?;
        told.extend(
            found
                .into_iter()
                .map(|spot| format!("metric {:?}: {spot}", pair.name)),
        );
    }
    told.extend(of_weights(config, result));
    Ok(told)
}

/// A pair and what was found of it.
struct Spots<'a> {
    pair: &'a MetricSetPair,
    result: &'a AnalysisResult,
    experiment: &'a [f64],
    control: &'a [f64],
    options: &'a Options,
}

impl Spots<'_> {
    fn all(&self) -> Result<Vec<String>, Error> {
        let mut told: Vec<String> = Vec::new();
        let raw = [self.pair.side("experiment")?, self.pair.side("control")?];
        match self.result.classification {
            Classification::Nodata => {
                told.push("it has no data, which counts as if it passed".to_owned());
                return Ok(told);
            }
            Classification::Error => {
                told.push("it could not be compared, which counts as if it passed".to_owned());
            }
            Classification::Pass
            | Classification::High
            | Classification::Low
            | Classification::NodataFailMetric => {}
        }
        told.extend(missing(raw, self.options));
        if self.experiment.is_empty() || self.control.is_empty() {
            return Ok(told);
        }
        let fewest = self.experiment.len().min(self.control.len());
        if fewest < FEW {
            told.push(format!(
                "a side has only {fewest} of the {FEW} values it takes: its interval is the whole range, and one good canary \
                 in four fails with two"
            ));
        }
        if self
            .experiment
            .iter()
            .chain(self.control)
            .any(|value| value.is_infinite())
        {
            told.push("a value is infinite, with which most comparisons pass".to_owned());
            return Ok(told);
        }
        told.extend(self.scale());
        told.extend(self.shape());
        if let Some(found) = self.correlation()? {
            told.push(format!(
                "its noise is correlated (lag-1 autocorrelation {found:.2}), with which good canaries fail far more often \
                 than 2 in 100"
            ));
        }
        Ok(told)
    }

    /// Levels and sizes that the test or the effect cannot see.
    fn scale(&self) -> Option<String> {
        let (experiment, control) = (
            Statistics::of(self.experiment),
            Statistics::of(self.control),
        );
        let range = experiment.max.max(control.max) - experiment.min.min(control.min);
        if range > 0.0 && range < TINY {
            return Some(format!(
                "its values differ by less than {TINY}, the tolerance of the root finder, so no difference is found: \
                 multiply it by a constant"
            ));
        }
        let by_ratio = self.options.measure == Measure::MeanRatio;
        let about_zero = control.min < 0.0 && control.mean.abs() < control.std;
        if by_ratio && range > 0.0 && (control.mean <= 0.0 || about_zero) {
            return Some(
                "its baseline is negative or about zero, where the ratio of means tells no increase from a decrease"
                    .to_owned(),
            );
        }
        None
    }

    /// Distributions of which a middle says little.
    fn shape(&self) -> Vec<String> {
        let mut told = Vec::new();
        let same_order = self.pair.values.get("experiment") == self.pair.values.get("control");
        let (experiment, control) = (
            Statistics::of(self.experiment),
            Statistics::of(self.control),
        );
        if same_order && self.experiment.len() > 1 && experiment.std > 0.0 {
            told.push(
                "canary and baseline have the same values in the same order, which passes: perhaps both are one series"
                    .to_owned(),
            );
            return told;
        }
        if self.result.classification != Classification::Pass {
            return told;
        }
        let varies = experiment.std > 0.0 || control.std > 0.0;
        let (often, commonest) = most_common(self.experiment);
        let (often_too, the_same) = most_common(self.control);
        let sparse = often.min(often_too) >= SPARSE && commonest.total_cmp(&the_same).is_eq();
        if varies && sparse {
            told.push(
                "most of its values are one and the same, as of rare events, whose number the test does not see: count \
                 them with SequentialJudge-v1.0, or sum them over longer steps"
                    .to_owned(),
            );
        }
        let above = self
            .experiment
            .iter()
            .filter(|value| **value > control.max)
            .count();
        let below = self
            .experiment
            .iter()
            .filter(|value| **value < control.min)
            .count();
        let minded = [
            (self.options.direction.minds_increase(), above, "above"),
            (self.options.direction.minds_decrease(), below, "below"),
        ];
        for (_, count, side) in minded.into_iter().filter(|(minded, _, _)| *minded) {
            if count >= 3 && count as f64 >= BEYOND * self.experiment.len() as f64 {
                told.push(format!(
                    "{count} of {} values of the canary lie {side} every value of the baseline, and it passes: a mixture of \
                     good and bad values is not seen",
                    self.experiment.len()
                ));
            }
        }
        let enough = self.experiment.len().min(self.control.len()) >= 10;
        if enough && experiment.std > SPREAD * control.std && told.is_empty() {
            told.push(format!(
                "its values vary {:.1} times as much on the canary, which is not compared",
                experiment.std / control.std
            ));
        }
        told
    }

    /// Lag-1 autocorrelation of the differences, if it is too much.
    fn correlation(&self) -> Result<Option<f64>, Error> {
        let mut correlation = Correlation::default();
        let steps = Steps::of(self.pair, self.options.nan_strategy, 0)?;
        steps
            .valid()
            .for_each(|(canary, baseline)| correlation.push(canary - baseline));
        Ok(correlation.too_much())
    }
}

/// The share of the commonest value, and which it is.
fn most_common(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let runs = sorted.chunk_by(|a, b| a.total_cmp(b).is_eq());
    let longest = runs.max_by_key(|run| run.len()).unwrap_or_default();
    let share = longest.len() as f64 / values.len().max(1) as f64;
    (share, longest.first().copied().unwrap_or(f64::NAN))
}

fn missing(sides: [&[f64]; 2], options: &Options) -> Option<String> {
    let share = |values: &[f64]| {
        let missing = values.iter().filter(|value| value.is_nan()).count();
        missing as f64 / values.len().max(1) as f64
    };
    let most = share(sides[0]).max(share(sides[1]));
    let told = match options.nan_strategy {
        NanStrategy::Remove => "left out",
        NanStrategy::Replace => "taken as zero",
    };
    (most >= MISSING).then(|| {
        format!(
            "{:.0} % of the values of a side are missing and {told}",
            most * 100.0
        )
    })
}

/// Weights with which a score is not what it seems.
fn of_weights(config: &CanaryConfig, result: &JudgeResult) -> Vec<String> {
    let Some(weights) = &config.group_weights else {
        return Vec::new();
    };
    let mut counted: BTreeMap<&str, bool> = BTreeMap::new();
    for result in result.results.iter().filter(|result| !result.muted) {
        let counts = !matches!(
            result.classification,
            Classification::Nodata | Classification::Error
        );
        for group in result.groups.iter().flatten() {
            *counted.entry(group).or_default() |= counts;
        }
    }
    let mut told = Vec::new();
    let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
    let complete = counted
        .keys()
        .all(|group| weights.iter().any(|(name, _)| name == group));
    if !weights.is_empty() && (sum > 100.0 || (complete && (sum - 100.0).abs() > 1e-9)) {
        told.push(format!(
            "groupWeights add up to {sum}, not 100: the score does not go from 0 to 100"
        ));
    }
    for (group, weight) in weights {
        match counted.get(group.as_str()) {
            None if *weight > 0.0 => told.push(format!(
                "group {group:?} has weight {weight} and no result: the score cannot reach 100"
            )),
            Some(false) if *weight > 0.0 => {
                told.push(format!("group {group:?} has no data and counts as 100"));
            }
            None | Some(_) => {}
        }
    }
    told
}
