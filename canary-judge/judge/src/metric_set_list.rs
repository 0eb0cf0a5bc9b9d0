//! What a metric store answered of one metric: one set of values for each of its tag sets (`kayenta: MetricSet`).

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::number;

/// Values of one metric on one side, in the order of time.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MetricSet {
    /// Name of the metric, as the canary config has it.
    pub name: String,
    /// What the store tells this series from others by; empty if there is one.
    pub tags: BTreeMap<String, String>,
    /// First instant of the window, Unix milliseconds.
    #[serde(rename = "startTimeMillis")]
    pub start_ms: i64,
    /// End of the window, itself outside; Unix milliseconds.
    #[serde(rename = "endTimeMillis")]
    pub end_ms: i64,
    /// Time between two values, milliseconds.
    #[serde(rename = "stepMillis")]
    pub step_ms: i64,
    /// Values, NaN where the store had none.
    #[serde(deserialize_with = "values")]
    pub values: Vec<f64>,
    /// When the values are of, Unix milliseconds, one for each; empty if nobody said.
    /// Differs from Spinnaker: there a set has no times, and gaps that a store leaves out move what follows.
    pub timestamps: Vec<i64>,
    /// The query, under `query`, and what else the store said.
    pub attributes: Map<String, Value>,
}

fn values<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    let values = Vec::<Value>::deserialize(deserializer)?;
    let read = |value: &Value| match number::read(value, "values") {
        Ok(value) => Ok(value.unwrap_or(0.0)),
        Err(error) => Err(serde::de::Error::custom(error)),
    };
    values.iter().map(read).collect()
}

impl MetricSet {
    /// How many values the window holds: none if nobody knows the step.
    pub fn expected_values(&self) -> usize {
        let window = self.end_ms.saturating_sub(self.start_ms);
        let count = window.checked_div(self.step_ms).unwrap_or(0);
        usize::try_from(count).unwrap_or(0)
    }

    /// Name and tags in one text, `requests -> {code:500}`.
    pub fn key(&self) -> String {
        let tags = self
            .tags
            .iter()
            .map(|(key, value)| format!("{key}:{value}"));
        let tags: Vec<_> = tags.collect();
        format!("{} -> {{{}}}", self.name, tags.join(", "))
    }
}

impl Serialize for MetricSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = self.values.iter().map(|value| number::to_json(*value));
        let mut document = json!({
            "name": self.name,
            "tags": self.tags,
            "startTimeMillis": self.start_ms,
            "startTimeIso": iso(self.start_ms),
            "endTimeMillis": self.end_ms,
            "endTimeIso": iso(self.end_ms),
            "stepMillis": self.step_ms,
            "values": Value::Array(values.collect()),
            "attributes": self.attributes,
            "metricSetKey": self.key(),
        });
        if !self.timestamps.is_empty() {
            document["timestamps"] = json!(self.timestamps);
        }
        document.serialize(serializer)
    }
}

/// An instant of Unix milliseconds as Kayenta writes it: `2026-01-01T00:00:00Z`, with milliseconds if it has any.
pub fn iso(unix_ms: i64) -> String {
    const DAY_MS: i64 = 86_400_000;
    let (day, within) = (unix_ms.div_euclid(DAY_MS), unix_ms.rem_euclid(DAY_MS));
    // Days are counted from 1 March of the year 0, so that a leap day ends its year; 146,097 days are 400 years.
    let day = day + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    let (seconds, ms) = (within / 1_000, within % 1_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let mut text = format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}");
    if ms > 0 {
        // Writing to a text cannot fail.
        let _ = write!(text, ".{ms:03}");
    }
    text.push('Z');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_read_as_the_calendar_has_them() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_767_225_599_000, "2025-12-31T23:59:59Z"),
            (1_767_225_600_250, "2026-01-01T00:00:00.250Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(iso(ms), text);
        }
    }

    #[test]
    fn a_set_reads_what_it_wrote() {
        let set = MetricSet {
            name: "requests".into(),
            tags: BTreeMap::from([("code".into(), "500".into())]),
            start_ms: 1_767_225_600_000,
            end_ms: 1_767_225_720_000,
            step_ms: 60_000,
            values: vec![1.5, f64::INFINITY],
            timestamps: vec![1_767_225_600_000, 1_767_225_660_000],
            attributes: Map::from_iter([("query".to_owned(), json!("q"))]),
        };
        let written = serde_json::to_value(&set).unwrap();
        assert_eq!(written["metricSetKey"], "requests -> {code:500}");
        assert_eq!(written["values"], json!([1.5, "Infinity"]));
        assert_eq!(written["startTimeIso"], "2026-01-01T00:00:00Z");
        assert_eq!(serde_json::from_value::<MetricSet>(written).unwrap(), set);
        assert_eq!(set.expected_values(), 2);
        assert_eq!(MetricSet::default().expected_values(), 0);
    }
}
