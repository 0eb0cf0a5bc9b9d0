//! The catalogue of archived executions, made anew from the archive's objects for a store that
//! lost it.
//!
//! The objects hold everything but which rows counted: an execution that was restarted lies in two
//! segments, and counts where it ended last; one that was deleted by hand is there again, and one that
//! was kept long enough ends again by its age.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use proto::status::{Failure, Kind};
use store::archive::{Objects, Segment, SegmentDocument, Shared, Summary, document_key};
use store::{Batch, Refused, Shard};

use super::expire_message;
use super::mover::millis;
use super::row::{EVENT, TRIGGER};
use crate::commit::{self, HEADER};
use crate::definition::{refused, unavailable};
use crate::ids;

/// The folder of all segments.
const FOLDER: &str = "executions";
/// Tables read at the same time.
const READ: usize = 16;
/// Documents looked for at once.
const PAGE: usize = 250;

/// An event that started an archived execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownEvent {
    /// Its id.
    pub id: String,
    /// The type of the trigger.
    pub kind: String,
    /// When the execution was submitted, ms since the epoch.
    pub at: i64,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogued {
    /// Segments that are known from now on.
    pub segments: usize,
    /// Executions in them that count.
    pub executions: usize,
    /// Segments that were known already.
    pub there: usize,
    /// What started executions, each once.
    pub events: Vec<KnownEvent>,
    /// Segments that cannot be read, each with the reason.
    pub refused: Vec<String>,
}

/// Makes every segment of the archive known to the store. May be repeated.
///
/// # Errors
/// When store or archive cannot be read or written.
pub async fn catalogue(
    store: &store::Shared,
    archive: &Shared,
    retention: Duration,
) -> Result<Catalogued, Failure> {
    let names = archive.list(FOLDER).await.map_err(unavailable)?;
    let mut by_shard: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for name in names {
        let number = name.split('/').nth(1).and_then(|part| part.parse().ok());
        if let Some(number) = number.filter(|_| name.ends_with(".segment")) {
            by_shard.entry(number).or_default().push(name);
        }
    }
    let mut found = Catalogued::default();
    let mut events = HashMap::new();
    for (number, names) in by_shard {
        let work = Shelf {
            store,
            archive: archive.as_ref(),
            shard: store.shards().numbered(number),
            retention: millis(retention),
        };
        work.fill(names, &mut found, &mut events).await?;
    }
    found.events = events.into_values().collect();
    Ok(found)
}

/// The segments of a shard.
struct Shelf<'a> {
    store: &'a store::Shared,
    archive: &'a dyn Objects,
    shard: Shard,
    retention: i64,
}

impl Shelf<'_> {
    async fn fill(
        &self,
        names: Vec<String>,
        found: &mut Catalogued,
        events: &mut HashMap<String, KnownEvent>,
    ) -> Result<(), Failure> {
        let reads: Vec<_> = names.into_iter().map(|name| self.open(name)).collect();
        let mut opened = stream::iter(reads).buffered(READ);
        let mut segments = Vec::new();
        while let Some(segment) = opened.next().await {
            match segment {
                Ok(segment) => segments.push(segment),
                Err(failure) if failure.kind == Kind::Unavailable => return Err(failure),
                Err(failure) => found.refused.push(failure.message),
            }
        }
        let live = self.live(&segments).await?;
        let counting = counting(&segments, &live);
        for (number, segment) in segments.iter().enumerate() {
            for row in segment.rows().filter(|row| !row.text(EVENT).is_empty()) {
                let id = row.text(EVENT).to_owned();
                let event = KnownEvent {
                    id: id.clone(),
                    kind: row.text(TRIGGER).to_owned(),
                    at: row.at,
                };
                events.entry(id).or_insert(event);
            }
            let mut document = SegmentDocument::new(segment.layout(), Summary::of(segment.rows()));
            for (at, row) in segment.rows().enumerate() {
                document.set(at, counting.get(row.id.as_str()) == Some(&(number, at)));
            }
            self.know(segment.name(), &document, found).await?;
        }
        Ok(())
    }

    async fn open(&self, name: String) -> Result<Segment, Failure> {
        let opened = Segment::open(self.archive, &name, None).await;
        opened.map_err(unavailable)
    }

    /// Executions of these segments that are in the store.
    async fn live(&self, segments: &[Segment]) -> Result<HashSet<String>, Failure> {
        let mut live = HashSet::new();
        for segment in segments {
            let ids: Vec<&str> = segment.rows().map(|row| row.id.as_str()).collect();
            for ids in ids.chunks(PAGE) {
                let keys: Vec<_> = ids.iter().map(|id| commit::execution_key(id)).collect();
                let parts = self.store.load_part(self.shard, &keys, HEADER).await;
                for (id, part) in ids.iter().zip(parts.map_err(unavailable)?) {
                    if part.is_some() {
                        live.insert((*id).to_owned());
                    }
                }
            }
        }
        Ok(live)
    }

    /// Makes a segment known, unless it is.
    async fn know(
        &self,
        name: &str,
        document: &SegmentDocument,
        found: &mut Catalogued,
    ) -> Result<(), Failure> {
        let now = self.store.now_ms().await.map_err(unavailable)?;
        let ends = document.summary.ended.saturating_add(self.retention);
        let delay = u64::try_from(ends.saturating_sub(now)).unwrap_or(0);
        let batch = document.write(Batch::new(self.shard, ids::commit()), name, 0);
        let batch = batch.message(expire_message(name, delay));
        match self.store.commit(batch).await.map_err(unavailable)? {
            Ok(_) => {
                found.segments += 1;
                found.executions += document.counting().count();
            }
            Err(Refused::Conflict { key, .. }) if key == document_key(name) => found.there += 1,
            Err(other) => return Err(refused(&other)),
        }
        Ok(())
    }
}

/// Where each execution counts, as the number of a segment and of a row in it: in the one in which it ended
/// last. One that is in the store counts nowhere.
fn counting<'a>(
    segments: &'a [Segment],
    live: &HashSet<String>,
) -> HashMap<&'a str, (usize, usize)> {
    let mut counting: HashMap<&str, ((i64, usize), usize)> = HashMap::new();
    for (number, segment) in segments.iter().enumerate() {
        for (at, row) in segment.rows().enumerate() {
            if live.contains(&row.id) {
                continue;
            }
            let known = counting.entry(&row.id).or_insert(((row.ended, number), at));
            if known.0 < (row.ended, number) {
                *known = ((row.ended, number), at);
            }
        }
    }
    let place = |(id, ((_, number), at))| (id, (number, at));
    counting.into_iter().map(place).collect()
}
