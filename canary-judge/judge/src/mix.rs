//! Control and experiment brought together: which set of the one is compared with which of the other
//! (`kayenta: MetricSetMixerService`).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::config::CanaryConfig;
use crate::metric_set::MetricSetPair;
use crate::metric_set_list::{MetricSet, iso};

/// The sides, as a pair names them.
const CONTROL: &str = "control";
/// See above.
const EXPERIMENT: &str = "experiment";

/// Why sets cannot be brought together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MixError {
    /// A side has no set of a metric. The text is the original's.
    #[error(
        "No {side} metrics found for {metric} and the metric service did not create a placeholder."
    )]
    None {
        /// `control` or `experiment`.
        side: &'static str,
        /// Name of the metric.
        metric: String,
    },
    /// The tags of the sides have different names.
    #[error(
        "metric {metric} has the tags [{control}] in control and [{experiment}] in experiment: \
         have both queries group by the same tags"
    )]
    Tags {
        /// Name of the metric.
        metric: String,
        /// Names of the tags in control.
        control: String,
        /// Names of the tags in experiment.
        experiment: String,
    },
    /// A side has two sets with the same tags.
    #[error("{side} has {key} twice: have its query group by what tells the series apart")]
    Twice {
        /// `control` or `experiment`.
        side: &'static str,
        /// The set.
        key: String,
    },
}

/// Pairs of all metrics of the config, in its order: one for each tag set of a metric. `new_id` is given a set's key
/// and answers the pair's id.
///
/// A set without a partner is compared with NaN; a side that has values for a shorter time than its window gets NaN at
/// the end. If one side has a set without tags and the other has none, all tagged sets of that other side are compared
/// with NaN: the untagged values are not looked at, as there.
///
/// # Errors
/// A side without a set of a metric, tags that differ in name, a tag set twice.
pub fn mix(
    config: &CanaryConfig,
    control: &[MetricSet],
    experiment: &[MetricSet],
    mut new_id: impl FnMut(&str) -> String,
) -> Result<Vec<MetricSetPair>, MixError> {
    let mut pairs = Vec::new();
    for metric in &config.metrics {
        let name = metric.name.as_deref().unwrap_or_default();
        let control = Side::of(CONTROL, name, control)?;
        let experiment = Side::of(EXPERIMENT, name, experiment)?;
        let names = (control.tag_names(), experiment.tag_names());
        if !names.0.is_empty() && !names.1.is_empty() && names.0 != names.1 {
            let text = |names: BTreeSet<&str>| Vec::from_iter(names).join(", ");
            return Err(MixError::Tags {
                metric: name.to_owned(),
                control: text(names.0),
                experiment: text(names.1),
            });
        }
        let mut pair = |control: &MetricSet, experiment: &MetricSet| {
            pairs.push(pair_of(control, experiment, new_id(&control.key())));
        };
        match (control.untagged(), experiment.untagged()) {
            (Some(control), None) => {
                let tagged = experiment.sets.values();
                tagged.for_each(|set| pair(&nothing(control, &set.tags), set));
            }
            (None, Some(experiment)) => {
                let tagged = control.sets.values();
                tagged.for_each(|set| pair(set, &nothing(experiment, &set.tags)));
            }
            (Some(_), Some(_)) | (None, None) => {
                let tags: BTreeSet<_> = control.sets.keys().chain(experiment.sets.keys()).collect();
                for tags in tags {
                    pair(&control.tagged(tags), &experiment.tagged(tags));
                }
            }
        }
    }
    Ok(pairs)
}

/// The sets of one metric on one side, by their tags.
struct Side<'a> {
    sets: BTreeMap<&'a BTreeMap<String, String>, &'a MetricSet>,
    first: &'a MetricSet,
}

impl<'a> Side<'a> {
    fn of(side: &'static str, metric: &str, all: &'a [MetricSet]) -> Result<Self, MixError> {
        let mut sets = BTreeMap::new();
        for set in all.iter().filter(|set| set.name == metric) {
            if sets.insert(&set.tags, set).is_some() {
                let key = set.key();
                return Err(MixError::Twice { side, key });
            }
        }
        let first = all.iter().find(|set| set.name == metric);
        let first = first.ok_or_else(|| MixError::None {
            side,
            metric: metric.to_owned(),
        })?;
        Ok(Self { sets, first })
    }

    fn tag_names(&self) -> BTreeSet<&'a str> {
        let tags = self.sets.keys().flat_map(|tags| tags.keys());
        tags.map(String::as_str).collect()
    }

    /// The set with these tags, or one without a value.
    fn tagged(&self, tags: &BTreeMap<String, String>) -> Cow<'a, MetricSet> {
        match self.sets.get(tags) {
            Some(set) => Cow::Borrowed(*set),
            None => Cow::Owned(nothing(self.first, tags)),
        }
    }

    fn untagged(&self) -> Option<&'a MetricSet> {
        self.sets.get(&BTreeMap::new()).copied()
    }
}

/// As `like`, without a value.
fn nothing(like: &MetricSet, tags: &BTreeMap<String, String>) -> MetricSet {
    MetricSet {
        tags: tags.clone(),
        values: Vec::new(),
        timestamps: Vec::new(),
        ..like.clone()
    }
}

fn pair_of(control: &MetricSet, experiment: &MetricSet, id: String) -> MetricSetPair {
    let sides = [(CONTROL, control), (EXPERIMENT, experiment)];
    let by_side = |of: fn(&MetricSet) -> Value| {
        let sides = sides
            .iter()
            .map(|(side, set)| ((*side).to_owned(), of(set)));
        Value::Object(sides.collect())
    };
    let scope = |set: &MetricSet| {
        json!({
            "startTimeIso": iso(set.start_ms),
            "startTimeMillis": set.start_ms,
            "stepMillis": set.step_ms,
        })
    };
    let mut rest = Map::new();
    rest.insert("scopes".to_owned(), by_side(scope));
    let attributes = by_side(|set| Value::Object(set.attributes.clone()));
    rest.insert("attributes".to_owned(), attributes);
    let padded = sides.map(|(side, set)| (side.to_owned(), padded(set)));
    let times = sides.map(|(side, set)| (side.to_owned(), times(set)));
    let known = times.iter().all(|(_, times)| times.is_some());
    let times = times.map(|(side, times)| (side, times.unwrap_or_default()));
    let tags = control.tags.iter();
    let tags = tags.map(|(key, value)| (key.clone(), Value::String(value.clone())));
    MetricSetPair {
        name: control.name.clone(),
        id: Some(id),
        tags: Some(tags.collect()),
        values: BTreeMap::from(padded),
        timestamps: if known {
            BTreeMap::from(times)
        } else {
            BTreeMap::new()
        },
        rest,
    }
}

fn length(set: &MetricSet) -> usize {
    set.values.len().max(set.expected_values())
}

fn padded(set: &MetricSet) -> Vec<f64> {
    let mut values = set.values.clone();
    values.resize(length(set), f64::NAN);
    values
}

/// When the padded values are of; none if nobody knows.
fn times(set: &MetricSet) -> Option<Vec<i64>> {
    let given = !set.timestamps.is_empty() && set.timestamps.len() == set.values.len();
    if !given && set.step_ms <= 0 && length(set) > 0 {
        return None;
    }
    let mut times = if given {
        set.timestamps.clone()
    } else {
        Vec::new()
    };
    let mut next = match times.last() {
        Some(last) => last.saturating_add(set.step_ms),
        None => set.start_ms,
    };
    while times.len() < length(set) {
        times.push(next);
        next = next.saturating_add(set.step_ms);
    }
    Some(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_767_225_600_000;

    fn config(names: &[&str]) -> CanaryConfig {
        let metrics: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
        CanaryConfig::read(json!({"metrics": metrics})).unwrap()
    }

    fn set(name: &str, tags: &[(&str, &str)], values: &[f64]) -> MetricSet {
        let tags = tags.iter();
        MetricSet {
            name: name.into(),
            tags: tags.map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            start_ms: START,
            end_ms: START + 180_000,
            step_ms: 60_000,
            values: values.to_vec(),
            ..MetricSet::default()
        }
    }

    fn mixed(control: &[MetricSet], experiment: &[MetricSet]) -> Vec<MetricSetPair> {
        let mut count = 0;
        let id = |_: &str| {
            count += 1;
            format!("id-{count}")
        };
        mix(&config(&["a"]), control, experiment, id).unwrap()
    }

    fn refused(control: &[MetricSet], experiment: &[MetricSet]) -> String {
        let mixed = mix(&config(&["a"]), control, experiment, str::to_owned);
        mixed.unwrap_err().to_string()
    }

    #[test]
    fn pairs_come_in_the_order_of_the_config_and_shorter_sides_are_padded_at_the_end() {
        let sets = [set("b", &[], &[1.0, 2.0, 3.0]), set("a", &[], &[4.0])];
        let pairs = mix(&config(&["a", "b"]), &sets, &sets, str::to_owned).unwrap();
        let names: Vec<_> = pairs.iter().map(|pair| pair.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        let values = &pairs[0].values["control"];
        assert_eq!(values.len(), 3);
        assert!(values[0].total_cmp(&4.0).is_eq() && values[1].is_nan() && values[2].is_nan());
        let times = [START, START + 60_000, START + 120_000];
        assert_eq!(pairs[0].timestamps["experiment"], times);
        assert_eq!(pairs[0].id.as_deref(), Some("a -> {}"));
        let scope = &pairs[0].rest["scopes"]["control"];
        assert_eq!(scope["startTimeIso"], "2026-01-01T00:00:00Z");
        assert_eq!(scope["stepMillis"], 60_000);
    }

    #[test]
    fn tag_sets_are_paired_and_one_without_a_partner_is_compared_with_nothing() {
        let control = [
            set("a", &[("code", "200")], &[1.0]),
            set("a", &[("code", "404")], &[2.0]),
        ];
        let experiment = [
            set("a", &[("code", "404")], &[3.0]),
            set("a", &[("code", "500")], &[4.0]),
        ];
        let pairs = mixed(&control, &experiment);
        let code = |pair: &MetricSetPair| pair.tags.as_ref().unwrap()["code"].clone();
        let codes: Vec<_> = pairs.iter().map(code).collect();
        assert_eq!(codes, ["200", "404", "500"]);
        assert!(pairs[0].values["experiment"].iter().all(|v| v.is_nan()));
        assert!(pairs[2].values["control"].iter().all(|v| v.is_nan()));
        assert_eq!(pairs[2].values["control"].len(), 3);
        assert_eq!(pairs[2].timestamps["control"].len(), 3);
    }

    #[test]
    fn untagged_values_against_tagged_ones_are_not_looked_at() {
        let tagged = [set("a", &[("code", "200")], &[1.0, 1.0, 1.0])];
        let untagged = [set("a", &[], &[2.0, 2.0, 2.0])];
        for (control, experiment, empty) in [
            (&tagged, &untagged, "experiment"),
            (&untagged, &tagged, "control"),
        ] {
            let pairs = mixed(control, experiment);
            assert_eq!(pairs.len(), 1);
            assert!(pairs[0].values[empty].iter().all(|v| v.is_nan()));
            assert_eq!(pairs[0].tags.as_ref().unwrap()["code"], "200");
        }
    }

    #[test]
    fn a_side_without_a_set_is_refused_in_the_originals_words() {
        let sets = [set("a", &[], &[1.0])];
        let text = refused(&[], &sets);
        let original =
            "No control metrics found for a and the metric service did not create a placeholder.";
        assert_eq!(text, original);
        assert!(refused(&sets, &[]).starts_with("No experiment metrics found for a"));
    }

    #[test]
    fn tags_with_other_names_and_tags_twice_are_refused() {
        let code = set("a", &[("code", "200")], &[1.0]);
        let pod = set("a", &[("pod", "x")], &[1.0]);
        let text = refused(std::slice::from_ref(&code), &[pod]);
        assert!(
            text.contains("[code] in control and [pod] in experiment"),
            "{text}"
        );
        let text = refused(&[code.clone(), code.clone()], &[code]);
        assert!(text.contains("control has a -> {code:200} twice"), "{text}");
    }

    #[test]
    fn times_of_a_store_are_kept_and_a_set_without_times_or_step_has_none() {
        let mut timed = set("a", &[], &[1.0, 2.0]);
        timed.timestamps = vec![START + 5, START + 60_005];
        let pairs = mixed(&[timed.clone()], &[set("a", &[], &[1.0])]);
        let times = [START + 5, START + 60_005, START + 120_005];
        assert_eq!(pairs[0].timestamps["control"], times);
        let mut unknown = set("a", &[], &[1.0]);
        unknown.step_ms = 0;
        assert!(mixed(&[timed], &[unknown])[0].timestamps.is_empty());
    }
}
