//! Clusters of an application and what is in them.
//! Source: `gate: ClusterController`.

use axum::extract::State;
use proto::cloud_driver::v1::{ApplicationQuery, ClusterQuery, TargetQuery};
use serde_json::{Map, Value, json};

use crate::Gateway;
use crate::answer::{Answer, Reply, forward, value};
use crate::clients::answer;
use crate::error::Error;
use crate::request::{At, Caller};

async fn by_account(
    gate: &Gateway,
    caller: &Caller,
    application: &str,
) -> Result<Map<String, Value>, Error> {
    let call = caller.request(ApplicationQuery {
        application: application.to_lowercase(),
    });
    let listed = answer(gate.clients.query.clone().list_clusters(call)).await?;
    match value(&listed)? {
        Value::Object(map) => Ok(map),
        _ => Ok(Map::new()),
    }
}

/// `GET /applications/{application}/clusters`: names by account.
pub(super) async fn names(
    State(gate): State<Gateway>,
    caller: Caller,
    At(application): At<String>,
) -> Reply {
    let mut names = Map::new();
    for (account, clusters) in by_account(&gate, &caller, &application).await? {
        let list = clusters.as_array().into_iter().flatten().map(|cluster| {
            // Either the name alone or an object that has it.
            cluster.get("name").unwrap_or(cluster).clone()
        });
        names.insert(account, list.collect());
    }
    Ok(Answer::Ok(Value::Object(names)))
}

/// `GET /applications/{application}/clusters/{account}`
pub(super) async fn of_account(
    State(gate): State<Gateway>,
    caller: Caller,
    At((application, account)): At<(String, String)>,
) -> Reply {
    let mut all = by_account(&gate, &caller, &application).await?;
    match all.remove(&account) {
        Some(Value::Array(clusters)) if !clusters.is_empty() => {
            Ok(Answer::Ok(Value::Array(clusters)))
        }
        _ => Err(Error::not_found(format!(
            "No clusters found (application: {application}, account: {account})"
        ))),
    }
}

async fn cluster(
    gate: &Gateway,
    caller: &Caller,
    (application, account, cluster): (String, String, String),
) -> Result<Value, Error> {
    let unknown = format!("Cluster not found (account: {account}, name: {cluster})");
    let call = caller.request(ClusterQuery {
        application: application.to_lowercase(),
        account,
        cluster,
        cloud_provider: String::new(),
    });
    let found = answer(gate.clients.query.clone().get_cluster(call)).await;
    value(&found.map_err(|error| error.or_not_found(|| unknown))?)
}

fn groups(cluster: Value) -> Vec<Value> {
    match cluster {
        Value::Object(mut map) => match map.remove("serverGroups") {
            Some(Value::Array(groups)) => groups,
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// `GET /applications/{application}/clusters/{account}/{cluster}`: one per provider.
pub(super) async fn get(
    State(gate): State<Gateway>,
    caller: Caller,
    At(key): At<(String, String, String)>,
) -> Reply {
    Ok(Answer::Ok(match cluster(&gate, &caller, key).await? {
        Value::Array(list) => Value::Array(list),
        one => json!([one]),
    }))
}

/// `GET …/clusters/{account}/{cluster}/serverGroups`
pub(super) async fn server_groups(
    State(gate): State<Gateway>,
    caller: Caller,
    At(key): At<(String, String, String)>,
) -> Reply {
    let found = groups(cluster(&gate, &caller, key).await?);
    Ok(Answer::Ok(Value::Array(found)))
}

/// `GET …/clusters/{account}/{cluster}/serverGroups/{serverGroup}`: one per region.
pub(super) async fn server_group(
    State(gate): State<Gateway>,
    caller: Caller,
    At((application, account, name, group)): At<(String, String, String, String)>,
) -> Reply {
    let mut found = groups(cluster(&gate, &caller, (application, account, name)).await?);
    found.retain(|g| g.get("name").and_then(Value::as_str) == Some(&group));
    if found.is_empty() {
        return Err(Error::not_found(format!(
            "Server group not found (name: {group})"
        )));
    }
    Ok(Answer::Ok(Value::Array(found)))
}

/// `GET …/clusters/{account}/{cluster}/{cloudProvider}/{scope}/serverGroups/target/{target}`
pub(super) async fn target(
    State(gate): State<Gateway>,
    caller: Caller,
    At((_, account, cluster, cloud_provider, region, target)): At<(
        String,
        String,
        String,
        String,
        String,
        String,
    )>,
) -> Reply {
    let unknown = format!("Target not found (target: {target}, cluster: {cluster})");
    let call = caller.request(TargetQuery {
        account,
        region,
        cluster,
        target,
        cloud_provider,
    });
    let found = answer(gate.clients.query.clone().resolve_target(call)).await;
    forward(&found.map_err(|error| error.or_not_found(|| unknown))?)
}
