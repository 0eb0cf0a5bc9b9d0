//! Versions that were rolled back, and so are not deployed again by a trigger
//! until they are released here.

use axum::extract::State;
use proto::orchestrator::v1::ObjectKey;
use serde_json::Value;

use crate::Gateway;
use crate::answer::{Answer, Reply, values};
use crate::clients::answer;
use crate::request::{At, Caller, Query};

const KIND: &str = "quarantine";

/// `GET /quarantine?application=`
pub(super) async fn list(State(gate): State<Gateway>, caller: Caller, query: Query) -> Reply {
    let call = caller.request(ObjectKey {
        kind: KIND.to_owned(),
        id: String::new(),
    });
    let list = answer(gate.clients.definitions.clone().list_objects(call)).await?;
    let mut found = values(&list.items)?;
    let application = query.text("application");
    if !application.is_empty() {
        found.retain(|q| {
            let own = q.get("application").and_then(Value::as_str);
            own.is_some_and(|own| own.eq_ignore_ascii_case(&application))
        });
    }
    Ok(Answer::Ok(Value::Array(found)))
}

/// `DELETE /quarantine/{id}`: the version may be deployed again. The id is
/// `account/cluster/image`.
pub(super) async fn release(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
) -> Reply {
    let call = caller.request(ObjectKey {
        kind: KIND.to_owned(),
        id,
    });
    answer(gate.clients.definitions.clone().delete_object(call)).await?;
    Ok(Answer::Empty)
}
