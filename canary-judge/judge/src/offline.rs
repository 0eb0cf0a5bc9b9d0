//! One judgement as JSON in and JSON out, as `gennaker canary judge` reads and writes it.

use serde_json::{Map, Value, json};

use crate::config::{CanaryConfig, Thresholds};
use crate::error::{Error, Unreadable};
use crate::judges::{Judge, NetflixAca, Outlook};
use crate::metric_set::MetricSetPair;
use crate::noise::Noise;
use crate::read;
use crate::reviewed::reviewed;
use crate::sequential;

/// Answers `{"id", "canaryConfig", "scoreThresholds", "metricSetPairList", "rngSeed"?}` with `{"id", "result"}`, and
/// with `trace` as `traced` asks, or with `{"id", "error": {"message"}}`. `NetflixACAJudge-v1.0` judges, whatever judge
/// the config names. The generator begins at `rngSeed` before the result and again before the trace; without it, at
/// the id of each pair.
pub fn answer(question: Value, traced: bool) -> Map<String, Value> {
    told(question, |mut question| {
        let (config, thresholds) = (question.config()?, question.thresholds()?);
        let pairs = question.pairs()?;
        let mut noise = question.noise()?;
        let mut again = noise.again();
        let result = NetflixAca.judge(&config, thresholds, &pairs, &mut noise)?;
        let mut told = Map::from_iter([("result".to_owned(), json!(result))]);
        if traced && let Some(trace) = NetflixAca.trace(&config, &pairs, &mut again) {
            let trace = trace?.iter().map(|entry| entry.to_json()).collect();
            told.insert("trace".to_owned(), Value::Array(trace));
        }
        Ok(told)
    })
}

/// Answers the same question as people get it: by the judge that the config names, with `remaining` steps to come (none
/// unless given), and with warnings and what the other judge says.
pub fn review(question: Value) -> Map<String, Value> {
    told(question, |mut question| {
        let (config, thresholds) = (question.config()?, question.thresholds()?);
        let pairs = question.pairs()?;
        let mut noise = question.noise()?;
        let remaining = match read::field(&question.0, "remaining") {
            None => 0,
            Some(remaining) => remaining.as_u64().ok_or_else(|| {
                let remedy = "give the number of steps that are still to come, 0 for the last look";
                Unreadable::new("remaining", Some(remaining), remedy)
            })?,
        };
        let result = reviewed(
            &config,
            thresholds,
            &pairs,
            &mut noise,
            Outlook {
                remaining,
                ..Outlook::default()
            },
        )?;
        Ok(Map::from_iter([("result".to_owned(), json!(result))]))
    })
}

/// Answers `{"id", "canaryConfig", "metricSetPairList"}`, where both sides ran the same version, with `{"id",
/// "calibration"}`: for each pair `metric`, `block`, `autocorrelation` of the differences of such blocks, `ofSteps` of
/// single ones, and `blocks`, how many there were; or `metric` and `refused`, why there is no block.
pub fn calibrate(question: Value) -> Map<String, Value> {
    told(question, |mut question| {
        let (config, pairs) = (question.config()?, question.pairs()?);
        let found = sequential::calibrate(&config, &pairs)?;
        let told = pairs.iter().zip(found).map(|(pair, found)| match found {
            Ok(found) => json!({
                "metric": pair.name, "block": found.block, "blocks": found.blocks,
                "autocorrelation": found.autocorrelation, "ofSteps": found.of_steps,
            }),
            Err(refused) => json!({"metric": pair.name, "refused": refused.to_string()}),
        });
        Ok(Map::from_iter([("calibration".to_owned(), told.collect())]))
    })
}

/// The question's id with what `answer` says of it, or with why it says nothing.
fn told(
    question: Value,
    answer: impl FnOnce(Question) -> Result<Map<String, Value>, Error>,
) -> Map<String, Value> {
    let id = question.get("id").cloned().unwrap_or_default();
    let mut told = Map::from_iter([("id".to_owned(), id)]);
    let answered = if let Value::Object(question) = question {
        answer(Question(question))
    } else {
        Err(Unreadable::new("the line", Some(&question), "give an object").into())
    };
    match answered {
        Ok(answered) => told.extend(answered),
        Err(error) => {
            let message = error.to_string();
            told.insert("error".to_owned(), json!({ "message": message }));
        }
    }
    told
}

/// What is asked.
struct Question(Map<String, Value>);

impl Question {
    fn take(&mut self, name: &str) -> Result<Value, Unreadable> {
        let value = self.0.remove(name);
        value.ok_or_else(|| Unreadable::new(name, None, "give it"))
    }

    fn config(&mut self) -> Result<CanaryConfig, Unreadable> {
        CanaryConfig::read(self.take("canaryConfig")?)
    }

    fn thresholds(&mut self) -> Result<Thresholds, Unreadable> {
        Thresholds::read(&self.take("scoreThresholds")?)
    }

    fn pairs(&mut self) -> Result<Vec<MetricSetPair>, Unreadable> {
        MetricSetPair::read_list(self.take("metricSetPairList")?)
    }

    fn noise(&self) -> Result<Noise, Unreadable> {
        match read::field(&self.0, "rngSeed") {
            None => Ok(Noise::of_pairs()),
            Some(seed) => Ok(Noise::seeded(seed.as_i64().ok_or_else(|| {
                Unreadable::new("rngSeed", Some(seed), "give a whole number of 64 bits")
            })?)),
        }
    }
}
