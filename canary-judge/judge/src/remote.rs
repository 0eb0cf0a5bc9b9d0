//! `RemoteJudge-v1.0`: what is asked of a judge behind an address, and what it answers. Whoever owns the connection
//! posts [`request`] to `judge` under the address. Source: `kayenta: RemoteJudge`.

use serde_json::{Map, Value, json};

use crate::config::{CanaryConfig, Thresholds};
use crate::metric_set::MetricSetPair;
use crate::result::JudgeResult;

/// The name configs have it by.
pub const NAME: &str = "RemoteJudge-v1.0";

/// The body that is posted.
pub fn request(
    config: &CanaryConfig,
    thresholds: Thresholds,
    pairs: &[MetricSetPair],
) -> Map<String, Value> {
    Map::from_iter([
        (
            "canaryConfig".to_owned(),
            Value::Object(config.document().clone()),
        ),
        ("scoreThresholds".to_owned(), thresholds.to_json()),
        ("metricSetPairList".to_owned(), json!(pairs)),
    ])
}

/// What came back. Fields that are not there are empty, those that nobody knows are left out.
pub fn answer(body: &[u8]) -> Result<JudgeResult, serde_json::Error> {
    serde_json::from_slice(body)
}
