//! A canary config: JSON as Kayenta stores it (`kayenta: CanaryConfig`).
//!
//! The document is kept as it came, unknown fields and their order included; beside it stands what is read of it. The
//! options under `analysisConfigurations` are read when a metric is judged and not before, as there.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::error::Unreadable;
use crate::{number, read};

/// A canary config.
#[derive(Debug, Clone, PartialEq)]
pub struct CanaryConfig {
    document: Map<String, Value>,
    /// Where the first metric of a name stands.
    places: BTreeMap<String, usize>,
    /// Id, if it was saved or has one.
    pub id: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// Applications it is for.
    pub applications: Vec<String>,
    /// Name of the judge; none means the first one.
    pub judge: Option<String>,
    /// Metrics, in order.
    pub metrics: Vec<MetricConfig>,
    /// Weights of groups, %, by name, in order; none without a `classifier`, with which nothing can be scored.
    pub group_weights: Option<Vec<(String, f64)>>,
}

/// A metric of a canary config.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricConfig {
    /// Name; if two have one name, the first is meant.
    pub name: Option<String>,
    /// Groups it counts in. An empty list means none; without a list nothing can be scored.
    pub groups: Option<Vec<String>>,
    /// Which of the request's scopes it is taken from.
    pub scope_name: Option<String>,
    /// The query, with its `type`.
    pub query: Option<Map<String, Value>>,
    /// How it is compared: `analysisConfigurations.canary`.
    pub analysis: Option<Map<String, Value>>,
}

impl CanaryConfig {
    /// Reads a document whose path is `canaryConfig` in errors.
    pub fn read(document: Value) -> Result<Self, Unreadable> {
        const PATH: &str = "canaryConfig";
        let Value::Object(document) = document else {
            return Err(Unreadable::new(PATH, Some(&document), "give an object"));
        };
        let text = |name: &str| read::text(document.get(name), &format!("{PATH}.{name}"));
        let applications = format!("{PATH}.applications");
        let judge = match read::field(&document, "judge") {
            None => None,
            judge => {
                let judge = read::object(judge, &format!("{PATH}.judge"))?;
                read::text(judge.get("name"), &format!("{PATH}.judge.name"))?
            }
        };
        let metrics = match read::field(&document, "metrics") {
            None => &[],
            metrics => read::list(metrics, &format!("{PATH}.metrics"))?,
        };
        let metrics = metrics.iter().enumerate();
        let metrics = metrics
            .map(|(index, metric)| MetricConfig::read(metric, &format!("{PATH}.metrics[{index}]")));
        let metrics: Vec<MetricConfig> = metrics.collect::<Result<_, _>>()?;
        let places = metrics.iter().enumerate().rev();
        let places = places.filter_map(|(place, metric)| Some((metric.name.clone()?, place)));
        Ok(Self {
            places: places.collect(),
            id: text("id")?,
            name: text("name")?,
            applications: read::texts(document.get("applications"), &applications)?
                .unwrap_or_default(),
            judge,
            metrics,
            group_weights: weights(&document, &format!("{PATH}.classifier"))?,
            document,
        })
    }

    /// The document as it came.
    pub fn document(&self) -> &Map<String, Value> {
        &self.document
    }

    /// The metric of this name.
    pub fn metric(&self, name: &str) -> Option<&MetricConfig> {
        self.metrics.get(*self.places.get(name)?)
    }
}

fn weights(
    document: &Map<String, Value>,
    path: &str,
) -> Result<Option<Vec<(String, f64)>>, Unreadable> {
    let Some(classifier) = read::field(document, "classifier") else {
        return Ok(None);
    };
    let classifier = read::object(Some(classifier), path)?;
    let path = format!("{path}.groupWeights");
    let Some(weights) = read::field(classifier, "groupWeights") else {
        return Ok(Some(Vec::new()));
    };
    let weights = read::object(Some(weights), &path)?.iter();
    let weight = |(group, weight): (&String, &Value)| {
        // Null is zero, as there.
        let weight = number::read(weight, &format!("{path}.{group}"))?.unwrap_or(0.0);
        Ok((group.clone(), weight))
    };
    weights.map(weight).collect::<Result<_, _>>().map(Some)
}

impl MetricConfig {
    fn read(value: &Value, path: &str) -> Result<Self, Unreadable> {
        let metric = read::object(Some(value), path)?;
        let at = |name: &str| format!("{path}.{name}");
        let object = |name: &str| match read::field(metric, name) {
            None => Ok(None),
            value => read::object(value, &at(name)).map(Some),
        };
        let configurations = object("analysisConfigurations")?;
        let analysis = match configurations.and_then(|all| read::field(all, "canary")) {
            None => None,
            canary => Some(read::object(canary, &at("analysisConfigurations.canary"))?),
        };
        Ok(Self {
            name: read::text(metric.get("name"), &at("name"))?,
            groups: read::texts(metric.get("groups"), &at("groups"))?,
            scope_name: read::text(metric.get("scopeName"), &at("scopeName"))?,
            query: object("query")?.cloned(),
            analysis: analysis.cloned(),
        })
    }
}

impl Serialize for CanaryConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.document.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CanaryConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Thresholds of the execution request, which decide; those of a config are what a page proposes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Thresholds {
    /// From this score on it is `Pass`. Zero if it was not given.
    pub pass: f64,
    /// From this score on it is `Marginal`. Zero if it was not given.
    pub marginal: f64,
}

impl Thresholds {
    /// Reads `scoreThresholds`.
    pub fn read(value: &Value) -> Result<Self, Unreadable> {
        const PATH: &str = "scoreThresholds";
        let thresholds = read::object(Some(value), PATH)?;
        let threshold = |name: &str| {
            let value = thresholds.get(name).unwrap_or(&Value::Null);
            let read = number::read(value, &format!("{PATH}.{name}"))?;
            Ok(read.unwrap_or(0.0))
        };
        Ok(Self {
            pass: threshold("pass")?,
            marginal: threshold("marginal")?,
        })
    }

    /// As JSON.
    pub fn to_json(self) -> Value {
        Value::Object(Map::from_iter([
            ("pass".to_owned(), number::to_json(self.pass)),
            ("marginal".to_owned(), number::to_json(self.marginal)),
        ]))
    }
}
