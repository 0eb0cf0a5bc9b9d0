//! What is kept of a run: what never changes, its state, its result, and the pairs that its intervals were judged on.

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
/// The part with the result of the judgement that ended it.
pub(super) const RESULT: &str = "result";
/// Pairs of one run take no more, in bytes; what is beyond is judged, and not kept. The last judgement's have room.
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
    /// Who waits for its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) waiter: Option<Waiter>,
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

/// The task of an execution that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Waiter {
    pub(crate) execution_id: String,
    pub(crate) stage_id: String,
    pub(crate) task_id: String,
}

/// What of a run changes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Record {
    #[serde(flatten)]
    pub(crate) state: State,
    /// Bytes of pairs that take room until the run is forgotten. What was put aside once does, though it was replaced.
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
    /// The last judgement whose pairs are kept.
    pub(super) fn newest_pairs(&self) -> Option<u64> {
        let mut newest = self.state.intervals.iter().rev();
        newest
            .find(|judged| judged.kept)
            .map(|judged| judged.number)
    }

    pub(crate) fn to_bytes(&self) -> Result<Bytes, Failure> {
        json(self)
    }
}

/// The part with the pairs of a judgement.
pub(super) fn pairs_of(number: u64) -> String {
    format!("pairs-{number}")
}

/// The run and the judgement that the id of a list of pairs names: `<run>-<number>`, or the run's own for its last.
pub(crate) fn list_of(id: &str) -> (&str, Option<u64>) {
    let parts = id.rsplit_once('-');
    let parts = parts.filter(|(run, _)| run.len() == store::ID_LENGTH);
    match parts.and_then(|(run, number)| Some((run, number.parse().ok()?))) {
        Some((run, number)) => (run, Some(number)),
        None => (id, None),
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

    /// The result of the judgement that ended the run.
    pub(crate) async fn result(&self, loaded: &Loaded) -> Result<Option<Value>, Failure> {
        self.part(loaded, RESULT).await
    }

    /// The pairs of a judgement, or of the last that has some.
    pub(crate) async fn pairs(
        &self,
        loaded: &Loaded,
        number: Option<u64>,
    ) -> Result<Option<Value>, Failure> {
        match number.or_else(|| loaded.record.newest_pairs()) {
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
        let odd = format!("{run}-x");
        assert_eq!(list_of(&odd), (odd.as_str(), None));
    }
}
