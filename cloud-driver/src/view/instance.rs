//! Instances: health as the balancer and the shims observe it.

use serde_json::{Value, json};

use super::Sight;
use crate::provider::local::document::Instance;
use crate::provider::local::observed::InstanceState;

/// One health of an instance: `LoadBalancer` by the balancer's probes,
/// `Local` by the process.
fn healths(sight: &Sight<'_>, instance: &Instance) -> Vec<Value> {
    let seen = sight.observed.and_then(|o| o.instances.get(&instance.id));
    let facts = sight.facts.get(&instance.id);
    let alive = facts.is_some_and(|f| f.alive);
    let mut healths = Vec::new();
    let state = match seen.map(|s| s.state) {
        Some(InstanceState::Serving) => "Up",
        // Probed well, and no traffic wanted: out of service, as an instance
        // that is registered with no load balancer.
        Some(InstanceState::Ready) => "OutOfService",
        Some(InstanceState::Warming | InstanceState::Unknown) => "Starting",
        Some(InstanceState::Suspended) => "Down",
        Some(InstanceState::Draining) => "Draining",
        Some(InstanceState::Drained) => "OutOfService",
        None if alive => "Starting",
        None => "Down",
    };
    let reason = seen.and_then(|s| s.reason.clone());
    healths.push(json!({
        "type": "LoadBalancer",
        "source": "LoadBalancer",
        "healthClass": "loadBalancer",
        "state": if alive { state } else { "Down" },
        "description": reason,
    }));
    healths.push(json!({
        "type": "Local",
        "source": "Local",
        "healthClass": "platform",
        "state": if alive { "Unknown" } else { "Down" },
        "description": facts.and_then(|f| f.exit.clone()),
    }));
    healths
}

/// The one state an instance's healths come to.
///
/// Source: `clouddriver: HealthState` and the aggregation of its instances.
pub(crate) fn health_state(sight: &Sight<'_>, instance: &Instance) -> &'static str {
    let healths = healths(sight, instance);
    let state = |v: &Value| v["state"].as_str().map(str::to_owned).unwrap_or_default();
    let states: Vec<String> = healths.iter().map(state).collect();
    let any = |name: &str| states.iter().any(|s| s == name);
    for name in ["Down", "OutOfService", "Draining", "Starting", "Up"] {
        if any(name) {
            return name;
        }
    }
    "Unknown"
}

/// An instance as it stands in a server group.
pub(crate) fn summary(sight: &Sight<'_>, instance: &Instance) -> Value {
    let seen = sight.observed.and_then(|o| o.instances.get(&instance.id));
    let facts = sight.facts.get(&instance.id);
    json!({
        "id": instance.id,
        "name": instance.id,
        "health": healths(sight, instance),
        "healthState": health_state(sight, instance),
        "launchTime": facts.and_then(|f| f.started_ms).unwrap_or(instance.created_ms),
        "availabilityZone": instance.slot,
        "zone": instance.slot,
        "port": instance.port,
        "inFlight": seen.map(|s| s.requests + s.tunnels),
        "served": seen.map(|s| s.served),
    })
}

/// An instance by itself.
pub fn instance(sight: &Sight<'_>, instance: &Instance) -> Value {
    let group = sight
        .everything
        .group(&instance.account, &instance.region, &instance.group);
    let facts = sight.facts.get(&instance.id);
    let mut value = summary(sight, instance);
    let more = json!({
        "account": instance.account,
        "region": instance.region,
        "application": instance.application,
        "cluster": instance.cluster,
        "serverGroup": instance.group,
        "cloudProvider": "local",
        "provider": "local",
        "type": "local",
        "moniker": group.map(|g| &g.moniker),
        "loadBalancers": group.map(|g| g.load_balancers.clone()).unwrap_or_default(),
        "privateIpAddress": "127.0.0.1",
        "processId": facts.and_then(|f| f.pid),
        "isolation": facts.and_then(|f| f.isolation.clone()),
    });
    if let (Some(target), Value::Object(more)) = (value.as_object_mut(), more) {
        target.extend(more);
    }
    value
}
