//! Canary configs. Source: `gate: V2CanaryConfigController`, `kayenta: CanaryConfigController`.
//!
//! Differs from Spinnaker: Kayenta asks nobody who they are. Here a config is seen by who may READ one of its
//! applications and changed by who may WRITE them all; and its versions are kept.

use axum::extract::State;
use http::StatusCode;
use proto::canary_judge::v1::{ConfigKey, ConfigQuery, SaveConfigRequest};
use proto::common::v1::Json;
use serde_json::json;

use crate::Gateway;
use crate::answer::{Answer, Reply, forward};
use crate::clients::answer;
use crate::error::Error;
use crate::request::{At, Caller, Definition, Query};

/// `GET /v2/canaryConfig?application=&configurationAccountName=`
pub(super) async fn list(State(gate): State<Gateway>, caller: Caller, query: Query) -> Reply {
    let call = caller.request(ConfigQuery {
        applications: query.list("application"),
    });
    forward(&answer(gate.clients.canaries.clone().list_configs(call)).await?)
}

/// `GET /v2/canaryConfig/{id}?version=`
pub(super) async fn get(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
    query: Query,
) -> Reply {
    let version = query.number("version", 0)?;
    let call = caller.request(ConfigKey { id, version });
    forward(&answer(gate.clients.canaries.clone().get_config(call)).await?)
}

/// `GET /v2/canaryConfig/{id}/versions`: newest first; ours.
pub(super) async fn versions(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
) -> Reply {
    let call = caller.request(ConfigKey { id, version: 0 });
    forward(&answer(gate.clients.canaries.clone().list_config_versions(call)).await?)
}

async fn saved(gate: &Gateway, caller: &Caller, id: String, body: Definition) -> Reply {
    let document = body.value()?;
    if !document.is_object() {
        let message = "the body is no canary config: send a JSON object";
        return Err(Error::new(StatusCode::BAD_REQUEST, message));
    }
    let call = caller.request(SaveConfigRequest {
        document: Some(Json::of(&document)),
        id,
    });
    let key = answer(gate.clients.canaries.clone().save_config(call)).await?;
    // Exactly 200: spin takes every other status for a failure.
    Ok(Answer::Ok(json!({"canaryConfigId": key.id})))
}

/// `POST /v2/canaryConfig`
pub(super) async fn create(State(gate): State<Gateway>, caller: Caller, body: Definition) -> Reply {
    saved(&gate, &caller, String::new(), body).await
}

/// `PUT /v2/canaryConfig/{id}`
pub(super) async fn update(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
    body: Definition,
) -> Reply {
    saved(&gate, &caller, id, body).await
}

/// `DELETE /v2/canaryConfig/{id}`
///
/// Differs from Spinnaker: 200, as Gate answers, where Kayenta itself answers 204; spin takes 204 for a failure.
pub(super) async fn delete(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
) -> Reply {
    let call = caller.request(ConfigKey { id, version: 0 });
    answer(gate.clients.canaries.clone().delete_config(call)).await?;
    Ok(Answer::Empty)
}
