//! Pipeline templates, version 2: stored and read here. Source: `gate:
//! V2PipelineTemplatesController`.
//!
//! Differs from Spinnaker: saving is done when it is answered, without a task.

use axum::extract::State;
use http::StatusCode;
use proto::common::v1::Json;
use proto::orchestrator::v1::{ListPipelinesRequest, ObjectKey, SaveObjectRequest};
use serde_json::{Map, Value};

use crate::answer::{Answer, Reply, forward, value, values};
use crate::clients::answer;
use crate::error::Error;
use crate::request::{At, Caller, Definition, Query};
use crate::{Gateway, listing};

const KIND: &str = "pipelineTemplate";

/// The key of a template: its id, and the tag behind a colon.
fn key(id: &str, query: &Query) -> Result<String, Error> {
    let (tag, digest) = (query.text("tag"), query.text("digest"));
    match (tag.as_str(), digest.as_str()) {
        ("", "") => Ok(id.to_owned()),
        (tag, "") => Ok(format!("{id}:{tag}")),
        ("", digest) => Ok(format!(
            "{id}@sha256:{}",
            digest.trim_start_matches("sha256:")
        )),
        _ => Err(Error::field(
            "tag",
            "tag and digest exclude each other; send one",
        )),
    }
}

async fn all(gate: &Gateway, caller: &Caller) -> Result<Vec<Value>, Error> {
    listing::objects(&gate.clients, caller, KIND).await
}

/// Those that have one of the scopes asked for; all when none is.
fn in_scope(mut found: Vec<Value>, query: &Query) -> Vec<Value> {
    let scopes = query.list("scopes");
    if !scopes.is_empty() {
        found.retain(|template| {
            let own = template
                .pointer("/metadata/scopes")
                .and_then(Value::as_array);
            let mut own = own.into_iter().flatten().filter_map(Value::as_str);
            own.any(|scope| scopes.iter().any(|s| s == scope))
        });
    }
    found
}

/// `GET /v2/pipelineTemplates?scopes=`: the latest of each.
pub(super) async fn list(State(gate): State<Gateway>, caller: Caller, query: Query) -> Reply {
    let mut found = in_scope(all(&gate, &caller).await?, &query);
    found.retain(|template| template.get("tag").and_then(Value::as_str) == Some("latest"));
    Ok(Answer::Ok(Value::Array(found)))
}

/// `GET /v2/pipelineTemplates/{id}?tag=`
pub(super) async fn get(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
    query: Query,
) -> Reply {
    let call = caller.request(ObjectKey {
        kind: KIND.to_owned(),
        id: key(&id, &query)?,
    });
    let found = answer(gate.clients.definitions.clone().get_object(call)).await?;
    Ok(Answer::Ok(value(&found)?))
}

/// `GET /v2/pipelineTemplates/versions?scopes=`: what is kept of each template, by its id.
pub(super) async fn versions(State(gate): State<Gateway>, caller: Caller, query: Query) -> Reply {
    let mut versions: Map<String, Value> = Map::new();
    for template in in_scope(all(&gate, &caller).await?, &query) {
        let id = template.get("id").and_then(Value::as_str);
        let id = id.unwrap_or_default().to_owned();
        let list = versions
            .entry(id)
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = list {
            list.push(template);
        }
    }
    Ok(Answer::Ok(Value::Object(versions)))
}

async fn save(
    gate: &Gateway,
    caller: &Caller,
    mut template: Value,
    query: &Query,
    create: bool,
) -> Reply {
    let tag = query.text("tag");
    if let (Some(fields), false) = (template.as_object_mut(), tag.is_empty()) {
        fields.insert("tag".to_owned(), tag.into());
    }
    let call = caller.request(SaveObjectRequest {
        kind: KIND.to_owned(),
        object: Some(Json::of(&template)),
        user: String::new(),
        create,
    });
    let saved = answer(gate.clients.definitions.clone().save_object(call)).await;
    saved.map_err(Error::conflict_is_bad_request)?;
    Ok(Answer::AcceptedEmpty)
}

/// `POST /v2/pipelineTemplates/plan`: the pipeline that a configuration would run as.
pub(super) async fn plan(State(gate): State<Gateway>, caller: Caller, body: Definition) -> Reply {
    let call = caller.request(Json::of(&Value::Object(body.object("configuration")?)));
    forward(&answer(gate.clients.definitions.clone().plan_pipeline(call)).await?)
}

/// `POST /v2/pipelineTemplates/create?tag=`
pub(super) async fn create(
    State(gate): State<Gateway>,
    caller: Caller,
    query: Query,
    body: Definition,
) -> Reply {
    save(&gate, &caller, body.value()?, &query, true).await
}

/// `POST /v2/pipelineTemplates/update/{id}?tag=`
pub(super) async fn update(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
    query: Query,
    body: Definition,
) -> Reply {
    let mut template = body.value()?;
    if let Some(fields) = template.as_object_mut() {
        let own = fields.entry("id").or_insert_with(|| id.clone().into());
        if own.as_str() != Some(id.as_str()) {
            let message = format!("id is {own}, the path names \"{id}\"; send the same");
            return Err(Error::field("id", message));
        }
    }
    save(&gate, &caller, template, &query, false).await
}

/// `DELETE /v2/pipelineTemplates/{id}?tag=`: refused while pipelines are made of it.
pub(super) async fn delete(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
    query: Query,
) -> Reply {
    let dependents = dependents_of(&gate, &caller, &id).await?;
    if let Some(first) = dependents.first() {
        let text = |key: &str| first.get(key).and_then(Value::as_str).unwrap_or_default();
        let message = format!(
            "template {id} is used by {} pipelines, such as {} of {}; delete or change them first",
            dependents.len(),
            text("name"),
            text("application")
        );
        return Err(Error::new(StatusCode::BAD_REQUEST, message));
    }
    let call = caller.request(ObjectKey {
        kind: KIND.to_owned(),
        id: key(&id, &query)?,
    });
    answer(gate.clients.definitions.clone().delete_object(call)).await?;
    Ok(Answer::AcceptedEmpty)
}

async fn dependents_of(gate: &Gateway, caller: &Caller, id: &str) -> Result<Vec<Value>, Error> {
    let call = caller.request(ListPipelinesRequest::default());
    let list = answer(gate.clients.definitions.clone().list_pipelines(call)).await?;
    let mut found = values(&list.items)?;
    let reference = format!("spinnaker://{id}");
    found.retain(|pipeline| {
        let used = pipeline
            .pointer("/template/reference")
            .and_then(Value::as_str);
        let rest = used.and_then(|u| u.strip_prefix(&reference));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '@']))
    });
    Ok(found)
}

/// `GET /v2/pipelineTemplates/{id}/dependents`
pub(super) async fn dependents(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
) -> Reply {
    let found = dependents_of(&gate, &caller, &id).await?;
    Ok(Answer::Ok(Value::Array(found)))
}
