//! From the classifications of metrics to the score (`kayenta: WeightedSumScorer`, `ScoringHelper`).
//!
//! A group's score is the share of its metrics that pass, %. With weights wᵍ (%) the whole is Σ score·(wᵍ/100), rounded
//! half up to two decimals of its shortest decimal text. Groups without a weight share what the weights leave of 100;
//! weights are not checked, so the whole may leave 0 to 100.

use std::collections::BTreeMap;

use crate::classify::Classification;
use crate::config::{CanaryConfig, Thresholds};
use crate::error::Unreadable;
use crate::result::{AnalysisResult, GroupScore, JudgeResult, Score};

/// From this share of metrics without data on nothing is scored, %.
const TOO_MANY_WITHOUT_DATA: f64 = 50.0;

/// The result of the judge `judge_name` from those of the metrics. Muted ones do not count.
pub(crate) fn score(
    judge_name: &str,
    config: &CanaryConfig,
    thresholds: Thresholds,
    results: Vec<AnalysisResult>,
) -> Result<JudgeResult, Unreadable> {
    let weights = config.group_weights.as_ref().ok_or_else(|| {
        let remedy = "give an object with groupWeights, which may be empty";
        Unreadable::new("canaryConfig.classifier", None, remedy)
    })?;
    let counted: Vec<&AnalysisResult> = results.iter().filter(|result| !result.muted).collect();
    let groups = Group::of(&counted)?;
    let (score, reason) = if let Some(failure) = critical(&counted) {
        let reason = failure.classification_reason.as_deref();
        (0.0, format!("Canary Failed: {}", reason.unwrap_or("null")))
    } else if without_data(&counted) >= TOO_MANY_WITHOUT_DATA {
        let reason = "Canary Failed: 50% or more metrics returned NODATA";
        (0.0, reason.to_owned())
    } else {
        (weighted(&groups, weights), String::new())
    };
    let classification = if score >= thresholds.pass {
        "Pass"
    } else if score >= thresholds.marginal {
        "Marginal"
    } else {
        "Fail"
    };
    let group_scores = groups.iter().map(Group::reported).collect();
    Ok(JudgeResult {
        judge_name: judge_name.to_owned(),
        results,
        group_scores,
        score: Score {
            score,
            classification: classification.to_owned(),
            classification_reason: reason,
        },
        decision: None,
        decision_reason: None,
        decision_steps: None,
        warnings: Vec::new(),
        comparison: None,
    })
}

/// The first failure that fails the canary.
fn critical<'a>(results: &[&'a AnalysisResult]) -> Option<&'a AnalysisResult> {
    let fails = |result: &&&AnalysisResult| {
        result.critical && result.classification != Classification::Pass
    };
    results.iter().find(fails).copied()
}

/// The share of results without data, %; NaN of none.
fn without_data(results: &[&AnalysisResult]) -> f64 {
    let without = results
        .iter()
        .filter(|result| result.classification == Classification::Nodata);
    without.count() as f64 / results.len() as f64 * 100.0
}

/// A group that has results.
#[derive(Debug)]
struct Group<'a> {
    name: &'a str,
    passed: u32,
    /// Those that count: neither without data nor in error.
    total: u32,
}

impl<'a> Group<'a> {
    fn of(results: &[&'a AnalysisResult]) -> Result<Vec<Self>, Unreadable> {
        let mut groups: Vec<Self> = Vec::new();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for result in results {
            let names = result.groups.as_ref().ok_or_else(|| {
                let field = format!("groups of metric {:?}", result.name);
                Unreadable::new(&field, None, "give a list, which may be empty")
            })?;
            let (passed, counts) = match result.classification {
                Classification::Pass => (1, 1),
                Classification::High | Classification::Low | Classification::NodataFailMetric => {
                    (0, 1)
                }
                Classification::Nodata | Classification::Error => (0, 0),
            };
            for name in names {
                let place = *places.entry(name).or_insert(groups.len());
                if place == groups.len() {
                    groups.push(Group {
                        name,
                        passed: 0,
                        total: 0,
                    });
                }
                if let Some(group) = groups.get_mut(place) {
                    group.passed += passed;
                    group.total += counts;
                }
            }
        }
        Ok(groups)
    }

    /// Share that passed, %; none if nothing counts.
    fn score(&self) -> Option<f64> {
        (self.total > 0).then(|| f64::from(self.passed) / f64::from(self.total) * 100.0)
    }

    /// As results have it: a group in which nothing counts is reported as 0, and counted as 100.
    fn reported(&self) -> GroupScore {
        GroupScore {
            name: self.name.to_owned(),
            score: self.score().unwrap_or(0.0),
            classification: String::new(),
            classification_reason: String::new(),
        }
    }
}

fn weighted(groups: &[Group<'_>], weights: &[(String, f64)]) -> f64 {
    let own: BTreeMap<&str, f64> = weights
        .iter()
        .map(|(name, weight)| (name.as_str(), *weight))
        .collect();
    let weight = |group: &Group<'_>| own.get(group.name).copied();
    let missing = groups
        .iter()
        .filter(|group| weight(group).is_none())
        .count();
    let sum = weights.iter().fold(0.0, |sum, (_, weight)| sum + weight);
    let left = if missing > 0 {
        (100.0 - sum) / missing as f64
    } else {
        0.0
    };
    let summand = |group| weight(group).unwrap_or(left) / 100.0;
    let whole = groups.iter().fold(0.0, |whole, group| {
        whole + group.score().unwrap_or(100.0) * summand(group)
    });
    round_half_up(whole)
}

/// Rounds to two decimals, half away from zero, by the shortest decimal text of `value`: 16.665 becomes 16.67 although
/// the double lies below. What is not finite stays as it is.
pub(crate) fn round_half_up(value: f64) -> f64 {
    let text = value.abs().to_string();
    let Some((whole, fraction)) = text.split_once('.').filter(|(_, f)| f.len() > 2) else {
        return value;
    };
    let (kept, rest) = fraction.split_at(2);
    let mut digits = format!("{whole}{kept}").into_bytes();
    let mut carry = rest.starts_with(['5', '6', '7', '8', '9']);
    for digit in digits.iter_mut().rev() {
        match (carry, *digit) {
            (false, _) => break,
            (true, b'9') => *digit = b'0',
            (true, _) => {
                *digit += 1;
                carry = false;
            }
        }
    }
    let digits = String::from_utf8_lossy(&digits);
    let (whole, kept) = digits.split_at(digits.len() - 2);
    let carried = if carry { "1" } else { "" };
    let rounded: f64 = format!("{carried}{whole}.{kept}").parse().unwrap_or(value);
    rounded.copysign(value)
}
