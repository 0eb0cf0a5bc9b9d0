//! Projects: applications and clusters that are shown together; written by tasks
//! (`upsertProject`, `deleteProject`). Source: `gate: ProjectController`.

use axum::extract::State;
use proto::cloud_driver::v1::ApplicationQuery;
use proto::orchestrator::v1::{ExecutionKind, ListExecutionsRequest, ObjectKey};
use serde_json::Value;

use crate::answer::{Answer, Reply, value, values};
use crate::clients::answer;
use crate::error::{Error, now_ms};
use crate::project_clusters;
use crate::request::{At, Caller, Query};
use crate::{Gateway, history, listing};

const KIND: &str = "project";

/// Every project.
pub(super) async fn all(gate: &Gateway, caller: &Caller) -> Result<Vec<Value>, Error> {
    listing::objects(&gate.clients, caller, KIND).await
}

/// `GET /projects`
pub(super) async fn list(State(gate): State<Gateway>, caller: Caller) -> Reply {
    Ok(Answer::Ok(Value::Array(all(&gate, &caller).await?)))
}

async fn find(gate: &Gateway, caller: &Caller, id: &str) -> Result<Value, Error> {
    let call = caller.request(ObjectKey {
        kind: KIND.to_owned(),
        id: id.to_owned(),
    });
    let found = answer(gate.clients.definitions.clone().get_object(call)).await?;
    value(&found)
}

/// `GET /projects/{id}`, by name or id.
pub(super) async fn get(State(gate): State<Gateway>, caller: Caller, At(id): At<String>) -> Reply {
    Ok(Answer::Ok(find(&gate, &caller, &id).await?))
}

/// `GET /projects/{id}/pipelines?limit=&statuses=`: the last executions of its applications.
pub(super) async fn pipelines(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
    query: Query,
) -> Reply {
    let project = find(&gate, &caller, &id).await?;
    let limit = query.number("limit", 5)?;
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let listed = project
        .pointer("/config/applications")
        .and_then(Value::as_array);
    let mut found = Vec::new();
    for application in listed.into_iter().flatten().filter_map(Value::as_str) {
        let request = ListExecutionsRequest {
            kind: ExecutionKind::Pipeline.into(),
            application: application.to_lowercase(),
            per_pipeline: limit,
            statuses: query.list("statuses"),
            expand: true,
            ..ListExecutionsRequest::default()
        };
        found.extend(listing::executions(&gate, &caller, request).await?);
    }
    Ok(Answer::Ok(history::shown(found, now_ms()).into()))
}

/// `GET /projects/{id}/clusters`: what runs in the clusters it lists.
pub(super) async fn clusters(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
) -> Reply {
    let project = find(&gate, &caller, &id).await?;
    let call = caller.request(ApplicationQuery::default());
    let listed = answer(gate.clients.query.clone().list_server_groups(call)).await?;
    let found = project_clusters::clusters(&project, &values(&listed.items)?);
    Ok(Answer::Ok(found))
}
