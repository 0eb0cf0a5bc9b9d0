//! Service accounts: whom pipelines run as when nobody starts them.
//! Source: `front50: ServiceAccountsController`.

use axum::extract::State;
use proto::common::v1::Json;
use proto::orchestrator::v1::{ObjectKey, SaveObjectRequest};
use serde_json::Value;

use crate::answer::{Answer, Reply, value};
use crate::clients::answer;
use crate::error::Error;
use crate::request::{At, Caller, Definition};
use crate::{Gateway, listing};

const KIND: &str = "serviceAccount";

/// Every service account.
pub(super) async fn all(gate: &Gateway, caller: &Caller) -> Result<Vec<Value>, Error> {
    listing::objects(&gate.clients, caller, KIND).await
}

/// `GET /serviceAccounts`
pub(super) async fn list(State(gate): State<Gateway>, caller: Caller) -> Reply {
    Ok(Answer::Ok(Value::Array(all(&gate, &caller).await?)))
}

/// `POST /serviceAccounts`: `{name, memberOf: [roles]}`; one that is there is replaced.
pub(super) async fn save(State(gate): State<Gateway>, caller: Caller, body: Definition) -> Reply {
    let account = body.object("a service account")?;
    let call = caller.request(SaveObjectRequest {
        kind: KIND.to_owned(),
        object: Some(Json::of(&Value::Object(account))),
        user: caller.user(),
        create: false,
    });
    let saved = answer(gate.clients.definitions.clone().save_object(call)).await?;
    Ok(Answer::Ok(value(&saved)?))
}

/// `DELETE /serviceAccounts/{name}`
pub(super) async fn delete(
    State(gate): State<Gateway>,
    caller: Caller,
    At(name): At<String>,
) -> Reply {
    let call = caller.request(ObjectKey {
        kind: KIND.to_owned(),
        id: name,
    });
    answer(gate.clients.definitions.clone().delete_object(call)).await?;
    Ok(Answer::Empty)
}
