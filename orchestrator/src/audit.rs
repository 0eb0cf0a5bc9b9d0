//! Who changed what, for ever: entries are added in the order they come in and
//! never changed or removed. What an entry says is the edge's business.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use proto::status::Failure;
use serde_json::{Map, Value};
use store::{Batch, DocumentKey, IndexChange, IndexEntry, Order, Shard, Shared};

use crate::definition::{refused, unavailable};
use crate::ids;

const KIND: &str = "audit";
const BODY: &str = "b";
const INDEX: &str = "audit";
/// Entries of one page.
const MOST: usize = 500;
/// An entry is no larger, in bytes.
const MAX_ENTRY: usize = 16 * 1024;
/// For so long after the store told its time, it is what it told and what passed since.
const TOLD: Duration = Duration::from_secs(1);

/// The audit. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    store: Shared,
    told: Arc<Mutex<Option<(Instant, i64)>>>,
}

impl Audit {
    /// The audit in this store.
    pub fn new(store: Shared) -> Self {
        let told = Arc::default();
        Self { store, told }
    }

    /// The store's time, ms since the epoch: all processes write entries, and go by one clock.
    async fn now(&self) -> Result<i64, Failure> {
        let told = *self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((when, time)) = told
            && when.elapsed() < TOLD
        {
            let since = i64::try_from(when.elapsed().as_millis()).unwrap_or_default();
            return Ok(time + since);
        }
        let time = self.store.now_ms().await.map_err(unavailable)?;
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), time));
        Ok(time)
    }

    fn shard(&self) -> Shard {
        self.store.shards().of_name(KIND)
    }

    /// Adds an entry, with its `id` and the time `at` (ms since the epoch).
    ///
    /// # Errors
    /// `Invalid` when it is no object or too large, `Unavailable` when it cannot be stored.
    pub async fn append(&self, entry: Value) -> Result<(), Failure> {
        let Value::Object(mut entry) = entry else {
            return Err(Failure::field("entry", "it is no object; send one"));
        };
        let at = self.now().await?;
        let id = ids::commit();
        entry.insert("id".to_owned(), id.clone().into());
        entry.insert("at".to_owned(), at.into());
        let body = Bytes::from(Value::Object(entry).to_string());
        if body.len() > MAX_ENTRY {
            let message = format!("it has more than {MAX_ENTRY} bytes; shorten it");
            return Err(Failure::field("entry", message));
        }
        // The document must not exist: nothing is ever overwritten.
        let batch = Batch::new(self.shard(), ids::commit())
            .document(&DocumentKey::new(KIND, &id), 0)
            .set(BODY, body)
            .index(IndexChange::Put {
                index: INDEX.to_owned(),
                member: id,
                score: at,
            });
        let committed = self.store.commit(batch).await.map_err(unavailable)?;
        committed.map(|_| ()).map_err(|r| refused(&r))
    }

    /// Entries, newest first, and where the next page begins; empty when there is none.
    ///
    /// # Errors
    /// `Invalid` for a cursor that is none, `Unavailable` when the store cannot be read.
    pub async fn list(
        &self,
        cursor: &str,
        most: usize,
    ) -> Result<(Vec<Map<String, Value>>, String), Failure> {
        let after = place(cursor)?;
        let most = most.clamp(1, MOST);
        let page = self
            .store
            .page(self.shard(), INDEX, after.as_ref(), Order::Descending, most)
            .await
            .map_err(unavailable)?;
        let keys: Vec<_> = page
            .iter()
            .map(|entry| DocumentKey::new(KIND, &entry.member))
            .collect();
        let parts = self
            .store
            .load_part(self.shard(), &keys, BODY)
            .await
            .map_err(unavailable)?;
        let mut entries = Vec::with_capacity(page.len());
        for (_, body) in parts.into_iter().flatten() {
            let damaged = |e| Failure::internal(format!("an audit entry is stored damaged: {e}"));
            entries.push(serde_json::from_slice(&body).map_err(damaged)?);
        }
        let next = match page.last() {
            Some(last) if page.len() == most => format!("{}@{}", last.score, last.member),
            _ => String::new(),
        };
        Ok((entries, next))
    }
}

fn place(cursor: &str) -> Result<Option<IndexEntry>, Failure> {
    if cursor.is_empty() {
        return Ok(None);
    }
    let parts = cursor
        .split_once('@')
        .and_then(|(score, member)| Some((score.parse().ok()?, member.to_owned())));
    match parts {
        Some((score, member)) => Ok(Some(IndexEntry { score, member })),
        None => Err(Failure::field(
            "cursor",
            "it is none of ours; send the one a former page ended with",
        )),
    }
}
