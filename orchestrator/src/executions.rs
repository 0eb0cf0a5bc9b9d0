//! Executions as documents: loading, listing, deleting. Writing is the engine's,
//! by way of [`crate::commit`].
//!
//! Caches nothing: the store is the truth.

mod related;
mod tally;

use std::collections::BTreeSet;

use bytes::Bytes;
use orchestrator_core::{
    Answers, Execution, ExecutionType, PipelineConfigId, PipelineGate, Stage, Subject, Target, flow,
};
use proto::status::{Failure, Kind};
use serde_json::{Map, Value};
use store::{Batch, IndexChange, IndexEntry, Order, Refused, Shard, Shared, blob};

use self::tally::{MARK, Tally};
use crate::commit::{self, ANSWERS, HEADER};
use crate::definition::{refused, unavailable};
use crate::ids;
use crate::turn::Loaded;

/// Executions of a page by default.
const PAGE: usize = 50;
/// Executions of a page at the most.
const MOST: usize = 500;
/// Index entries looked at for one page at the most.
const MOST_LOOKED_AT: usize = 5_000;

/// Access to executions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Executions {
    store: Shared,
}

/// What a listing asks for.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Kind; none: pipelines.
    pub kind: Option<ExecutionType>,
    /// Application; empty: all.
    pub application: String,
    /// Pipelines; empty: all.
    pub configs: Vec<String>,
    /// Status names; empty: all.
    pub statuses: Vec<String>,
    /// At most so many of each pipeline, all pages together; 0: no limit of its own.
    pub per_pipeline: usize,
    /// Page size; 0: the default.
    pub size: usize,
    /// Where the last page ended.
    pub cursor: String,
}

impl Executions {
    /// The executions in this store.
    pub fn new(store: Shared) -> Self {
        Self { store }
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
        })
    }

    /// An execution as a turn begins with it; none if there is none.
    ///
    /// # Errors
    /// When the store cannot be read or its content is damaged.
    pub async fn load(&self, id: &str) -> Result<Option<Loaded>, Failure> {
        let shard = self.shard(id);
        let key = commit::execution_key(id);
        let Some(document) = self.store.load(shard, &key).await.map_err(unavailable)? else {
            return Ok(None);
        };
        let (mut header, mut answers, mut stages) = (Bytes::new(), Answers::new(), Vec::new());
        for (part, content) in document.parts {
            let content = self.resolve(shard, content).await?;
            let fault = |e: serde_json::Error| damaged(id, &format!("part {part}: {e}"));
            if part == HEADER {
                header = content;
            } else if part == ANSWERS {
                answers = serde_json::from_slice(&content).map_err(fault)?;
            } else if part.starts_with("s:") {
                let stage: Stage = serde_json::from_slice(&content).map_err(fault)?;
                stages.push(stage);
            }
        }
        let header = std::str::from_utf8(&header).map_err(|e| damaged(id, &e.to_string()))?;
        let execution = Execution::from_parts(header, stages).map_err(|e| damaged(id, &e))?;
        Ok(Some(Loaded {
            application: execution.application.clone(),
            subject: Subject::Execution(Box::new(execution)),
            version: document.version,
            answers,
        }))
    }

    async fn resolve(&self, shard: Shard, content: Bytes) -> Result<Bytes, Failure> {
        let found = blob::resolve(self.store.as_ref(), shard, content).await;
        found.map_err(unavailable)
    }

    /// An execution by id, of a kind if one is asked for.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn get(&self, id: &str, kind: Option<ExecutionType>) -> Result<Execution, Failure> {
        let loaded = self.load(id).await?;
        let found = loaded.and_then(|l| l.execution().cloned());
        found
            .filter(|execution| kind.is_none_or(|kind| execution.kind == kind))
            .ok_or_else(|| missing(id))
    }

    /// The log of an execution: what each commit handled and changed, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read or its content is damaged.
    pub async fn log(&self, id: &str) -> Result<Vec<Value>, Failure> {
        let shard = self.shard(id);
        let found = self
            .store
            .load(shard, &commit::log_key(id))
            .await
            .map_err(unavailable)?;
        let mut entries = Vec::new();
        for (part, content) in found.map(|d| d.parts).unwrap_or_default() {
            let content = self.resolve(shard, content).await?;
            let entry = serde_json::from_slice(&content)
                .map_err(|e| damaged(id, &format!("log {part}: {e}")))?;
            entries.push(entry);
        }
        Ok(entries)
    }

    /// A page of executions, newest first, and where the next one begins; empty
    /// for the end.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(&self, asked: &Listing) -> Result<(Vec<Execution>, String), Failure> {
        let size = if asked.size == 0 {
            PAGE
        } else {
            asked.size.min(MOST)
        };
        let mut walk = self.walk(asked)?;
        let mut counts = Tally::of_cursor(&asked.cursor);
        let mut found = Vec::new();
        let mut cursor = String::new();
        let mut looked_at = 0;
        while let Some((shard, entry)) = walk.next(&self.store).await? {
            looked_at += 1;
            let at = format!("{}:{}", entry.score, entry.member);
            if let Some(header) = self.header(shard, &entry.member).await?
                && wanted(&header, asked, &mut counts)
                && let Some(execution) = self.load(&entry.member).await?.and_then(only)
            {
                found.push(execution);
            }
            if found.len() >= size || looked_at >= MOST_LOOKED_AT {
                cursor = counts.cursor(&at);
                break;
            }
        }
        Ok((found, cursor))
    }

    async fn header(&self, shard: Shard, id: &str) -> Result<Option<Map<String, Value>>, Failure> {
        let keys = [commit::execution_key(id)];
        let parts = self
            .store
            .load_part(shard, &keys, HEADER)
            .await
            .map_err(unavailable)?;
        let Some((_, content)) = parts.into_iter().flatten().next() else {
            return Ok(None);
        };
        let content = self.resolve(shard, content).await?;
        let header = serde_json::from_slice(&content).map_err(|e| damaged(id, &e.to_string()))?;
        Ok(Some(header))
    }

    fn walk(&self, asked: &Listing) -> Result<Walk, Failure> {
        let shards = self.store.shards();
        let plural = asked.kind.unwrap_or_default().plural();
        let complete = |name: &String| {
            orchestrator_core::Status::parse(name).is_none_or(|status| status.is_complete())
        };
        let only_active = !asked.statuses.is_empty() && !asked.statuses.iter().any(complete);
        let mut sources = Vec::new();
        if asked.configs.is_empty() {
            if asked.application.is_empty() {
                for shard in shards.all() {
                    sources.push((shard, commit::listing(plural, "")));
                }
            } else {
                let shard = shards.of_application(&asked.application);
                let index = if only_active {
                    commit::active_of(plural, &asked.application)
                } else {
                    commit::listing(plural, &asked.application)
                };
                sources.push((shard, index));
            }
        }
        for config in &asked.configs {
            let carried = ids::shard_of_uuid(config).map(|number| shards.numbered(number));
            let known = match (&asked.application, carried) {
                (application, _) if !application.is_empty() => {
                    Some(shards.of_application(application))
                }
                (_, carried) => carried,
            };
            // An id from elsewhere does not say where its executions are.
            let places: Vec<Shard> = match known {
                Some(shard) => vec![shard],
                None => shards.all().collect(),
            };
            for shard in places {
                sources.push((shard, commit::of_pipeline(config)));
            }
        }
        let after = match asked.cursor.as_str() {
            "" => None,
            cursor => Some(parse_cursor(cursor)?),
        };
        Ok(Walk {
            sources: sources
                .into_iter()
                .map(|s| Source::new(s, after.clone()))
                .collect(),
        })
    }

    /// Deletes a finished execution with its log and its places in listings.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` while it is not complete.
    pub async fn delete(&self, id: &str) -> Result<(), Failure> {
        for _ in 0..5 {
            let Some(loaded) = self.load(id).await? else {
                return Err(missing(id));
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

fn only(loaded: Loaded) -> Option<Execution> {
    match loaded.subject {
        Subject::Execution(execution) => Some(*execution),
        Subject::PipelineGate(_) => None,
    }
}

fn wanted(header: &Map<String, Value>, asked: &Listing, counts: &mut Tally) -> bool {
    let text = |key: &str| header.get(key).and_then(Value::as_str).unwrap_or_default();
    if !asked.statuses.is_empty() && !asked.statuses.iter().any(|s| s == text("status")) {
        return false;
    }
    let kind = header
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let is_pipeline = kind == "PIPELINE";
    if is_pipeline != (asked.kind.unwrap_or_default() == ExecutionType::Pipeline) {
        return false;
    }
    asked.per_pipeline == 0 || counts.takes(header, asked.per_pipeline)
}

fn parse_cursor(cursor: &str) -> Result<IndexEntry, Failure> {
    let place = cursor.split(MARK).next().unwrap_or_default();
    let parsed = place.split_once(':').and_then(|(score, member)| {
        Some(IndexEntry {
            score: score.parse().ok()?,
            member: member.to_owned(),
        })
    });
    parsed.ok_or_else(|| {
        Failure::invalid(
            format!("cursor \"{cursor}\" is none of ours; begin without one"),
            Vec::new(),
        )
    })
}

/// Several indexes, read newest first as if they were one.
struct Walk {
    sources: Vec<Source>,
}

struct Source {
    shard: Shard,
    index: String,
    ahead: std::collections::VecDeque<IndexEntry>,
    last: Option<IndexEntry>,
    ended: bool,
}

impl Source {
    fn new((shard, index): (Shard, String), after: Option<IndexEntry>) -> Self {
        Self {
            shard,
            index,
            ahead: std::collections::VecDeque::new(),
            last: after,
            ended: false,
        }
    }

    async fn fill(&mut self, store: &Shared) -> Result<(), Failure> {
        if !self.ahead.is_empty() || self.ended {
            return Ok(());
        }
        let page = store
            .page(
                self.shard,
                &self.index,
                self.last.as_ref(),
                Order::Descending,
                100,
            )
            .await
            .map_err(unavailable)?;
        self.ended = page.len() < 100;
        if let Some(last) = page.last() {
            self.last = Some(last.clone());
        }
        self.ahead = page.into();
        Ok(())
    }
}

impl Walk {
    async fn next(&mut self, store: &Shared) -> Result<Option<(Shard, IndexEntry)>, Failure> {
        for source in &mut self.sources {
            source.fill(store).await?;
        }
        let first = self
            .sources
            .iter_mut()
            .filter(|source| !source.ahead.is_empty())
            .max_by(|a, b| {
                let key = |s: &Source| s.ahead.front().map(|e| (e.score, e.member.clone()));
                key(a).cmp(&key(b))
            });
        Ok(first.and_then(|source| Some((source.shard, source.ahead.pop_front()?))))
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
