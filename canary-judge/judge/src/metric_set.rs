//! What a judge is given of one metric: the values of both sides (`kayenta: MetricSetPair`).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::error::Unreadable;
use crate::{number, read};

/// Values of control and experiment of one metric, or of one of its tag sets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MetricSetPair {
    /// Name of the metric; empty if it has none.
    pub name: String,
    /// Id.
    pub id: Option<String>,
    /// Tags: texts, or null.
    pub tags: Option<Map<String, Value>>,
    /// Values by side, in the order of time, NaN where there was none: `control`, `experiment`.
    pub values: BTreeMap<String, Vec<f64>>,
    /// When the values are of, by side: Unix milliseconds, one for each value. Empty if nobody said; then values of
    /// both sides belong together by their place. Differs from Spinnaker: there a pair has no times.
    pub timestamps: BTreeMap<String, Vec<i64>>,
    /// Scopes, attributes and what else there is.
    pub rest: Map<String, Value>,
}

/// Tags as texts: numbers and truth values are read as they are written, as there.
fn texts(tags: Map<String, Value>, path: &str) -> Result<Map<String, Value>, Unreadable> {
    let texts = tags.into_iter().map(|(name, value)| match value {
        Value::Number(_) | Value::Bool(_) => Ok((name, Value::String(value.to_string()))),
        Value::Array(_) | Value::Object(_) => {
            let path = format!("{path}.{name}");
            Err(Unreadable::new(&path, Some(&value), "give a text"))
        }
        Value::String(_) | Value::Null => Ok((name, value)),
    });
    texts.collect()
}

impl MetricSetPair {
    /// Reads the pair that stands at `path`.
    pub fn read(value: Value, path: &str) -> Result<Self, Unreadable> {
        let Value::Object(mut rest) = value else {
            return Err(Unreadable::new(path, Some(&value), "give an object"));
        };
        let at = |name: &str| format!("{path}.{name}");
        let name = read::text(rest.remove("name").as_ref(), &at("name"))?;
        let id = read::text(rest.remove("id").as_ref(), &at("id"))?;
        let tags = match rest.remove("tags") {
            None | Some(Value::Null) => None,
            Some(Value::Object(tags)) => Some(texts(tags, &at("tags"))?),
            other => {
                return Err(Unreadable::new(
                    &at("tags"),
                    other.as_ref(),
                    "give an object",
                ));
            }
        };
        let values = match rest.remove("values") {
            None | Some(Value::Null) => BTreeMap::new(),
            values => sides(read::object(values.as_ref(), &at("values"))?, &at("values"))?,
        };
        let timestamps = match rest.remove("timestamps") {
            None | Some(Value::Null) => BTreeMap::new(),
            times => times_of(
                read::object(times.as_ref(), &at("timestamps"))?,
                &values,
                &at("timestamps"),
            )?,
        };
        Ok(Self {
            name: name.unwrap_or_default(),
            id,
            tags,
            values,
            timestamps,
            rest,
        })
    }

    /// The list of pairs that stands at `metricSetPairList`.
    pub fn read_list(value: Value) -> Result<Vec<Self>, Unreadable> {
        const PATH: &str = "metricSetPairList";
        let Value::Array(pairs) = value else {
            return Err(Unreadable::new(PATH, Some(&value), "give a list"));
        };
        let pairs = pairs.into_iter().enumerate();
        pairs
            .map(|(index, pair)| Self::read(pair, &format!("{PATH}[{index}]")))
            .collect()
    }

    /// The values of `side`, which a judge cannot do without.
    pub(crate) fn side(&self, side: &str) -> Result<&[f64], Unreadable> {
        let values = self.values.get(side).map(Vec::as_slice);
        values.ok_or_else(|| {
            let field = format!("values.{side} of the metric set pair {:?}", self.name);
            Unreadable::new(&field, None, "give a list of numbers, which may be empty")
        })
    }
}

fn sides(
    values: &Map<String, Value>,
    path: &str,
) -> Result<BTreeMap<String, Vec<f64>>, Unreadable> {
    let mut sides = BTreeMap::new();
    for (side, values) in values.iter().filter(|(_, values)| !values.is_null()) {
        let path = format!("{path}.{side}");
        let values = read::list(Some(values), &path)?.iter().enumerate();
        // Null is zero, as there.
        let read = |(index, value): (usize, &Value)| match value.as_number() {
            Some(number) => Ok(number::of_number(number)),
            None => Ok(number::read(value, &format!("{path}[{index}]"))?.unwrap_or(0.0)),
        };
        sides.insert(side.clone(), values.map(read).collect::<Result<_, _>>()?);
    }
    Ok(sides)
}

fn times_of(
    times: &Map<String, Value>,
    values: &BTreeMap<String, Vec<f64>>,
    path: &str,
) -> Result<BTreeMap<String, Vec<i64>>, Unreadable> {
    let mut sides = BTreeMap::new();
    for (side, times) in times.iter().filter(|(_, times)| !times.is_null()) {
        let path = format!("{path}.{side}");
        let list = read::list(Some(times), &path)?;
        if values.get(side).map_or(0, Vec::len) != list.len() {
            let remedy = "give one time for each value of that side, or leave the times out";
            return Err(Unreadable::new(&path, Some(times), remedy));
        }
        let read = |(index, time): (usize, &Value)| {
            let refused = "give a whole number: Unix time in milliseconds";
            let path = format!("{path}[{index}]");
            time.as_i64()
                .ok_or_else(|| Unreadable::new(&path, Some(time), refused))
        };
        let read: Result<_, _> = list.iter().enumerate().map(read).collect();
        sides.insert(side.clone(), read?);
    }
    Ok(sides)
}

impl Serialize for MetricSetPair {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = Map::new();
        document.insert("name".to_owned(), Value::String(self.name.clone()));
        if let Some(id) = &self.id {
            document.insert("id".to_owned(), Value::String(id.clone()));
        }
        if let Some(tags) = &self.tags {
            document.insert("tags".to_owned(), Value::Object(tags.clone()));
        }
        let side = |(side, values): (&String, &Vec<f64>)| {
            let values = values.iter().map(|value| number::to_json(*value));
            (side.clone(), Value::Array(values.collect()))
        };
        let values = self.values.iter().map(side).collect();
        document.insert("values".to_owned(), Value::Object(values));
        if !self.timestamps.is_empty() {
            document.insert("timestamps".to_owned(), json!(self.timestamps));
        }
        document.extend(self.rest.clone());
        document.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for MetricSetPair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::read(value, "metricSetPair").map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_texts_as_jackson_reads_them() {
        let read = |tags: Value| {
            let pair = MetricSetPair::read(json!({"name": "m", "tags": tags}), "pair");
            pair.map(|pair| json!(pair.tags))
        };
        let told = read(json!({"pod": 1, "up": true, "zone": "a", "none": null}));
        let texts = json!({"pod": "1", "up": "true", "zone": "a", "none": null});
        assert_eq!(told, Ok(texts));
        let refused = read(json!({"pod": ["a"]})).unwrap_err().to_string();
        assert!(refused.starts_with("pair.tags.pod "), "{refused}");
    }
}
