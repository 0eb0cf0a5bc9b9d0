//! Load balancers with the server groups behind them.

use serde_json::{Value, json};

use super::Sight;
use super::instance::health_state;
use super::server_group::counts;
use crate::provider::local::document::{LoadBalancer, ServerGroup};

/// The names of all load balancers of these groups, once each.
pub(crate) fn load_balancer_names<'a>(
    groups: impl Iterator<Item = &'a ServerGroup>,
) -> Vec<String> {
    let mut names: Vec<String> = groups.flat_map(|g| g.load_balancers.clone()).collect();
    names.sort();
    names.dedup();
    names
}

/// Configured and made ones together.
pub(crate) fn known(sight: &Sight<'_>) -> Vec<LoadBalancer> {
    let mut known = Vec::new();
    for account in &sight.config.accounts {
        let region = account.regions.keys().next().cloned().unwrap_or_default();
        known.extend(account.load_balancers.iter().map(|b| LoadBalancer {
            account: account.name.clone(),
            region: region.clone(),
            name: b.name.clone(),
            host: b.host.clone(),
            path: b.path.clone(),
            traffic: b.traffic.clone(),
            listeners: b.listeners.clone(),
        }));
    }
    known.extend(sight.everything.balancers.iter().map(|b| b.value.clone()));
    known
}

/// The load balancers of an application (those its server groups are behind, and
/// those whose name begins with it), or all.
pub fn load_balancers(sight: &Sight<'_>, application: &str) -> Vec<Value> {
    let mut answers = Vec::new();
    for balancer in known(sight) {
        let groups: Vec<&ServerGroup> = sight
            .everything
            .groups
            .iter()
            .map(|g| &g.value)
            .filter(|g| g.account == balancer.account && g.load_balancers.contains(&balancer.name))
            .collect();
        let moniker = proto::moniker::Moniker::parse(&balancer.name);
        let named = moniker
            .app
            .as_deref()
            .is_some_and(|app| app.eq_ignore_ascii_case(application));
        let used = groups
            .iter()
            .any(|g| g.application.eq_ignore_ascii_case(application));
        if application.is_empty() || named || used {
            answers.push(view(sight, &balancer, &groups, &json!(moniker)));
        }
    }
    answers
}

fn view(
    sight: &Sight<'_>,
    balancer: &LoadBalancer,
    groups: &[&ServerGroup],
    moniker: &Value,
) -> Value {
    let mut states = Vec::new();
    let behind: Vec<Value> = groups
        .iter()
        .map(|group| {
            let instances: Vec<Value> = sight
                .everything
                .instances_of(group)
                .map(|instance| {
                    let state = health_state(sight, instance);
                    states.push(state);
                    let in_service = if state == "Up" {
                        "InService"
                    } else {
                        "OutOfService"
                    };
                    json!({
                        "id": instance.id,
                        "name": instance.id,
                        "zone": instance.slot,
                        "health": {"state": in_service, "description": state},
                    })
                })
                .collect();
            json!({
                "name": group.name,
                "account": group.account,
                "region": group.region,
                "isDisabled": !group.enabled,
                "cloudProvider": "local",
                "detachedInstances": [],
                "instances": instances,
            })
        })
        .collect();
    let mut view = json!({
        "name": balancer.name,
        "account": balancer.account,
        "region": balancer.region,
        "type": "local",
        "cloudProvider": "local",
        "loadBalancerType": "application",
        "moniker": moniker,
        "vpcId": null,
        "securityGroups": [],
        "host": balancer.host,
        "path": balancer.path,
        "port": sight.config.balancer_port,
        "listeners": balancer.listeners,
        "instanceCounts": counts(states.into_iter()),
        "serverGroups": behind,
        "targetGroups": [],
    });
    if let (Some(view), Ok(Value::Object(traffic))) = (
        view.as_object_mut(),
        serde_json::to_value(&balancer.traffic),
    ) {
        view.extend(traffic);
    }
    view
}
