//! The ledger: every operation, its phases and its result, idempotent by effect id.
//!
//! An operation is one document in the local provider's shard and one message
//! in the queue [`QUEUE`] or [`JOBS`], committed together. Operations of one cluster share a
//! subject, so they happen one after another.

use std::sync::Arc;

use proto::message::{OPERATION_FINISHED, OperationFinished};
use rollout::Rollout;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use store::{
    Address, Batch, Crossing, DocumentKey, IndexChange, IndexEntry, Mode, Order, Outgoing, Refused,
    Shard, Shared, Version,
};
use thiserror::Error;
use tokio::sync::watch;

use super::{Input, Memory};

/// The queue of operations that are to be performed.
pub const QUEUE: &str = "operations";

/// The queue of those that run a job: hours long, they must not hold up the others.
pub const JOBS: &str = "jobs";

/// Lines of history kept.
const MAX_HISTORY: usize = 200;

/// Finished operations kept.
const MAX_FINISHED: u64 = 2_000;

const DONE: &str = "operations-done";

/// Why the ledger could not answer.
#[derive(Debug, Error)]
pub enum Error {
    /// The store failed; the same may be repeated.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The store is full.
    #[error("no new operation can be accepted: {0}")]
    Full(String),
    /// There is no operation of this id.
    #[error("operation {0} does not exist")]
    Unknown(String),
    /// A document is not what this version writes.
    #[error("operation {id} cannot be read: {source}")]
    Malformed {
        /// The operation.
        id: String,
        /// Cause.
        #[source]
        source: serde_json::Error,
    },
    /// The store refused for a reason that repeating does not end.
    #[error("operation {id} cannot be written: {reason}")]
    Refused {
        /// The operation.
        id: String,
        /// The store's word.
        reason: String,
    },
}

/// Who waits for an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiter {
    /// Execution.
    pub execution_id: String,
    /// Stage.
    pub stage_id: String,
    /// Task.
    pub task_id: String,
}

/// Whether an operation has ended, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Accepted or being performed.
    Running,
    /// Reached its goal.
    Succeeded,
    /// Did not.
    Failed,
}

/// What was asked for, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// Derived from the effect id.
    pub id: String,
    /// Execution, stage, attempt, task, step.
    pub effect_id: String,
    /// Name of the kind.
    pub kind: String,
    /// Who asked.
    pub user: String,
    /// Who waits.
    pub waiter: Option<Waiter>,
    /// Subject of the queue: operations of one subject follow each other.
    pub subject: String,
    /// State.
    pub state: State,
    /// Somebody asked it to turn back: who and why.
    pub cancel: Option<String>,
    /// Milliseconds since the epoch.
    pub started_ms: i64,
    /// 0 while running.
    pub finished_ms: i64,
    /// Why it failed.
    pub error: Option<String>,
    /// Further lines, such as an instance's last output.
    pub details: Vec<String>,
    /// Whether the same may succeed later.
    pub retryable: bool,
    /// What only a newer version knows: it is kept when this one writes.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// How far it has come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Work {
    /// The phase the rollout belongs to.
    pub phase: u32,
    /// The rollout; absent before it was planned and between phases.
    pub rollout: Option<Rollout>,
    /// What the kind remembers.
    pub memory: Memory,
    /// What only a newer version knows: it is kept when this one writes.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// One line of history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// `ORCHESTRATION`, `DRAIN`, …
    pub phase: String,
    /// A sentence.
    pub status: String,
    /// Milliseconds since the epoch.
    pub at_ms: i64,
}

/// An operation as read.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// Its document's version.
    pub version: Version,
    /// What was asked, and the end.
    pub head: Head,
    /// Its input.
    pub input: Input,
    /// How far it is.
    pub work: Work,
    /// What happened, oldest first.
    pub history: Vec<Line>,
    /// What it made.
    pub result: Map<String, Value>,
}

impl Operation {
    /// Adds a line to the history; the oldest go when there are too many.
    pub fn note(&mut self, phase: &str, status: impl Into<String>, at_ms: i64) {
        self.history.push(Line {
            phase: phase.to_owned(),
            status: status.into(),
            at_ms,
        });
        let surplus = self.history.len().saturating_sub(MAX_HISTORY);
        self.history.drain(..surplus);
    }

    /// Adds the operation's document to a batch, written at its version.
    pub fn write(&self, batch: Batch) -> Batch {
        batch
            .document(&key(&self.head.id), self.version)
            .set("head", json(&self.head))
            .set("work", json(&self.work))
            .set("history", json(&self.history))
            .set("result", json(&self.result))
    }

    /// Where its message waits.
    pub fn address(&self) -> Address {
        let queue = match super::kind(&self.head.kind) {
            Some(kind) if kind.job(&self.input).is_some() => JOBS,
            _ => QUEUE,
        };
        Address::new(queue, &self.head.subject, &self.head.subject)
    }
}

/// What is submitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// Effect id.
    pub effect_id: String,
    /// Name of the kind.
    pub kind: String,
    /// Input.
    pub input: Input,
    /// Who asks.
    pub user: String,
    /// Who waits.
    pub waiter: Option<Waiter>,
    /// Subject of the queue.
    pub subject: String,
}

/// Access to the operations.
#[derive(Debug, Clone)]
pub struct Ledger {
    store: Shared,
    shard: Shard,
    /// Grows with every cancellation this process has accepted.
    cancels: Arc<watch::Sender<u64>>,
}

fn key(id: &str) -> DocumentKey {
    DocumentKey::new("operation", id)
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    // Maps with string keys and plain fields always serialise.
    serde_json::to_vec(value).unwrap_or_default()
}

/// The id that belongs to an effect id.
pub fn id_of(effect_id: &str) -> String {
    let digest = hex::encode(Sha256::digest(effect_id.as_bytes()));
    digest.get(..32).unwrap_or_default().to_owned()
}

impl Ledger {
    /// The ledger in this shard.
    pub fn new(store: Shared, shard: Shard) -> Self {
        Self {
            store,
            shard,
            cancels: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Changes when an operation is asked to turn back.
    pub fn cancels(&self) -> watch::Receiver<u64> {
        self.cancels.subscribe()
    }

    /// Accepts an operation, or finds the one of the same effect id.
    ///
    /// # Errors
    /// When the store fails or is full.
    pub async fn submit(&self, submission: Submission) -> Result<Operation, Error> {
        let id = id_of(&submission.effect_id);
        if let Some(found) = self.find(&id).await? {
            return Ok(found);
        }
        let now = self.store.now_ms().await?;
        let mut operation = Operation {
            version: 0,
            head: Head {
                id: id.clone(),
                effect_id: submission.effect_id,
                kind: submission.kind,
                user: submission.user,
                waiter: submission.waiter,
                subject: submission.subject,
                state: State::Running,
                cancel: None,
                started_ms: now,
                finished_ms: 0,
                error: None,
                details: Vec::new(),
                retryable: false,
                more: Map::new(),
            },
            input: submission.input,
            work: Work::default(),
            history: Vec::new(),
            result: Map::new(),
        };
        operation.note(
            "ORCHESTRATION",
            format!("Accepted {}", operation.head.kind),
            now,
        );
        let batch = Batch::new(self.shard, format!("operation:{id}")).new_work();
        let batch = operation
            .write(batch)
            .set("input", json(&operation.input.value()))
            .message(Outgoing {
                to: operation.address(),
                fingerprint: id.clone(),
                mode: Mode::Ensure,
                delay_ms: 0,
                body: id.clone().into(),
            });
        match self.store.commit(batch).await? {
            Ok(committed) => {
                operation.version = committed.versions.first().copied().unwrap_or(1);
                Ok(operation)
            }
            Err(Refused::Conflict { .. }) => self.load(&id).await,
            Err(Refused::Full(reason)) => Err(Error::Full(reason)),
            Err(other) => Err(Error::Refused {
                id,
                reason: other.to_string(),
            }),
        }
    }

    /// Reads an operation.
    ///
    /// # Errors
    /// When there is none of this id, or the store fails.
    pub async fn load(&self, id: &str) -> Result<Operation, Error> {
        self.find(id)
            .await?
            .ok_or_else(|| Error::Unknown(id.chars().take(64).collect()))
    }

    async fn find(&self, id: &str) -> Result<Option<Operation>, Error> {
        let Some(document) = self.store.load(self.shard, &key(id)).await? else {
            return Ok(None);
        };
        let part = |name: &str| document.parts.get(name).cloned().unwrap_or_default();
        let malformed = |source| Error::Malformed {
            id: id.to_owned(),
            source,
        };
        let input: Value = serde_json::from_slice(&part("input")).map_err(malformed)?;
        let input = Input::of(input).map_err(|_| Error::Unknown(id.to_owned()))?;
        Ok(Some(Operation {
            version: document.version,
            head: serde_json::from_slice(&part("head")).map_err(malformed)?,
            input,
            work: serde_json::from_slice(&part("work")).map_err(malformed)?,
            history: serde_json::from_slice(&part("history")).map_err(malformed)?,
            result: serde_json::from_slice(&part("result")).map_err(malformed)?,
        }))
    }

    /// Asks a running operation to turn back; one that has ended is left alone.
    ///
    /// # Errors
    /// When there is none of this id, or the store fails.
    pub async fn cancel(&self, id: &str, reason: &str) -> Result<Operation, Error> {
        loop {
            let mut operation = self.load(id).await?;
            if operation.head.state != State::Running || operation.head.cancel.is_some() {
                return Ok(operation);
            }
            let now = self.store.now_ms().await?;
            operation.head.cancel = Some(reason.to_owned());
            operation.note("ORCHESTRATION", format!("Canceled: {reason}"), now);
            let name = format!("operation:{id}:cancel:{}", operation.version);
            let batch = operation.write(Batch::new(self.shard, name));
            match self.store.commit(batch).await? {
                Ok(committed) => {
                    operation.version = committed.versions.first().copied().unwrap_or_default();
                    self.cancels.send_modify(|n| *n += 1);
                    return Ok(operation);
                }
                // Its worker wrote meanwhile.
                Err(Refused::Conflict { .. }) => {}
                Err(other) => {
                    return Err(Error::Refused {
                        id: id.to_owned(),
                        reason: other.to_string(),
                    });
                }
            }
        }
    }

    /// Whether somebody asked it to turn back since.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn canceled(&self, id: &str) -> Result<Option<String>, Error> {
        Ok(self.load(id).await?.head.cancel)
    }

    /// What the end of an operation writes beside its document: the message to
    /// who waits, and the place among the finished; the oldest of those go.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn finish(&self, operation: &Operation, mut batch: Batch) -> Result<Batch, Error> {
        let head = &operation.head;
        batch = batch.index(IndexChange::Put {
            index: DONE.to_owned(),
            member: head.id.clone(),
            score: head.finished_ms,
        });
        if self.store.cardinality(self.shard, DONE).await? >= MAX_FINISHED {
            let oldest = self
                .store
                .page(self.shard, DONE, None::<&IndexEntry>, Order::Ascending, 8)
                .await?;
            for entry in oldest.into_iter().filter(|e| e.member != head.id) {
                let old = key(&entry.member);
                let there = self
                    .store
                    .load_part(self.shard, std::slice::from_ref(&old), "head")
                    .await?;
                if let Some(Some((version, _))) = there.first() {
                    batch = batch.document(&old, *version).delete();
                }
                batch = batch.index(IndexChange::Drop {
                    index: DONE.to_owned(),
                    member: entry.member,
                });
            }
        }
        let Some(waiter) = &head.waiter else {
            return Ok(batch);
        };
        let message = OperationFinished {
            operation_id: head.id.clone(),
            succeeded: head.state == State::Succeeded,
            execution_id: waiter.execution_id.clone(),
            stage_id: waiter.stage_id.clone(),
            task_id: waiter.task_id.clone(),
        };
        Ok(batch.crossing(Crossing {
            shard: self.store.shards().of_id(&waiter.execution_id),
            to: Address::new(OPERATION_FINISHED, &head.id, &waiter.execution_id),
            fingerprint: head.id.clone(),
            delay_ms: 0,
            body: json(&message).into(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_id_has_one_operation_id() {
        assert_eq!(id_of("e/s/1/t/0"), id_of("e/s/1/t/0"));
        assert_ne!(id_of("e/s/1/t/0"), id_of("e/s/2/t/0"));
        assert_eq!(id_of("").len(), 32);
    }

    #[test]
    fn what_a_newer_version_knows_of_an_operation_is_kept() {
        let head = serde_json::json!({
            "id": "o", "effectId": "e/s/1/t/0", "kind": "deploy", "user": "ann", "waiter": null, "subject": "web",
            "state": "RUNNING", "cancel": null, "startedMs": 1, "finishedMs": 0, "error": null, "details": [],
            "retryable": false, "later": {"n": 1.5},
        });
        let read: Head = serde_json::from_value(head.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), head);
        let work = serde_json::json!({"phase": 1, "rollout": null, "memory": {}, "later": 1});
        let read: Work = serde_json::from_value(work.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), work);
    }
}
