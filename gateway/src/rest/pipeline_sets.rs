//! Several pipelines at once, and renaming one. Source: `gate:
//! PipelineController, ReorderPipelinesController`.

use axum::extract::State;
use proto::common::v1::Json;
use proto::orchestrator::v1::{PipelineKey, SavePipelineRequest};
use serde_json::{Map, Value, json};

use super::pipeline_configs::find;
use crate::Gateway;
use crate::answer::{Answer, Reply, value};
use crate::clients::answer;
use crate::error::Error;
use crate::request::{Caller, Definition, Query};

/// Pipelines in one request.
const MOST: usize = 500;

async fn save(
    gate: &Gateway,
    caller: &Caller,
    pipeline: &Value,
    stale_check: bool,
) -> Result<Value, Error> {
    let call = caller.request(SavePipelineRequest {
        pipeline: Some(Json::of(pipeline)),
        user: caller.user(),
        stale_check,
    });
    let saved = answer(gate.clients.definitions.clone().save_pipeline(call))
        .await
        .map_err(Error::conflict_is_bad_request)?;
    value(&saved)
}

/// `POST /pipelines/bulksave?staleCheck=false`: saves each; what fails is told and does not hold
/// up the others.
pub(super) async fn bulk_save(
    State(gate): State<Gateway>,
    caller: Caller,
    query: Query,
    body: Definition,
) -> Reply {
    let stale_check = query.flag("staleCheck", false)?;
    let Value::Array(pipelines) = body.value()? else {
        let message = "the body is no list; send pipelines as a JSON list";
        return Err(Error::new(http::StatusCode::BAD_REQUEST, message));
    };
    if pipelines.len() > MOST {
        let message = format!("{} pipelines are more than {MOST}", pipelines.len());
        return Err(Error::new(http::StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    let (mut saved, mut failed) = (Vec::new(), Vec::new());
    for mut pipeline in pipelines {
        match save(&gate, &caller, &pipeline, stale_check).await {
            Ok(stored) => saved.push(stored.get("name").cloned().unwrap_or_default()),
            Err(error) => {
                if let Value::Object(fields) = &mut pipeline {
                    fields.insert("errorMsg".to_owned(), json!(error.message()));
                }
                failed.push(pipeline);
            }
        }
    }
    Ok(Answer::Ok(json!({
        "successful_pipelines_count": saved.len(), "successful_pipelines": saved,
        "failed_pipelines_count": failed.len(), "failed_pipelines": failed,
    })))
}

fn text<'a>(body: &'a Map<String, Value>, field: &str) -> Result<&'a str, Error> {
    let found = body.get(field).and_then(Value::as_str).unwrap_or_default();
    if found.trim().is_empty() {
        return Err(Error::field(
            field,
            "is missing; send {\"application\", \"from\", \"to\"}",
        ));
    }
    Ok(found)
}

/// `POST /pipelines/move`: `{application, from, to}`, names.
pub(super) async fn rename(State(gate): State<Gateway>, caller: Caller, body: Definition) -> Reply {
    let body = body.object("application, from and to")?;
    let (application, from) = (text(&body, "application")?, text(&body, "from")?);
    let to = text(&body, "to")?;
    let mut pipeline = find(&gate, &caller, application, from).await?;
    pipeline["name"] = json!(to);
    save(&gate, &caller, &pipeline, true).await?;
    Ok(Answer::Empty)
}

/// `POST /actions/pipelines/reorder`: `{application, idsToIndices}`.
///
/// All ids are looked up before the first is saved. Repeating the request completes one that
/// broke off.
pub(super) async fn reorder(
    State(gate): State<Gateway>,
    caller: Caller,
    body: Definition,
) -> Reply {
    let body = body.object("application and idsToIndices")?;
    let application = text(&body, "application")?.to_lowercase();
    let Some(indices) = body.get("idsToIndices").and_then(Value::as_object) else {
        let message = "is no object; send the index of each pipeline's id";
        return Err(Error::field("idsToIndices", message));
    };
    if indices.len() > MOST {
        let message = format!("names more than {MOST} pipelines");
        return Err(Error::field("idsToIndices", message));
    }
    let mut pipelines = Vec::new();
    for (id, index) in indices {
        if index.as_u64().is_none() {
            let message = format!("is {index}; send a number from 0 on");
            return Err(Error::field(&format!("idsToIndices.{id}"), message));
        }
        let call = caller.request(PipelineKey {
            id: id.clone(),
            application: application.clone(),
            name: String::new(),
            ..PipelineKey::default()
        });
        let found = answer(gate.clients.definitions.clone().get_pipeline(call)).await;
        let unknown = || format!("Pipeline not found (id: {id} in application {application})");
        let mut pipeline = value(&found.map_err(|error| error.or_not_found(unknown))?)?;
        pipeline["index"] = index.clone();
        pipelines.push(pipeline);
    }
    for pipeline in &pipelines {
        save(&gate, &caller, pipeline, false).await?;
    }
    Ok(Answer::Empty)
}
