//! The classifier of `NetflixACAJudge-v1.0`: a metric is High or Low if the interval of shifts keeps away from zero by
//! a quarter of the estimated shift, and the effect is as large as the metric does not allow.
//!
//! Source: `kayenta: MannWhitneyClassifier`. Tolerance and confidence are constants there too.

use super::{Classification, Classified, Classifier, Rules, Samples, without_data};
use crate::effect_size::{cles_of, mean_ratio};
use crate::error::AllTied;
use crate::mann_whitney::{Confidence, Interval, interval_of};
use crate::options::{Direction, Measure, Options};
use crate::random::Random;
use crate::rank::Ranking;
use crate::transform::with_noise;

/// How far from zero the interval must keep, as a part of the estimate.
const TOLERANCE: f64 = 0.25;

/// Effects from which a difference counts: how the size is measured, and its thresholds.
#[derive(Debug, Clone, Copy)]
pub struct MannWhitney {
    measure: Measure,
    allowed_increase: f64,
    allowed_decrease: f64,
    critical_increase: f64,
    critical_decrease: f64,
}

impl From<&Options> for MannWhitney {
    fn from(options: &Options) -> Self {
        Self {
            measure: options.measure,
            allowed_increase: options.allowed_increase,
            allowed_decrease: options.allowed_decrease,
            critical_increase: options.critical_increase,
            critical_decrease: options.critical_decrease,
        }
    }
}

/// What the test and the effect say of two samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Interval and estimate of the shift.
    pub shift: Interval,
    /// Ratio of the means.
    pub deviation: f64,
    /// Size of the difference in the metric's measure; NaN if there is none, which then decides nothing.
    pub effect: f64,
}

impl Comparison {
    /// High, Low or Pass.
    fn verdict(&self, direction: Direction, classifier: &MannWhitney) -> Classification {
        let bound = TOLERANCE * self.shift.estimate.abs();
        if direction.minds_increase()
            && self.shift.lower > bound
            && self.reaches(classifier.allowed_increase)
        {
            Classification::High
        } else if direction.minds_decrease()
            && self.shift.upper < -bound
            && self.falls_to(classifier.allowed_decrease)
        {
            Classification::Low
        } else {
            Classification::Pass
        }
    }

    fn reaches(&self, threshold: f64) -> bool {
        self.effect.is_nan() || self.effect >= threshold
    }

    fn falls_to(&self, threshold: f64) -> bool {
        self.effect.is_nan() || self.effect <= threshold
    }
}

impl MannWhitney {
    /// Compares samples that both have values. Where each has one distinct value, noise is drawn for them, the
    /// experiment first: their ranks would have no spread.
    pub(crate) fn compare(
        &self,
        samples: Samples<'_>,
        ranking: &mut Ranking,
        random: &mut Random,
    ) -> Result<Comparison, AllTied> {
        if ranking.constants() != (true, true) {
            return self.compared(samples, ranking);
        }
        let experiment = with_noise(samples.experiment, random);
        let control = with_noise(samples.control, random);
        let noisy = Samples {
            name: samples.name,
            control: &control,
            experiment: &experiment,
        };
        self.compared(noisy, &mut Ranking::new(&experiment, &control))
    }

    fn compared(&self, samples: Samples<'_>, ranking: &mut Ranking) -> Result<Comparison, AllTied> {
        let (x, y) = (samples.experiment, samples.control);
        let shift = interval_of(ranking, x, y, Confidence::P98)?;
        let deviation = mean_ratio(y, x);
        let effect = match self.measure {
            Measure::MeanRatio => deviation,
            Measure::Cles => cles_of(ranking, y, x),
        };
        Ok(Comparison {
            shift,
            deviation,
            effect,
        })
    }

    fn classified(&self, comparison: &Comparison, name: &str, rules: Rules) -> Classified {
        let classification = comparison.verdict(rules.direction, self);
        let (word, critical) = match classification {
            Classification::High => ("High", comparison.reaches(self.critical_increase)),
            Classification::Low => ("Low", comparison.falls_to(self.critical_decrease)),
            Classification::Pass
            | Classification::NodataFailMetric
            | Classification::Nodata
            | Classification::Error => ("", false),
        };
        let critical = rules.critical && critical;
        let reason = match (word, critical) {
            ("", _) => None,
            (word, true) => Some(format!(
                "The metric {name} was classified as {word} (Critical)"
            )),
            (word, false) => Some(format!("{name} was classified as {word}")),
        };
        Classified {
            classification,
            reason,
            deviation: comparison.deviation,
            critical,
        }
    }
}

impl Classifier for MannWhitney {
    fn classify(
        &self,
        samples: Samples<'_>,
        rules: Rules,
        random: &mut Random,
    ) -> Result<Classified, AllTied> {
        let name = samples.name;
        let missing = Some(format!("Missing data for {name}"));
        if let Some(classified) = without_data(samples, rules, missing, 1.0) {
            return Ok(classified);
        }
        let mut ranking = Ranking::new(samples.experiment, samples.control);
        if ranking.identical() {
            let reason = "The Canary and Baseline data are identical";
            return Ok(Classified::pass(Some(reason)));
        }
        if ranking.is_one_value() {
            return Ok(Classified::pass(None));
        }
        let comparison = self.compare(samples, &mut ranking, random)?;
        Ok(self.classified(&comparison, name, rules))
    }
}
