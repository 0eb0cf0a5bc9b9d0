//! What is to be known again of events when the store was lost: that they were here. Whoever
//! sends one again then starts nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use proto::status::Failure;
use store::{Batch, Shard, Shared};

use crate::event::Event;
use crate::intake::{FORGET, Intake, failed, note, refused};
use crate::proof::Proof;

/// Events of one commit.
const CHUNK: usize = 200;

/// An event that started something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// Its id.
    pub id: String,
    /// The type of trigger that it fired.
    pub kind: String,
    /// When it was taken in, ms since the epoch.
    pub at: i64,
}

/// Makes these events known to an emptied store until each is as old as `retention`; answers how many are new
/// to it. May be repeated.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn restore(
    store: &Shared,
    retention: Duration,
    events: Vec<Past>,
) -> Result<usize, Failure> {
    let now = store.now_ms().await.map_err(failed)?;
    let keep = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    let mut by_shard: BTreeMap<Shard, Vec<(Past, i64)>> = BTreeMap::new();
    for event in events {
        let left = event.at.saturating_add(keep).saturating_sub(now);
        if left > 0 {
            let shard = store.shards().of_name(&event.id);
            by_shard.entry(shard).or_default().push((event, left));
        }
    }
    let mut known = 0;
    for (shard, events) in by_shard {
        for chunk in events.chunks(CHUNK) {
            known += remember(store, shard, chunk).await?;
        }
    }
    Ok(known)
}

async fn remember(store: &Shared, shard: Shard, events: &[(Past, i64)]) -> Result<usize, Failure> {
    let keys: Vec<_> = events
        .iter()
        .map(|(past, _)| Intake::key(&past.id))
        .collect();
    let there = store
        .load_part(shard, &keys, "event")
        .await
        .map_err(failed)?;
    let fresh = events.iter().zip(&keys).zip(there);
    let fresh = fresh.filter_map(|((event, key), there)| there.is_none().then_some((event, key)));
    let mut count = 0;
    let mut batch: Option<Batch> = None;
    for ((past, left), key) in fresh {
        let event = Event {
            id: past.id.clone(),
            kind: past.kind.clone(),
            via: "archive".to_owned(),
            received_at_ms: past.at,
            happened_at_ms: 0,
            content: serde_json::Map::new(),
            artifacts: Vec::new(),
            proof: Proof::default(),
        };
        let content = serde_json::to_vec(&event)
            .map_err(|e| Failure::internal(format!("event {} is no JSON: {e}", past.id)))?;
        let delay = u128::from(left.unsigned_abs());
        // Named by its first event: a repeat is the same commit.
        let open = batch
            .take()
            .unwrap_or_else(|| Batch::new(shard, format!("event-restored:{}", past.id)));
        batch = Some(
            open.document(key, 0)
                .set("event", content)
                .message(note(&past.id, FORGET, delay)),
        );
        count += 1;
    }
    let Some(batch) = batch else { return Ok(0) };
    let put = store.commit(batch).await.map_err(failed)?;
    put.map(|_| count).map_err(|other| refused(&other))
}
