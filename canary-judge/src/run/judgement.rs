//! One judgement: ask the metric stores for both sides of every metric, mix, judge. Writes nothing.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use judge::run::{Look, Status};
use judge::{
    CanaryConfig, Decision, JudgeResult, MetricSet, MetricSetPair, Noise, Outlook, mix, reviewed,
};
use proto::status::Failure;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::reach::{MOST_VALUES, values_of};
use super::room::ROOM;
use super::{Runs, record};
use crate::ids;
use crate::query::Question;
use crate::remote::Remote;
use crate::request::{ExecutionRequest, Side};
use crate::source::{Class, Source, SourceError};

/// A place for each processor.
static PROCESSORS: LazyLock<Semaphore> = LazyLock::new(|| {
    let count = std::thread::available_parallelism();
    Semaphore::new(count.map_or(2, usize::from))
});
/// Queries at the same time, of one judgement.
const AT_ONCE: usize = 8;

/// What is judged.
#[derive(Debug, Clone)]
pub(super) struct Matter {
    config: Arc<CanaryConfig>,
    request: Arc<ExecutionRequest>,
    /// The store of each metric, in the config's order.
    sources: Vec<Arc<dyn Source>>,
    /// Who judges, if it is nobody of ours.
    remote: Option<Arc<Remote>>,
}

/// A judgement.
#[derive(Debug)]
pub(super) struct Judgement {
    pub(super) result: JudgeResult,
    /// The pairs as JSON; none of a look that is not kept.
    pub(super) pairs: Option<Bytes>,
    /// SHA-256 of them without their ids, in hexadecimal.
    pub(super) digest: String,
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// What the next attempt may hope for.
    pub(super) class: Class,
    pub(super) message: String,
}

/// A query that was or would be sent.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    metric: String,
    side: Side,
    text: String,
}

impl Sent {
    pub(super) fn to_json(&self) -> Value {
        json!({"metricName": self.metric, "side": self.side.name(), "query": self.text})
    }
}

/// The type of a metric's store.
pub(super) fn kind(query: Option<&Map<String, Value>>) -> &str {
    let text = |key: &str| query?.get(key)?.as_str();
    text("type")
        .or_else(|| text("serviceType"))
        .unwrap_or_default()
}

impl Matter {
    /// Reads request and accounts; the config was read.
    ///
    /// # Errors
    /// `Invalid`, with what is wrong.
    pub(super) fn new(
        runs: &Runs,
        config: &CanaryConfig,
        request: &Value,
        account: &str,
        planned: bool,
    ) -> Result<Self, Failure> {
        let request = ExecutionRequest::read(config, request, planned)?;
        let metrics = config.metrics.iter();
        let sources = metrics.map(|metric| runs.stores.store(account, kind(metric.query.as_ref())));
        Ok(Self {
            sources: sources.collect::<Result<_, _>>()?,
            remote: runs
                .remote
                .clone()
                .filter(|_| config.judge.as_deref() == Some(judge::remote::NAME)),
            config: Arc::new(config.clone()),
            request: Arc::new(request),
        })
    }

    pub(super) fn request(&self) -> &ExecutionRequest {
        &self.request
    }

    /// The scope of a metric.
    pub(super) fn scope_name(&self, position: usize) -> &str {
        let metric = self.config.metrics.get(position);
        metric
            .and_then(|metric| metric.scope_name.as_deref())
            .unwrap_or_default()
    }

    /// What is asked of the stores, in the config's order.
    pub(super) fn questions(&self, look: &Look) -> Vec<(usize, Side, Question)> {
        let templates = self.config.document().get("templates");
        let templates = templates.and_then(Value::as_object).cloned();
        let templates = templates.unwrap_or_default();
        let mut questions = Vec::new();
        for (position, metric) in self.config.metrics.iter().enumerate() {
            for side in Side::BOTH {
                let window = match side {
                    Side::Control => look.control,
                    Side::Experiment => look.experiment,
                };
                let Some(scope) = self.request.scope(self.scope_name(position), side) else {
                    continue;
                };
                let question = Question {
                    metric: metric.name.clone().unwrap_or_default(),
                    query: metric.query.clone().unwrap_or_default(),
                    templates: templates.clone(),
                    scope: scope.over(window),
                };
                questions.push((position, side, question));
            }
        }
        questions
    }

    /// The queries as they are sent.
    ///
    /// # Errors
    /// The first that cannot be written.
    pub(super) fn queries(&self, look: &Look) -> Result<Vec<Sent>, Trouble> {
        let questions = self.questions(look).into_iter();
        let sent = questions.map(|(position, side, question)| {
            let text = self.source(position)?.text(&question);
            Ok(Sent {
                text: text.map_err(|error| trouble(side, &error))?,
                metric: question.metric,
                side,
            })
        });
        sent.collect()
    }

    pub(super) fn source(&self, position: usize) -> Result<&Arc<dyn Source>, Trouble> {
        self.sources.get(position).ok_or_else(|| Trouble {
            class: Class::Invalid,
            message: "a metric has no store".to_owned(),
        })
    }

    async fn fetch(
        &self,
        (position, side, question): (usize, Side, Question),
    ) -> Result<(Side, Vec<MetricSet>), Trouble> {
        let fetched = self.source(position)?.fetch(&question).await;
        let sets = fetched.map_err(|error| trouble(side, &error))?;
        Ok((side, sets))
    }

    /// Judges what `look` says; `run` names the judgement's pairs.
    ///
    /// # Errors
    /// What a store said, or why the data cannot be judged.
    pub(super) async fn judge(&self, run: &str, look: &Look) -> Result<Judgement, Trouble> {
        let questions = self.questions(look);
        let values = questions.iter().map(|(_, _, q)| values_of(&q.scope));
        let expected = values.fold(0, u64::saturating_add).min(MOST_VALUES);
        let mut room = ROOM.enter(expected).await;
        let questions = questions.into_iter();
        // Made beforehand: a stream over borrowed values cannot be sent to another thread.
        let fetches: Vec<_> = questions.map(|question| self.fetch(question)).collect();
        let mut fetches = stream::iter(fetches).buffered(AT_ONCE);
        let (mut control, mut experiment, mut values) = (Vec::new(), Vec::new(), 0);
        while let Some((side, sets)) = fetches.try_next().await? {
            // A store may have any number of series for one question.
            values += sets.iter().map(|set| set.values.len() as u64).sum::<u64>();
            if values > MOST_VALUES {
                let message = format!(
                    "the metric stores answer more than {MOST_VALUES} values: ask for fewer series, fewer metrics or \
                     a longer step"
                );
                return Err(invalid(&message));
            }
            room.hold(values);
            match side {
                Side::Control => control.extend(sets),
                Side::Experiment => experiment.extend(sets),
            }
        }
        let (config, request) = (Arc::clone(&self.config), Arc::clone(&self.request));
        let run = run.to_owned();
        let outlook = Outlook {
            remaining: look.remaining,
            waited: look.waited,
        };
        let is_interval = look.is_interval;
        let is_ours = self.remote.is_none();
        // A thousand metrics take a processor for longer than a worker of the runtime may be held; more of them at
        // the same time than there are processors would only slow one another down.
        let place = PROCESSORS.acquire().await;
        let judged = tokio::task::spawn_blocking(move || {
            let mut position = 0;
            let pairs = mix(&config, &control, &experiment, |key| {
                position += 1;
                ids::of_pair(&run, key, position)
            });
            let mut pairs = pairs.map_err(|error| invalid(&error))?;
            let result = is_ours.then(|| {
                let noise = &mut Noise::of_pairs();
                reviewed(&config, request.thresholds, &pairs, noise, outlook)
            });
            let result = result.transpose().map_err(|error| invalid(&error))?;
            let digest = digest(&mut pairs)?;
            let decided = |r: &JudgeResult| r.decision.is_some_and(|d| d != Decision::Continue);
            // What a remote judge says is not known yet.
            let is_kept = is_interval || result.as_ref().is_none_or(decided);
            let text = is_kept.then(|| record::json(&pairs)).transpose();
            Ok((
                result,
                pairs,
                text.map_err(|error| invalid(&error))?,
                digest,
            ))
        });
        let (result, pairs, text, digest) =
            judged.await.unwrap_or_else(|error| Err(invalid(&error)))?;
        drop(place);
        let result = match (result, &self.remote) {
            (Some(result), _) => result,
            (None, Some(remote)) => {
                let asked = remote.judge(&self.config, self.request.thresholds, &pairs);
                asked.await.map_err(|error| Trouble {
                    class: error.class,
                    message: error.to_string(),
                })?
            }
            (None, None) => return Err(invalid(&"nobody judges")),
        };
        Ok(Judgement {
            result,
            pairs: text,
            digest,
        })
    }
}

/// Of what was judged, whatever the pairs are called.
fn digest(pairs: &mut [MetricSetPair]) -> Result<String, Trouble> {
    let mut hash = Sha256::new();
    for pair in pairs {
        let id = pair.id.take();
        let text = serde_json::to_vec(pair).map_err(|error| invalid(&error))?;
        pair.id = id;
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    Ok(hex::encode(hash.finalize()))
}

fn invalid(error: &dyn std::fmt::Display) -> Trouble {
    Trouble {
        class: Class::Invalid,
        message: error.to_string(),
    }
}

fn trouble(side: Side, error: &SourceError) -> Trouble {
    Trouble {
        class: error.class,
        message: format!("{}: {error}", side.name()),
    }
}

/// The stages that Kayenta's pipeline of a judgement would have, with their states.
pub(super) fn stage_status(metrics: usize, status: Status) -> Map<String, Value> {
    let (fetched, judged) = match status {
        Status::NotStarted => ("not_started", "not_started"),
        Status::Running => ("running", "not_started"),
        Status::Succeeded => ("succeeded", "succeeded"),
        Status::Terminal => ("terminal", "not_started"),
        Status::Canceled => ("canceled", "not_started"),
    };
    let mut stages = Map::new();
    let begun = match status {
        Status::NotStarted => "not_started",
        _ => "succeeded",
    };
    stages.insert("setupContext".to_owned(), begun.into());
    for side in ["fetchControl", "fetchExperiment"] {
        stages.extend((0..metrics).map(|at| (format!("{side}{at}"), fetched.into())));
    }
    stages.insert("mixMetrics".to_owned(), judged.into());
    stages.insert("judge".to_owned(), judged.into());
    stages
}
