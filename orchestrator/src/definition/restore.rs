//! Definitions back from the archive into a store that lost them: each with its versions, as
//! it was, and nothing beside. What is there already stays, so this may be repeated.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use proto::status::{Failure, Kind};
use serde_json::{Map, Value};
use store::archive::{self, Objects};
use store::{Batch, IndexChange, Refused, Shard, Shared, Version};

use super::{
    BODY, Collection, LIFE, MOST_VERSIONS, Object, application, object, parse, pipeline,
    put_version, refused, text, unavailable,
};
use crate::archive::definition::{self as form, Life, Place};
use crate::ids;

/// Objects read at the same time.
const READ: usize = 16;
/// What one commit of former versions carries, in bytes and in versions.
const CHUNK: (usize, usize) = (2 * 1024 * 1024, 100);

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
        let read = match self.read(newest).await {
            Err(failure) if failure.kind != Kind::Unavailable => {
                restored.refused.push(failure.message);
                return Ok(());
            }
            read => read?,
        };
        let (place, body) = read;
        let Some(collection) = Collection::ALL
            .into_iter()
            .find(|collection| collection.name() == place.collection)
        else {
            let kind = &place.collection;
            let reason = format!("{newest}: \"{kind}\" is a kind that this version does not know");
            restored.refused.push(reason);
            return Ok(());
        };
        let value = parse(&body, collection, &place.id)?;
        let (shard, places) = self.places(collection, &place.id, &value);
        let key = collection.key(&place.id);
        if self
            .store
            .load(shard, &key)
            .await
            .map_err(unavailable)?
            .is_some()
        {
            restored.there += 1;
            return Ok(());
        }
        // Before the definition itself: one that is there is there with its versions.
        self.versions(collection, shard, &place, life).await?;
        let mut batch = Batch::new(shard, ids::commit())
            .document(&key, 0)
            .put_back(*version)
            .set(BODY, body)
            .set(LIFE, place.life.clone());
        for change in places {
            batch = batch.index(change);
        }
        match self.store.commit(batch).await.map_err(unavailable)? {
            Ok(_) => {
                *restored.definitions.entry(place.collection).or_default() += 1;
                restored.versions += life.versions.len().min(kept());
            }
            Err(Refused::Taken { key, value }) => restored.refused.push(format!(
                "{} {}: {key} is held by {value}, which is newer",
                place.collection, place.id
            )),
            Err(other) => return Err(refused(&other)),
        }
        Ok(())
    }

    /// The former versions that are kept, this one included.
    async fn versions(
        &self,
        collection: Collection,
        shard: Shard,
        place: &Place,
        life: &Life,
    ) -> Result<(), Failure> {
        let history = collection.history(&place.id);
        let order = store::Order::Ascending;
        let there = self.store.page(shard, &history, None, order, 500).await;
        let there: BTreeSet<String> = there
            .map_err(unavailable)?
            .into_iter()
            .map(|entry| entry.member)
            .collect();
        let missing = life.versions.iter().rev().take(kept());
        let missing = missing.filter(|(version, _)| !there.contains(&version.to_string()));
        // Made beforehand: a stream over borrowed entries cannot be sent to another thread.
        let reads: Vec<_> = missing
            .map(|(version, name)| self.version(*version, name))
            .collect();
        let read: Vec<(Version, Bytes)> = stream::iter(reads).buffered(READ).try_collect().await?;
        let mut rest = read.into_iter().peekable();
        while rest.peek().is_some() {
            let mut batch = Batch::new(shard, ids::commit());
            let (mut bytes, mut count) = (0, 0);
            while bytes < CHUNK.0
                && count < CHUNK.1
                && let Some((version, body)) = rest.next()
            {
                (bytes, count) = (bytes + body.len(), count + 1);
                batch = put_version(batch, collection, &place.id, version, body, &life.life);
            }
            let put = self.store.commit(batch).await.map_err(unavailable)?;
            put.map_err(|other| refused(&other))?;
        }
        Ok(())
    }

    async fn version(&self, version: Version, name: &str) -> Result<(Version, Bytes), Failure> {
        Ok((version, self.read(name).await?.1))
    }

    async fn read(&self, name: &str) -> Result<(Place, Bytes), Failure> {
        let damaged = |reason: &str| {
            let archive = self.archive.place();
            Failure::internal(format!(
                "the object {name} in the archive {archive} is damaged: {reason}; put it back from a backup"
            ))
        };
        let size = self.archive.size(name).await.map_err(unavailable)?;
        let size = size.ok_or_else(|| damaged("it is gone"))?;
        let object = self
            .archive
            .read(name, 0, size)
            .await
            .map_err(unavailable)?;
        let object = object.ok_or_else(|| damaged("it is gone"))?;
        let (place, body) = Place::read(&object).map_err(|e| damaged(&e))?;
        let body = body.ok_or_else(|| damaged("it has no body"))?;
        Ok((place, body))
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
