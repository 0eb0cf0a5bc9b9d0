//! Definitions back from the archive into a store that lost them: each with its versions, as
//! it was, and nothing beside. What is there already stays, so this may be repeated.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use proto::status::Failure;
use serde_json::{Map, Value};
use store::archive::{self, Objects};
use store::{Batch, IndexChange, Order, Refused, Shard, Shared, Version};

use super::{
    BODY, Collection, LIFE, MAX_DEFINITION, MOST_VERSIONS, Object, application, object, pipeline,
    put_version, refused, text, unavailable,
};
use crate::archive::definition::{self as form, Life, Place};
use crate::ids;

/// Objects read at the same time.
const READ: usize = 16;
/// No object is larger.
const MOST_BYTES: u64 = 2 * MAX_DEFINITION as u64;
/// Entries of a history read at once: more than there are.
const PAGE: usize = 500;
/// What one commit of former versions carries, in bytes and in versions.
const CHUNK: (usize, usize) = (2 * 1024 * 1024, 60);

/// What was restored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restored {
    /// Definitions by their kind.
    pub definitions: BTreeMap<String, usize>,
    /// Versions of them.
    pub versions: usize,
    /// Definitions that were there already.
    pub there: usize,
    /// What could not be, each with the reason.
    pub refused: Vec<String>,
}

/// A version as it was archived, or why it cannot be read.
type Read = Result<(Place, Bytes), String>;

struct Restoring<'a> {
    store: &'a Shared,
    archive: &'a dyn Objects,
}

/// Brings back every definition of the archive that goes on.
///
/// # Errors
/// When store or archive cannot be read or written.
pub async fn restore(store: &Shared, archive: &archive::Shared) -> Result<Restored, Failure> {
    let names = archive.list(form::FOLDER).await.map_err(unavailable)?;
    let work = Restoring {
        store,
        archive: archive.as_ref(),
    };
    let mut restored = Restored::default();
    // The newest first: what two of them claim is the newer one's.
    for life in form::living(&names) {
        work.one(&life, &mut restored).await?;
    }
    Ok(restored)
}

impl Restoring<'_> {
    async fn one(&self, life: &Life, restored: &mut Restored) -> Result<(), Failure> {
        let Some((version, newest)) = life.versions.iter().next_back() else {
            return Ok(());
        };
        let (place, body) = match self.read(newest).await? {
            Ok(read) => read,
            Err(reason) => {
                restored.refused.push(reason);
                return Ok(());
            }
        };
        let mut known = Collection::ALL.into_iter();
        let collection = known.find(|c| c.name() == place.collection);
        let value: Option<Map<String, Value>> = serde_json::from_slice(&body).ok();
        let (Some(collection), Some(value)) = (collection, value) else {
            let reason = format!("{newest} is of a kind that this version does not know");
            restored.refused.push(reason);
            return Ok(());
        };
        let (shard, places) = self.places(collection, &place.id, &value);
        let key = collection.key(&place.id);
        let there = self.store.load(shard, &key).await.map_err(unavailable)?;
        if there.is_some() {
            restored.there += 1;
            return Ok(());
        }
        // Former versions before the definition itself: one that is there is there with them.
        let history = collection.history(&place.id);
        let there = self
            .store
            .page(shard, &history, None, Order::Ascending, PAGE);
        let there = there.await.map_err(unavailable)?.into_iter();
        let there: BTreeSet<String> = there.map(|entry| entry.member).collect();
        let mut open = Batch::new(shard, ids::commit());
        let (mut bytes, mut count) = (body.len(), 1);
        let former = life.versions.iter().rev().take(kept()).skip(1);
        let former = former.filter(|(version, _)| !there.contains(&version.to_string()));
        // Made beforehand: a stream over borrowed names cannot be sent to another thread.
        let reads: Vec<_> = former.map(|(v, name)| self.version(*v, name)).collect();
        let mut reads = stream::iter(reads).buffered(READ);
        while let Some(read) = reads.next().await {
            let (version, former) = match read? {
                (version, Ok((_, former))) => (version, former),
                (_, Err(reason)) => {
                    restored.refused.push(reason);
                    continue;
                }
            };
            if bytes + former.len() > CHUNK.0 || count == CHUNK.1 {
                let full = std::mem::replace(&mut open, Batch::new(shard, ids::commit()));
                let put = self.store.commit(full).await.map_err(unavailable)?;
                put.map_err(|other| refused(&other))?;
                (bytes, count) = (body.len(), 1);
            }
            (bytes, count) = (bytes + former.len(), count + 1);
            open = put_version(open, collection, &place.id, version, former, &life.life);
        }
        open = put_version(
            open,
            collection,
            &place.id,
            *version,
            body.clone(),
            &life.life,
        )
        .document(&key, 0)
        .put_back(*version)
        .set(BODY, body)
        .set(LIFE, life.life.clone());
        for change in places {
            open = open.index(change);
        }
        match self.store.commit(open).await.map_err(unavailable)? {
            Ok(_) => {
                *restored.definitions.entry(place.collection).or_default() += 1;
                restored.versions += life.versions.len().min(kept());
            }
            Err(Refused::Taken { key, value }) => restored.refused.push(format!(
                "{} {}: {key} is held by {value}",
                place.collection, place.id
            )),
            Err(other) => return Err(refused(&other)),
        }
        Ok(())
    }

    async fn version(&self, version: Version, name: &str) -> Result<(Version, Read), Failure> {
        Ok((version, self.read(name).await?))
    }

    async fn read(&self, name: &str) -> Result<Read, Failure> {
        let object = self.archive.read(name, 0, MOST_BYTES).await;
        let object = object.map_err(unavailable)?.unwrap_or_default();
        let read = Place::read(&object).and_then(|(place, body)| {
            let body = body.ok_or_else(|| "it has no body".to_owned())?;
            Ok((place, body))
        });
        Ok(read.map_err(|reason| {
            let archive = self.archive.place();
            format!("the object {name} in the archive {archive} cannot be read: {reason}")
        }))
    }

    /// The shard a definition lies in, and where it is listed there.
    fn places(
        &self,
        collection: Collection,
        id: &str,
        body: &Map<String, Value>,
    ) -> (Shard, Vec<IndexChange>) {
        let shards = self.store.shards();
        match collection {
            Collection::Application => (shards.of_application(id), vec![application::place(id)]),
            Collection::Pipeline => {
                let application = text(body, "application").unwrap_or_default();
                let places = pipeline::places(body, id, 0);
                (shards.of_application(application), places)
            }
            _ => {
                let kind = Object::ALL
                    .into_iter()
                    .find(|kind| kind.collection() == collection);
                let places = kind.map(|kind| object::places(kind, id, body));
                (
                    shards.of_name(collection.name()),
                    places.unwrap_or_default(),
                )
            }
        }
    }
}

/// Versions kept of each definition.
fn kept() -> usize {
    usize::try_from(MOST_VERSIONS).unwrap_or(usize::MAX)
}
