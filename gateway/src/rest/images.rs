//! Images in the registries. Source: `gate: ImageController`.

use axum::extract::State;
use proto::cloud_driver::v1::{FindImagesRequest, RepositoryQuery};
use serde_json::{Value, json};

use crate::Gateway;
use crate::answer::{Answer, Reply, values};
use crate::clients::answer;
use crate::request::{Caller, Query};

/// `GET /images/find?q=&account=&count=`
pub(super) async fn find(State(gate): State<Gateway>, caller: Caller, query: Query) -> Reply {
    let count = query.number("count", 0)?;
    let call = caller.request(FindImagesRequest {
        account: query.text("account"),
        query: query.text("q"),
        count: u32::try_from(count).unwrap_or(u32::MAX),
    });
    let found = answer(gate.clients.registry.clone().find_images(call)).await?;
    Ok(Answer::Ok(Value::Array(values(&found.items)?)))
}

/// `GET /images/tags?account=&repository=`
pub(super) async fn tags(State(gate): State<Gateway>, caller: Caller, query: Query) -> Reply {
    let call = caller.request(RepositoryQuery {
        account: query.required("account")?,
        repository: query.required("repository")?,
    });
    let found = answer(gate.clients.registry.clone().list_tags(call)).await?;
    Ok(Answer::Ok(json!(found.names)))
}
