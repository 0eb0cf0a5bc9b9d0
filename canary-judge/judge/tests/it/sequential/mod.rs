//! The sequential judge.

mod data;
mod decided;
mod evidence;
mod metrics;
mod null;
mod pods;
mod properties;
mod settings;

use judge::Sequential;
use judge::{CanaryConfig, Error, Judge, JudgeResult, MetricSetPair, Noise, Outlook, Random};
use serde_json::{Value, json};

use crate::bench::{Metric, THRESHOLDS, config, pairs};

pub(crate) fn configured(metrics: &[Metric], weights: &Value, judge: &Value) -> CanaryConfig {
    let mut document = config(metrics, weights);
    document["judge"] = json!({"name": "SequentialJudge-v1.0", "judgeConfigurations": judge});
    CanaryConfig::read(document).unwrap()
}

pub(crate) fn look(
    config: &CanaryConfig,
    pairs: &[MetricSetPair],
    remaining: u64,
) -> Result<JudgeResult, Error> {
    let outlook = Outlook {
        remaining,
        ..Outlook::default()
    };
    Sequential.look(config, THRESHOLDS, pairs, &mut Noise::of_pairs(), outlook)
}

/// The last look at metrics of one group.
pub(crate) fn last(metrics: &[Metric], judge: &Value) -> JudgeResult {
    let config = configured(metrics, &json!({"g": 100.0}), judge);
    look(&config, &pairs(metrics).unwrap(), 0).unwrap()
}

pub(crate) fn refusal(metrics: &[Metric], weights: &Value, judge: &Value) -> String {
    let config = configured(metrics, weights, judge);
    let error = look(&config, &pairs(metrics).unwrap(), 0).unwrap_err();
    error.to_string()
}

pub(crate) fn normal(random: &mut Random, n: usize, mean: f64, sd: f64) -> Vec<f64> {
    (0..n).map(|_| mean + sd * random.gaussian()).collect()
}

pub(crate) fn metric(name: &str, options: &Value, control: &[f64], experiment: &[f64]) -> Metric {
    Metric::new(name, options, &json!(control), &json!(experiment))
}

pub(crate) fn increase() -> Value {
    json!({"direction": "increase"})
}

pub(crate) fn steps(result: &JudgeResult) -> String {
    result.decision_reason.clone().unwrap()
}
