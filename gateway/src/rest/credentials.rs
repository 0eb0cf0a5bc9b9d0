//! Accounts. Source: `gate: CredentialsController`.

use std::collections::BTreeMap;

use authorization::{Decision, Permission};
use axum::extract::State;
use proto::cloud_driver::v1::{AccountName, ListAccountsRequest};
use serde_json::{Value, json};

use crate::Gateway;
use crate::access::Access;
use crate::answer::{Answer, Reply, value, values};
use crate::clients::answer;
use crate::error::Error;
use crate::request::{At, Caller};

/// Names of all accounts.
pub(super) async fn names(gate: &Gateway, caller: &Caller) -> Result<Vec<String>, Error> {
    let call = caller.request(ListAccountsRequest {});
    let list = answer(gate.clients.query.clone().list_accounts(call)).await?;
    let accounts = values(&list.items)?;
    let names = accounts
        .iter()
        .filter_map(|a| a.get("name").and_then(Value::as_str));
    Ok(names.map(ToOwned::to_owned).collect())
}

type Writable = Option<BTreeMap<String, Decision>>;

/// Whether the caller may deploy to the account.
fn authorized(mut account: Value, writable: &Writable) -> Value {
    if let Value::Object(map) = &mut account {
        let name = map.get("name").and_then(Value::as_str).unwrap_or_default();
        let may = writable
            .as_ref()
            .is_none_or(|known| known.get(name).is_some_and(|d| d.is_allowed()));
        map.insert("authorized".to_owned(), json!(may));
    }
    account
}

/// `GET /credentials`
pub(super) async fn list(State(gate): State<Gateway>, caller: Caller) -> Reply {
    let call = caller.request(ListAccountsRequest {});
    let list = answer(gate.clients.query.clone().list_accounts(call)).await?;
    let writable = Access::of(&gate, &caller)
        .accounts(Permission::Write)
        .await?;
    let accounts = values(&list.items)?;
    let accounts = accounts
        .into_iter()
        .map(|account| authorized(account, &writable));
    Ok(Answer::Ok(accounts.collect()))
}

/// `GET /credentials/{account}`
///
/// Differs from Spinnaker: an unknown account is 404, not an empty 200.
pub(super) async fn get(
    State(gate): State<Gateway>,
    caller: Caller,
    At(account): At<String>,
) -> Reply {
    let call = caller.request(AccountName {
        name: account.clone(),
    });
    let found = answer(gate.clients.query.clone().get_account(call))
        .await
        .map_err(|error| error.or_not_found(|| format!("Account not found (name: {account})")))?;
    let writable = Access::of(&gate, &caller)
        .accounts(Permission::Write)
        .await?;
    Ok(Answer::Ok(authorized(value(&found)?, &writable)))
}
