//! What users author: applications and pipelines, as documents in the
//! application's shard, with their former versions and indexes.
//!
//! Owns validation on save: what does not pass changes nothing. Never starts an
//! execution. The truth is the store; nothing is cached here.

mod account;
mod application;
mod canary;
mod check;
mod environment;
mod keep;
mod object;
mod pipeline;
mod project;
mod restore;
pub(crate) mod secret;
mod since;
mod template;

use std::sync::Arc;

use async_trait::async_trait;

use bytes::Bytes;
use proto::status::{Failure, FieldError, Kind};
use serde_json::{Map, Value};
use store::{Batch, DocumentKey, IndexChange, IndexEntry, Order, Refused, Shard, Shared, Version};

pub use check::{Accounts, check_pipeline, doubtful_texts};
pub use object::Object;
pub use restore::{Restored, restore};

use crate::archive::definition::{Place, new_life};
use crate::ids;
use crate::services::{self, CloudDriver};

/// Former versions kept of each application and pipeline.
pub const MOST_VERSIONS: u64 = 100;
/// A definition is no larger, in bytes of JSON.
pub const MAX_DEFINITION: usize = store::MAX_PART;
/// The part of a document that holds its JSON.
const BODY: &str = "b";
/// The part that says which life of the definition it is of.
const LIFE: &str = "l";
/// How often a save that met another is decided anew.
const TRIES: usize = 5;

/// The store of definitions. Cheap to clone.
#[derive(Clone)]
pub struct Definitions {
    store: Shared,
    cloud_driver: Arc<dyn CloudDriver>,
    archive: Option<store::archive::Shared>,
}

/// A definition as stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    pub(crate) version: Version,
    pub(crate) body: Map<String, Value>,
    life: String,
}

impl Stored {
    /// Its place in the archive.
    fn place(&self, collection: Collection, id: &str) -> Place {
        Place {
            collection: collection.name().to_owned(),
            id: id.to_owned(),
            life: self.life.clone(),
            version: self.version,
            deleted: false,
        }
    }
}

/// The kinds of definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Collection {
    Application,
    Environment,
    Pipeline,
    PipelineTemplate,
    Project,
    CanaryConfig,
    Quarantine,
    Notification,
    User,
    ServiceAccount,
    ApiToken,
    Session,
}

impl Collection {
    const ALL: [Self; 12] = [
        Self::Application,
        Self::Environment,
        Self::Pipeline,
        Self::PipelineTemplate,
        Self::Project,
        Self::CanaryConfig,
        Self::Quarantine,
        Self::Notification,
        Self::User,
        Self::ServiceAccount,
        Self::ApiToken,
        Self::Session,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::Environment => "environment",
            Self::Pipeline => "pipeline",
            Self::PipelineTemplate => "pipelineTemplate",
            Self::Project => "project",
            Self::CanaryConfig => "canaryConfig",
            Self::Quarantine => "quarantine",
            Self::Notification => "notification",
            Self::User => "user",
            Self::ServiceAccount => "serviceAccount",
            Self::ApiToken => "apiToken",
            Self::Session => "session",
        }
    }

    fn key(self, id: &str) -> DocumentKey {
        DocumentKey::new(self.name(), id)
    }

    fn version_key(self, id: &str, version: Version) -> DocumentKey {
        keep::version_key(self.name(), id, version)
    }

    fn history(self, id: &str) -> String {
        format!("history:{}:{id}", self.name())
    }
}

impl Definitions {
    /// Definitions in this store; accounts are asked of this cloud-driver.
    pub fn new(store: Shared, cloud_driver: Arc<dyn CloudDriver>) -> Self {
        Self {
            store,
            cloud_driver,
            archive: None,
        }
    }

    /// The same; every version goes to this archive too, so that definitions survive the loss of the store.
    #[must_use]
    pub fn kept_in(mut self, archive: Option<store::archive::Shared>) -> Self {
        self.archive = archive;
        self
    }

    async fn load(
        &self,
        collection: Collection,
        shard: Shard,
        id: &str,
    ) -> Result<Option<Stored>, Failure> {
        let found = self
            .store
            .load(shard, &collection.key(id))
            .await
            .map_err(unavailable)?;
        let Some(document) = found else {
            return Ok(None);
        };
        let body = document
            .parts
            .get(BODY)
            .map(Bytes::as_ref)
            .unwrap_or_default();
        Ok(Some(Stored {
            version: document.version,
            body: parse(body, collection, id)?,
            life: keep::life_of(&document),
        }))
    }

    /// The bodies of these, those that have gone meanwhile left out.
    async fn load_all(
        &self,
        collection: Collection,
        shard: Shard,
        ids: &[String],
    ) -> Result<Vec<Map<String, Value>>, Failure> {
        let mut bodies = Vec::with_capacity(ids.len());
        for some in ids.chunks(200) {
            let keys: Vec<_> = some.iter().map(|id| collection.key(id)).collect();
            let parts = self
                .store
                .load_part(shard, &keys, BODY)
                .await
                .map_err(unavailable)?;
            for (part, id) in parts.into_iter().zip(some) {
                if let Some((_, content)) = part {
                    bodies.push(parse(&content, collection, id)?);
                }
            }
        }
        Ok(bodies)
    }

    /// All members of an index, lowest score first.
    async fn members(&self, shard: Shard, index: &str) -> Result<Vec<IndexEntry>, Failure> {
        let mut all: Vec<IndexEntry> = Vec::new();
        loop {
            let page = self
                .store
                .page(shard, index, all.last(), Order::Ascending, 500)
                .await
                .map_err(unavailable)?;
            let last = page.len() < 500;
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }

    /// A batch that writes a definition and its next version. What no longer
    /// fits the history goes with the same commit.
    async fn write(
        &self,
        collection: Collection,
        shard: Shard,
        id: &str,
        before: Option<&Stored>,
        body: &Map<String, Value>,
    ) -> Result<Batch, Failure> {
        let batch = Batch::new(shard, ids::commit()).new_work();
        self.add(batch, collection, id, before, body).await
    }

    /// The same into a batch that writes others too.
    async fn add(
        &self,
        batch: Batch,
        collection: Collection,
        id: &str,
        before: Option<&Stored>,
        body: &Map<String, Value>,
    ) -> Result<Batch, Failure> {
        let shard = batch.shard();
        let text = Bytes::from(serde_json::to_vec(body).map_err(|e| internal(&e))?);
        if text.len() > MAX_DEFINITION {
            let message = format!(
                "it has {} bytes, more than the {MAX_DEFINITION} allowed; \
                 move large texts into artifacts",
                text.len()
            );
            let path = collection.name().to_owned();
            return Err(Failure::invalid("", vec![FieldError { path, message }]));
        }
        let expected = before.map_or(0, |stored| stored.version);
        let version = expected + 1;
        let life = match before {
            Some(stored) => stored.life.clone(),
            None => new_life(self.now_ms().await?, &ids::commit()),
        };
        let history = collection.history(id);
        let batch = batch
            .document(&collection.key(id), expected)
            .set(BODY, text.clone())
            .set(LIFE, life.clone());
        let batch = put_version(batch, collection, id, version, text, &life);
        let place = Place {
            collection: collection.name().to_owned(),
            id: id.to_owned(),
            life,
            version,
            deleted: false,
        };
        let mut batch = self.to_keep(batch, collection, &place);
        if self
            .store
            .cardinality(shard, &history)
            .await
            .map_err(unavailable)?
            >= MOST_VERSIONS
        {
            let oldest = self
                .store
                .page(shard, &history, None, Order::Ascending, 1)
                .await
                .map_err(unavailable)?;
            for entry in oldest {
                batch = drop_version(batch, collection, id, &entry);
            }
        }
        Ok(batch)
    }

    /// A batch that deletes a definition and its former versions.
    async fn remove(
        &self,
        collection: Collection,
        shard: Shard,
        id: &str,
        stored: &Stored,
    ) -> Result<Batch, Failure> {
        let batch = Batch::new(shard, ids::commit())
            .document(&collection.key(id), stored.version)
            .delete();
        let end = Place {
            version: stored.version + 1,
            deleted: true,
            ..stored.place(collection, id)
        };
        let mut batch = self.to_keep(batch, collection, &end);
        for entry in self.members(shard, &collection.history(id)).await? {
            batch = drop_version(batch, collection, id, &entry);
        }
        Ok(batch)
    }

    /// Former versions, newest first.
    async fn versions(
        &self,
        collection: Collection,
        shard: Shard,
        id: &str,
        limit: usize,
    ) -> Result<Vec<Map<String, Value>>, Failure> {
        let entries = self
            .store
            .page(
                shard,
                &collection.history(id),
                None,
                Order::Descending,
                limit.min(500),
            )
            .await
            .map_err(unavailable)?;
        let keys: Vec<_> = entries
            .iter()
            .filter_map(|e| e.member.parse().ok())
            .map(|version| collection.version_key(id, version))
            .collect();
        let parts = self
            .store
            .load_part(shard, &keys, BODY)
            .await
            .map_err(unavailable)?;
        parts
            .into_iter()
            .flatten()
            .map(|(_, content)| parse(&content, collection, id))
            .collect()
    }

    /// Commits, and archives what it saved before this answers.
    async fn commit(&self, batch: Batch) -> Result<Result<(), Refused>, Failure> {
        match self.store.commit(batch).await.map_err(unavailable)? {
            Ok(committed) => self.keep_all(&committed.leased).await.map(Ok),
            Err(refused) => Ok(Err(refused)),
        }
    }

    pub(crate) async fn now_ms(&self) -> Result<i64, Failure> {
        self.store.now_ms().await.map_err(unavailable)
    }
}

/// Adds a former version to a batch, with its place in the history.
fn put_version(
    batch: Batch,
    collection: Collection,
    id: &str,
    version: Version,
    body: Bytes,
    life: &str,
) -> Batch {
    batch
        .document(&collection.version_key(id, version), 0)
        .set(BODY, body)
        .set(LIFE, life.to_owned())
        .index(IndexChange::Put {
            index: collection.history(id),
            member: version.to_string(),
            score: i64::try_from(version).unwrap_or(i64::MAX),
        })
}

fn drop_version(batch: Batch, collection: Collection, id: &str, entry: &IndexEntry) -> Batch {
    let batch = batch.index(IndexChange::Drop {
        index: collection.history(id),
        member: entry.member.clone(),
    });
    match entry.member.parse() {
        // A version is written once, so it is at version 1.
        Ok(version) => batch
            .document(&collection.version_key(id, version), 1)
            .delete(),
        Err(_) => batch,
    }
}

fn parse(content: &[u8], collection: Collection, id: &str) -> Result<Map<String, Value>, Failure> {
    serde_json::from_slice(content).map_err(|error| {
        Failure::internal(format!(
            "{} {id} is stored damaged: {error}",
            collection.name()
        ))
    })
}

/// The store's failure as a caller may react to it.
pub(crate) fn unavailable(error: store::Error) -> Failure {
    let kind = match error {
        store::Error::Unavailable(_) => Kind::Unavailable,
        store::Error::Limit { .. } => Kind::Invalid,
        store::Error::Open { .. } | store::Error::Damaged(_) => Kind::Internal,
    };
    Failure::new(kind, error.to_string())
}

/// A refusal that deciding anew does not change.
pub(crate) fn refused(refused: &Refused) -> Failure {
    let kind = match refused {
        Refused::Full(_) => Kind::Exhausted,
        Refused::Fenced(_)
        | Refused::Conflict { .. }
        | Refused::Guard(_)
        | Refused::Taken { .. }
        | Refused::Missing { .. }
        | Refused::Busy(_) => Kind::Conflict,
    };
    Failure::new(kind, refused.to_string())
}

/// Whether two bodies say the same, their stamps left out: a save that changes
/// nothing makes no version, so that repeating one is harmless.
fn same(a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    same_but(a, b, &[])
}

/// [`same`], and these fields are stamps too.
fn same_but(a: &Map<String, Value>, b: &Map<String, Value>, stamps: &[&str]) -> bool {
    let is_stamp = |key: &str| {
        matches!(key, "updateTs" | "lastModifiedBy" | "lastModified") || stamps.contains(&key)
    };
    let part = |map: &Map<String, Value>| {
        let mut map = map.clone();
        map.retain(|key, _| !is_stamp(key));
        map
    };
    part(a) == part(b)
}

fn internal(error: &dyn std::error::Error) -> Failure {
    Failure::internal(error.to_string())
}

/// The object a definition must be.
fn object(value: Value, what: &str) -> Result<Map<String, Value>, Failure> {
    match value {
        Value::Object(map) => Ok(map),
        other => {
            let message = format!("it is {}; send a JSON object", kind_of(&other));
            let path = what.to_owned();
            Err(Failure::invalid("", vec![FieldError { path, message }]))
        }
    }
}

/// What a value is, for messages.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A field as trimmed text; none when it is absent, blank or no string.
pub(crate) fn text<'a>(map: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    map.get(field)
        .and_then(Value::as_str)
        .map(str::trim)
        .filter(|text| !text.is_empty())
}

#[async_trait]
impl services::Definitions for Definitions {
    async fn application(&self, name: &str) -> Result<Option<Value>, Failure> {
        self.get_application(name).await
    }

    async fn save_application(&self, application: Value, user: &str) -> Result<Value, Failure> {
        self.put_application(application, user).await
    }

    async fn delete_application(&self, name: &str) -> Result<(), Failure> {
        self.remove_application(name).await
    }

    async fn pipeline(&self, id: &str, application: &str) -> Result<Option<Value>, Failure> {
        self.get_pipeline(id, application).await
    }

    async fn pipeline_by_name(
        &self,
        application: &str,
        name: &str,
    ) -> Result<Option<Value>, Failure> {
        self.get_pipeline_by_name(application, name).await
    }

    async fn save_pipeline(
        &self,
        pipeline: Value,
        user: &str,
        stale_check: bool,
    ) -> Result<Value, Failure> {
        self.put_pipeline(pipeline, user, stale_check).await
    }

    async fn delete_pipeline(&self, application: &str, name: &str) -> Result<(), Failure> {
        if let Some(found) = self.get_pipeline_by_name(application, name).await?
            && let Some(id) = found.get("id").and_then(Value::as_str)
        {
            self.remove_pipeline(id, application).await?;
        }
        Ok(())
    }

    async fn object(&self, kind: Object, id: &str) -> Result<Option<Value>, Failure> {
        self.get_object(kind, id).await
    }

    async fn objects(&self, kind: Object) -> Result<Vec<Value>, Failure> {
        self.list_objects(kind).await
    }

    async fn save_object(&self, kind: Object, object: Value, user: &str) -> Result<Value, Failure> {
        self.put_object(kind, object, user, false).await
    }

    async fn delete_object(&self, kind: Object, id: &str) -> Result<(), Failure> {
        Self::delete_object(self, kind, id).await
    }
}
