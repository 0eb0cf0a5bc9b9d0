//! Executions as they are stored, with [references](crate::large) in the places of large values, read and written.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::try_join_all;
use orchestrator_core::{Stage, StageId, Subject};
use proto::status::Failure;
use serde_json::Value;
use store::{DocumentKey, Shard, blob};

use super::{Executions, damaged};
use crate::commit;
use crate::definition::unavailable;
use crate::large::{self, Part};

/// Stages with large values as they were stored last: the text has the hashes of these, so an equal text is an
/// equal stage. Without it every message would fetch the large values of every stage.
#[derive(Debug)]
pub(super) struct AtHand {
    /// So many bytes of them, as JSON.
    most: usize,
    stages: HashMap<StageId, (Bytes, Arc<Stage>, Part)>,
    order: VecDeque<StageId>,
    bytes: usize,
}

impl AtHand {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            stages: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
        }
    }

    fn get(&self, id: &StageId, text: &Bytes) -> Option<(Arc<Stage>, Part)> {
        let (known, stage, part) = self.stages.get(id)?;
        (known == text).then(|| (Arc::clone(stage), part.clone()))
    }

    fn put(&mut self, text: Bytes, stage: Arc<Stage>, part: Part) {
        self.bytes += part.bytes;
        let id = stage.id.clone();
        match self.stages.insert(id.clone(), (text, stage, part)) {
            Some((_, _, old)) => self.bytes -= old.bytes,
            None => self.order.push_back(id),
        }
        while self.bytes > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            let gone = self.stages.remove(&oldest);
            self.bytes -= gone.map_or(0, |(_, _, part)| part.bytes);
        }
    }
}

impl Executions {
    /// Puts large values of an execution aside, before the commit that keeps them.
    pub(crate) async fn put_aside(
        &self,
        shard: Shard,
        id: &str,
        blobs: BTreeMap<String, Bytes>,
    ) -> Result<(), Failure> {
        let owner = commit::execution_key(id);
        let puts = blobs
            .into_values()
            .map(|content| self.store.put_blob(shard, &owner, content));
        try_join_all(puts).await.map_err(unavailable)?;
        Ok(())
    }

    /// A part of an execution or of its log with its large values in their places.
    pub(super) async fn in_place(
        &self,
        shard: Shard,
        owner: &DocumentKey,
        content: Bytes,
    ) -> Result<(Bytes, Part), Failure> {
        let text = blob::resolve(self.store.as_ref(), shard, owner, content).await;
        let text = text.map_err(unavailable)?;
        let (text, refers) = large::json_of(&text);
        if !refers {
            let (bytes, large) = (text.len(), Vec::new());
            return Ok((text, Part { bytes, large }));
        }
        let fault = |e: serde_json::Error| damaged(owner.as_str(), &e.to_string());
        let mut value: Value = serde_json::from_slice(&text).map_err(fault)?;
        let contents = self.contents(shard, owner, &value).await?;
        let gone = |hash| damaged(owner.as_str(), &format!("the blob {hash} is gone"));
        let large = large::restore(&mut value, &contents).map_err(gone)?;
        let text = Bytes::from(value.to_string());
        let bytes = text.len();
        Ok((text, Part { bytes, large }))
    }

    /// The blobs that a stored value refers to, and those that these refer to.
    async fn contents(
        &self,
        shard: Shard,
        owner: &DocumentKey,
        stored: &Value,
    ) -> Result<BTreeMap<String, Value>, Failure> {
        let mut contents: BTreeMap<String, Value> = BTreeMap::new();
        let names = |value: &Value| -> Vec<String> {
            let wanted = large::wanted(value).into_iter();
            wanted.map(ToOwned::to_owned).collect()
        };
        let mut open = names(stored);
        while !open.is_empty() {
            open.sort_unstable();
            open.dedup();
            let fetches = open
                .iter()
                .map(|hash| self.store.get_blob(shard, owner, hash));
            let fetched = try_join_all(fetches).await.map_err(unavailable)?;
            let mut further = Vec::new();
            for (hash, content) in open.into_iter().zip(fetched) {
                // One that is gone is told by whoever looks for its content.
                let Some(content) = content else { continue };
                let fault = |e| damaged(owner.as_str(), &format!("the blob {hash}: {e}"));
                let content: Value = serde_json::from_slice(&content).map_err(fault)?;
                further.extend(names(&content));
                contents.insert(hash, content);
            }
            further.retain(|hash| !contents.contains_key(hash));
            open = further;
        }
        Ok(contents)
    }

    /// A stage of an execution, as it is stored.
    pub(super) async fn stage(
        &self,
        shard: Shard,
        owner: &DocumentKey,
        id: &StageId,
        content: Bytes,
    ) -> Result<(Arc<Stage>, Part), Failure> {
        let known = self.at_hand().get(id, &content);
        if let Some(known) = known {
            return Ok(known);
        }
        let (text, part) = self.in_place(shard, owner, content.clone()).await?;
        let stage: Stage = serde_json::from_slice(&text)
            .map_err(|e| damaged(owner.as_str(), &format!("a stage: {e}")))?;
        let stage = Arc::new(stage);
        if !part.large.is_empty() {
            self.at_hand()
                .put(content, Arc::clone(&stage), part.clone());
        }
        Ok((stage, part))
    }

    /// Keeps stages at hand that were stored in this form.
    pub(crate) fn keep(&self, subject: &Subject, texts: Vec<(StageId, Bytes, Part)>) {
        let Subject::Execution(execution) = subject else {
            return;
        };
        for (id, text, part) in texts {
            if let Some(stage) = execution.stages.share(&id) {
                self.at_hand().put(text, stage, part);
            }
        }
    }

    fn at_hand(&self) -> std::sync::MutexGuard<'_, AtHand> {
        let at_hand: &Mutex<AtHand> = &self.at_hand;
        at_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
