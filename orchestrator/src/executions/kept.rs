//! Executions in the archive: read where they are, put back before they are written.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use orchestrator_core::Execution;
use proto::status::{Failure, Kind};
use store::archive::Located;
use store::{Batch, IndexChange, MAX_ENTRIES, Refused, Shard, Version};

use super::{Executions, assembled, damaged, missing, only};
use crate::archive::content::Content;
use crate::archive::{GRACE_MS, expire_message};
use crate::commit::{self, HEADER};
use crate::definition::{refused, unavailable};
use crate::ids;
use crate::large;
use crate::turn::Loaded;

/// What one commit of a large execution that is put back carries, in bytes and in parts.
const CHUNK: (usize, usize) = (2 * 1024 * 1024, 300);
/// How often somebody else may be faster.
const TRIES: usize = 20;

impl Executions {
    /// An execution in the archive, as a turn would begin with it; none if it is not there.
    ///
    /// # Errors
    /// When store or archive cannot be read, or what they hold is damaged.
    pub async fn kept(&self, id: &str) -> Result<Option<Loaded>, Failure> {
        match self.located(id).await? {
            Some(located) => self.read(&located).await,
            None => Ok(None),
        }
    }

    pub(super) async fn located(&self, id: &str) -> Result<Option<Located>, Failure> {
        let Some(archive) = &self.archive else {
            return Ok(None);
        };
        archive.find(self.shard(id), id).await.map_err(unavailable)
    }

    /// Reads an entry of the archive.
    pub(super) async fn read(&self, located: &Located) -> Result<Option<Loaded>, Failure> {
        let content = self.content(located).await?;
        assembled(&content.id, content.version, &content.parts)
    }

    async fn content(&self, located: &Located) -> Result<Content, Failure> {
        let id = &located.row.id;
        let archive = self.archive.as_ref().ok_or_else(|| missing(id))?;
        let content = archive.content(located).await.map_err(unavailable)?;
        let place = format!("{id} in {}", located.segment.name());
        Content::decode(&content).map_err(|e| damaged(&place, &e))
    }

    /// The parts of a log in the archive; none if it is not there.
    pub(super) async fn kept_log(&self, id: &str) -> Result<BTreeMap<String, Bytes>, Failure> {
        match self.located(id).await? {
            Some(located) => Ok(self.content(&located).await?.log),
            None => Ok(BTreeMap::new()),
        }
    }

    /// Deletes an execution in the archive: its row counts no more.
    pub(super) async fn delete_kept(&self, id: &str) -> Result<(), Failure> {
        for _ in 0..TRIES {
            let Some(located) = self.located(id).await? else {
                return Err(missing(id));
            };
            let batch = Batch::new(located.shard, ids::commit());
            let Some(batch) = self.without(batch, &located).await? else {
                continue;
            };
            match self.store.commit(batch).await.map_err(unavailable)? {
                Ok(_) => return Ok(()),
                Err(Refused::Conflict { .. }) => {}
                Err(other) => return Err(refused(&other)),
            }
        }
        Err(busy(id))
    }

    /// Adds to a batch that a row counts no more; none if it does not count already.
    async fn without(&self, batch: Batch, located: &Located) -> Result<Option<Batch>, Failure> {
        let archive = self.archive.as_ref();
        let archive = archive.ok_or_else(|| missing(&located.row.id))?;
        let segment = located.segment.name();
        let found = archive.document(located.shard, segment).await;
        let Some((version, mut document)) = found.map_err(unavailable)? else {
            return Ok(None);
        };
        if !document.counts(located.number) {
            return Ok(None);
        }
        document.set(located.number, false);
        let mut batch = document.write(batch, segment, version);
        if document.is_over() {
            batch = batch.message(expire_message(segment, GRACE_MS));
        }
        Ok(Some(batch))
    }

    /// Puts an execution back from the archive into the store, under the version it had. False
    /// if it is not in the archive.
    ///
    /// # Errors
    /// When store or archive cannot be read or written.
    pub(crate) async fn put_back(&self, id: &str, again_ms: u64) -> Result<bool, Failure> {
        for _ in 0..TRIES {
            let Some(located) = self.located(id).await? else {
                // Somebody else may have put it back.
                return Ok(self.load(id).await?.is_some());
            };
            let content = self.content(&located).await?;
            let execution = assembled(id, content.version, &content.parts)?.and_then(only);
            let execution = execution.ok_or_else(|| damaged(id, "it has no header"))?;
            let Some(last) = self.chunks(located.shard, &content).await? else {
                continue;
            };
            let Some(mut batch) = self.without(last, &located).await? else {
                continue;
            };
            let now = self.store.now_ms().await.map_err(unavailable)?;
            for change in places(&execution, now) {
                batch = batch.index(change);
            }
            // It is moved again unless it is restarted.
            batch = batch.message(commit::retention(again_ms));
            match self.store.commit(batch).await.map_err(unavailable)? {
                Ok(_) => return Ok(true),
                Err(Refused::Conflict { .. }) => {}
                Err(other) => return Err(refused(&other)),
            }
        }
        Err(busy(id))
    }

    /// Writes what does not fit into one commit, and answers the last one, with the header: without
    /// it nobody takes what is there for an execution. None if it is there.
    async fn chunks(&self, shard: Shard, content: &Content) -> Result<Option<Batch>, Failure> {
        let (own, log) = (
            commit::execution_key(&content.id),
            commit::log_key(&content.id),
        );
        let (mut open, mut kept) = (Vec::new(), BTreeSet::new());
        for (key, parts) in [(&log, &content.log), (&own, &content.parts)] {
            let document = self.store.load(shard, key).await.map_err(unavailable)?;
            let document = document.unwrap_or_default();
            if *key == own && document.parts.contains_key(HEADER) {
                return Ok(None);
            }
            let mut version: Version = document.version;
            let mut rest: Vec<(&String, Bytes)> = Vec::new();
            let mut bytes = 0;
            for (name, value) in parts {
                let mut aside = BTreeMap::new();
                let value = large::of_text(value.clone(), &mut aside);
                kept.extend(aside.keys().cloned());
                self.put_aside(shard, &content.id, aside).await?;
                if bytes + value.len() > CHUNK.0 || rest.len() >= CHUNK.1 {
                    let header = rest.iter().position(|(name, _)| *name == HEADER);
                    let header = header.map(|at| rest.remove(at));
                    let batch = Batch::new(shard, ids::commit()).document(key, version);
                    let batch = filled(batch, &rest);
                    match self.store.commit(batch).await.map_err(unavailable)? {
                        Ok(_) => version += 1,
                        Err(Refused::Conflict { .. }) => return Ok(None),
                        Err(other) => return Err(refused(&other)),
                    }
                    rest = header.into_iter().collect();
                    bytes = rest.iter().map(|(_, value)| value.len()).sum();
                }
                bytes += value.len();
                rest.push((name, value));
            }
            open.push((key, version, rest));
        }
        let mut last = Batch::new(shard, ids::commit());
        for (key, version, rest) in open {
            last = last.document(key, version).put_back(content.version);
            last = filled(last, &rest);
        }
        // The execution's, which comes behind its log; one of its values keeps them all.
        for hash in kept.into_iter().take(MAX_ENTRIES) {
            last = last.blob(hash);
        }
        Ok(Some(last))
    }
}

fn filled(mut batch: Batch, parts: &[(&String, Bytes)]) -> Batch {
    for (name, value) in parts {
        batch = batch.set(name, value.clone());
    }
    batch
}

/// The indexes of a finished execution that is in the store from now on.
fn places(execution: &Execution, now: i64) -> impl Iterator<Item = IndexChange> {
    let (id, built) = (execution.id.to_string(), execution.build_time);
    let listings = commit::listings(execution).into_iter();
    listings
        .map(move |index| (index, built))
        .chain([(commit::DONE.to_owned(), now)])
        .map(move |(index, score)| IndexChange::Put {
            index,
            member: id.clone(),
            score,
        })
}

fn busy(id: &str) -> Failure {
    Failure::new(
        Kind::Conflict,
        format!("execution {id} is being changed; repeat"),
    )
}
