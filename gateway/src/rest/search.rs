//! Search by name over what exists now. Source: `gate: SearchController`.

use axum::extract::State;
use proto::cloud_driver::v1::ApplicationQuery;
use serde_json::{Value, json};

use super::{applications, projects};
use crate::Gateway;
use crate::answer::{Answer, Reply, value, values};
use crate::clients::answer;
use crate::error::Error;
use crate::request::{Caller, Query};

const TYPES: [&str; 6] = [
    "applications",
    "clusters",
    "instances",
    "loadBalancers",
    "projects",
    "serverGroups",
];
/// Shorter queries find nothing, unless they are allowed.
const SHORTEST: usize = 3;

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

async fn found(
    gate: &Gateway,
    caller: &Caller,
    kind: &str,
    wanted: &str,
) -> Result<Vec<Value>, Error> {
    let fits = |name: &str| name.to_lowercase().contains(wanted);
    let all = || {
        caller.request(ApplicationQuery {
            application: String::new(),
        })
    };
    let mut results = Vec::new();
    match kind {
        "applications" => {
            for attributes in applications::all(gate, caller).await? {
                let name = attributes.get("name").and_then(Value::as_str);
                if let Some(name) = name.filter(|n| fits(n)) {
                    results.push(json!({"type": kind, "application": name}));
                }
            }
        }
        "clusters" => {
            let listed = answer(gate.clients.query.clone().list_clusters(all())).await?;
            let listed = value(&listed)?;
            for (account, clusters) in listed.as_object().into_iter().flatten() {
                for cluster in clusters.as_array().into_iter().flatten() {
                    let name = cluster.get("name").unwrap_or(cluster).as_str();
                    if let Some(name) = name.filter(|n| fits(n)) {
                        let application = proto::moniker::Moniker::parse(name).app;
                        results.push(json!({"type": kind, "cluster": name, "account": account,
                                            "application": application}));
                    }
                }
            }
        }
        "projects" => {
            for project in projects::all(gate, caller).await? {
                if fits(text(&project, "name")) {
                    results.push(json!({
                        "type": kind, "id": project.get("id"), "name": text(&project, "name"),
                        "email": project.get("email"), "config": project.get("config"),
                    }));
                }
            }
        }
        "loadBalancers" => {
            let listed = answer(gate.clients.query.clone().list_load_balancers(all())).await?;
            for found in values(&listed.items)? {
                if fits(text(&found, "name")) {
                    results.push(json!({
                        "type": kind, "loadBalancer": text(&found, "name"),
                        "account": text(&found, "account"), "region": text(&found, "region"),
                        "application": text(&found, "application"),
                        "provider": text(&found, "cloudProvider"),
                    }));
                }
            }
        }
        _ => {
            let listed = answer(gate.clients.query.clone().list_server_groups(all())).await?;
            for group in values(&listed.items)? {
                let mut place = json!({
                    "type": kind, "serverGroup": text(&group, "name"),
                    "account": text(&group, "account"), "region": text(&group, "region"),
                    "application": text(&group, "application"),
                    "cluster": text(&group, "cluster"),
                    "provider": text(&group, "cloudProvider"),
                });
                if kind == "serverGroups" {
                    if fits(text(&group, "name")) {
                        results.push(place);
                    }
                    continue;
                }
                let instances = group.get("instances").and_then(Value::as_array);
                for instance in instances.into_iter().flatten() {
                    let id = instance.get("id").or_else(|| instance.get("name"));
                    if let Some(id) = id.and_then(Value::as_str).filter(|id| fits(id)) {
                        place["instanceId"] = json!(id);
                        results.push(place.clone());
                    }
                }
            }
        }
    }
    Ok(results)
}

/// `GET /search?q=&type=&pageSize=10000&page=1&allowShortQuery=false`
pub(super) async fn search(State(gate): State<Gateway>, caller: Caller, query: Query) -> Reply {
    let types = query.list("type");
    if types.is_empty() {
        return Err(Error::field("type", "is missing; add it to the query"));
    }
    let wanted = query.text("q").trim().to_lowercase();
    if wanted.chars().count() < SHORTEST && !query.flag("allowShortQuery", false)? {
        return Ok(Answer::Ok(json!([])));
    }
    let size = query.number("pageSize", 10_000)?.clamp(1, 10_000);
    let page = query.number("page", 1)?.max(1);
    let mut results = Vec::new();
    for kind in types.iter().filter(|t| TYPES.contains(&t.as_str())) {
        results.extend(found(&gate, &caller, kind, &wanted).await?);
    }
    let total = results.len();
    let skip = usize::try_from((page - 1).saturating_mul(size)).unwrap_or(usize::MAX);
    let take = usize::try_from(size).unwrap_or(usize::MAX);
    let results: Vec<_> = results.into_iter().skip(skip).take(take).collect();
    Ok(Answer::Ok(json!([{
        "pageNumber": page, "pageSize": size, "platform": "local", "query": query.text("q"),
        "results": results, "totalMatches": total,
    }])))
}
