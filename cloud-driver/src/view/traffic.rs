//! What the balancer measured, by server group.

use serde_json::{Value, json};

use crate::provider::local::document::ServerGroup;
use crate::provider::local::observed::Observed;

/// What the balancer calls the group of answers that no group gave.
const NO_GROUP: &str = "-";

/// Whose figures are asked for.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// Everybody's.
    All,
    /// Those of these server groups, and what their load balancers answered themselves.
    Of(&'a [&'a ServerGroup]),
}

impl Wanted<'_> {
    fn group(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Of(groups) => groups.iter().any(|g| g.name == name),
        }
    }

    fn series(&self, series: &Value) -> bool {
        let text = |key: &str| series[key].as_str().unwrap_or_default();
        match self {
            Self::Of(groups) if text("group") == NO_GROUP => {
                let balancer = text("loadBalancer");
                groups
                    .iter()
                    .flat_map(|g| &g.load_balancers)
                    .any(|name| name == balancer)
            }
            Self::All | Self::Of(_) => self.group(text("group")),
        }
    }
}

/// The history and the live figures.
pub fn traffic(mut history: Value, observed: Option<&Observed>, wanted: Wanted<'_>) -> Value {
    if let Some(series) = history["series"].as_array_mut() {
        series.retain(|series| wanted.series(series));
    }
    let live = observed.map(|o| {
        let instances: Vec<Value> = o
            .instances
            .iter()
            .filter(|(_, i)| wanted.group(&i.group))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_sees_its_own_groups_and_its_load_balancers() {
        let group: ServerGroup = serde_json::from_value(json!({
            "account": "prod", "region": "local", "name": "x-v000", "application": "x",
            "cluster": "x", "moniker": {}, "image": {"id": "i"},
            "capacity": {"min": 1, "max": 1, "desired": 1}, "loadBalancers": ["a"],
            "enabled": true, "weight": 7, "environment": {}, "health": {"path": "/ok"},
            "createdMs": 0, "operation": "o",
        }))
        .unwrap();
        let series =
            |group: &str, balancer: &str| json!({"group": group, "loadBalancer": balancer});
        let history = json!({"series": [
            series("-", "a"), series("-", "b"), series("x-v000", "a"), series("y-v000", "b"),
        ]});
        let of_x = traffic(history.clone(), None, Wanted::Of(&[&group]));
        let own = json!([series("-", "a"), series("x-v000", "a")]);
        assert_eq!(of_x["history"]["series"], own);
        let all = traffic(history.clone(), None, Wanted::All);
        assert_eq!(all["history"], history);
        let none = traffic(history, None, Wanted::Of(&[]));
        assert_eq!(none["history"]["series"], json!([]));
    }
}
