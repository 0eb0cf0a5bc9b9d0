//! A canary of metrics, each with its options and values.

use judge::{
    AnalysisResult, CanaryConfig, Error, Judge, JudgeResult, NetflixAca, Noise, Thresholds,
};
use judge::{MetricSetPair, Unreadable};
use serde_json::{Value, json};

pub(crate) const THRESHOLDS: Thresholds = Thresholds {
    pass: 95.0,
    marginal: 75.0,
};

/// A metric in group `g` and its pair.
#[derive(Debug, Clone)]
pub(crate) struct Metric {
    pub(crate) config: Value,
    pub(crate) pair: Value,
}

impl Metric {
    /// Named `name`, with `analysisConfigurations.canary`.
    pub(crate) fn new(name: &str, options: &Value, control: &Value, experiment: &Value) -> Self {
        Self {
            config: json!({
                "name": name, "groups": ["g"], "scopeName": "default",
                "query": {"type": "prometheus", "metricName": name},
                "analysisConfigurations": {"canary": options},
            }),
            pair: json!({
                "name": name, "id": format!("pair of {name}"), "tags": {},
                "values": {"control": control, "experiment": experiment},
            }),
        }
    }

    pub(crate) fn groups(mut self, groups: &[&str]) -> Self {
        self.config["groups"] = json!(groups);
        self
    }
}

/// The config of these metrics.
pub(crate) fn config(metrics: &[Metric], weights: &Value) -> Value {
    let metrics: Vec<&Value> = metrics.iter().map(|metric| &metric.config).collect();
    json!({
        "name": "config", "applications": ["app"], "judge": {"name": "NetflixACAJudge-v1.0"},
        "metrics": metrics, "templates": {}, "classifier": {"groupWeights": weights},
    })
}

pub(crate) fn pairs(metrics: &[Metric]) -> Result<Vec<MetricSetPair>, Unreadable> {
    let pairs = metrics.iter().map(|metric| metric.pair.clone()).collect();
    MetricSetPair::read_list(pairs)
}

/// Judged by `NetflixACAJudge-v1.0`.
pub(crate) fn judged(metrics: &[Metric], weights: &Value) -> Result<JudgeResult, Error> {
    let config = CanaryConfig::read(config(metrics, weights))?;
    let mut noise = Noise::of_pairs();
    NetflixAca.judge(&config, THRESHOLDS, &pairs(metrics)?, &mut noise)
}

/// The result of one metric `m`.
pub(crate) fn one(
    options: &Value,
    control: &Value,
    experiment: &Value,
) -> Result<AnalysisResult, Error> {
    let metric = Metric::new("m", options, control, experiment);
    let mut result = judged(&[metric], &json!({"g": 100.0}))?;
    Ok(result.results.remove(0))
}

/// What the refused input is told.
pub(crate) fn refusal(options: &Value, control: &Value, experiment: &Value) -> String {
    one(options, control, experiment).unwrap_err().to_string()
}
