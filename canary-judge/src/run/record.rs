//! What is kept of a run: what never changes, its state, and of each interval the result and the pairs it was judged on.

use bytes::Bytes;
use judge::CanaryConfig;
use judge::run::{Course, State};
use proto::status::Failure;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::blob::{self, Aside};
use store::{Batch, Shard, Version};

use super::{Runs, key};
use crate::failure::failed;

/// The part with what never changes.
pub(super) const RUN: &str = "run";
/// The part with what does.
pub(super) const STATE: &str = "state";
/// Pairs and results of one run take no more, in bytes; what is beyond is judged, and not kept.
pub(super) const MOST_BYTES: usize = 64 * 1024 * 1024;

/// What of a run never changes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Run {
    pub(crate) id: String,
    pub(crate) application: String,
    #[serde(default)]
    pub(crate) effect_id: String,
    #[serde(default)]
    pub(crate) parent_execution_id: String,
    #[serde(default)]
    pub(crate) user: String,
    /// The saved config that it was started with.
    #[serde(default)]
    pub(crate) config_id: String,
    /// The config as it was then.
    pub(crate) config: CanaryConfig,
    pub(crate) request: Value,
    #[serde(default)]
    pub(crate) metrics_account: String,
    #[serde(default)]
    pub(crate) configuration_account: String,
    #[serde(default)]
    pub(crate) storage_account: String,
    pub(crate) course: Course,
    /// Unix ms.
    pub(crate) created_ms: i64,
    /// What was doubtful when it was started.
    #[serde(default)]
    pub(crate) warnings: Vec<String>,
}

/// What of a run changes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Record {
    #[serde(flatten)]
    pub(crate) state: State,
    /// Bytes of pairs and results that are kept.
    pub(crate) kept_bytes: usize,
}

/// A run as it was at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) shard: Shard,
    pub(crate) version: Version,
    pub(crate) run: Run,
    pub(crate) record: Record,
    parts: Map<String, Value>,
}

/// A value as JSON; what is ours always is.
pub(super) fn json(value: &impl Serialize) -> Result<Bytes, Failure> {
    let text = serde_json::to_vec(value);
    text.map(Bytes::from)
        .map_err(|e| Failure::internal(format!("what is to be kept is no JSON: {e}")))
}

impl Record {
    pub(crate) fn to_bytes(&self) -> Result<Bytes, Failure> {
        json(self)
    }
}

fn result_of(number: u64) -> String {
    format!("result-{number}")
}

fn pairs_of(number: u64) -> String {
    format!("pairs-{number}")
}

/// The run and the judgement that the id of a list of pairs names: `<run>-<number>`, or the run's own for its last.
pub(crate) fn list_of(id: &str) -> (&str, Option<u64>) {
    match id.rsplit_once('-') {
        Some((run, number)) if run.len() == store::ID_LENGTH => (run, number.parse().ok()),
        _ => (id, None),
    }
}

/// The id of the list of pairs of a judgement.
pub(crate) fn list_id(run: &str, number: u64) -> String {
    format!("{run}-{number}")
}

impl Runs {
    /// A run; none if there is none.
    pub(crate) async fn load(&self, id: &str) -> Result<Option<Loaded>, Failure> {
        let shard = self.store.shards().of_id(id);
        let found = self.store.load(shard, &key(id)).await.map_err(failed)?;
        let Some(document) = found else {
            return Ok(None);
        };
        let damaged = |what: &str| Failure::internal(format!("canary run {id} has no {what}"));
        let part = document.parts.get(RUN).cloned();
        let run = self.resolve(shard, id, part.ok_or_else(|| damaged("beginning"))?);
        let run = serde_json::from_slice(&run.await?).map_err(|e| damaged(&e.to_string()))?;
        let record = document.parts.get(STATE).ok_or_else(|| damaged("state"))?;
        let record = serde_json::from_slice(record).map_err(|e| damaged(&e.to_string()))?;
        let others = document.parts.iter();
        let others = others.filter(|(name, _)| *name != RUN && *name != STATE);
        let text = |bytes: &Bytes| Value::from(String::from_utf8_lossy(bytes).into_owned());
        let parts = others.map(|(name, part)| (name.clone(), text(part)));
        Ok(Some(Loaded {
            shard,
            version: document.version,
            run,
            record,
            parts: parts.collect(),
        }))
    }

    async fn resolve(&self, shard: Shard, id: &str, part: Bytes) -> Result<Bytes, Failure> {
        let found = blob::resolve(self.store.as_ref(), shard, &key(id), part).await;
        found.map_err(failed)
    }

    async fn part(&self, loaded: &Loaded, name: &str) -> Result<Option<Value>, Failure> {
        let Some(part) = loaded.parts.get(name).and_then(Value::as_str) else {
            return Ok(None);
        };
        let part = Bytes::from(part.to_owned());
        let text = self.resolve(loaded.shard, &loaded.run.id, part).await?;
        let read = serde_json::from_slice(&text);
        read.map(Some)
            .map_err(|e| Failure::internal(format!("{name} of {}: {e}", loaded.run.id)))
    }

    /// The result of the last judgement.
    pub(crate) async fn result(&self, loaded: &Loaded) -> Result<Option<Value>, Failure> {
        self.part(loaded, &result_of(loaded.record.state.judged))
            .await
    }

    /// The pairs of a judgement, or of the last that has some.
    pub(crate) async fn pairs(
        &self,
        loaded: &Loaded,
        number: Option<u64>,
    ) -> Result<Option<Value>, Failure> {
        let intervals = loaded.record.state.intervals.iter().rev();
        let last = || intervals.filter(|j| j.kept).map(|j| j.number).next();
        match number.or_else(last) {
            Some(number) => self.part(loaded, &pairs_of(number)).await,
            None => Ok(None),
        }
    }

    /// Adds a part to a batch that writes the run, put aside if it is large.
    pub(super) async fn put(
        &self,
        batch: Batch,
        id: &str,
        name: &str,
        content: Bytes,
    ) -> Result<Batch, Failure> {
        match blob::outsource(&content) {
            None => Ok(batch.set(name, content)),
            Some(Aside {
                stands,
                hash,
                content,
            }) => {
                let shard = batch.shard();
                let put = self.store.put_blob(shard, &key(id), content).await;
                put.map_err(failed)?;
                Ok(batch.set(name, stands).blob(&hash))
            }
        }
    }

    /// Adds what a judgement was and was made on.
    pub(super) async fn put_judgement(
        &self,
        batch: Batch,
        id: &str,
        number: u64,
        (result, pairs): (Bytes, Option<Bytes>),
    ) -> Result<Batch, Failure> {
        let batch = self.put(batch, id, &result_of(number), result).await?;
        match pairs {
            Some(pairs) => self.put(batch, id, &pairs_of(number), pairs).await,
            None => Ok(batch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_pairs_names_its_run_and_judgement() {
        let run = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
        assert_eq!(list_of(&list_id(run, 12)), (run, Some(12)));
        assert_eq!(list_of(run), (run, None));
        assert_eq!(list_of("my-list"), ("my-list", None));
    }
}
