//! Every version of a definition goes to the archive before its save is answered, so that
//! definitions survive the loss of the store.
//!
//! The commit that saves carries a message, leased to who saves: the object is written, then the
//! message acknowledged, then the save answered. After a crash in between, or while the archive
//! cannot be written, the message is what remembers. Sessions end by themselves and are not kept.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use proto::status::{Failure, Kind};
use runtime::Shutdown;
use store::{
    Address, Batch, Consumer, ConsumerSettings, Delivery, DocumentKey, Mode, Outgoing, Refused,
    Shard, Then,
};

use super::{BODY, Collection, Definitions, LIFE, Object, Stored, application, internal, pipeline};
use super::{refused, unavailable};
use crate::archive::definition::{self as form, Place};
use crate::ids;

/// The queue of what is not in the archive yet; a subject is the name of an object.
const QUEUE: &str = "definitions-kept";
/// Where it is noted which archive has everything that was saved before.
const MARK: &str = "definitions-archive";
/// How long who saves holds the message, in ms.
const LEASE_MS: u64 = 10_000;
/// How long a save waits for the archive.
const PATIENCE: Duration = Duration::from_secs(20);
/// What could not be written is tried again after this time, ms.
const AGAIN_MS: u64 = 5_000;
/// Pause before the archive is asked again whether it has everything.
const PAUSE: Duration = Duration::from_secs(5);
/// Objects written at the same time.
const AT_ONCE: usize = 8;

impl Collection {
    /// Whether its versions are archived.
    fn is_kept(self) -> bool {
        self != Self::Session
    }
}

impl Definitions {
    /// Adds to a batch that this version is to be archived.
    pub(super) fn to_keep(&self, batch: Batch, collection: Collection, place: &Place) -> Batch {
        if self.archive.is_none() || !collection.is_kept() {
            return batch;
        }
        batch.message(Outgoing {
            to: Address::new(QUEUE, &place.name(), ""),
            fingerprint: "keep".to_owned(),
            mode: Mode::Leased(LEASE_MS),
            delay_ms: 0,
            // A struct of texts and numbers always serialises.
            body: serde_json::to_vec(place).unwrap_or_default().into(),
        })
    }

    /// Writes what a commit left to be archived, and acknowledges it.
    pub(super) async fn keep_all(&self, leased: &[Delivery]) -> Result<(), Failure> {
        let Some(first) = leased.first() else {
            return Ok(());
        };
        let shard = first.lease.shard;
        let written = async {
            for delivery in leased {
                for message in &delivery.messages {
                    let place: Place =
                        serde_json::from_slice(&message.body).map_err(|e| internal(&e))?;
                    self.keep(shard, &place).await?;
                }
            }
            Ok(())
        };
        let late = || Failure::new(Kind::Unavailable, "it does not answer");
        let written = tokio::time::timeout(PATIENCE, written).await;
        if let Err(failure) = written.unwrap_or_else(|_| Err(late())) {
            for delivery in leased {
                // If the store cannot take it back now, the lease ends by itself.
                let _ = self.store.release(&delivery.lease, AGAIN_MS).await;
            }
            return Err(self.unkept(&failure));
        }
        let mut batch = Batch::new(shard, ids::commit());
        for delivery in leased {
            batch = batch.acknowledge(delivery, Then::Release);
        }
        match self.store.commit(batch).await.map_err(unavailable)? {
            // Whoever took it over finds the object.
            Ok(_) | Err(Refused::Fenced(_)) => Ok(()),
            Err(other) => Err(refused(&other)),
        }
    }

    /// What is said when the archive did not take what the store has.
    fn unkept(&self, failure: &Failure) -> Failure {
        let place = self.archive.as_ref().map(|archive| archive.place());
        let message = format!(
            "the change is made and in force, but it is not yet in the archive {}: {}; it is tried again \
             every {} s, and until then a loss of the store would undo it. Make the archive writable \
             (orchestrator.archive), then repeat",
            place.unwrap_or_default(),
            failure.message,
            AGAIN_MS / 1_000
        );
        Failure::new(Kind::Unavailable, message)
    }

    /// Writes one version to the archive.
    async fn keep(&self, shard: Shard, place: &Place) -> Result<(), Failure> {
        let Some(archive) = &self.archive else {
            return Err(Failure::internal("no archive is configured"));
        };
        let body = match place.deleted {
            true => None,
            false => match self.body_of(shard, place).await? {
                Some(body) => Some(body),
                // It was deleted since, or is older than any that is kept.
                None => return Ok(()),
            },
        };
        let object = place.object(body.as_deref()).map_err(|e| internal(&e))?;
        let kept = archive.put(&place.name(), object).await;
        kept.map_err(unavailable)
    }

    async fn body_of(&self, shard: Shard, place: &Place) -> Result<Option<Bytes>, Failure> {
        let key = version_key(&place.collection, &place.id, place.version);
        let found = self.store.load(shard, &key).await.map_err(unavailable)?;
        let found = found.filter(|document| life_of(document) == place.life);
        Ok(found.and_then(|document| document.parts.get(BODY).cloned()))
    }

    /// Makes sure that a version which is saved again unchanged is in the archive: the save before
    /// may have been answered with an error because it was not.
    pub(super) async fn confirm(
        &self,
        collection: Collection,
        shard: Shard,
        id: &str,
        stored: &Stored,
    ) -> Result<(), Failure> {
        let Some(archive) = self.archive.as_ref().filter(|_| collection.is_kept()) else {
            return Ok(());
        };
        let place = stored.place(collection, id);
        let confirmed = async {
            match archive.size(&place.name()).await.map_err(unavailable)? {
                Some(_) => Ok(()),
                None => self.keep(shard, &place).await,
            }
        };
        confirmed.await.map_err(|failure| self.unkept(&failure))
    }

    /// Writes what crashed processes, or an archive that could not be written, left behind.
    pub(crate) async fn keep_the_rest(self, shutdown: Shutdown) -> Result<(), store::Error> {
        let settings = ConsumerSettings {
            queue: QUEUE.to_owned(),
            lease_ms: LEASE_MS,
            // It is tried until it is there.
            max_tries: u32::MAX,
        };
        let mut consumer = Consumer::new(self.store.clone(), settings);
        while let Some(next) = shutdown.or(consumer.next(AT_ONCE)).await {
            for delivery in next? {
                if let Err(failure) = self.keep_all(std::slice::from_ref(&delivery)).await {
                    tracing::warn!(error = %failure, "a definition is not in the archive");
                }
            }
        }
        Ok(())
    }

    /// Sees to it once that an archive which is new to this store has what was saved before.
    pub(crate) async fn keep_former(self, shutdown: Shutdown) -> Result<(), Infallible> {
        while let Err(failure) = self.keep_what_is_there().await {
            tracing::warn!(error = %failure, "former definitions cannot be archived now");
            if !shutdown.sleep(PAUSE).await {
                break;
            }
        }
        Ok(())
    }

    async fn keep_what_is_there(&self) -> Result<(), Failure> {
        let Some(archive) = &self.archive else {
            return Ok(());
        };
        let shard = self.store.shards().of_name(MARK);
        let key = DocumentKey::new(MARK, "known");
        let known = self.store.load(shard, &key).await.map_err(unavailable)?;
        let known = known.unwrap_or_default();
        if known.text("archive") == Some(&archive.place()) {
            return Ok(());
        }
        let mut written = 0;
        for (collection, shard, id) in self.all().await? {
            let names = archive.list(&form::folder(collection.name(), &id)).await;
            let names = names.map_err(unavailable)?;
            for entry in self.members(shard, &collection.history(&id)).await? {
                let Ok(version) = entry.member.parse() else {
                    continue;
                };
                let key = collection.version_key(&id, version);
                let found = self.store.load(shard, &key).await.map_err(unavailable)?;
                let Some(document) = found else { continue };
                let place = Place {
                    collection: collection.name().to_owned(),
                    id: id.clone(),
                    life: life_of(&document),
                    version,
                    deleted: false,
                };
                if names.binary_search(&place.name()).is_err() {
                    self.keep(shard, &place).await?;
                    written += 1;
                }
            }
        }
        let batch = Batch::new(shard, ids::commit()).document(&key, known.version);
        let batch = batch.set("archive", archive.place());
        match self.store.commit(batch).await.map_err(unavailable)? {
            // Another replica was faster.
            Ok(_) | Err(Refused::Conflict { .. }) => {}
            Err(other) => return Err(refused(&other)),
        }
        tracing::info!(
            versions = written,
            archive = archive.place(),
            "former definitions are archived"
        );
        Ok(())
    }

    /// Every definition that is kept.
    async fn all(&self) -> Result<Vec<(Collection, Shard, String)>, Failure> {
        let mut all = Vec::new();
        for shard in self.store.shards().all() {
            for application in self.members(shard, application::INDEX).await? {
                all.push((Collection::Application, shard, application.member));
            }
            for application in self.members(shard, pipeline::APPLICATIONS).await? {
                for pipeline in self
                    .members(shard, &pipeline::index(&application.member))
                    .await?
                {
                    all.push((Collection::Pipeline, shard, pipeline.member));
                }
            }
        }
        for kind in Object::ALL {
            let shard = self.shard_of(kind);
            for object in self.members(shard, &Self::index_of(kind)).await? {
                all.push((kind.collection(), shard, object.member));
            }
        }
        all.retain(|(collection, _, _)| collection.is_kept());
        Ok(all)
    }
}

/// The key of a former version, by the collection's name.
pub(super) fn version_key(collection: &str, id: &str, version: store::Version) -> DocumentKey {
    DocumentKey::new(
        &format!("{collection}-version"),
        &format!("{id}@{version:012}"),
    )
}

/// The life a document says it is of.
pub(super) fn life_of(document: &store::Document) -> String {
    document.text(LIFE).unwrap_or(form::FIRST_LIFE).to_owned()
}
