//! Pipeline templates (version 2): each save is kept under its tag, as the
//! latest and, for good, under the digest of what it says, in one commit.
//! Source of rules: `front50: V2PipelineTemplateController`.

use std::fmt::Write as _;

use proto::status::{Failure, FieldError, Kind};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use store::{Batch, IndexChange, Refused};

use super::object::Object;
use super::{Definitions, TRIES, refused, same, text};
use crate::ids;

/// The tag of what was saved last.
const LATEST: &str = "latest";
const ID_MAX: usize = 250;
/// The scheme under which pipelines name a template.
const SCHEME: &str = "spinnaker://";

/// Whether a key names a template with all its versions.
pub(super) fn is_whole(key: &str) -> bool {
    !key.contains([':', '@'])
}

/// The key of a document; without tag and digest that of the latest.
pub(super) fn key(id: &str) -> String {
    if is_whole(id) {
        format!("{id}:{LATEST}")
    } else {
        id.to_owned()
    }
}

/// The key under which a template as sent is kept.
pub(super) fn id(body: &Map<String, Value>) -> Result<String, Failure> {
    let id = text(body, "id").ok_or_else(|| Failure::field("id", "it is missing; set it"))?;
    Ok(format!("{id}:{}", text(body, "tag").unwrap_or(LATEST)))
}

/// The template under one of its keys, as it is stored.
fn version(
    body: &Map<String, Value>,
    tag: Option<&str>,
    digest: &str,
    before: Option<&Map<String, Value>>,
    user: &str,
    now_ms: i64,
) -> Map<String, Value> {
    let mut version = body.clone();
    if let Some(tag) = tag {
        version.insert("tag".into(), tag.into());
    }
    version.insert("digest".into(), digest.into());
    let created = before.and_then(|b| b.get("createTs")).cloned();
    version.insert("createTs".into(), created.unwrap_or_else(|| now_ms.into()));
    version.insert("updateTs".into(), now_ms.to_string().into());
    version.insert("lastModifiedBy".into(), user.into());
    version
}

impl Definitions {
    /// Stores a checked template.
    pub(super) async fn put_template(
        &self,
        mut body: Map<String, Value>,
        user: &str,
        create: bool,
    ) -> Result<Value, Failure> {
        let kind = Object::PipelineTemplate;
        let (collection, shard) = (kind.collection(), self.shard_of(kind));
        let id = text(&body, "id").unwrap_or_default().to_owned();
        let tag = text(&body, "tag").unwrap_or(LATEST).to_owned();
        for kept in ["tag", "digest", "createTs", "updateTs", "lastModifiedBy"] {
            body.shift_remove(kept);
        }
        let digest = digest(&body);
        let mut places = vec![(format!("{id}:{tag}"), Some(tag.as_str()))];
        if tag != LATEST {
            places.push((format!("{id}:{LATEST}"), Some(LATEST)));
        }
        places.push((format!("{id}@sha256:{digest}"), None));
        for _ in 0..TRIES {
            let now = self.now_ms().await?;
            let mut batch = Batch::new(shard, ids::commit()).new_work();
            let (mut answer, mut changed) = (None, false);
            for (place, tag) in &places {
                let stored = self.load(collection, shard, place).await?;
                let before = stored.as_ref().map(|s| &s.body);
                if create && answer.is_none() && before.is_some() {
                    let message =
                        format!("pipelineTemplate {place} exists already; update it instead");
                    return Err(Failure::new(Kind::Conflict, message));
                }
                let next = version(&body, *tag, &digest, before, user, now);
                if let Some(known) = stored.as_ref().filter(|s| same(&s.body, &next)) {
                    self.confirm(collection, shard, place, known).await?;
                    answer.get_or_insert_with(|| known.body.clone());
                    continue;
                }
                batch = self
                    .add(batch, collection, place, stored.as_ref(), &next)
                    .await?
                    .index(IndexChange::Put {
                        index: Self::index_of(kind),
                        member: place.clone(),
                        score: 0,
                    });
                changed = true;
                answer.get_or_insert(next);
            }
            let answer = Value::Object(answer.unwrap_or_default());
            if !changed {
                return Ok(answer);
            }
            match self.commit(batch).await? {
                Ok(()) => return Ok(answer),
                Err(Refused::Conflict { .. }) => {}
                Err(other) => return Err(refused(&other)),
            }
        }
        Err(super::application::busy("template"))
    }

    /// Fails while a pipeline is made from a template.
    pub(super) async fn unused(&self, id: &str) -> Result<(), Failure> {
        let dependents = self.dependents(id).await?;
        if dependents.is_empty() {
            return Ok(());
        }
        let message = format!(
            "pipeline template {id} is used by {}; change these pipelines first",
            dependents.join(", ")
        );
        Err(Failure::new(Kind::Conflict, message))
    }

    /// `application/name` of the pipelines that are made from a template.
    async fn dependents(&self, id: &str) -> Result<Vec<String>, Failure> {
        let pipelines = self.list_pipelines("", "").await?;
        let of = |p: &Value, key: &str| {
            p.get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        Ok(pipelines
            .iter()
            .filter(|p| names(p, id))
            .map(|p| format!("{}/{}", of(p, "application"), of(p, "name")))
            .collect())
    }

    /// The keys of all that is kept of a template.
    pub(super) async fn template_versions(&self, id: &str) -> Result<Vec<String>, Failure> {
        let kind = Object::PipelineTemplate;
        let members = self
            .members(self.shard_of(kind), &Self::index_of(kind))
            .await?;
        let of = |key: &String| {
            key.strip_prefix(id)
                .is_some_and(|rest| rest.starts_with([':', '@']))
        };
        Ok(members.into_iter().map(|e| e.member).filter(of).collect())
    }
}

/// Whether a pipeline is made from a template, whichever version.
fn names(pipeline: &Value, id: &str) -> bool {
    let reference = pipeline
        .get("template")
        .and_then(|t| t.get("reference"))
        .and_then(Value::as_str)
        .and_then(|reference| reference.strip_prefix(SCHEME));
    let Some(rest) = reference.and_then(|reference| reference.strip_prefix(id)) else {
        return false;
    };
    rest.is_empty() || rest.starts_with([':', '@'])
}

/// SHA-256 of the sorted, compact JSON without any white space.
fn digest(body: &Map<String, Value>) -> String {
    let mut sorted = Value::Object(body.clone());
    sorted.sort_all_objects();
    let text: String = sorted
        .to_string()
        .chars()
        .filter(|c| !c.is_whitespace())
        .collect();
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        let _never_fails = write!(hex, "{byte:02x}");
    }
    hex
}

/// Every fault of a template; empty for one that may be saved.
///
/// Differs from Spinnaker: any tag of letters, digits and `-_.` is taken, not six words only;
/// `spin`'s own examples use others.
pub(super) fn check(body: &Map<String, Value>) -> Vec<FieldError> {
    let tag = text(body, "tag").unwrap_or(LATEST);
    let mut faults = Vec::new();
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match text(body, "id") {
        None => faults.push(FieldError::new(
            "id",
            "it is empty; a pipeline template needs an id",
        )),
        Some(id) if id.len() > ID_MAX || !id.chars().all(fine) => {
            let message = format!(
                "\"{id}\" may hold only ASCII letters, digits and -_., at most {ID_MAX} of them"
            );
            faults.push(FieldError::new("id", message));
        }
        Some(_) => {}
    }
    if tag.len() > ID_MAX || !tag.chars().all(fine) {
        let message = format!("\"{tag}\" may hold only ASCII letters, digits and -_.");
        faults.push(FieldError::new("tag", message));
    }
    if body.get("schema").is_some_and(|schema| schema != "v2") {
        let message = format!("it is {}; only \"v2\" can be stored", body["schema"]);
        faults.push(FieldError::new("schema", message));
    }
    let metadata = body.get("metadata").and_then(Value::as_object);
    let Some(metadata) = metadata else {
        let message = "it is no object; send {\"name\", \"scopes\"}";
        faults.push(FieldError::new("metadata", message));
        return faults;
    };
    if text(metadata, "name").is_none() {
        faults.push(FieldError::new(
            "metadata.name",
            "it is empty; name the template",
        ));
    }
    let scopes = metadata.get("scopes").and_then(Value::as_array);
    if scopes.is_none_or(|scopes| scopes.is_empty() || !scopes.iter().all(Value::is_string)) {
        let message = "it is no list of texts; send at least one, such as \"global\"";
        faults.push(FieldError::new("metadata.scopes", message));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_fault_of_a_template_is_named_by_its_path() {
        let metadata = json!({"name": "n", "scopes": ["global"]});
        for (mut template, tag, path) in [
            (json!({"metadata": metadata}), "latest", "id"),
            (json!({"id": "a:b", "metadata": metadata}), "latest", "id"),
            (json!({"id": "t", "metadata": metadata}), "a b", "tag"),
            (
                json!({"id": "t", "metadata": metadata, "schema": "1"}),
                "v1",
                "schema",
            ),
            (json!({"id": "t"}), "v1", "metadata"),
            (
                json!({"id": "t", "metadata": {"scopes": ["a"]}}),
                "v1",
                "metadata.name",
            ),
            (
                json!({"id": "t", "metadata": {"name": "n", "scopes": []}}),
                "v1",
                "metadata.scopes",
            ),
        ] {
            template["tag"] = json!(tag);
            let found = check(template.as_object().unwrap());
            let paths: Vec<_> = found.iter().map(|f| f.path.as_str()).collect();
            assert_eq!(paths, [path], "{template}");
        }
    }

    #[test]
    fn a_digest_does_not_depend_on_order_and_space() {
        let of = |value: Value| digest(value.as_object().unwrap());
        assert_eq!(
            of(json!({"a": "x y", "b": {"d": 1, "c": 2}})),
            of(json!({"b": {"c": 2, "d": 1}, "a": "xy"}))
        );
        assert_ne!(of(json!({"a": 1})), of(json!({"a": 2})));
    }

    #[test]
    fn a_pipeline_is_made_from_the_template_it_names_and_no_other() {
        for (reference, is) in [
            ("spinnaker://t1", true),
            ("spinnaker://t1:v1", true),
            ("spinnaker://t1@sha256:00", true),
            ("spinnaker://t10", false),
            ("https://t1", false),
        ] {
            let pipeline = json!({"template": {"reference": reference}});
            assert_eq!(names(&pipeline, "t1"), is, "{reference}");
        }
    }
}
