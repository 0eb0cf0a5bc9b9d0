//! Artifact accounts: the registries, whose images stages can be given.
//! Source: `gate: ArtifactController`.

use axum::extract::State;
use proto::cloud_driver::v1::ListRegistriesRequest;
use serde_json::{Value, json};

use crate::Gateway;
use crate::answer::{Answer, Reply};
use crate::clients::answer;
use crate::request::Caller;

/// `GET /artifacts/credentials`: `[{name, types}]`.
pub(super) async fn credentials(State(gate): State<Gateway>, caller: Caller) -> Reply {
    let call = caller.request(ListRegistriesRequest {});
    let listed = answer(gate.clients.registry.clone().list_registries(call)).await?;
    let accounts = listed
        .registries
        .iter()
        .map(|registry| json!({"name": registry.account, "types": ["docker/image"]}))
        .collect::<Vec<Value>>();
    Ok(Answer::Ok(Value::Array(accounts)))
}
