//! What is to be done with the canary, from the evidence of its metrics.
//!
//! * **FAIL** as soon as Σ wₘ·Eₘ ≥ 1/α: the average is an e-process, so a good canary ever fails with probability at most α,
//!   however many metrics it has, whatever connects them and however often they are looked at. A metric of which wₘ·Eₘ
//!   alone is so much is proved to be worse.
//! * **PASS** as soon as for each metric that is not muted the evidence of safety is ≥ 1/β: a canary of which any metric is,
//!   given its past, no likelier within the critical margin than beyond passes with probability at most β
//!   (intersection-union test, Berger 1982), without a correction for their number. None may lean to harm meanwhile.
//! * **CONTINUE** while steps are still to come, then **INCONCLUSIVE**: never silently a pass.
//!
//! All steps are gone through from the first, and the first that decides, decides; so the verdict does not depend on when
//! looks were made, and a look that was missed is made up for by the next one.

use std::collections::BTreeSet;

use super::align::Both;
use super::exceedance::{Exceedance, exceedance};
use super::ranks::Ranks;
use super::settings::Settings;
use super::shift::BEFORE_MARGIN;
use super::signs::{Sign, ln_of};
use super::unit::{Evidence, Unit, Units};
use crate::judges::Outlook;
use crate::result::Decision;

/// While a metric's evidence of harm is this much, the canary does not pass.
const LEANS: f64 = 4.0;

/// Why a canary failed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Failure {
    /// By evidence: the units that make it up, the weightiest first.
    Worse(Vec<usize>),
    /// At the end of a canary that was too short for evidence.
    Exceeded(Vec<(usize, Exceedance)>),
    /// Metrics that must have data had none for so long.
    Silent(Vec<usize>),
}

/// What is found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) decision: Decision,
    pub(crate) failure: Option<Failure>,
    /// Steps of each unit that were seen when it was decided.
    pub(crate) seen: Vec<usize>,
    /// Steps of the canary then, and of all.
    pub(crate) steps: (usize, usize),
}

/// The order in which steps of different units happened.
enum Clock {
    /// All have times: those of any.
    Times(Vec<i64>),
    /// By their place.
    Places(usize),
}

impl Clock {
    fn of(units: &[Unit<'_>]) -> Self {
        let times: Option<Vec<&Vec<i64>>> = units.iter().map(|unit| unit.times.as_ref()).collect();
        match times {
            Some(times) => {
                let times: BTreeSet<i64> = times.into_iter().flatten().copied().collect();
                Self::Times(times.into_iter().collect())
            }
            None => Self::Places(
                units
                    .iter()
                    .map(|unit| unit.points.len())
                    .max()
                    .unwrap_or(0),
            ),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Times(times) => times.len(),
            Self::Places(count) => *count,
        }
    }

    /// Whether the step `next` of `unit` happens at `now`.
    fn reaches(&self, now: usize, unit: &Unit<'_>, next: usize) -> bool {
        match (self, &unit.times) {
            (Self::Times(times), Some(own)) => own.get(next) == times.get(now),
            (Self::Times(_), None) | (Self::Places(_), _) => {
                next == now && next < unit.points.len()
            }
        }
    }
}

/// Goes through all steps.
pub(crate) fn verdict(units: &Units<'_>, settings: &Settings, outlook: Outlook) -> Verdict {
    let judged = &units.judged;
    let clock = Clock::of(judged);
    let (enough, safe) = (1.0 / settings.alpha, 1.0 / settings.beta);
    let mut seen = vec![0; judged.len()];
    let mut silent = vec![0; judged.len()];
    let last = outlook.remaining == 0;
    let all = clock.len();
    for now in 0..all {
        let mut whole = 0.0;
        // A canary of which nothing counts has proved nothing.
        let mut passes = units.absent.is_empty() && judged.iter().any(|unit| !unit.is_muted());
        let mut too_silent = Vec::new();
        for (place, (unit, (seen, silent))) in judged
            .iter()
            .zip(seen.iter_mut().zip(&mut silent))
            .enumerate()
        {
            *silent += 1;
            if clock.reaches(now, unit, *seen) {
                if unit.valid.get(*seen).copied().unwrap_or(false) {
                    *silent = 0;
                }
                *seen += 1;
            }
            if unit.is_muted() {
                continue;
            }
            let point = unit.after(*seen);
            whole += unit.weight * point.harm;
            passes &= point.safe >= safe && point.harm < LEANS;
            if unit.settings.options.must_have_data && *silent >= settings.silence {
                too_silent.push(place);
            }
        }
        let steps = (now + 1, all);
        let failed = |failure| Verdict {
            decision: Decision::Fail,
            failure: Some(failure),
            seen: seen.clone(),
            steps,
        };
        // Sums of weights are off by a rounding error.
        if whole >= enough * (1.0 - 1e-12) {
            return failed(Failure::Worse(weightiest(judged, &seen, enough)));
        }
        if !too_silent.is_empty() {
            return failed(Failure::Silent(too_silent));
        }
        if passes && (settings.early_pass || (last && now + 1 == all)) {
            return Verdict {
                decision: Decision::Pass,
                failure: None,
                seen,
                steps,
            };
        }
    }
    let failure = if last {
        at_the_end(judged, settings)
    } else {
        None
    };
    Verdict {
        decision: match (&failure, last) {
            (Some(_), _) => Decision::Fail,
            (None, true) => Decision::Inconclusive,
            (None, false) => Decision::Continue,
        },
        failure,
        seen: judged.iter().map(|unit| unit.points.len()).collect(),
        steps: (all, all),
    }
}

/// The fewest units that make up the evidence, the weightiest first.
fn weightiest(units: &[Unit<'_>], seen: &[usize], enough: f64) -> Vec<usize> {
    let counted = units
        .iter()
        .zip(seen)
        .enumerate()
        .filter(|(_, (unit, _))| !unit.is_muted());
    let mut parts: Vec<(f64, usize)> = counted
        .map(|(place, (unit, seen))| (unit.weight * unit.after(*seen).harm, place))
        .collect();
    parts.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut sum = 0.0;
    let needed = parts.iter().take_while(|(part, _)| {
        let wanted = sum < enough * (1.0 - 1e-12);
        sum += part;
        wanted
    });
    needed.map(|(_, place)| *place).collect()
}

/// What only the last look finds: silence from the begin, and exceedances of a canary that was too short.
fn at_the_end(units: &[Unit<'_>], settings: &Settings) -> Option<Failure> {
    let counted = || {
        units
            .iter()
            .enumerate()
            .filter(|(_, unit)| !unit.is_muted())
    };
    let silent = counted()
        .filter(|(_, unit)| unit.settings.options.must_have_data && !unit.valid.contains(&true));
    let silent: Vec<usize> = silent.map(|(place, _)| place).collect();
    if !silent.is_empty() {
        return Some(Failure::Silent(silent));
    }
    let reach: Option<f64> = counted()
        .map(|(_, unit)| Some(unit.weight * reach(unit)?))
        .sum();
    if reach? >= 1.0 / settings.alpha {
        return None;
    }
    let exceeded = counted().filter_map(|(place, unit)| {
        // Steps of one block are no values of their own: where a block was asked for, they depend on one another.
        let Evidence::Shift(run) = &unit.evidence else {
            return None;
        };
        let blocks = run.accepted().blocks.iter();
        let blocks: Vec<Both> = blocks.map(|block| (block.canary, block.baseline)).collect();
        let found = exceedance(&blocks, unit.minded)?;
        (found.probability <= settings.alpha * unit.weight).then_some((place, found))
    });
    let exceeded: Vec<(usize, Exceedance)> = exceeded.collect();
    (!exceeded.is_empty()).then_some(Failure::Exceeded(exceeded))
}

/// The largest e-value of harm that so many blocks could have had; none if that is not known.
fn reach(unit: &Unit<'_>) -> Option<f64> {
    match &unit.evidence {
        Evidence::Shift(run) => {
            let blocks = run.blocks.len().saturating_sub(BEFORE_MARGIN);
            // Beyond this all reach what anyone asks for.
            let blocks = blocks.min(200);
            let mut ranks = Ranks::default();
            (0..blocks).for_each(|block| ranks.push(Sign::Above, block as f64));
            Some(f64::midpoint(
                ln_of(blocks as u64, 0).exp(),
                ranks.ln().exp(),
            ))
        }
        Evidence::Counts(_) | Evidence::Pods => None,
    }
}
