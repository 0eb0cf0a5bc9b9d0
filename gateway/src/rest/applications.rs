//! Applications: those that were saved, and those that only the clouds know.
//! Source: `gate: ApplicationController, ApplicationService`.

use std::collections::BTreeMap;

use axum::extract::State;
use proto::cloud_driver::v1::{ApplicationQuery, ListAccountsRequest};
use proto::orchestrator::v1::{
    ApplicationHistoryRequest, ApplicationName, ListApplicationsRequest,
};
use serde_json::{Map, Value, json};

use crate::Gateway;
use crate::answer::{Answer, Reply, value, values};
use crate::clients::answer;
use crate::error::Error;
use crate::request::{At, Caller, Query};

/// The attributes of an application, however it is wrapped.
fn attributes(application: Value) -> Map<String, Value> {
    let Value::Object(mut map) = application else {
        return Map::new();
    };
    match map.remove("attributes") {
        Some(Value::Object(attributes)) => {
            let name = map.remove("name");
            let mut attributes = attributes;
            if let (Some(name), false) = (name, attributes.contains_key("name")) {
                attributes.insert("name".to_owned(), name);
            }
            attributes
        }
        Some(other) => {
            map.insert("attributes".to_owned(), other);
            map
        }
        None => map,
    }
}

fn lower_name(attributes: &Map<String, Value>) -> String {
    let name = attributes.get("name").and_then(Value::as_str);
    name.unwrap_or_default().to_lowercase()
}

/// Names of the applications the clouds know, with the accounts they run in.
/// Clouds that do not answer hide nothing that was saved.
async fn seen_by_clouds(gate: &Gateway, caller: &Caller) -> BTreeMap<String, Vec<String>> {
    let call = caller.request(ListAccountsRequest {});
    let listed = answer(gate.clients.query.clone().list_applications(call)).await;
    let listed = listed.and_then(|list| values(&list.items));
    let mut seen = BTreeMap::new();
    for application in listed.unwrap_or_default() {
        let accounts = application
            .get("clusterNames")
            .and_then(Value::as_object)
            .map(|names| names.keys().cloned().collect())
            .unwrap_or_default();
        let name = lower_name(&attributes(application));
        if !name.is_empty() {
            seen.insert(name, accounts);
        }
    }
    seen
}

/// The attributes of every application, by name.
pub(super) async fn all(gate: &Gateway, caller: &Caller) -> Result<Vec<Map<String, Value>>, Error> {
    let call = caller.request(ListApplicationsRequest {});
    let saved = gate.clients.definitions.clone();
    let mut saved = saved;
    let (saved, mut seen) = tokio::join!(
        answer(saved.list_applications(call)),
        seen_by_clouds(gate, caller)
    );
    let mut found = BTreeMap::new();
    for application in values(&saved?.items)? {
        let mut attributes = attributes(application);
        let name = lower_name(&attributes);
        attributes.insert("name".to_owned(), json!(name));
        if let Some(accounts) = seen.remove(&name).filter(|a| !a.is_empty()) {
            attributes.insert("accounts".to_owned(), json!(accounts.join(",")));
        }
        found.insert(name, attributes);
    }
    for (name, accounts) in seen {
        let mut attributes = Map::new();
        attributes.insert("name".to_owned(), json!(name));
        attributes.insert("accounts".to_owned(), json!(accounts.join(",")));
        found.entry(name).or_insert(attributes);
    }
    Ok(found.into_values().collect())
}

/// `GET /applications?account=&owner=`
pub(super) async fn list(State(gate): State<Gateway>, caller: Caller, query: Query) -> Reply {
    let mut found = all(&gate, &caller).await?;
    if let Some(owner) = query.get("owner") {
        found.retain(|a| {
            let email = a.get("email").and_then(Value::as_str).unwrap_or_default();
            email.eq_ignore_ascii_case(owner)
        });
    }
    if let Some(account) = query.get("account") {
        found.retain(|a| {
            let accounts = a
                .get("accounts")
                .and_then(Value::as_str)
                .unwrap_or_default();
            accounts.split(',').any(|known| known == account)
        });
    }
    Ok(Answer::Ok(found.into_iter().map(Value::Object).collect()))
}

/// `GET /applications/{application}/history?limit=20`
pub(super) async fn history(
    State(gate): State<Gateway>,
    caller: Caller,
    At(application): At<String>,
    query: Query,
) -> Reply {
    let limit = query.number("limit", 20)?.min(500);
    let call = caller.request(ApplicationHistoryRequest {
        name: application.to_lowercase(),
        limit: u32::try_from(limit).unwrap_or(u32::MAX),
    });
    let list = answer(gate.clients.definitions.clone().application_history(call))
        .await
        .map_err(|error| error.or_not_found(|| unknown_text(&application)))?;
    Ok(Answer::Ok(Value::Array(values(&list.items)?)))
}

/// `GET /applications/{application}?expand=true`
pub(super) async fn get(
    State(gate): State<Gateway>,
    caller: Caller,
    At(application): At<String>,
    query: Query,
) -> Reply {
    let expand = query.flag("expand", true)?;
    let name = application.to_lowercase();
    let call = caller.request(ApplicationName { name: name.clone() });
    let saved = answer(gate.clients.definitions.clone().get_application(call)).await;
    let mut attributes = match saved {
        Ok(json) => attributes(value(&json)?),
        Err(error) if error.status() == http::StatusCode::NOT_FOUND => {
            if !seen_by_clouds(&gate, &caller).await.contains_key(&name) {
                return Err(unknown(&application));
            }
            Map::new()
        }
        Err(error) => return Err(error),
    };
    attributes.insert("name".to_owned(), json!(name));
    let clusters = if expand {
        let call = caller.request(ApplicationQuery {
            application: name.clone(),
        });
        let listed = answer(gate.clients.query.clone().list_clusters(call)).await;
        listed
            .and_then(|json| value(&json))
            .unwrap_or_else(|_| json!({}))
    } else {
        json!({})
    };
    if let Some(accounts) = clusters.as_object().filter(|c| !c.is_empty()) {
        let accounts: Vec<_> = accounts.keys().map(String::as_str).collect();
        attributes.insert("accounts".to_owned(), json!(accounts.join(",")));
    }
    Ok(Answer::Ok(
        json!({"name": name, "attributes": attributes, "clusters": clusters}),
    ))
}

/// 404 in Gate's words.
pub(super) fn unknown(application: &str) -> Error {
    Error::not_found(unknown_text(application))
}

fn unknown_text(application: &str) -> String {
    format!("Application not found (id: {application})")
}

/// Fails when nothing and nobody knows the application.
pub(super) async fn require(
    gate: &Gateway,
    caller: &Caller,
    application: &str,
) -> Result<(), Error> {
    let name = application.to_lowercase();
    let call = caller.request(ApplicationName { name: name.clone() });
    match answer(gate.clients.definitions.clone().get_application(call)).await {
        Ok(_) => Ok(()),
        Err(error) if error.status() == http::StatusCode::NOT_FOUND => {
            if seen_by_clouds(gate, caller).await.contains_key(&name) {
                Ok(())
            } else {
                Err(unknown(application))
            }
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_flat_and_wrapped() {
        let flat = attributes(json!({"name": "A", "email": "e"}));
        let wrapped = attributes(json!({"name": "A", "attributes": {"email": "e"}}));
        assert_eq!(Value::Object(flat), json!({"name": "A", "email": "e"}));
        assert_eq!(Value::Object(wrapped), json!({"name": "A", "email": "e"}));
    }
}
