//! Pipelines: one document each, named by id, in the shard of their application.
//! Source of rules: `front50: PipelineController`, `PipelineDAO`.

use proto::status::{Failure, FieldError, Kind};
use serde_json::{Map, Value};
use store::{Batch, IndexChange, Refused, Shard};

use super::application::busy;
use super::check::{Accounts, check_pipeline, doubtful_texts};
use super::{
    Collection, Definitions, Stored, TRIES, account, object, refused, same, secret, since, text,
};
use crate::ids;

/// The index of a shard's applications that had pipelines.
pub(super) const APPLICATIONS: &str = "applications-with-pipelines";

/// Pipelines of an application, score = when they were created.
pub(super) fn index(application: &str) -> String {
    format!("pipelines:{}", application.to_lowercase())
}

/// Pipelines of a shard with an enabled trigger of this type.
fn triggered(kind: &str) -> String {
    format!("pipelines-triggered:{kind}")
}

fn name_key(application: &str, name: &str) -> String {
    format!(
        "pipeline-name:{}:{}",
        application.to_lowercase(),
        name.to_lowercase()
    )
}

/// What a save comes to.
enum Prepared {
    /// It says what is stored.
    Unchanged(Map<String, Value>),
    /// Write this.
    Changed(Box<Batch>, Map<String, Value>),
}

impl Definitions {
    /// Pipelines of an application (empty: of all), those with an enabled
    /// trigger of a type (empty: all), in their order, `index` renumbered.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list_pipelines(
        &self,
        application: &str,
        trigger_type: &str,
    ) -> Result<Vec<Value>, Failure> {
        let shards: Vec<Shard> = if application.is_empty() {
            self.store.shards().all().collect()
        } else {
            vec![self.shard(application)]
        };
        let mut all = Vec::new();
        for shard in shards {
            let ids = match (application, trigger_type) {
                ("", "") => {
                    let mut ids = Vec::new();
                    for application in self.members(shard, APPLICATIONS).await? {
                        ids.extend(self.members(shard, &index(&application.member)).await?);
                    }
                    ids
                }
                (application, "") => self.members(shard, &index(application)).await?,
                (_, kind) => self.members(shard, &triggered(kind)).await?,
            };
            let ids: Vec<String> = ids.into_iter().map(|e| e.member).collect();
            all.extend(self.load_all(Collection::Pipeline, shard, &ids).await?);
        }
        if !application.is_empty() {
            let is_its = |p: &Map<String, Value>| {
                text(p, "application").is_some_and(|a| a.eq_ignore_ascii_case(application.trim()))
            };
            all.retain(is_its);
        }
        sort(&mut all);
        Ok(all.into_iter().map(Value::Object).collect())
    }

    /// A pipeline by id; with an application its shard alone is asked.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn get_pipeline(
        &self,
        id: &str,
        application: &str,
    ) -> Result<Option<Value>, Failure> {
        let found = self.find(id, application).await?;
        Ok(found.map(|(_, stored)| Value::Object(stored.body)))
    }

    /// A pipeline by its exact name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn get_pipeline_by_name(
        &self,
        application: &str,
        name: &str,
    ) -> Result<Option<Value>, Failure> {
        let shard = self.shard(application);
        let key = name_key(application, name);
        let id = self
            .store
            .unique(shard, &key)
            .await
            .map_err(super::unavailable)?;
        let Some(id) = id else { return Ok(None) };
        let stored = self.load(Collection::Pipeline, shard, &id).await?;
        Ok(stored
            .map(|s| s.body)
            .filter(|b| text(b, "name") == Some(name))
            .map(Value::Object))
    }

    async fn find(&self, id: &str, application: &str) -> Result<Option<(Shard, Stored)>, Failure> {
        let shards = self.store.shards();
        if !application.is_empty() {
            let shard = self.shard(application);
            let stored = self.load(Collection::Pipeline, shard, id).await?;
            return Ok(stored.map(|stored| (shard, stored)));
        }
        // Ids of ours say where they are; those that came from elsewhere are looked for.
        let first = ids::shard_of_uuid(id).map(|number| shards.numbered(number));
        for shard in first
            .into_iter()
            .chain(shards.all().filter(|s| Some(*s) != first))
        {
            if let Some(stored) = self.load(Collection::Pipeline, shard, id).await? {
                return Ok(Some((shard, stored)));
            }
        }
        Ok(None)
    }

    /// Creates a pipeline or replaces it.
    ///
    /// # Errors
    /// `Invalid` with every faulty path; `Conflict` when others keep changing it.
    pub async fn put_pipeline(
        &self,
        pipeline: Value,
        user: &str,
        stale_check: bool,
    ) -> Result<Value, Failure> {
        let given = object(pipeline, "pipeline")?;
        let accounts = match self.cloud_driver.accounts().await {
            Ok(names) => Accounts::Known(names),
            // Who cannot reach cloud-driver may still author; the stage will tell.
            Err(failure) => {
                tracing::warn!(error = %failure, "accounts of a saved pipeline cannot be checked");
                Accounts::Unknown
            }
        };
        let faults = check_pipeline(&given, &accounts);
        if !faults.is_empty() {
            return Err(Failure::invalid("", faults));
        }
        for doubt in doubtful_texts(&given) {
            tracing::warn!(
                application = text(&given, "application"),
                pipeline.name = text(&given, "name"),
                path = doubt.path,
                reason = doubt.message,
                "a saved pipeline has a text that is no expression"
            );
        }
        for _ in 0..TRIES {
            let (batch, body) = match self.prepare(given.clone(), user, stale_check).await? {
                Prepared::Unchanged(body) => return Ok(Value::Object(body)),
                Prepared::Changed(batch, body) => (*batch, body),
            };
            match self.commit(batch).await? {
                Ok(()) => return Ok(Value::Object(body)),
                Err(Refused::Conflict { .. }) => {}
                Err(Refused::Taken { .. }) => {
                    let message = format!(
                        "A pipeline with name {} already exists in application {}",
                        text(&body, "name").unwrap_or_default(),
                        text(&body, "application").unwrap_or_default()
                    );
                    let path = "name".to_owned();
                    return Err(Failure::invalid("", vec![FieldError { path, message }]));
                }
                Err(other) => return Err(refused(&other)),
            }
        }
        Err(busy("pipeline"))
    }

    async fn prepare(
        &self,
        mut body: Map<String, Value>,
        user: &str,
        stale_check: bool,
    ) -> Result<Prepared, Failure> {
        let application = text(&body, "application").unwrap_or_default().to_owned();
        let name = text(&body, "name").unwrap_or_default().to_owned();
        let shard = self.shard(&application);
        let given_id = text(&body, "id").map(ToOwned::to_owned);
        let id = given_id
            .clone()
            .unwrap_or_else(|| ids::uuid_in(shard.number()));
        let found = match &given_id {
            Some(id) => self.find(id, "").await?,
            None => None,
        };
        let stored = match found {
            Some((at, stored))
                if at == shard
                    && text(&stored.body, "application")
                        .is_some_and(|a| a.eq_ignore_ascii_case(&application)) =>
            {
                Some(stored)
            }
            Some((_, stored)) => {
                let message = format!(
                    "{id} is a pipeline of application {}; leave the id out to make a copy",
                    text(&stored.body, "application").unwrap_or_default()
                );
                let path = "id".to_owned();
                return Err(Failure::invalid("", vec![FieldError { path, message }]));
            }
            None => None,
        };
        let submitted = body.clone();
        let now = self.now_ms().await?;
        let regenerate = given_id.is_none()
            || body
                .get("regenerateCronTriggerIds")
                .and_then(Value::as_bool)
                == Some(true);
        secret::keep(&mut body, stored.as_ref().map(|s| &s.body))?;
        finish(&mut body, stored.as_ref().map(|s| &s.body), &id, user, now);
        let before = stored.as_ref().map(|s| &s.body);
        identify_triggers(&mut body, before, regenerate);
        account::run_as_own(&mut body, &id);
        since::keep(&mut body, before, now);
        if let Some(stored) = &stored {
            if same(&stored.body, &body) {
                self.confirm(Collection::Pipeline, shard, &id, stored)
                    .await?;
                return Ok(Prepared::Unchanged(stored.body.clone()));
            }
            if stale_check {
                fresh(&submitted, &stored.body)?;
            }
        }

        let mut batch = self
            .write(Collection::Pipeline, shard, &id, stored.as_ref(), &body)
            .await?;
        let types = trigger_types(&body);
        let claimed = name_key(&application, &name);
        if let Some(stored) = &stored {
            // Only what no longer holds: no change of an index undoes another.
            let gone = |change: &IndexChange| match change {
                IndexChange::Free { key } => *key != claimed,
                IndexChange::Drop { index, .. } => !types.iter().any(|t| triggered(t) == *index),
                IndexChange::Put { .. } | IndexChange::Claim { .. } => true,
            };
            for change in leave(&stored.body, &id).into_iter().filter(gone) {
                batch = batch.index(change);
            }
        }
        for change in places(&body, &id, now) {
            batch = batch.index(change);
        }
        Ok(Prepared::Changed(Box::new(batch), body))
    }

    /// Deletes a pipeline by id; one that is not there is no error.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn remove_pipeline(&self, id: &str, application: &str) -> Result<bool, Failure> {
        for _ in 0..TRIES {
            let Some((shard, stored)) = self.find(id, application).await? else {
                return Ok(false);
            };
            let mut batch = self
                .remove(Collection::Pipeline, shard, id, &stored)
                .await?;
            for change in leave(&stored.body, id) {
                batch = batch.index(change);
            }
            if let Some(application) = text(&stored.body, "application") {
                batch = batch.index(IndexChange::Drop {
                    index: index(application),
                    member: id.to_owned(),
                });
            }
            match self.commit(batch).await? {
                Ok(()) => return Ok(true),
                Err(Refused::Conflict { .. }) => {}
                Err(other) => return Err(refused(&other)),
            }
        }
        Err(busy("pipeline"))
    }

    /// Former versions of a pipeline, newest first.
    ///
    /// # Errors
    /// `NotFound` when there is no such pipeline.
    pub async fn pipeline_history(&self, id: &str, limit: u32) -> Result<Vec<Value>, Failure> {
        let Some((shard, _)) = self.find(id, "").await? else {
            return Err(Failure::not_found(format!("there is no pipeline {id}")));
        };
        let limit = if limit == 0 {
            20
        } else {
            usize::try_from(limit).unwrap_or(usize::MAX)
        };
        let versions = self
            .versions(Collection::Pipeline, shard, id, limit)
            .await?;
        Ok(versions.into_iter().map(Value::Object).collect())
    }
}

/// Refuses what was edited from an older version (`front50: checkForStalePipeline`).
fn fresh(submitted: &Map<String, Value>, stored: &Map<String, Value>) -> Result<(), Failure> {
    let stamp = |map: &Map<String, Value>| {
        let value = map.get("updateTs").or_else(|| map.get("lastModified"))?;
        Some(
            value
                .as_str()
                .map_or_else(|| value.to_string(), ToOwned::to_owned),
        )
    };
    let Some(given) = stamp(submitted) else {
        return Ok(());
    };
    let have = stamp(stored).unwrap_or_default();
    if given == have {
        return Ok(());
    }
    let message = format!(
        "The submitted pipeline is stale.  submitted updateTs {given} does not match stored \
         updateTs {have}"
    );
    Err(Failure::new(Kind::Conflict, message))
}

/// The fields that the store of definitions keeps.
fn finish(
    body: &mut Map<String, Value>,
    stored: Option<&Map<String, Value>>,
    id: &str,
    user: &str,
    now_ms: i64,
) {
    let name = text(body, "name").unwrap_or_default().to_owned();
    body.insert("name".into(), name.into());
    body.insert("id".into(), id.into());
    if text(body, "schema").is_none() {
        body.insert("schema".into(), "1".into());
    }
    for kept in ["index", "createTs"] {
        if body.get(kept).is_none_or(Value::is_null)
            && let Some(value) = stored.and_then(|s| s.get(kept))
        {
            body.insert(kept.into(), value.clone());
        }
    }
    body.entry("createTs")
        .or_insert_with(|| now_ms.to_string().into());
    // A stamp never repeats, or a stale check would not see a change.
    let last = stored
        .and_then(|s| text(s, "updateTs"))
        .and_then(|t| t.parse::<i64>().ok());
    let stamp = last.map_or(now_ms, |last| now_ms.max(last + 1));
    body.insert("updateTs".into(), stamp.to_string().into());
    body.insert("lastModifiedBy".into(), user.into());
    body.insert("lastModified".into(), stamp.into());
    body.shift_remove("regenerateCronTriggerIds");
}

/// Gives every trigger an id, since an execution's id is derived from it. One that is written anew without its
/// id keeps the id of the stored one that says the same.
/// Differs from Spinnaker: there only cron triggers have ids.
fn identify_triggers(
    body: &mut Map<String, Value>,
    stored: Option<&Map<String, Value>>,
    regenerate_cron: bool,
) {
    let Some(Value::Array(triggers)) = body.get_mut("triggers") else {
        return;
    };
    let known = stored.and_then(|stored| stored.get("triggers")?.as_array());
    let known: Vec<_> = known
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .collect();
    let given = triggers.iter().filter_map(Value::as_object);
    let mut taken: Vec<String> = given
        .filter_map(|t| text(t, "id"))
        .map(ToOwned::to_owned)
        .collect();
    for trigger in triggers.iter_mut().filter_map(Value::as_object_mut) {
        let renew = regenerate_cron && text(trigger, "type") == Some("cron");
        if !renew && text(trigger, "id").is_some() {
            continue;
        }
        let mut alike = known
            .iter()
            .filter(|other| !renew && secret::alike(other, trigger));
        let id =
            alike.find_map(|other| text(other, "id").filter(|id| !taken.iter().any(|t| t == id)));
        let id = id.map_or_else(|| ids::uuid_in(0), ToOwned::to_owned);
        taken.push(id.clone());
        trigger.insert("id".into(), id.into());
    }
}

/// `true`, also when it was stored as a text.
pub(super) fn is_true(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

/// Types of the enabled triggers, each once; none for a disabled pipeline.
fn trigger_types(body: &Map<String, Value>) -> Vec<String> {
    if is_true(body.get("disabled")) {
        return Vec::new();
    }
    let Some(Value::Array(triggers)) = body.get("triggers") else {
        return Vec::new();
    };
    let mut types: Vec<String> = triggers
        .iter()
        .filter_map(Value::as_object)
        .filter(|t| is_true(t.get("enabled")))
        .filter_map(|t| text(t, "type"))
        .map(ToOwned::to_owned)
        .collect();
    types.sort_unstable();
    types.dedup();
    types
}

/// Where a pipeline is listed, and the name that no other of its application may have.
pub(super) fn places(body: &Map<String, Value>, id: &str, now_ms: i64) -> Vec<IndexChange> {
    let application = text(body, "application").unwrap_or_default();
    let name = text(body, "name").unwrap_or_default();
    let created = text(body, "createTs").and_then(|t| t.parse().ok());
    let put = |index: String, member: &str, score: i64| IndexChange::Put {
        index,
        member: member.to_owned(),
        score,
    };
    let mut places = vec![
        IndexChange::Claim {
            key: name_key(application, name),
            value: id.to_owned(),
        },
        put(APPLICATIONS.to_owned(), &application.to_lowercase(), 0),
        put(index(application), id, created.unwrap_or(now_ms)),
    ];
    let types = trigger_types(body);
    places.extend(types.iter().map(|kind| put(triggered(kind), id, 0)));
    places
}

/// What a stored version has in the indexes beside its application's list.
fn leave(stored: &Map<String, Value>, id: &str) -> Vec<IndexChange> {
    let mut changes: Vec<IndexChange> = trigger_types(stored)
        .iter()
        .map(|kind| IndexChange::Drop {
            index: triggered(kind),
            member: id.to_owned(),
        })
        .collect();
    if let (Some(application), Some(name)) = (text(stored, "application"), text(stored, "name")) {
        changes.push(IndexChange::Free {
            key: name_key(application, name),
        });
    }
    changes
}

/// By `index`, those without one last by name; then numbered anew from 0.
fn sort(pipelines: &mut [Map<String, Value>]) {
    pipelines.sort_by_cached_key(|p| {
        let index = p.get("index").and_then(Value::as_i64).unwrap_or(i64::MAX);
        (index, text(p, "name").unwrap_or_default().to_lowercase())
    });
    let mut counts: std::collections::BTreeMap<String, u64> = std::collections::BTreeMap::new();
    for pipeline in pipelines {
        let application = text(pipeline, "application")
            .unwrap_or_default()
            .to_lowercase();
        let next = counts.entry(application).or_default();
        pipeline.insert("index".into(), (*next).into());
        *next += 1;
    }
}
