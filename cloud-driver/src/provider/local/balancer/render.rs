//! The journal as the balancer's configuration: a pure function, so that the
//! same journal always gives the same body and repeating it changes nothing.

use std::collections::BTreeMap;

use balancer::{Config, Group, Health, Instance, LoadBalancer, Role, Route};

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
        instances: everything.instances_of(group).filter_map(entry).collect(),
    }
}
