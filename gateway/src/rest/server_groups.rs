//! Server groups of an application, or by their own names.
//! Source: `gate: ServerGroupController`.

use axum::extract::State;
use proto::cloud_driver::v1::{ApplicationQuery, ServerGroupQuery};
use serde_json::{Value, json};

use crate::Gateway;
use crate::answer::{Answer, Reply, forward, value, values};
use crate::clients::answer;
use crate::error::Error;
use crate::request::{At, Caller, Query};

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

async fn of(gate: &Gateway, caller: &Caller, application: &str) -> Result<Vec<Value>, Error> {
    let call = caller.request(ApplicationQuery {
        application: application.to_lowercase(),
    });
    let list = answer(gate.clients.query.clone().list_server_groups(call)).await?;
    values(&list.items)
}

fn filter(found: &mut Vec<Value>, query: &Query) {
    if let Some(provider) = query.get("cloudProvider") {
        found.retain(|group| text(group, "cloudProvider") == provider);
    }
    let clusters = query.list("clusters");
    if !clusters.is_empty() {
        found.retain(|group| {
            let key = format!("{}:{}", text(group, "account"), text(group, "cluster"));
            clusters.contains(&key)
        });
    }
}

/// `GET /applications/{application}/serverGroups?clusters=&cloudProvider=`
pub(super) async fn of_application(
    State(gate): State<Gateway>,
    caller: Caller,
    At(application): At<String>,
    query: Query,
) -> Reply {
    let mut found = of(&gate, &caller, &application).await?;
    filter(&mut found, &query);
    Ok(Answer::Ok(Value::Array(found)))
}

async fn one(
    gate: &Gateway,
    caller: &Caller,
    account: &str,
    region: &str,
    name: &str,
) -> Result<proto::common::v1::Json, Error> {
    let call = caller.request(ServerGroupQuery {
        account: account.to_owned(),
        region: region.to_owned(),
        name: name.to_owned(),
    });
    let found = answer(gate.clients.query.clone().get_server_group(call)).await;
    found.map_err(|error| {
        error.or_not_found(|| {
            format!("Server group not found (account: {account}, region: {region}, name: {name})")
        })
    })
}

/// `GET /applications/{application}/serverGroups/{account}/{region}/{name}`
pub(super) async fn get(
    State(gate): State<Gateway>,
    caller: Caller,
    At((_, account, region, name)): At<(String, String, String, String)>,
) -> Reply {
    forward(&one(&gate, &caller, &account, &region, &name).await?)
}

/// `GET /serverGroups?applications=|ids=account:region:name&cloudProvider=`
pub(super) async fn list(State(gate): State<Gateway>, caller: Caller, query: Query) -> Reply {
    let (applications, ids) = (query.list("applications"), query.list("ids"));
    if applications.is_empty() == ids.is_empty() {
        let message = "or ids must be given, one of them";
        return Err(Error::field("applications", message));
    }
    let mut found = Vec::new();
    for application in applications {
        found.extend(of(&gate, &caller, &application).await?);
    }
    for id in ids {
        let parts: Vec<&str> = id.splitn(3, ':').collect();
        let [account, region, name] = parts.as_slice() else {
            let message = format!("\"{id}\" is not account:region:name");
            return Err(Error::field("ids", message));
        };
        match one(&gate, &caller, account, region, name).await {
            Ok(json) => found.push(value(&json)?),
            Err(error) if error.status() == http::StatusCode::NOT_FOUND => {}
            Err(error) => return Err(error),
        }
    }
    filter(&mut found, &query);
    Ok(Answer::Ok(Value::Array(found)))
}

/// `GET /applications/{application}/serverGroupManagers`: no provider of ours has any.
pub(super) async fn managers() -> Reply {
    Ok(Answer::Ok(json!([])))
}
