//! Executions as documents: loading, listing, deleting. Writing is the engine's,
//! by way of [`crate::commit`].
//!
//! One that was moved to the archive is read, listed and deleted like any other; it is
//! put back before it is written.
//!
//! Keeps at hand only what its own hash says it is: the store is the truth.

mod kept;
mod list;
mod related;
mod stored;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use orchestrator_core::{
    Answers, Execution, ExecutionType, PipelineConfigId, PipelineGate, Stage, StageId, Subject,
    Target, flow,
};
use proto::status::{Failure, Kind};
use serde_json::{Map, Value};
use store::archive::Catalog;
use store::{Batch, IndexChange, Refused, Shard, Shared, Version};

use crate::commit::{self, ANSWERS, DIGEST, HEADER};
use crate::definition::{refused, unavailable};
use crate::ids;
use crate::large::Stored;
use crate::replay::{self, Export};
use crate::turn::Loaded;

pub use list::Listing;

/// Stages with large values that are kept at hand, in bytes as JSON.
const AT_HAND: usize = 16 * 1024 * 1024;

fn at_hand(most: usize) -> Arc<Mutex<stored::AtHand>> {
    Arc::new(Mutex::new(stored::AtHand::new(most)))
}

/// Access to executions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Executions {
    store: Shared,
    archive: Option<Catalog>,
    at_hand: Arc<Mutex<stored::AtHand>>,
}

impl Executions {
    /// The executions in this store.
    pub fn new(store: Shared) -> Self {
        Self {
            store,
            archive: None,
            at_hand: at_hand(AT_HAND),
        }
    }

    /// The executions in this store, and those that were moved from it to an archive.
    pub fn with_archive(store: Shared, archive: Option<store::archive::Shared>) -> Self {
        let archive = archive.map(|objects| Catalog::new(store.clone(), objects));
        Self {
            store,
            archive,
            at_hand: at_hand(AT_HAND),
        }
    }

    /// The same with so many bytes of stages with large values at hand, where that is more.
    #[must_use]
    pub(crate) fn keeping(mut self, bytes: usize) -> Self {
        self.at_hand = at_hand(bytes.max(AT_HAND));
        self
    }

    /// The catalogue of the archive, where there is one.
    pub(crate) fn archive(&self) -> Option<&Catalog> {
        self.archive.as_ref()
    }

    /// The shard of an execution.
    pub fn shard(&self, id: &str) -> Shard {
        self.store.shards().of_id(id)
    }

    /// What a mailbox belongs to, with its version; none if it does not exist. A
    /// gate always does.
    ///
    /// # Errors
    /// When the store cannot be read or its content is damaged.
    pub async fn subject(
        &self,
        shard: Shard,
        subject: &str,
        application: &str,
    ) -> Result<Option<Loaded>, Failure> {
        match commit::target(subject) {
            Target::Execution(id) => self.load(id.as_str()).await,
            Target::Gate(id) => self.gate(shard, id, application).await.map(Some),
        }
    }

    async fn gate(
        &self,
        shard: Shard,
        id: PipelineConfigId,
        application: &str,
    ) -> Result<Loaded, Failure> {
        let found = self
            .store
            .load(shard, &commit::gate_key(&id))
            .await
            .map_err(unavailable)?;
        let (version, gate) = match found {
            None => (0, PipelineGate::new(id)),
            Some(document) => {
                let content = document.parts.get(HEADER).cloned().unwrap_or_default();
                let gate = serde_json::from_slice(&content)
                    .map_err(|e| damaged(&format!("gate {id}"), &e.to_string()))?;
                (document.version, gate)
            }
        };
        Ok(Loaded {
            subject: Subject::PipelineGate(gate),
            version,
            answers: Answers::new(),
            application: application.to_owned(),
            digest: None,
            stored: Stored::default(),
        })
    }

    /// An execution as a turn begins with it; none if it is not in the store.
    ///
    /// # Errors
    /// When the store cannot be read or its content is damaged.
    pub async fn load(&self, id: &str) -> Result<Option<Loaded>, Failure> {
        let (shard, key) = (self.shard(id), commit::execution_key(id));
        let Some(document) = self.store.load(shard, &key).await.map_err(unavailable)? else {
            return Ok(None);
        };
        let (mut parts, mut stages) = (BTreeMap::new(), Vec::new());
        let mut stored = Stored::default();
        for (name, content) in document.parts {
            let part = if let Some(stage) = name.strip_prefix("s:") {
                let stage = StageId::new(stage);
                let (stage, part) = self.stage(shard, &key, &stage, content).await?;
                stages.push(stage);
                part
            } else {
                let (text, part) = self.in_place(shard, &key, content).await?;
                parts.insert(name.clone(), text);
                part
            };
            // The hash is no content.
            if name != DIGEST {
                stored.read(&name, part);
            }
        }
        let loaded = assembled_of(id, document.version, &parts, stages)?;
        Ok(loaded.map(|loaded| Loaded { stored, ..loaded }))
    }

    /// The parts of an execution that is in the store, large values in their places, with its version.
    pub(crate) async fn parts(
        &self,
        id: &str,
    ) -> Result<Option<(Version, BTreeMap<String, Bytes>)>, Failure> {
        let shard = self.shard(id);
        let key = commit::execution_key(id);
        let Some(document) = self.store.load(shard, &key).await.map_err(unavailable)? else {
            return Ok(None);
        };
        let mut parts = BTreeMap::new();
        for (part, content) in document.parts {
            parts.insert(part, self.in_place(shard, &key, content).await?.0);
        }
        Ok(Some((document.version, parts)))
    }

    /// An execution in the store or in the archive; none if there is none.
    ///
    /// # Errors
    /// When store or archive cannot be read, or what they hold is damaged.
    pub async fn find(&self, id: &str) -> Result<Option<Loaded>, Failure> {
        match self.load(id).await? {
            Some(loaded) => Ok(Some(loaded)),
            None => self.kept(id).await,
        }
    }

    /// An execution by id, of a kind if one is asked for.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn get(&self, id: &str, kind: Option<ExecutionType>) -> Result<Execution, Failure> {
        let found = self.find(id).await?;
        found
            .and_then(only)
            .filter(|execution| kind.is_none_or(|kind| execution.kind == kind))
            .ok_or_else(|| missing(id))
    }

    /// The log of an execution: what each commit handled and changed, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read or its content is damaged.
    pub async fn log(&self, id: &str) -> Result<Vec<Value>, Failure> {
        let entries = self.log_texts(id).await?.into_iter();
        entries
            .map(|text| serde_json::from_str(&text).map_err(|e| damaged(id, &format!("log: {e}"))))
            .collect()
    }

    /// An execution's log as an [`Export`]: its first line, and the entries as they are stored.
    ///
    /// # Errors
    /// `NotFound` when there is no such execution.
    pub async fn export(&self, id: &str) -> Result<(Value, Vec<String>), Failure> {
        let loaded = self.find(id).await?.ok_or_else(|| missing(id))?;
        // Read after the execution, so that no entry of its version is missing.
        let entries = self.log_texts(id).await?;
        let head = Export::head(id, loaded.version, replay::digest_of(&loaded));
        Ok((head, entries))
    }

    async fn log_texts(&self, id: &str) -> Result<Vec<String>, Failure> {
        let mut parts = self.log_parts(id).await?.1;
        if parts.is_empty() {
            parts = self.kept_log(id).await?;
        }
        let entries = parts.into_iter().map(|(part, content)| {
            String::from_utf8(content.to_vec())
                .map_err(|e| damaged(id, &format!("log {part}: {e}")))
        });
        entries.collect()
    }

    /// The parts of a log that is in the store, large values in their places, with its version.
    pub(crate) async fn log_parts(
        &self,
        id: &str,
    ) -> Result<(Version, BTreeMap<String, Bytes>), Failure> {
        let (shard, owner) = (self.shard(id), commit::execution_key(id));
        let found = self.store.load(shard, &commit::log_key(id)).await;
        let document = found.map_err(unavailable)?.unwrap_or_default();
        let mut parts = BTreeMap::new();
        for (part, content) in document.parts {
            parts.insert(part, self.in_place(shard, &owner, content).await?.0);
        }
        Ok((document.version, parts))
    }

    /// Deletes a finished execution with its log and its places in listings.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` while it is not complete.
    pub async fn delete(&self, id: &str) -> Result<(), Failure> {
        for _ in 0..5 {
            let Some(loaded) = self.load(id).await? else {
                return self.delete_kept(id).await;
            };
            let Some(execution) = loaded.execution() else {
                return Err(missing(id));
            };
            if !execution.status.is_complete() {
                let what = match execution.kind {
                    ExecutionType::Pipeline => "pipeline",
                    ExecutionType::Orchestration => "task",
                };
                let message = format!("Cannot delete a running {what}, please cancel it first.");
                return Err(Failure::new(Kind::Conflict, message));
            }
            let mut batch = Batch::new(self.shard(id), ids::commit())
                .document(&commit::execution_key(id), loaded.version)
                .delete()
                .document(&commit::log_key(id), loaded.version)
                .delete();
            let indexes = commit::listings(execution);
            for index in indexes.into_iter().chain([commit::DONE.to_owned()]) {
                batch = batch.index(IndexChange::Drop {
                    index,
                    member: id.to_owned(),
                });
            }
            match self.store.commit(batch).await.map_err(unavailable)? {
                Ok(_) => return Ok(()),
                Err(Refused::Conflict { .. }) => {}
                Err(other) => return Err(refused(&other)),
            }
        }
        Err(Failure::new(
            Kind::Conflict,
            format!("execution {id} is being changed; repeat"),
        ))
    }
}

/// An execution of its parts. One without a header is being put back: it is not there yet.
pub(crate) fn assembled(
    id: &str,
    version: Version,
    parts: &BTreeMap<String, Bytes>,
) -> Result<Option<Loaded>, Failure> {
    let stages = parts.iter().filter(|(part, _)| part.starts_with("s:"));
    let stages = stages.map(|(part, content)| {
        let stage: Stage = serde_json::from_slice(content)
            .map_err(|e| damaged(id, &format!("part {part}: {e}")))?;
        Ok(Arc::new(stage))
    });
    let stages: Result<Vec<_>, Failure> = stages.collect();
    let stages = stages.map_err(|failure| unless_newer(id, parts, failure))?;
    assembled_of(id, version, parts, stages)
}

/// The same of its stages and its other parts.
fn assembled_of(
    id: &str,
    version: Version,
    parts: &BTreeMap<String, Bytes>,
    stages: Vec<Arc<Stage>>,
) -> Result<Option<Loaded>, Failure> {
    let Some(header) = parts.get(HEADER) else {
        return Ok(None);
    };
    read(id, version, header, parts, stages)
        .map(Some)
        .map_err(|failure| unless_newer(id, parts, failure))
}

/// Who cannot read it cannot tell damage from a form that it does not know.
fn unless_newer(id: &str, parts: &BTreeMap<String, Bytes>, failure: Failure) -> Failure {
    match parts.get(HEADER).and_then(|h| Execution::newer_schema(h)) {
        Some(schema) => newer(id, schema),
        None => failure,
    }
}

fn read(
    id: &str,
    version: Version,
    header: &Bytes,
    parts: &BTreeMap<String, Bytes>,
    stages: Vec<Arc<Stage>>,
) -> Result<Loaded, Failure> {
    let answers = match parts.get(ANSWERS) {
        None => Answers::new(),
        Some(content) => serde_json::from_slice(content)
            .map_err(|e| damaged(id, &format!("part {ANSWERS}: {e}")))?,
    };
    let header = std::str::from_utf8(header).map_err(|e| damaged(id, &e.to_string()))?;
    let execution = Execution::from_shared(header, stages).map_err(|e| damaged(id, &e))?;
    if execution.schema > Execution::SCHEMA {
        return Err(newer(id, execution.schema));
    }
    Ok(Loaded {
        application: execution.application.clone(),
        subject: Subject::Execution(Box::new(execution)),
        version,
        answers,
        digest: parts
            .get(DIGEST)
            .and_then(|content| commit::digest_of(content, version)),
        stored: Stored::default(),
    })
}

pub(crate) fn only(loaded: Loaded) -> Option<Execution> {
    match loaded.subject {
        Subject::Execution(execution) => Some(*execution),
        Subject::PipelineGate(_) => None,
    }
}

/// An execution without what makes it large: contexts, outputs, tasks.
pub fn unexpanded(mut execution: Value) -> Value {
    let stages = execution.get_mut("stages").and_then(Value::as_array_mut);
    for stage in stages
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        let group = stage.get("context").and_then(|c| c.get("group")).cloned();
        let context: Map<String, Value> = group
            .into_iter()
            .map(|group| ("group".to_owned(), group))
            .collect();
        stage.insert("context".to_owned(), context.into());
        stage.insert("outputs".to_owned(), Map::new().into());
        stage.insert("tasks".to_owned(), Vec::<Value>::new().into());
    }
    if let Some(Value::Object(trigger)) = execution.get_mut("trigger") {
        flow::without_stages(trigger);
    }
    execution
}

/// There is no such execution.
pub fn missing(id: &str) -> Failure {
    Failure::not_found(format!("execution {id} not found"))
}

/// A newer version wrote it, in a form that this one must not read.
fn newer(id: &str, schema: u32) -> Failure {
    let own = Execution::SCHEMA;
    let text = format!(
        "execution {id} is stored in form {schema} by a newer version, this one reads form {own}; ask a newer one"
    );
    Failure::new(Kind::Unimplemented, text)
}

fn damaged(what: &str, reason: &str) -> Failure {
    Failure::internal(format!("{what} is stored damaged: {reason}"))
}

/// The ids in a list, each once, in order.
pub(crate) fn distinct(ids: &[String]) -> Vec<&str> {
    let mut seen = BTreeSet::new();
    ids.iter()
        .map(String::as_str)
        .filter(|id| seen.insert(*id))
        .collect()
}
