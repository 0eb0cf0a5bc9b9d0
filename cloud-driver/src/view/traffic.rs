//! What the balancer measured, by server group.

use serde_json::{Value, json};

use crate::provider::local::balancer::Observed;

/// The history of `groups` (all when `only` is false), and the live figures.
pub fn traffic(history: Value, observed: Option<&Observed>, groups: &[&str], only: bool) -> Value {
    let wanted = |name: &str| !only || groups.contains(&name);
    let live = observed.map(|o| {
        let instances: Vec<Value> = o
            .instances
            .iter()
            .filter(|(_, i)| wanted(&i.group))
            .map(|(id, i)| {
                json!({
                    "id": id,
                    "serverGroup": i.group,
                    "state": i.state.as_str(),
                    "requests": i.requests,
                    "tunnels": i.tunnels,
                    "served": i.served,
                })
            })
            .collect();
        json!({"epoch": o.epoch.to_string(), "generation": o.generation, "instances": instances})
    });
    json!({"live": live, "history": history})
}
