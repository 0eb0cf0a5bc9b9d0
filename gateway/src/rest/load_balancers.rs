//! Load balancers, of an application or all.
//! Source: `gate: LoadBalancerController`.

use std::collections::BTreeMap;

use axum::extract::State;
use proto::cloud_driver::v1::ApplicationQuery;
use serde_json::{Value, json};

use crate::Gateway;
use crate::answer::{Answer, Reply, values};
use crate::clients::answer;
use crate::error::Error;
use crate::request::{At, Caller, Query};

async fn listed(gate: &Gateway, caller: &Caller, application: &str) -> Result<Vec<Value>, Error> {
    let call = caller.request(ApplicationQuery {
        application: application.to_lowercase(),
    });
    let list = answer(gate.clients.query.clone().list_load_balancers(call)).await?;
    values(&list.items)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn only(found: &mut Vec<Value>, query: &Query) {
    if let Some(provider) = query.get("provider") {
        found.retain(|lb| {
            let known = text(lb, "cloudProvider");
            known.is_empty() || known == provider
        });
    }
}

/// `GET /applications/{application}/loadBalancers`
pub(super) async fn of_application(
    State(gate): State<Gateway>,
    caller: Caller,
    At(application): At<String>,
) -> Reply {
    let found = listed(&gate, &caller, &application).await?;
    Ok(Answer::Ok(Value::Array(found)))
}

/// By name, then account, then region: how pickers want it.
fn picker(found: Vec<Value>) -> Value {
    type Regions = BTreeMap<String, Vec<Value>>;
    let mut names: BTreeMap<String, BTreeMap<String, Regions>> = BTreeMap::new();
    for lb in found {
        let (name, account, region) =
            (text(&lb, "name"), text(&lb, "account"), text(&lb, "region"));
        names
            .entry(name.to_owned())
            .or_default()
            .entry(account.to_owned())
            .or_default()
            .entry(region.to_owned())
            .or_default()
            .push(lb.clone());
    }
    let regions = |regions: Regions| -> Value {
        let each = regions.into_iter();
        each.map(|(name, lbs)| json!({"name": name, "loadBalancers": lbs}))
            .collect()
    };
    names
        .into_iter()
        .map(|(name, accounts)| {
            let accounts: Value = accounts
                .into_iter()
                .map(|(account, inner)| json!({"name": account, "regions": regions(inner)}))
                .collect();
            json!({"name": name, "accounts": accounts})
        })
        .collect()
}

/// `GET /loadBalancers?provider=`
pub(super) async fn list(State(gate): State<Gateway>, caller: Caller, query: Query) -> Reply {
    let mut found = listed(&gate, &caller, "").await?;
    only(&mut found, &query);
    Ok(Answer::Ok(picker(found)))
}

/// `GET /loadBalancers/{name}?provider=`
pub(super) async fn named(
    State(gate): State<Gateway>,
    caller: Caller,
    At(name): At<String>,
    query: Query,
) -> Reply {
    let mut found = listed(&gate, &caller, "").await?;
    only(&mut found, &query);
    found.retain(|lb| text(lb, "name") == name);
    match picker(found) {
        Value::Array(mut list) if !list.is_empty() => Ok(Answer::Ok(list.swap_remove(0))),
        _ => Err(Error::not_found(format!(
            "Load balancer not found (name: {name})"
        ))),
    }
}

/// `GET /loadBalancers/{account}/{region}/{name}?provider=`
pub(super) async fn get(
    State(gate): State<Gateway>,
    caller: Caller,
    At((account, region, name)): At<(String, String, String)>,
    query: Query,
) -> Reply {
    let mut found = listed(&gate, &caller, "").await?;
    only(&mut found, &query);
    found.retain(|lb| {
        text(lb, "account") == account && text(lb, "region") == region && text(lb, "name") == name
    });
    if found.is_empty() {
        return Err(Error::not_found(format!(
            "Load balancer not found (account: {account}, region: {region}, name: {name})"
        )));
    }
    Ok(Answer::Ok(Value::Array(found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pickers_get_load_balancers_by_name_account_and_region() {
        let lb = |name, account| json!({"name": name, "account": account, "region": "local"});
        let picked = picker(vec![lb("b", "x"), lb("a", "x"), lb("a", "y")]);
        assert_eq!(picked[0]["name"], "a");
        assert_eq!(picked[0]["accounts"][1]["name"], "y");
        assert_eq!(
            picked[0]["accounts"][1]["regions"][0]["loadBalancers"],
            json!([lb("a", "y")])
        );
    }
}
