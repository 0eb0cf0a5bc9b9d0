//! Canary configs: what one may hold and what saving adds to it. Documents, versions and archive are the
//! orchestrator's, which keeps all that people author (`orchestrator/src/definition`).
//! Source: `kayenta: CanaryConfigController`.

use std::future::Future;
use std::time::Duration;

use judge::{CanaryConfig, iso, validate};
use proto::MAX_MESSAGE_BYTES;
use proto::common::v1::Json;
use proto::orchestrator::v1::definition_service_client::DefinitionServiceClient;
use proto::orchestrator::v1::{ObjectKey, ObjectVersionsKey, SaveObjectRequest};
use proto::status::{Failure, Kind};
use runtime::auth::AuthContext;
use runtime::client::Peer;
use serde_json::{Map, Value, json};
use tonic::{Response, Status};

use crate::ids;
use crate::request::refused;
use crate::run::known_judge;

/// The kind of object that a config is there.
const KIND: &str = "canaryConfig";
/// How long the orchestrator may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Characters of an id at the most.
const LONGEST_ID: usize = 200;
/// What the orchestrator adds to each object, and a config has under other names.
const ADDED: [&str; 3] = ["createTs", "updateTs", "lastModifiedBy"];

/// The configs. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Configs {
    definitions: DefinitionServiceClient<Peer>,
}

async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Failure> {
    match tokio::time::timeout(TIMEOUT, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(status.into()),
        Err(_) => {
            let message = format!(
                "the orchestrator, which keeps canary configs, does not answer in {TIMEOUT:?}"
            );
            Err(Failure::new(Kind::Unavailable, message))
        }
    }
}

fn object(json: &Json) -> Result<Map<String, Value>, Failure> {
    match json.value("canaryConfig")? {
        Value::Object(object) => Ok(object),
        _ => Err(Failure::internal(
            "a canary config is kept that is no object",
        )),
    }
}

/// A config without what the orchestrator added.
fn bare(mut config: Map<String, Value>) -> Map<String, Value> {
    config.retain(|key, _| !ADDED.contains(&key.as_str()));
    config
}

fn text<'a>(config: &'a Map<String, Value>, key: &str) -> &'a str {
    config.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn missing(id: &str) -> Failure {
    Failure::not_found(format!("Canary config '{id}' does not exist."))
}

fn key(id: &str) -> ObjectKey {
    ObjectKey {
        kind: KIND.to_owned(),
        id: id.to_owned(),
    }
}

impl Configs {
    pub(crate) fn new(orchestrator: Peer) -> Self {
        let definitions = DefinitionServiceClient::new(orchestrator)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Self { definitions }
    }

    /// Summaries of the configs of these applications, or of all, by name.
    pub(crate) async fn list(
        &self,
        caller: &AuthContext,
        applications: &[String],
    ) -> Result<Vec<Value>, Failure> {
        let call = caller.request(key(""));
        let found = answer(self.definitions.clone().list_objects(call)).await?;
        let configs = found
            .items
            .iter()
            .map(object)
            .collect::<Result<Vec<_>, _>>()?;
        let of = |config: &Map<String, Value>| {
            let own = config.get("applications").and_then(Value::as_array);
            let mut own = own.into_iter().flatten().filter_map(Value::as_str);
            applications.is_empty()
                || own.any(|own| applications.iter().any(|a| a.eq_ignore_ascii_case(own)))
        };
        let mut configs: Vec<_> = configs.into_iter().filter(of).collect();
        configs.sort_by(|a, b| text(a, "name").cmp(text(b, "name")));
        let summary = |config: &Map<String, Value>| {
            let keys = [
                "id",
                "name",
                "updatedTimestamp",
                "updatedTimestampIso",
                "applications",
            ];
            let fields = keys.into_iter();
            let fields = fields.filter_map(|key| Some((key.to_owned(), config.get(key)?.clone())));
            Value::Object(fields.collect())
        };
        Ok(configs.iter().map(summary).collect())
    }

    /// A config, or a former version of it.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) async fn get(
        &self,
        caller: &AuthContext,
        id: &str,
        version: u64,
    ) -> Result<Value, Failure> {
        if version > 0 {
            let found = self.kept(caller, id, version).await?.pop();
            let config = found.and_then(|mut found| found.get_mut("object").map(Value::take));
            let Some(Value::Object(config)) = config else {
                let message = format!("version {version} of canary config '{id}' is not kept");
                return Err(Failure::not_found(message));
            };
            return Ok(Value::Object(bare(config)));
        }
        let found = self.stored(caller, id).await?;
        found
            .map(|config| Value::Object(bare(config)))
            .ok_or_else(|| missing(id))
    }

    async fn stored(
        &self,
        caller: &AuthContext,
        id: &str,
    ) -> Result<Option<Map<String, Value>>, Failure> {
        let call = caller.request(key(id));
        match answer(self.definitions.clone().get_object(call)).await {
            Ok(found) => object(&found).map(Some),
            Err(failure) if failure.kind == Kind::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The versions that are kept, or this one with the config.
    async fn kept(
        &self,
        caller: &AuthContext,
        id: &str,
        version: u64,
    ) -> Result<Vec<Value>, Failure> {
        let call = caller.request(ObjectVersionsKey {
            kind: KIND.to_owned(),
            id: id.to_owned(),
            version,
        });
        let found = answer(self.definitions.clone().object_versions(call)).await?;
        match found.value("versions")? {
            Value::Array(versions) => Ok(versions),
            _ => Err(missing(id)),
        }
    }

    /// The versions of a config, newest first.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) async fn versions(
        &self,
        caller: &AuthContext,
        id: &str,
    ) -> Result<Vec<Value>, Failure> {
        let versions = self.kept(caller, id, 0).await?;
        if versions.is_empty() {
            return Err(missing(id));
        }
        let user = |version: &Value| version.get("lastModifiedBy").cloned();
        let told = versions.iter().map(|version| {
            json!({
                "version": version.get("version"),
                "updatedTimestamp": version.get("updatedTimestamp"),
                "user": user(version).unwrap_or_default(),
            })
        });
        Ok(told.collect())
    }

    /// Saves a new config, or with `replaces` the next version of one; answers its id.
    ///
    /// # Errors
    /// `Invalid`, in the original's words where it has some.
    pub(crate) async fn save(
        &self,
        caller: &AuthContext,
        document: Value,
        replaces: &str,
        now_ms: i64,
    ) -> Result<String, Failure> {
        let read = CanaryConfig::read(document.clone()).map_err(refused)?;
        validate::for_saving(&read).map_err(refused)?;
        known_judge(&read)?;
        let Value::Object(document) = document else {
            return Err(Failure::field("canaryConfig", "it is no object"));
        };
        let mut config = bare(document);
        let given = read.id.clone().filter(|id| !id.is_empty());
        let id = match (replaces, given) {
            ("", Some(id)) => id,
            ("", None) => ids::unique(),
            (replaces, Some(id)) if id != replaces => {
                let message =
                    format!("id is \"{id}\", the path names \"{replaces}\": send the same");
                return Err(Failure::field("id", message));
            }
            (replaces, _) => replaces.to_owned(),
        };
        let fine = |c: char| !c.is_control() && c != '/' && c != '\\';
        if id.chars().count() > LONGEST_ID || !id.chars().all(fine) {
            let message = format!("it must have at most {LONGEST_ID} characters and no slash");
            return Err(Failure::field("id", message));
        }
        let before = self.stored(caller, &id).await?;
        match (&before, replaces.is_empty()) {
            (Some(_), true) => {
                let message = format!("Canary config '{id}' already exists.");
                return Err(Failure::invalid(message, Vec::new()));
            }
            (None, false) => {
                let message = format!("Canary config '{id}' does not exist.");
                return Err(Failure::invalid(message, Vec::new()));
            }
            _ => {}
        }
        config.insert("id".to_owned(), id.clone().into());
        let created = ["createdTimestamp", "createdTimestampIso"];
        for (key, now) in created.into_iter().zip([json!(now_ms), json!(iso(now_ms))]) {
            let kept = before.as_ref().and_then(|before| before.get(key)).cloned();
            config.insert(key.to_owned(), kept.unwrap_or(now));
        }
        config.insert("updatedTimestamp".to_owned(), json!(now_ms));
        config.insert("updatedTimestampIso".to_owned(), json!(iso(now_ms)));
        let call = caller.request(SaveObjectRequest {
            kind: KIND.to_owned(),
            object: Some(Json::of(&Value::Object(config))),
            user: String::new(),
            create: replaces.is_empty(),
        });
        match answer(self.definitions.clone().save_object(call)).await {
            Ok(_) => Ok(id),
            // The original's words, without the path before them.
            Err(mut failure) if failure.kind == Kind::Invalid => {
                if let [only] = failure.fields.as_slice() {
                    failure.message.clone_from(&only.message);
                }
                Err(failure)
            }
            // Somebody else made one of this id at the same time.
            Err(failure) if failure.kind == Kind::Conflict => {
                let message = format!("Canary config '{id}' already exists.");
                Err(Failure::invalid(message, Vec::new()))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Deletes a config.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) async fn delete(&self, caller: &AuthContext, id: &str) -> Result<(), Failure> {
        if self.stored(caller, id).await?.is_none() {
            return Err(missing(id));
        }
        let call = caller.request(key(id));
        answer(self.definitions.clone().delete_object(call)).await?;
        Ok(())
    }
}
