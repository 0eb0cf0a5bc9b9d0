//! The journal as the balancer's configuration: a pure function, so that the
//! same journal always gives the same body and repeating it changes nothing.

use std::collections::BTreeMap;

use balancer::{Config, Group, Health, Instance, Listener, LoadBalancer, Role, Route};

use super::listeners::{Unheard, merge};
use crate::config::Config as Settings;
use crate::provider::local::document::{Instance as Document, ServerGroup};
use crate::provider::local::journal::{Everything, Stored};

/// The load balancer of server groups that are behind none: without a route,
/// only so that they are probed.
pub(crate) const UNROUTED: &str = "-unrouted";

/// What stands between an instance's id and the name of its second and further
/// load balancers: the balancer wants every id once.
const AGAIN: char = '@';

/// The instance an entry of the balancer stands for.
pub(crate) fn instance_of(entry: &str) -> &str {
    entry.split(AGAIN).next().unwrap_or(entry)
}

/// The listeners of all load balancers, the operator's first, and what of them cannot be.
pub(crate) fn listeners(
    settings: &Settings,
    everything: &Everything,
) -> (Vec<Listener>, Vec<Unheard>) {
    let configured = settings.accounts.iter().flat_map(|a| &a.load_balancers);
    let configured = configured.map(|b| (b.name.as_str(), b.listeners.as_slice()));
    let made = everything.balancers.iter();
    let made = made.map(|b| (b.name.as_str(), b.listeners.as_slice()));
    merge(configured.chain(made), settings.balancer_port)
}

/// The whole configuration.
pub(crate) fn render(settings: &Settings, everything: &Everything) -> Config {
    let mut routes = Vec::new();
    let mut balancers: BTreeMap<String, Vec<Group>> = BTreeMap::new();
    let configured = settings.accounts.iter().flat_map(|a| &a.load_balancers);
    let configured = configured.map(|b| (&b.name, &b.host, &b.path));
    let made = everything
        .balancers
        .iter()
        .map(|b| (&b.name, &b.host, &b.path));
    for (name, host, path) in configured.chain(made) {
        routes.push(Route {
            host: host.clone(),
            path: path.clone(),
            load_balancer: name.clone(),
        });
        balancers.entry(name.clone()).or_default();
    }
    for group in &everything.groups {
        let known: Vec<&String> = group
            .load_balancers
            .iter()
            .filter(|name| balancers.contains_key(*name))
            .collect();
        if known.is_empty() {
            let alone = render_group(group, everything, None);
            balancers
                .entry(UNROUTED.to_owned())
                .or_default()
                .push(alone);
            continue;
        }
        let names: Vec<String> = known.into_iter().cloned().collect();
        for (n, name) in names.into_iter().enumerate() {
            let rendered = render_group(group, everything, (n > 0).then_some(name.as_str()));
            balancers.entry(name).or_default().push(rendered);
        }
    }
    Config {
        routes,
        load_balancers: balancers
            .into_iter()
            .map(|(name, groups)| LoadBalancer { name, groups })
            .collect(),
        settings: balancer::Settings::default(),
        listeners: listeners(settings, everything).0,
    }
}

fn render_group(group: &ServerGroup, everything: &Everything, again: Option<&str>) -> Group {
    let entry = |instance: &Stored<Document>| {
        let role = match instance.role {
            rollout::Role::Absent => return None,
            rollout::Role::Warm => Role::Warm,
            rollout::Role::Serve => Role::Serve,
            rollout::Role::Drain => Role::Drain,
        };
        Some(Instance {
            id: match again {
                None => instance.id.clone(),
                Some(name) => format!("{}{AGAIN}{name}", instance.id),
            },
            address: format!("127.0.0.1:{}", instance.port),
            role,
        })
    };
    Group {
        name: group.name.clone(),
        weight: group.weight,
        health: Health {
            path: group.health.path.clone(),
            ..Health::default()
        },
        protocol: balancer::Protocol::default(),
        instances: everything.instances_of(group).filter_map(entry).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let account = "{name: prod, regions: {local: 3}, \
                       load-balancers: [{name: a, host: a.test}, {name: b, path: /b}]}";
        Settings {
            accounts: vec![serde_yaml_ng::from_str(account).unwrap()],
            ..Settings::default()
        }
    }

    fn group(name: &str, balancers: &[&str], roles: &[rollout::Role]) -> Everything {
        let group: ServerGroup = serde_json::from_value(serde_json::json!({
            "account": "prod", "region": "local", "name": name, "application": "x",
            "cluster": "x", "moniker": {}, "image": {"id": "i"},
            "capacity": {"min": 1, "max": 1, "desired": 1}, "loadBalancers": balancers,
            "enabled": true, "weight": 7, "environment": {}, "health": {"path": "/ok"},
            "createdMs": 0, "operation": "o",
        }))
        .unwrap();
        let instance = |(n, role): (usize, &rollout::Role)| Stored {
            version: 1,
            value: Document {
                id: format!("{name}-{n}"),
                account: "prod".into(),
                region: "local".into(),
                group: name.into(),
                application: "x".into(),
                cluster: "x".into(),
                slot: format!("host-{n}"),
                port: 20_000 + u16::try_from(n).unwrap(),
                role: *role,
                stopping: false,
                token: String::new(),
                created_ms: 0,
            },
        };
        Everything {
            instances: roles.iter().enumerate().map(instance).collect(),
            groups: vec![Stored {
                version: 1,
                value: group,
            }],
            balancers: Vec::new(),
        }
    }

    #[test]
    fn instances_stand_behind_each_of_their_load_balancers_under_names_of_their_own() {
        use rollout::Role::{Absent, Drain, Serve};
        let everything = group("x-v000", &["a", "b"], &[Serve, Drain, Absent]);
        let config = render(&settings(), &everything);
        assert_eq!(config.check().faults, Vec::<String>::new());
        assert_eq!(config.routes.len(), 2);
        let names: Vec<Vec<&str>> = config
            .load_balancers
            .iter()
            .map(|b| {
                b.groups[0]
                    .instances
                    .iter()
                    .map(|i| i.id.as_str())
                    .collect()
            })
            .collect();
        assert_eq!(
            names,
            [
                vec!["x-v000-0", "x-v000-1"],
                vec!["x-v000-0@b", "x-v000-1@b"]
            ]
        );
        assert_eq!(instance_of("x-v000-0@b"), "x-v000-0");
        assert_eq!(config.load_balancers[0].groups[0].weight, 7);
        assert_eq!(config, render(&settings(), &everything));
    }

    #[test]
    fn a_group_behind_no_load_balancer_is_probed_and_reached_by_no_route() {
        for balancers in [&[][..], &["unknown"]] {
            let config = render(
                &settings(),
                &group("x-v000", balancers, &[rollout::Role::Serve]),
            );
            let hidden = config
                .load_balancers
                .iter()
                .find(|b| b.name == UNROUTED)
                .unwrap();
            assert_eq!(hidden.groups[0].instances.len(), 1);
            assert!(config.routes.iter().all(|r| r.load_balancer != UNROUTED));
        }
    }
}
