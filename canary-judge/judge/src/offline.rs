//! One judgement as JSON in and JSON out, as `gennaker canary judge` reads and writes it.

use serde_json::{Map, Value, json};

use crate::config::{CanaryConfig, Thresholds};
use crate::error::{Error, Unreadable};
use crate::judges::{Judge, NetflixAca};
use crate::metric_set::MetricSetPair;
use crate::noise::Noise;
use crate::read;

/// Answers `{"id", "canaryConfig", "scoreThresholds", "metricSetPairList", "rngSeed"?}` with `{"id", "result"}`, and
/// with `trace` as `traced` asks, or with `{"id", "error": {"message"}}`. `NetflixACAJudge-v1.0` judges, whatever judge
/// the config names. The generator begins at `rngSeed` before the result and again before the trace; without it, at
/// the id of each pair.
pub fn answer(question: Value, traced: bool) -> Map<String, Value> {
    let id = question.get("id").cloned().unwrap_or_default();
    let mut told = Map::from_iter([("id".to_owned(), id)]);
    match judged(question, traced) {
        Ok(judged) => told.extend(judged),
        Err(error) => {
            let message = error.to_string();
            told.insert("error".to_owned(), json!({ "message": message }));
        }
    }
    told
}

fn judged(question: Value, traced: bool) -> Result<Map<String, Value>, Error> {
    let Value::Object(mut question) = question else {
        return Err(Unreadable::new("the line", Some(&question), "give an object").into());
    };
    let mut take = |name: &str| {
        let value = question.remove(name);
        value.ok_or_else(|| Unreadable::new(name, None, "give it"))
    };
    let config = CanaryConfig::read(take("canaryConfig")?)?;
    let thresholds = Thresholds::read(&take("scoreThresholds")?)?;
    let pairs = MetricSetPair::read_list(take("metricSetPairList")?)?;
    let mut noise = match read::field(&question, "rngSeed") {
        None => Noise::of_pairs(),
        Some(seed) => Noise::seeded(seed.as_i64().ok_or_else(|| {
            Unreadable::new("rngSeed", Some(seed), "give a whole number of 64 bits")
        })?),
    };
    let mut again = noise.again();
    let result = NetflixAca.judge(&config, thresholds, &pairs, &mut noise)?;
    let mut told = Map::from_iter([("result".to_owned(), json!(result))]);
    if traced && let Some(trace) = NetflixAca.trace(&config, &pairs, &mut again) {
        let trace = trace?.iter().map(|entry| entry.to_json()).collect();
        told.insert("trace".to_owned(), Value::Array(trace));
    }
    Ok(told)
}
