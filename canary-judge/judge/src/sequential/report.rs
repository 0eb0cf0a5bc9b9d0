//! What is said of a look: a result for each pair, the score, the decision and why.
//!
//! The result has Kayenta's form. A metric that failed the canary is `High` or `Low`, one without data `Nodata`, every other
//! `Pass`; the score is 0, 100, or the marginal threshold while nothing is decided. `resultMetadata` has beside `ratio`
//! what the evidence is: `eValue`, `pValue` = min(1, 1/max E), `safeEValue`, `ciLow` and `ciHigh` of the median ratio,
//! `blocks`, `block`, `weight`, `decision`, and of a metric that counts `experimentRate` and `controlRate`, events of one
//! request; `ratio` is theirs then. All this is of the steps that the decision was made by, and so is `ratio` of a
//! metric that had more; the statistics of each side are of all its values.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::interval::interval;
use super::settings::Settings;
use super::unit::{Evidence, Unit, Units};
use super::verdict::{Failure, Verdict};
use crate::classify::Classification;
use crate::config::{CanaryConfig, Thresholds};
use crate::descriptive::Statistics;
use crate::effect_size::mean_ratio;
use crate::error::Error;
use crate::metric_set::MetricSetPair;
use crate::number;
use crate::result::{AnalysisResult, Decision, JudgeResult};
use crate::score::score;

/// What all parts of a report are made of.
pub(crate) struct Report<'a> {
    pub(crate) judge_name: &'a str,
    pub(crate) config: &'a CanaryConfig,
    pub(crate) thresholds: Thresholds,
    pub(crate) settings: &'a Settings,
    pub(crate) pairs: &'a [MetricSetPair],
    /// As they were when it was decided.
    pub(crate) units: &'a Units<'a>,
    pub(crate) verdict: &'a Verdict,
}

/// What is said of a unit.
struct Said {
    classification: Classification,
    reason: Option<String>,
    metadata: Map<String, Value>,
    critical: bool,
}

impl Report<'_> {
    /// The result as it is stored and served.
    pub(crate) fn result(&self) -> Result<JudgeResult, Error> {
        let mut said: BTreeMap<usize, (&Unit<'_>, Said)> = BTreeMap::new();
        for (place, unit) in self.units.judged.iter().enumerate() {
            for pair in &unit.pairs {
                said.insert(*pair, (unit, self.of_unit(place, unit)));
            }
        }
        let mut results = Vec::new();
        for (place, pair) in self.pairs.iter().enumerate() {
            results.push(self.of_pair(pair, said.remove(&place))?);
        }
        let mut result = score(self.judge_name, self.config, self.thresholds, results)?;
        let (points, label) = match self.verdict.decision {
            Decision::Pass => (100.0, "Pass"),
            Decision::Fail => (0.0, "Fail"),
            Decision::Continue | Decision::Inconclusive => (self.thresholds.marginal, "Marginal"),
        };
        let reason = self.reason();
        result.score.score = points;
        label.clone_into(&mut result.score.classification);
        result.score.classification_reason.clone_from(&reason);
        result.decision = Some(self.verdict.decision);
        result.decision_reason = Some(reason);
        result.decision_steps = Some(self.verdict.steps.0 as u64);
        result.warnings = self.warnings();
        Ok(result)
    }

    fn of_pair(
        &self,
        pair: &MetricSetPair,
        said: Option<(&Unit<'_>, Said)>,
    ) -> Result<AnalysisResult, Error> {
        let metric = self.config.metric(&pair.name);
        let there = |values: &[f64]| {
            values
                .iter()
                .copied()
                .filter(|value| !value.is_nan())
                .collect::<Vec<f64>>()
        };
        let (experiment, control) = (
            there(pair.side("experiment")?),
            there(pair.side("control")?),
        );
        let mut ratio = mean_ratio(&control, &experiment);
        let (muted, said) = match said {
            Some((unit, said)) => {
                // Each pod has a pair of its own, and values are of all.
                if unit.settings.pods.is_none() && (unit.is_cut || unit.counts()) {
                    let (canary, baseline) = unit.levels();
                    ratio = mean_ratio(&[baseline], &[canary]);
                }
                (unit.is_muted(), said)
            }
            None => (
                true,
                Said {
                    classification: Classification::Pass,
                    reason: Some(
                        "it is what other metrics are counted by, and is not judged".to_owned(),
                    ),
                    metadata: Map::new(),
                    critical: false,
                },
            ),
        };
        let mut metadata = said.metadata;
        metadata.insert("ratio".to_owned(), number::to_json(ratio));
        Ok(AnalysisResult {
            name: pair.name.clone(),
            tags: pair.tags.clone(),
            id: pair.id.clone(),
            classification: said.classification,
            classification_reason: said.reason,
            groups: metric.and_then(|metric| metric.groups.clone()),
            experiment_metadata: Statistics::of(&experiment).to_json(),
            control_metadata: Statistics::of(&control).to_json(),
            result_metadata: Some(metadata),
            critical: said.critical,
            muted,
        })
    }

    fn of_unit(&self, place: usize, unit: &Unit<'_>) -> Said {
        let seen = self.verdict.seen.get(place).copied().unwrap_or_default();
        let point = unit.after(seen);
        let most = unit.most_harm(seen);
        let alone = 1.0 / self.settings.alpha;
        let silent = matches!(&self.verdict.failure, Some(Failure::Silent(silent)) if silent.contains(&place));
        // A muted metric fails nothing, and is told alike.
        let failed = self.has_failed(place) || (unit.is_muted() && most >= alone);
        let (classification, reason) = if silent {
            (
                Classification::NodataFailMetric,
                Some(format!("Missing data for {}", unit.name)),
            )
        } else if failed {
            let label = if self.lies_above(place, unit) {
                Classification::High
            } else {
                Classification::Low
            };
            (label, Some(self.worse(place, unit, seen)))
        } else if unit.values.is_empty() {
            (
                Classification::Nodata,
                Some(format!("Missing data for {}", unit.name)),
            )
        } else {
            (Classification::Pass, None)
        };
        let decision = if failed || silent {
            Decision::Fail
        } else if point.safe >= 1.0 / self.settings.beta {
            Decision::Pass
        } else if self.verdict.decision == Decision::Inconclusive {
            Decision::Inconclusive
        } else {
            Decision::Continue
        };
        let (kind, blocks, block) = match &unit.evidence {
            Evidence::Shift(run) => {
                let run = run.accepted();
                ("steps", run.blocks.len(), run.block)
            }
            Evidence::Counts(run) => ("counts", run.counted.len(), 1),
            Evidence::Pods => ("pods", unit.values.len(), 1),
        };
        let mut metadata = Map::from_iter([
            ("eValue".to_owned(), number::to_json(point.harm)),
            ("pValue".to_owned(), number::to_json((1.0 / most).min(1.0))),
            ("safeEValue".to_owned(), number::to_json(point.safe)),
            ("evidence".to_owned(), Value::from(kind)),
            ("blocks".to_owned(), Value::from(blocks)),
            ("block".to_owned(), Value::from(block)),
            ("weight".to_owned(), number::to_json(unit.weight)),
            ("decision".to_owned(), Value::from(decision.as_str())),
        ]);
        if unit.counts() {
            let (canary, baseline) = unit.levels();
            metadata.insert("experimentRate".to_owned(), number::to_json(canary));
            metadata.insert("controlRate".to_owned(), number::to_json(baseline));
        }
        if let Some(found) = self.interval(unit) {
            let names = if found.of_ratio {
                ["ciLow", "ciHigh"]
            } else {
                ["differenceLow", "differenceHigh"]
            };
            for (name, end) in names.into_iter().zip([found.low, found.high]) {
                metadata.insert(name.to_owned(), number::to_json(end));
            }
        }
        Said {
            classification,
            reason,
            metadata,
            critical: unit.settings.options.critical && failed && !unit.is_muted(),
        }
    }

    fn interval(&self, unit: &Unit<'_>) -> Option<super::interval::Interval> {
        let blocks = match &unit.evidence {
            Evidence::Shift(run) => &run.accepted().blocks,
            Evidence::Counts(run) => &run.rates.accepted().blocks,
            Evidence::Pods => return None,
        };
        interval(blocks, self.settings.alpha)
    }

    pub(super) fn has_failed(&self, place: usize) -> bool {
        match &self.verdict.failure {
            Some(Failure::Worse(places)) => places.contains(&place),
            Some(Failure::Exceeded(found)) => found.iter().any(|(other, _)| *other == place),
            Some(Failure::Silent(_)) | None => false,
        }
    }

    pub(super) fn lies_above(&self, place: usize, unit: &Unit<'_>) -> bool {
        if let Some(Failure::Exceeded(found)) = &self.verdict.failure
            && let Some((_, found)) = found.iter().find(|(other, _)| *other == place)
        {
            return found.up;
        }
        unit.leans_up()
    }
}
