//! Applications: one document each, named by their lower-case name.
//! Source of rules: `front50: Application`, `gate: ApplicationService`.

use proto::status::Failure;
use serde_json::{Map, Value};
use store::{IndexChange, Refused, Shard};

use super::{Collection, Definitions, Object, TRIES, object, refused, same, text};

/// The index of a shard's applications.
pub(super) const INDEX: &str = "applications";
const NAME_MAX: usize = 250;

impl Definitions {
    /// The shard in which everything of an application lies.
    pub(super) fn shard(&self, application: &str) -> Shard {
        self.store.shards().of_application(application.trim())
    }

    /// All applications, by name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list_applications(&self) -> Result<Vec<Value>, Failure> {
        let mut all = Vec::new();
        for shard in self.store.shards().all() {
            let entries = self.members(shard, INDEX).await?;
            let names: Vec<String> = entries.into_iter().map(|e| e.member).collect();
            all.extend(
                self.load_all(Collection::Application, shard, &names)
                    .await?,
            );
        }
        all.sort_by(|a, b| text(a, "name").cmp(&text(b, "name")));
        Ok(all.into_iter().map(Value::Object).collect())
    }

    /// An application by name, whatever its case; none if there is none.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn get_application(&self, name: &str) -> Result<Option<Value>, Failure> {
        let id = name.trim().to_lowercase();
        let found = self
            .load(Collection::Application, self.shard(&id), &id)
            .await?;
        Ok(found.map(|stored| Value::Object(stored.body)))
    }

    /// Former versions of an application, newest first.
    ///
    /// # Errors
    /// `NotFound` when there is no such application.
    pub async fn application_history(&self, name: &str, limit: u32) -> Result<Vec<Value>, Failure> {
        let id = name.trim().to_lowercase();
        if self.get_application(&id).await?.is_none() {
            let text = format!("Application not found (id: {name})");
            return Err(Failure::not_found(text));
        }
        let limit = if limit == 0 { 20 } else { limit };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let shard = self.shard(&id);
        let versions = self.versions(Collection::Application, shard, &id, limit);
        Ok(versions.await?.into_iter().map(Value::Object).collect())
    }

    /// Creates an application or changes it: fields that are left out keep
    /// their values (`front50: ApplicationService.merge`).
    ///
    /// # Errors
    /// `Invalid` naming the field; what was stored stays.
    pub async fn put_application(&self, application: Value, user: &str) -> Result<Value, Failure> {
        let given = object(application, "application")?;
        for _ in 0..TRIES {
            let id = check(&given)?;
            let shard = self.shard(&id);
            let stored = self.load(Collection::Application, shard, &id).await?;
            let mut body = stored.as_ref().map(|s| s.body.clone()).unwrap_or_default();
            if stored.is_none() && text(&given, "email").is_none() {
                return Err(Failure::field(
                    "email",
                    "it is empty; an application needs an owner's address",
                ));
            }
            for (key, value) in &given {
                if !value.is_null() {
                    body.insert(key.clone(), value.clone());
                }
            }
            let now = self.now_ms().await?;
            finish(&mut body, &id, user, now);
            let collection = Collection::Application;
            if let Some(before) = stored.as_ref().filter(|s| same(&s.body, &body)) {
                self.confirm(collection, shard, &id, before).await?;
                return Ok(Value::Object(before.body.clone()));
            }
            let batch = self
                .write(collection, shard, &id, stored.as_ref(), &body)
                .await?
                .index(place(&id));
            match self.commit(batch).await? {
                Ok(()) => return Ok(Value::Object(body)),
                Err(Refused::Conflict { .. }) => {}
                Err(other) => return Err(refused(&other)),
            }
        }
        Err(busy("application"))
    }

    /// Deletes an application and its pipelines; one that is not there is no error.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn remove_application(&self, name: &str) -> Result<(), Failure> {
        let id = name.trim().to_lowercase();
        let shard = self.shard(&id);
        self.leave_projects(&id).await?;
        for pipeline in self.list_pipelines(&id, "").await? {
            if let Some(pipeline) = pipeline.get("id").and_then(Value::as_str) {
                self.remove_pipeline(pipeline, &id).await?;
            }
        }
        // Before the application: if this ends in between, a repeat goes on.
        self.delete_object(Object::Notification, &id).await?;
        for _ in 0..TRIES {
            let Some(stored) = self.load(Collection::Application, shard, &id).await? else {
                return Ok(());
            };
            let batch = self
                .remove(Collection::Application, shard, &id, &stored)
                .await?
                .index(IndexChange::Drop {
                    index: INDEX.to_owned(),
                    member: id.clone(),
                });
            match self.commit(batch).await? {
                Ok(()) => return Ok(()),
                Err(Refused::Conflict { .. }) => {}
                Err(other) => return Err(refused(&other)),
            }
        }
        Err(busy("application"))
    }
}

/// Where an application is listed.
pub(super) fn place(id: &str) -> IndexChange {
    IndexChange::Put {
        index: INDEX.to_owned(),
        member: id.to_owned(),
        score: 0,
    }
}

/// The id of a faultless application.
fn check(given: &Map<String, Value>) -> Result<String, Failure> {
    let Some(name) = text(given, "name") else {
        return Err(Failure::field(
            "name",
            "it is empty; an application needs a name",
        ));
    };
    let fine = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | '^');
    if name.len() > NAME_MAX || !name.chars().all(fine) {
        let message = format!(
            "\"{name}\" may hold only letters, digits and -_.~^, at most {NAME_MAX} characters"
        );
        return Err(Failure::field("name", message));
    }
    Ok(name.to_lowercase())
}

/// The fields that are kept by the store of definitions.
fn finish(body: &mut Map<String, Value>, id: &str, user: &str, now_ms: i64) {
    body.insert("name".into(), id.into());
    if let Some(Value::Array(list)) = body.get("cloudProviders") {
        let joined: Vec<_> = list.iter().filter_map(Value::as_str).collect();
        body.insert("cloudProviders".into(), joined.join(",").into());
    }
    body.entry("createTs")
        .or_insert_with(|| now_ms.to_string().into());
    body.insert("updateTs".into(), now_ms.to_string().into());
    body.insert("lastModifiedBy".into(), user.into());
}

/// Another writer was faster every time.
pub(super) fn busy(what: &str) -> Failure {
    let message = format!("this {what} is being changed by others; repeat");
    Failure::new(proto::status::Kind::Conflict, message)
}
