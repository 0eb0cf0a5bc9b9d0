//! Objects beside applications and pipelines: pipeline templates, projects,
//! environments, versions in quarantine, notifications of applications. All of one kind are in one shard, listed by one index.
//! Source of the first two: `front50: PipelineTemplate`, `Project`.

use proto::status::{Failure, FieldError, Kind};
use serde_json::{Map, Value, json};
use store::{IndexChange, Refused, Shard};

use super::{
    BODY, Collection, Definitions, TRIES, account, canary, environment, parse, project, refused,
    same_but, template, text, unavailable,
};
use crate::notification::address;

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    /// A pipeline template, version 2, by id (the latest), `id:tag` or `id@sha256:digest`.
    PipelineTemplate,
    /// A project: applications and clusters shown together.
    Project,
    /// A place that versions are promoted to, such as staging.
    Environment,
    /// A canary config, by id; what it may hold is canary-judge's to say.
    CanaryConfig,
    /// Images that must not be deployed again to a cluster until they are released.
    Quarantine,
    /// Notifications of an application, by its name: `{application, <type>: [{…}]}`.
    Notification,
    /// Somebody who was seen: `{id, roles}`, the roles as of the last request.
    User,
    /// Whom triggers may run as: `{name, memberOf}`.
    ServiceAccount,
    /// A credential for programs: `{id, user, hash, …}`; what it is the hash of is kept nowhere.
    ApiToken,
    /// Somebody who logged in with a browser: `{id, user, roles, expiresAt}`.
    Session,
}

impl Object {
    /// All kinds.
    pub(super) const ALL: [Self; 10] = [
        Self::PipelineTemplate,
        Self::Project,
        Self::Environment,
        Self::CanaryConfig,
        Self::Quarantine,
        Self::Notification,
        Self::User,
        Self::ServiceAccount,
        Self::ApiToken,
        Self::Session,
    ];

    /// The kind of this name.
    ///
    /// # Errors
    /// When there is none; names those there are.
    pub fn of(name: &str) -> Result<Self, Failure> {
        match name {
            "pipelineTemplate" => Ok(Self::PipelineTemplate),
            "project" => Ok(Self::Project),
            "environment" => Ok(Self::Environment),
            "canaryConfig" => Ok(Self::CanaryConfig),
            "quarantine" => Ok(Self::Quarantine),
            "notification" => Ok(Self::Notification),
            "user" => Ok(Self::User),
            "serviceAccount" => Ok(Self::ServiceAccount),
            "apiToken" => Ok(Self::ApiToken),
            "session" => Ok(Self::Session),
            other => {
                let known = "pipelineTemplate, project, environment, canaryConfig, quarantine, notification, \
                             user, serviceAccount, apiToken or session";
                let message = format!("\"{other}\" is unknown; use {known}");
                Err(Failure::field("kind", message))
            }
        }
    }

    pub(super) fn collection(self) -> Collection {
        match self {
            Self::PipelineTemplate => Collection::PipelineTemplate,
            Self::Project => Collection::Project,
            Self::Environment => Collection::Environment,
            Self::CanaryConfig => Collection::CanaryConfig,
            Self::Quarantine => Collection::Quarantine,
            Self::Notification => Collection::Notification,
            Self::User => Collection::User,
            Self::ServiceAccount => Collection::ServiceAccount,
            Self::ApiToken => Collection::ApiToken,
            Self::Session => Collection::Session,
        }
    }

    /// The key under which an object is kept: names of environments and applications are the
    /// same in any case.
    fn key(self, id: &str) -> String {
        match self {
            Self::Environment | Self::Notification | Self::ServiceAccount | Self::User => {
                id.to_lowercase()
            }
            Self::PipelineTemplate => template::key(id),
            Self::Project
            | Self::CanaryConfig
            | Self::Quarantine
            | Self::ApiToken
            | Self::Session => id.to_owned(),
        }
    }

    /// What no other object of the kind may have.
    fn unique(self, body: &Map<String, Value>) -> Vec<String> {
        match self {
            Self::Environment => environment::claims(body),
            Self::CanaryConfig => canary::claims(body),
            Self::Project => project::claims(body),
            Self::PipelineTemplate
            | Self::Quarantine
            | Self::Notification
            | Self::User
            | Self::ServiceAccount
            | Self::ApiToken
            | Self::Session => Vec::new(),
        }
    }

    /// What is said when a unique key is another's.
    fn taken(self, key: &str, value: &str) -> FieldError {
        match self {
            Self::Project => project::taken(key),
            Self::CanaryConfig => canary::taken(key),
            Self::Environment
            | Self::PipelineTemplate
            | Self::Quarantine
            | Self::Notification
            | Self::User
            | Self::ServiceAccount
            | Self::ApiToken
            | Self::Session => environment::taken(key, value),
        }
    }

    /// The key of an object as sent.
    fn id(self, body: &Map<String, Value>) -> Result<String, Failure> {
        let required = |field: &str| {
            text(body, field).ok_or_else(|| Failure::field(field, "it is missing; set it"))
        };
        match self {
            Self::PipelineTemplate => template::id(body),
            Self::Project | Self::Environment | Self::ServiceAccount => {
                required("name").map(str::to_lowercase)
            }
            Self::User => required("id").map(str::to_lowercase),
            Self::Notification => required("application").map(str::to_lowercase),
            Self::CanaryConfig | Self::Quarantine | Self::ApiToken | Self::Session => {
                required("id").map(ToOwned::to_owned)
            }
        }
    }

    /// Fields that say when one was saved, beside those that all objects have.
    fn stamps(self) -> &'static [&'static str] {
        match self {
            Self::CanaryConfig => &["updatedTimestamp", "updatedTimestampIso"],
            Self::PipelineTemplate
            | Self::Project
            | Self::Environment
            | Self::Quarantine
            | Self::Notification
            | Self::User
            | Self::ServiceAccount
            | Self::ApiToken
            | Self::Session => &[],
        }
    }

    /// What is wrong with one.
    fn check(self, body: &Map<String, Value>) -> Result<(), Failure> {
        let faults = match self {
            Self::Environment => environment::check(body),
            Self::Notification => address::check_all(body),
            Self::PipelineTemplate => template::check(body),
            Self::Project => project::check(body),
            Self::ServiceAccount => account::check(body),
            Self::CanaryConfig | Self::Quarantine | Self::User | Self::ApiToken | Self::Session => {
                Vec::new()
            }
        };
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Failure::invalid("", faults))
        }
    }
}

/// Where an object is listed, and what no other may have.
pub(super) fn places(kind: Object, id: &str, body: &Map<String, Value>) -> Vec<IndexChange> {
    let listed = IndexChange::Put {
        index: Definitions::index_of(kind),
        member: id.to_owned(),
        score: 0,
    };
    let claims = kind.unique(body).into_iter().map(|key| IndexChange::Claim {
        key,
        value: id.to_owned(),
    });
    std::iter::once(listed).chain(claims).collect()
}

impl Definitions {
    pub(super) fn shard_of(&self, kind: Object) -> Shard {
        self.store.shards().of_name(kind.collection().name())
    }

    pub(super) fn index_of(kind: Object) -> String {
        format!("objects:{}", kind.collection().name())
    }

    /// All objects of a kind, by id.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list_objects(&self, kind: Object) -> Result<Vec<Value>, Failure> {
        let shard = self.shard_of(kind);
        let entries = self.members(shard, &Self::index_of(kind)).await?;
        let mut ids: Vec<String> = entries.into_iter().map(|e| e.member).collect();
        ids.sort_unstable();
        let bodies = self.load_all(kind.collection(), shard, &ids).await?;
        Ok(bodies.into_iter().map(Value::Object).collect())
    }

    /// An object by id; none if there is none.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn get_object(&self, kind: Object, id: &str) -> Result<Option<Value>, Failure> {
        let id = match kind {
            Object::Project => match self.project_id(id).await? {
                Some(id) => id,
                None => return Ok(None),
            },
            _ => kind.key(id),
        };
        let found = self
            .load(kind.collection(), self.shard_of(kind), &id)
            .await?;
        Ok(found.map(|stored| Value::Object(stored.body)))
    }

    /// What is kept of the versions of an object, newest first, each with its number and when and by whom it was saved;
    /// or, other than 0, this version alone, with the object. All objects of them would be too large for one answer.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn object_versions(
        &self,
        kind: Object,
        id: &str,
        version: u64,
    ) -> Result<Vec<Value>, Failure> {
        let (collection, shard, id) = (kind.collection(), self.shard_of(kind), kind.key(id));
        let mut kept = self.members(shard, &collection.history(&id)).await?;
        kept.reverse();
        kept.retain(|entry| version == 0 || entry.score.unsigned_abs() == version);
        let mut versions = Vec::with_capacity(kept.len());
        for entry in kept {
            let key = collection.version_key(&id, entry.score.unsigned_abs());
            let found = self.store.load(shard, &key).await.map_err(unavailable)?;
            let Some(body) = found.as_ref().and_then(|found| found.parts.get(BODY)) else {
                continue;
            };
            let object = parse(body, collection, &id)?;
            let mut told = Map::from_iter([("version".to_owned(), json!(entry.score))]);
            if version > 0 {
                told.insert("object".to_owned(), Value::Object(object));
            } else {
                let stamps = ["updateTs", "lastModifiedBy"].iter().chain(kind.stamps());
                let stamps = stamps.filter_map(|key| object.get_key_value(*key));
                told.extend(stamps.map(|(key, value)| (key.clone(), value.clone())));
            }
            versions.push(Value::Object(told));
        }
        Ok(versions)
    }

    /// Creates or replaces an object and answers what is stored.
    ///
    /// # Errors
    /// `Invalid` with the faulty field; `Conflict` when it must not be there and is.
    pub async fn put_object(
        &self,
        kind: Object,
        object: Value,
        user: &str,
        create: bool,
    ) -> Result<Value, Failure> {
        let Value::Object(mut body) = object else {
            return Err(Failure::field(
                "object",
                "it is no object; send a JSON object",
            ));
        };
        kind.check(&body)?;
        if kind == Object::PipelineTemplate {
            return self.put_template(body, user, create).await;
        }
        let shard = self.shard_of(kind);
        if kind == Object::Project {
            project::complete(&mut body);
        }
        for _ in 0..TRIES {
            let id = match kind {
                Object::Project => self.project_place(&body).await?,
                _ => kind.id(&body)?,
            };
            let before = self.load(kind.collection(), shard, &id).await?;
            if create && before.is_some() {
                let name = kind.collection().name();
                let message = format!("{name} {id} exists already; update it instead");
                return Err(Failure::new(Kind::Conflict, message));
            }
            if let Some(before) = &before {
                for key in ["id", "createTs"] {
                    if let Some(kept) = before.body.get(key) {
                        body.entry(key).or_insert_with(|| kept.clone());
                    }
                }
                if same_but(&before.body, &body, kind.stamps()) {
                    self.confirm(kind.collection(), shard, &id, before).await?;
                    return Ok(Value::Object(before.body.clone()));
                }
            }
            let now = self.now_ms().await?;
            if kind == Object::Project {
                body.insert("id".to_owned(), id.clone().into());
            }
            body.entry("id").or_insert_with(|| id.clone().into());
            body.entry("createTs").or_insert_with(|| now.into());
            body.insert("updateTs".to_owned(), now.to_string().into());
            body.insert("lastModifiedBy".to_owned(), user.into());
            let mut batch = self
                .write(kind.collection(), shard, &id, before.as_ref(), &body)
                .await?;
            let claimed = kind.unique(&body);
            let held = before.map(|b| kind.unique(&b.body)).unwrap_or_default();
            for key in held.into_iter().filter(|key| !claimed.contains(key)) {
                batch = batch.index(IndexChange::Free { key });
            }
            for change in places(kind, &id, &body) {
                batch = batch.index(change);
            }
            match self.commit(batch).await? {
                Ok(()) => return Ok(Value::Object(body)),
                Err(Refused::Conflict { .. }) => {}
                Err(Refused::Taken { key, value }) => {
                    return Err(Failure::invalid("", vec![kind.taken(&key, &value)]));
                }
                Err(other) => return Err(refused(&other)),
            }
        }
        Err(super::application::busy(kind.collection().name()))
    }

    /// Deletes an object; one that is not there is no error.
    ///
    /// # Errors
    /// When the store refuses; `Conflict` for a template that pipelines are made from.
    pub async fn delete_object(&self, kind: Object, id: &str) -> Result<(), Failure> {
        if kind == Object::PipelineTemplate && template::is_whole(id) {
            self.unused(id).await?;
            for version in self.template_versions(id).await? {
                self.delete_one(kind, &version).await?;
            }
            return Ok(());
        }
        match kind {
            Object::Project => match self.project_id(id).await? {
                Some(id) => self.delete_one(kind, &id).await,
                None => Ok(()),
            },
            _ => self.delete_one(kind, id).await,
        }
    }

    async fn delete_one(&self, kind: Object, id: &str) -> Result<(), Failure> {
        let shard = self.shard_of(kind);
        let id = kind.key(id);
        for _ in 0..TRIES {
            let Some(stored) = self.load(kind.collection(), shard, &id).await? else {
                return Ok(());
            };
            let mut batch = self
                .remove(kind.collection(), shard, &id, &stored)
                .await?
                .index(IndexChange::Drop {
                    index: Self::index_of(kind),
                    member: id.clone(),
                });
            for key in kind.unique(&stored.body) {
                batch = batch.index(IndexChange::Free { key });
            }
            match self.commit(batch).await? {
                Ok(()) => return Ok(()),
                Err(Refused::Conflict { .. }) => {}
                Err(other) => return Err(refused(&other)),
            }
        }
        Err(Failure::new(
            Kind::Conflict,
            format!("{id} is being changed; repeat"),
        ))
    }
}
