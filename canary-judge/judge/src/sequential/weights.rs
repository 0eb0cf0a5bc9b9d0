//! How much each metric counts: the weight of its group over the metrics in it, so that all add up to 1.
//!
//! An average of e-processes is one whatever connects the metrics (Vovk, Wang, Ann. Stat. 2021), if the weights do not follow
//! the values: they follow the config, and of a metric with several tag sets the order in which these begin ([`shares`]), so
//! that none changes while the canary is watched. Kayenta's rules where they make sense: a group without a weight shares what
//! the others leave of 100, and a metric counts in each of its groups. Differs from Spinnaker: weights that do not add up
//! to 100 are taken in proportion and a warning says so, and a negative weight is refused.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::CanaryConfig;
use crate::error::Unreadable;
use crate::number;

/// The weights of `metrics`, and what is odd about them.
pub(crate) fn weights(
    config: &CanaryConfig,
    metrics: &[&str],
) -> Result<(BTreeMap<String, f64>, Vec<String>), Unreadable> {
    let given = config.group_weights.as_ref().ok_or_else(|| {
        let remedy = "give an object with groupWeights, which may be empty";
        Unreadable::new("canaryConfig.classifier", None, remedy)
    })?;
    for (group, weight) in given {
        if !(*weight >= 0.0 && weight.is_finite()) {
            let field = format!("canaryConfig.classifier.groupWeights.{group}");
            let value: Value = number::to_json(*weight);
            return Err(Unreadable::new(
                &field,
                Some(&value),
                "give a weight from 0 to 100",
            ));
        }
    }
    let mut members: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in metrics {
        let groups = config
            .metric(name)
            .and_then(|metric| metric.groups.as_ref());
        let groups = groups.ok_or_else(|| {
            let field = format!("groups of metric {name:?}");
            Unreadable::new(&field, None, "give a list, which may be empty")
        })?;
        for group in groups {
            members.entry(group).or_default().push(name);
        }
    }
    let mut warnings = Vec::new();
    let sum: f64 = given.iter().map(|(_, weight)| weight).sum();
    let own = |group: &str| {
        given
            .iter()
            .rev()
            .find(|(name, _)| name == group)
            .map(|(_, weight)| *weight)
    };
    let missing: Vec<&str> = members
        .keys()
        .copied()
        .filter(|group| own(group).is_none())
        .collect();
    let left = if missing.is_empty() {
        0.0
    } else {
        (100.0 - sum).max(0.0) / missing.len() as f64
    };
    let odd = if missing.is_empty() {
        !given.is_empty() && (sum - 100.0).abs() > 1e-9
    } else {
        sum > 100.0
    };
    if odd {
        warnings.push(format!(
            "canaryConfig.classifier.groupWeights add up to {sum}, not 100: they are taken in proportion"
        ));
    }
    for (group, weight) in given {
        if *weight > 0.0 && !members.contains_key(group.as_str()) {
            warnings.push(format!(
                "group {group:?} has weight {weight} and no metric that counts: the other groups share it"
            ));
        }
    }
    let mut found: BTreeMap<String, f64> = metrics
        .iter()
        .map(|name| ((*name).to_owned(), 0.0))
        .collect();
    for (group, names) in &members {
        let share = own(group).unwrap_or(left) / names.len() as f64;
        for name in names {
            *found.entry((*name).to_owned()).or_default() += share;
        }
    }
    let all: f64 = found.values().sum();
    let count = found.len() as f64;
    for (name, weight) in &mut found {
        *weight = if all > 0.0 {
            *weight / all
        } else {
            1.0 / count
        };
        if *weight <= 0.0 {
            warnings.push(format!(
                "metric {name:?} has no weight: it can keep a canary from passing, and cannot fail it"
            ));
        }
    }
    Ok((found, warnings))
}

/// What of a metric's weight is kept for tag sets that begin later than its first.
const KEPT: f64 = 0.25;

/// The parts of a metric's weight that its tag sets have, by when each has its first value; none: not yet.
///
/// A weight must not change while a canary is watched, and nobody knows which tag sets are still to come, such as the
/// first answer with an error. So those that are there from the begin share three quarters, and of what comes later the
/// first has an eighth, the next a sixteenth, and so on.
pub(crate) fn shares(firsts: &[Option<i64>], is_tagged: bool) -> Vec<f64> {
    let kept = if is_tagged || firsts.len() > 1 {
        KEPT
    } else {
        0.0
    };
    let begin = firsts.iter().flatten().min().copied();
    let is_first = |first: &Option<i64>| begin.is_none() || *first == begin;
    let count = firsts.iter().filter(|first| is_first(first)).count();
    let mut later: Vec<usize> = (0..firsts.len())
        .filter(|place| firsts.get(*place).is_some_and(|first| !is_first(first)))
        .collect();
    // Those without a value come last.
    later.sort_by_key(|place| (firsts[*place].is_none(), firsts[*place], *place));
    let mut shares = vec![(1.0 - kept) / count as f64; firsts.len()];
    let mut share = kept;
    for place in later {
        share /= 2.0;
        shares[place] = share;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_set_that_comes_later_changes_no_weight_of_another() {
        assert_eq!(shares(&[Some(0)], false), [1.0]);
        assert_eq!(shares(&[None], false), [1.0]);
        assert_eq!(shares(&[Some(0)], true), [0.75]);
        assert_eq!(shares(&[Some(7), Some(0)], true), [0.125, 0.75]);
        assert_eq!(
            shares(&[Some(7), Some(0), Some(3), None], true),
            [0.0625, 0.75, 0.125, 0.031_25]
        );
        assert_eq!(shares(&[Some(0), Some(0)], true), [0.375, 0.375]);
        assert_eq!(shares(&[None, None], true), [0.375, 0.375]);
    }
}
