//! Server groups, short and whole.

use serde_json::{Map, Value, json};

use super::Sight;
use super::instance::{health_state, summary};
use crate::provider::local::document::ServerGroup;

/// How many instances are in which state.
pub(crate) fn counts<'a>(states: impl Iterator<Item = &'a str>) -> Value {
    let states: Vec<&str> = states.collect();
    let of = |name: &str| states.iter().filter(|s| **s == name).count();
    json!({
        "total": states.len(),
        "up": of("Up"),
        "down": of("Down"),
        "unknown": of("Unknown"),
        "outOfService": of("OutOfService") + of("Draining"),
        "starting": of("Starting"),
        "succeeded": of("Succeeded"),
        "failed": of("Failed"),
    })
}

/// What runs: `images` and `docker` as Clouddriver writes them, and the digest.
fn build(group: &ServerGroup) -> Value {
    let image = &group.image;
    let name = image.id.split('@').next().unwrap_or_default();
    let (repository, _) = match name.rsplit_once(':') {
        Some((front, tag)) if !tag.contains('/') => (front, Some(tag)),
        _ => (name, None),
    };
    json!({
        "images": [image.id],
        "docker": {"image": repository, "tag": image.version(), "digest": image.digest},
        "version": image.version(),
    })
}

/// One server group with all there is to say of it.
pub fn full(sight: &Sight<'_>, group: &ServerGroup) -> Value {
    let instances: Vec<_> = sight.everything.instances_of(group).collect();
    let states = instances.iter().map(|i| health_state(sight, i));
    json!({
        "name": group.name,
        "account": group.account,
        "accountName": group.account,
        "region": group.region,
        "cluster": group.cluster,
        "application": group.application,
        "stack": group.moniker.stack,
        "freeFormDetail": group.moniker.detail,
        "type": "local",
        "cloudProvider": "local",
        "provider": "local",
        "moniker": group.moniker,
        "createdTime": group.created_ms,
        "isDisabled": !group.enabled,
        "disabled": !group.enabled,
        "capacity": group.capacity,
        "instanceCounts": counts(states),
        "instances": instances.iter().map(|i| summary(sight, i)).collect::<Vec<_>>(),
        "loadBalancers": group.load_balancers,
        "targetGroups": [],
        "securityGroups": [],
        "zones": zones(&instances),
        "image": group.image.id,
        "imageId": group.image.id,
        "imageDigest": group.image.digest,
        "buildInfo": build(group),
        "weight": group.weight,
        "weightEffective": sight.observed.and_then(|o| o.weights.get(&group.name)),
        "launchConfig": {
            "imageId": group.image.id,
            "environment": group.environment,
            "healthCheck": group.health,
            "drain": group.drain,
        },
        "ancestor": group.ancestor,
        "tags": {},
        "labels": {},
        "serverGroupManagers": [],
    })
}

fn zones(
    instances: &[&crate::provider::local::journal::Stored<
        crate::provider::local::document::Instance,
    >],
) -> Vec<String> {
    let mut zones: Vec<String> = instances.iter().map(|i| i.slot.clone()).collect();
    zones.sort();
    zones.dedup();
    zones
}

/// The server groups of an application, or all of them.
pub fn summaries(sight: &Sight<'_>, application: &str) -> Vec<Value> {
    let keep = [
        "name",
        "account",
        "region",
        "cluster",
        "application",
        "type",
        "cloudProvider",
        "moniker",
        "createdTime",
        "isDisabled",
        "capacity",
        "instanceCounts",
        "instances",
        "loadBalancers",
        "targetGroups",
        "securityGroups",
        "buildInfo",
        "tags",
        "labels",
        "serverGroupManagers",
        "weight",
        "weightEffective",
        "imageDigest",
    ];
    let short = |group: &ServerGroup| {
        let Value::Object(whole) = full(sight, group) else {
            return Value::Null;
        };
        let mut short = Map::new();
        for (key, value) in whole {
            if keep.contains(&key.as_str()) {
                short.insert(key, value);
            }
        }
        short.insert("instanceType".to_owned(), Value::Null);
        short.insert("vpcId".to_owned(), Value::Null);
        short.insert("providerMetadata".to_owned(), Value::Null);
        Value::Object(short)
    };
    sight
        .everything
        .groups
        .iter()
        .filter(|g| application.is_empty() || g.application.eq_ignore_ascii_case(application))
        .map(|g| short(g))
        .collect()
}
