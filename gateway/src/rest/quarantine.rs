//! Versions that were rolled back, and so are not deployed again by a trigger
//! until they are released here.

use axum::extract::State;
use proto::orchestrator::v1::ObjectKey;
use serde_json::Value;

use crate::answer::{Answer, Reply};
use crate::clients::answer;
use crate::request::{At, Caller, Query};
use crate::{Gateway, listing};

const KIND: &str = "quarantine";

/// `GET /quarantine?application=`
pub(super) async fn list(State(gate): State<Gateway>, caller: Caller, query: Query) -> Reply {
    let mut found = listing::objects(&gate.clients, &caller, KIND).await?;
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
