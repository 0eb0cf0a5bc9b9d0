//! Clusters and applications.

use serde_json::{Map, Value, json};

use super::Sight;
use super::load_balancer::load_balancer_names;
use super::server_group::full;
use crate::provider::local::document::ServerGroup;

fn of<'a>(sight: &'a Sight<'_>, application: &'a str) -> impl Iterator<Item = &'a ServerGroup> {
    sight
        .everything
        .groups
        .iter()
        .map(|g| &g.value)
        .filter(move |g| application.is_empty() || g.application.eq_ignore_ascii_case(application))
}

/// Clusters of an application: `{account: [{name, provider, serverGroups, loadBalancers}]}`.
pub fn clusters(sight: &Sight<'_>, application: &str) -> Value {
    let mut accounts: Map<String, Value> = Map::new();
    let mut seen: Vec<(&str, &str)> = Vec::new();
    let mut groups: Vec<&ServerGroup> = of(sight, application).collect();
    groups.sort_by(|a, b| (&a.account, &a.cluster).cmp(&(&b.account, &b.cluster)));
    for group in &groups {
        if seen.contains(&(group.account.as_str(), group.cluster.as_str())) {
            continue;
        }
        seen.push((&group.account, &group.cluster));
        let same = |g: &&&ServerGroup| g.account == group.account && g.cluster == group.cluster;
        let members: Vec<&&ServerGroup> = groups.iter().filter(same).collect();
        let summary = json!({
            "name": group.cluster,
            "account": group.account,
            "provider": "local",
            "type": "local",
            "moniker": cluster_moniker(group),
            "serverGroups": members.iter().map(|g| g.name.as_str()).collect::<Vec<_>>(),
            "loadBalancers": load_balancer_names(members.iter().map(|g| **g)),
        });
        let list = accounts
            .entry(group.account.clone())
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = list {
            list.push(summary);
        }
    }
    Value::Object(accounts)
}

fn cluster_moniker(group: &ServerGroup) -> Value {
    let mut moniker = group.moniker.clone();
    moniker.sequence = None;
    json!(moniker)
}

/// One cluster with its server groups; none if it has none.
pub fn cluster(sight: &Sight<'_>, application: &str, account: &str, name: &str) -> Option<Value> {
    let members: Vec<&ServerGroup> = of(sight, application)
        .filter(|g| g.account == account && g.cluster == name)
        .collect();
    let first = members.first()?;
    Some(json!({
        "name": name,
        "account": account,
        "accountName": account,
        "application": first.application,
        "type": "local",
        "provider": "local",
        "moniker": cluster_moniker(first),
        "serverGroups": members.iter().map(|g| full(sight, g)).collect::<Vec<_>>(),
        "loadBalancers": load_balancer_names(members.iter().copied())
            .into_iter()
            .map(|name| json!({"name": name, "account": account, "type": "local"}))
            .collect::<Vec<_>>(),
    }))
}

/// The applications that own server groups:
/// `{name, attributes, clusterNames: {account: [cluster]}}`, by name.
pub fn applications(sight: &Sight<'_>) -> Vec<Value> {
    let mut names: Vec<&str> = of(sight, "").map(|g| g.application.as_str()).collect();
    names.sort_unstable_by_key(|n| n.to_lowercase());
    names.dedup();
    names
        .into_iter()
        .map(|name| {
            let mut accounts: Map<String, Value> = Map::new();
            for group in of(sight, name) {
                let list = accounts
                    .entry(group.account.clone())
                    .or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(list) = list
                    && !list.iter().any(|c| *c == group.cluster)
                {
                    list.push(json!(group.cluster));
                }
            }
            json!({
                "name": name,
                "attributes": {"name": name, "cloudProviders": "local"},
                "clusterNames": accounts,
            })
        })
        .collect()
}
