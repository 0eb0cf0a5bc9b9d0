//! Definitions of pipelines: reading, saving, deleting, their history.
//! Source: `gate: PipelineController, ApplicationController, PipelineConfigController`.

use axum::extract::State;
use proto::common::v1::Json;
use proto::orchestrator::v1::{
    ListPipelinesRequest, PipelineHistoryRequest, PipelineKey, SavePipelineRequest,
};
use serde_json::{Map, Value, json};

use crate::Gateway;
use crate::answer::{Answer, Reply, value, values};
use crate::clients::answer;
use crate::error::Error;
use crate::request::{At, Caller, Definition, Query};

pub(super) fn is_strategy(pipeline: &Value) -> bool {
    pipeline.get("type").and_then(Value::as_str) == Some("strategy")
}

/// The definitions of an application (all for an empty name), as wanted by the query.
pub(super) async fn listed(
    gate: &Gateway,
    caller: &Caller,
    application: &str,
    query: &Query,
    strategies: bool,
) -> Result<Vec<Value>, Error> {
    let call = caller.request(ListPipelinesRequest {
        application: application.to_lowercase(),
        ..ListPipelinesRequest::default()
    });
    let list = answer(gate.clients.definitions.clone().list_pipelines(call)).await?;
    let mut found = values(&list.items)?;
    found.retain(|pipeline| is_strategy(pipeline) == strategies);
    if let Some(part) = query.get("pipelineNameFilter") {
        let part = part.to_lowercase();
        found.retain(|pipeline| {
            let name = pipeline
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            name.to_lowercase().contains(&part)
        });
    }
    let limit = query.number("pipelineLimit", u64::MAX)?;
    found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(found)
}

/// `GET /pipelineConfigs`
pub(super) async fn all(State(gate): State<Gateway>, caller: Caller, query: Query) -> Reply {
    let found = listed(&gate, &caller, "", &query, false).await?;
    Ok(Answer::Ok(Value::Array(found)))
}

/// `GET /applications/{application}/pipelineConfigs`
pub(super) async fn of_application(
    State(gate): State<Gateway>,
    caller: Caller,
    At(application): At<String>,
    query: Query,
) -> Reply {
    let found = listed(&gate, &caller, &application, &query, false).await?;
    Ok(Answer::Ok(Value::Array(found)))
}

/// `GET /applications/{application}/strategyConfigs`
pub(super) async fn strategies(
    State(gate): State<Gateway>,
    caller: Caller,
    At(application): At<String>,
    query: Query,
) -> Reply {
    let found = listed(&gate, &caller, &application, &query, true).await?;
    Ok(Answer::Ok(Value::Array(found)))
}

/// The definition with this name in the application, else the one with this id.
pub(super) async fn find(
    gate: &Gateway,
    caller: &Caller,
    application: &str,
    name_or_id: &str,
) -> Result<Value, Error> {
    let key = |id: &str, name: &str| PipelineKey {
        id: id.to_owned(),
        application: if id.is_empty() {
            application.to_lowercase()
        } else {
            String::new()
        },
        name: name.to_owned(),
        ..PipelineKey::default()
    };
    let unknown = || {
        format!(
            "Pipeline configuration not found (nameOrId: {name_or_id} in application {application})"
        )
    };
    let call = caller.request(key("", name_or_id));
    match answer(gate.clients.definitions.clone().get_pipeline(call)).await {
        Ok(json) => return value(&json),
        Err(error) if error.status() == http::StatusCode::NOT_FOUND => {}
        Err(error) => return Err(error),
    }
    let call = caller.request(key(name_or_id, ""));
    let found = answer(gate.clients.definitions.clone().get_pipeline(call))
        .await
        .map_err(|error| error.or_not_found(unknown))?;
    let found = value(&found)?;
    let owner = found
        .get("application")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if owner.eq_ignore_ascii_case(application) {
        Ok(found)
    } else {
        Err(Error::not_found(unknown()))
    }
}

/// `GET /applications/{application}/pipelineConfigs/{nameOrId}`
pub(super) async fn get(
    State(gate): State<Gateway>,
    caller: Caller,
    At((application, name_or_id)): At<(String, String)>,
) -> Reply {
    let found = find(&gate, &caller, &application, &name_or_id).await?;
    Ok(Answer::Ok(found))
}

/// `GET /pipelineConfigs/{id}/history?limit=20`
pub(super) async fn history(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
    query: Query,
) -> Reply {
    let limit = query.number("limit", 20)?.min(1_000);
    let call = caller.request(PipelineHistoryRequest {
        id,
        limit: u32::try_from(limit).unwrap_or(u32::MAX),
    });
    let list = answer(gate.clients.definitions.clone().pipeline_history(call)).await?;
    Ok(Answer::Ok(Value::Array(values(&list.items)?)))
}

pub(super) async fn stored(
    gate: &Gateway,
    caller: &Caller,
    pipeline: Map<String, Value>,
    query: &Query,
) -> Result<Value, Error> {
    for field in ["name", "application"] {
        let given = pipeline
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default();
        if given.trim().is_empty() {
            let message = "A pipeline requires name and application fields";
            return Err(Error::field(field, message));
        }
    }
    let call = caller.request(SavePipelineRequest {
        pipeline: Some(Json::of(&Value::Object(pipeline))),
        user: caller.user(),
        stale_check: query.flag("staleCheck", false)?,
    });
    let saved = answer(gate.clients.definitions.clone().save_pipeline(call))
        .await
        .map_err(Error::conflict_is_bad_request)?;
    value(&saved)
}

/// `POST /pipelines?staleCheck=false`: 200 without a body once it is stored.
pub(super) async fn save(
    State(gate): State<Gateway>,
    caller: Caller,
    query: Query,
    body: Definition,
) -> Reply {
    stored(&gate, &caller, body.object("a pipeline")?, &query).await?;
    Ok(Answer::Empty)
}

/// `PUT /pipelines/{id}`: the stored definition.
pub(super) async fn update(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
    query: Query,
    body: Definition,
) -> Reply {
    let pipeline = body.object("a pipeline")?;
    Ok(Answer::Ok(
        replaced(&gate, &caller, id, pipeline, &query).await?,
    ))
}

/// What is stored once this has taken the place of the definition with this id.
pub(super) async fn replaced(
    gate: &Gateway,
    caller: &Caller,
    id: String,
    mut pipeline: Map<String, Value>,
    query: &Query,
) -> Result<Value, Error> {
    let given = pipeline.entry("id").or_insert_with(|| json!(id));
    if given.as_str() != Some(&id) {
        let message = format!("is {given}, but the path says \"{id}\"; make them equal");
        return Err(Error::field("id", message));
    }
    let key = PipelineKey {
        id: id.clone(),
        ..PipelineKey::default()
    };
    answer(
        gate.clients
            .definitions
            .clone()
            .get_pipeline(caller.request(key)),
    )
    .await
    .map_err(|error| error.or_not_found(|| format!("Pipeline not found (id: {id})")))?;
    stored(gate, caller, pipeline, query).await
}

/// `DELETE /pipelines/{application}/{name}`
///
/// Differs from Spinnaker: deleting what is not there is 404, not a silent 200.
pub(super) async fn delete(
    State(gate): State<Gateway>,
    caller: Caller,
    At((application, name)): At<(String, String)>,
) -> Reply {
    let call = caller.request(PipelineKey {
        id: String::new(),
        application: application.to_lowercase(),
        name: name.trim().to_owned(),
        ..PipelineKey::default()
    });
    answer(gate.clients.definitions.clone().delete_pipeline(call))
        .await
        .map_err(|error| {
            error.or_not_found(|| {
                format!("Pipeline not found (name: {name} in application {application})")
            })
        })?;
    Ok(Answer::Empty)
}
