//! Accounts. Source: `gate: CredentialsController`.

use axum::extract::State;
use proto::cloud_driver::v1::{AccountName, ListAccountsRequest};
use serde_json::{Value, json};

use crate::Gateway;
use crate::answer::{Answer, Reply, value, values};
use crate::clients::answer;
use crate::request::{At, Caller};

/// Without authentication everybody may use every account.
fn authorized(mut account: Value) -> Value {
    if let Value::Object(map) = &mut account {
        map.insert("authorized".to_owned(), json!(true));
    }
    account
}

/// `GET /credentials`
pub(super) async fn list(State(gate): State<Gateway>, caller: Caller) -> Reply {
    let call = caller.request(ListAccountsRequest {});
    let list = answer(gate.clients.query.clone().list_accounts(call)).await?;
    let accounts = values(&list.items)?.into_iter().map(authorized);
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
    Ok(Answer::Ok(authorized(value(&found)?)))
}
