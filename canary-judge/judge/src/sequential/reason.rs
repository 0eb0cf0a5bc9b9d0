//! What people are told: why a metric failed, why the decision is what it is, what is missing, and what to beware of.

use super::needed::{self, Needed};
use super::report::Report;
use super::unit::{Evidence, Unit};
use super::verdict::Failure;
use crate::result::Decision;

impl Report<'_> {
    /// Why a metric failed: by how much, and how sure that is.
    pub(super) fn worse(&self, place: usize, unit: &Unit<'_>, seen: usize) -> String {
        let label = if self.lies_above(place, unit) {
            "High"
        } else {
            "Low"
        };
        let critical = if unit.settings.options.critical {
            " (Critical)"
        } else {
            ""
        };
        let told = format!("{} was classified as {label}{critical}", unit.name);
        if let Some(Failure::Exceeded(found)) = &self.verdict.failure
            && let Some((_, found)) = found.iter().find(|(other, _)| *other == place)
        {
            let side = if found.up { "above" } else { "below" };
            return format!(
                "{told}: {} of {} values of the canary lie {side} every value of the baseline, by chance at most 1 in {:.0}",
                found.beyond,
                found.of,
                1.0 / found.probability
            );
        }
        let (canary, baseline) = unit.levels();
        let by = if baseline > 0.0 && canary.is_finite() {
            format!("{:+.1} %, ", (canary / baseline - 1.0) * 100.0)
        } else {
            String::new()
        };
        let harm = unit.after(seen).harm;
        format!(
            "{told}: {by}{} on the canary, {} on the baseline, e-value {} where {} is enough",
            short(canary),
            short(baseline),
            short(harm),
            short(1.0 / (self.settings.alpha * if unit.weight > 0.0 { unit.weight } else { 1.0 })),
        )
    }

    /// Why the decision is what it is.
    pub(super) fn reason(&self) -> String {
        let (at, all) = self.verdict.steps;
        let when = if at == all {
            format!("after {all} steps")
        } else {
            format!("at step {at} of {all}")
        };
        let name = |place: &usize| self.units.judged.get(*place);
        match (&self.verdict.failure, self.verdict.decision) {
            (Some(Failure::Silent(silent)), _) => {
                let names: Vec<&str> = silent
                    .iter()
                    .filter_map(name)
                    .map(|unit| unit.name)
                    .collect();
                format!(
                    "Canary Failed: no data {when} of {}, which must have data, for {} steps or ever",
                    names.join(", "),
                    self.settings.silence
                )
            }
            (Some(failure), _) => {
                let places: Vec<usize> = match failure {
                    Failure::Worse(places) => places.clone(),
                    Failure::Exceeded(found) => found.iter().map(|(place, _)| *place).collect(),
                    Failure::Silent(silent) => silent.clone(),
                };
                let told = places.iter().filter_map(|place| {
                    let seen = self.verdict.seen.get(*place).copied().unwrap_or_default();
                    Some(self.worse(*place, name(place)?, seen))
                });
                format!(
                    "Canary Failed {when}: {}",
                    told.collect::<Vec<String>>().join("; ")
                )
            }
            (None, Decision::Pass) => {
                format!("every metric is proved to be within its critical margin {when}")
            }
            (None, Decision::Continue) => format!("not decided {when}: {}", self.missing()),
            (None, Decision::Inconclusive | Decision::Fail) => {
                format!("still not decided {when}, the last one: {}", self.missing())
            }
        }
    }

    /// What keeps the canary from passing, and how much more it takes.
    fn missing(&self) -> String {
        let pass = 1.0 / self.settings.beta;
        let counted = self.units.judged.iter().filter(|unit| !unit.is_muted());
        // Those without a pair are told below.
        let open = counted
            .filter(|unit| !unit.pairs.is_empty())
            .filter(|unit| unit.after(usize::MAX).safe < pass || unit.after(usize::MAX).harm > 1.0);
        let mut told: Vec<String> = open
            .map(|unit| {
                let point = unit.after(usize::MAX);
                let fail = 1.0 / (self.settings.alpha * unit.weight);
                let needed: Option<Needed> = match &unit.evidence {
                    _ if self.is_barren(unit) => None,
                    Evidence::Shift(run) => needed::of_shift(run, fail, pass),
                    Evidence::Counts(run) => needed::of_counts(run, fail, pass),
                    Evidence::Pods => None,
                };
                let needed = needed.map_or_else(
                    || "no number of steps is in sight".to_owned(),
                    |needed| format!("{needed} if it goes on like this"),
                );
                format!(
                    "{} (safe {} of {}, worse {} of {}; {needed})",
                    unit.name,
                    short(point.safe),
                    short(pass),
                    short(point.harm),
                    short(fail)
                )
            })
            .collect();
        told.extend(
            self.units
                .absent
                .iter()
                .map(|name| format!("{name} (no data)")),
        );
        if told.is_empty() && !self.settings.early_pass {
            return "earlyPass is false, so nothing passes before the last look".to_owned();
        }
        if told.is_empty() {
            return "no metric counts, so nothing can be proved".to_owned();
        }
        told.join("; ")
    }

    /// Whether steps have passed and none made a block: if it goes on like this, none ever will.
    fn is_barren(&self, unit: &Unit<'_>) -> bool {
        let valid = unit.values.len();
        let have_passed = self.verdict.steps.1 > 0 || self.verdict.decision.is_final();
        match &unit.evidence {
            // The first block may still be filled.
            Evidence::Shift(run) if valid > 0 => run.blocks.is_empty() && valid >= run.block,
            Evidence::Shift(_) | Evidence::Counts(_) | Evidence::Pods => valid == 0 && have_passed,
        }
    }

    /// What to beware of.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.units.warnings.clone();
        for name in &self.settings.unknown {
            warnings.push(format!(
                "canaryConfig.judge.judgeConfigurations.{name} is not known and has no effect"
            ));
        }
        for (place, unit) in self.units.judged.iter().enumerate() {
            warnings.extend(unit.warnings.iter().cloned());
            let run = match &unit.evidence {
                Evidence::Shift(run) => Some(run.as_ref()),
                Evidence::Counts(run) => {
                    if let Some(found) = run.refused {
                        warnings.push(format!(
                            "counts of metric {:?} vary {found:.1} times as much as chance explains, as events in \
                             bursts do: its rates are compared step by step too, and the lesser evidence counts",
                            unit.name
                        ));
                    }
                    None
                }
                Evidence::Pods => None,
            };
            if let Some(run) = run
                && self.has_failed(place)
                && !unit.settings.block_given
                && !run.watch.correlation.sees()
            {
                warnings.push(format!(
                    "metric {:?} failed after {} steps, too few to see whether its noise is correlated, and nobody gave a \
                     block length: calibrate judgeConfigurations.block, or give 1 if each step is by itself",
                    unit.name,
                    run.blocks.len()
                ));
            }
            if let Some((found, _)) = run.and_then(|run| run.refused.as_ref())
                && let Some(run) = run
            {
                warnings.push(format!(
                    "block of {} steps refused for metric {:?}: the lag-1 autocorrelation of its differences is {found:.2}, \
                     more than {}; the lesser evidence of this block and of {} steps counts. Calibrate \
                     judgeConfigurations.block on data in which both sides run the same version",
                    run.block,
                    unit.name,
                    super::TOO_MUCH,
                    run.accepted().block
                ));
            }
        }
        warnings
    }
}

/// A number for people: three digits, and no endless ones.
pub(crate) fn short(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return if value.is_nan() {
            "none".to_owned()
        } else {
            "infinite".to_owned()
        };
    }
    if size >= 1e6 || (size < 1e-3 && size > 0.0) {
        format!("{value:.1e}")
    } else if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
    }
}
