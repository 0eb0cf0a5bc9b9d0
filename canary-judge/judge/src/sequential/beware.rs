//! What a config asks for in vain, and where its values are such that the promise says little: told, and nothing else.

use std::collections::BTreeSet;

use super::settings::{MetricSettings, Settings};
use super::signs::Sign;
use super::unit::{Evidence, Unit, Units};
use crate::config::CanaryConfig;
use crate::error::Unreadable;
use crate::options::{NanStrategy, OutlierStrategy};

/// The factor of a config that gives none, and so asks for nothing.
const OUTLIER_FACTOR: f64 = 3.0;

/// What is to be said of `config`, metric by metric, and of the `units` that were judged by it.
pub(crate) fn beware(
    config: &CanaryConfig,
    settings: &Settings,
    units: &Units<'_>,
) -> Result<Vec<String>, Unreadable> {
    let mut told = Vec::new();
    let mut names = BTreeSet::new();
    for metric in &config.metrics {
        let name = metric.name.as_deref().unwrap_or_default();
        // Of metrics of one name the first counts.
        if names.insert(name) {
            let own = MetricSettings::read(metric, settings)?;
            told.extend(unknown(name, &own));
            told.extend(unused(name, &own));
        }
    }
    told.extend(units.judged.iter().filter_map(mostly_tied));
    Ok(told)
}

/// Fields of `sequential` that nobody knows.
fn unknown(name: &str, own: &MetricSettings) -> impl Iterator<Item = String> {
    own.unknown.iter().map(move |field| {
        format!(
            "analysisConfigurations.canary.sequential.{field} of metric {name:?} is not known and has no effect: known are {}",
            MetricSettings::KNOWN.join(", ")
        )
    })
}

/// Options of Kayenta's that only the other judge uses.
fn unused(name: &str, own: &MetricSettings) -> Option<String> {
    let options = &own.options;
    let factor = options.outlier_factor.total_cmp(&OUTLIER_FACTOR).is_ne();
    let removes = options.outlier_strategy == OutlierStrategy::Remove;
    // A pod is compared by the mean of what it has.
    let replaces = own.pods.is_some() && options.nan_strategy == NanStrategy::Replace;
    let asked = [
        (removes, "outliers.strategy"),
        (factor, "outliers.outlierFactor"),
        (replaces, "nanStrategy"),
    ];
    let asked: Vec<&str> = asked
        .into_iter()
        .filter_map(|(asks, field)| asks.then_some(field))
        .collect();
    (!asked.is_empty()).then(|| {
        format!(
            "analysisConfigurations.canary of metric {name:?} asks for what SequentialJudge-v1.0 does not use: {}",
            asked.join(", ")
        )
    })
}

/// Whether most differences of a metric that is not counted are zero: they are within any margin, so rare events pass
/// however many more they are. One that never differs has nothing to count yet.
fn mostly_tied(unit: &Unit<'_>) -> Option<String> {
    let Evidence::Shift(run) = &unit.evidence else {
        return None;
    };
    let blocks = &run.accepted().blocks;
    let tied = blocks
        .iter()
        .filter(|block| Sign::of(block.difference()) == Sign::Tie)
        .count();
    (tied < blocks.len() && 2 * tied > blocks.len()).then(|| {
        format!(
            "{tied} of {} differences of metric {:?} are zero and speak for the canary, however much the others differ: if \
             it is a number of events, name the metric of their requests in \
             analysisConfigurations.canary.sequential.requests, and they are counted",
            blocks.len(),
            unit.name
        )
    })
}
