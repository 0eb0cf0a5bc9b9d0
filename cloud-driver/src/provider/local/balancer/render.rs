//! The journal as the balancer's configuration: a pure function, so that the
//! same journal always gives the same body and repeating it changes nothing.

use std::collections::BTreeMap;

use balancer::{Config, Group, Health, Instance, LoadBalancer, Role, Route};

use crate::config::Config as Settings;
use crate::provider::local::document::{Instance as Document, ServerGroup};
use crate::provider::local::journal::{Everything, Stored};
use crate::provider::local::traffic::Traffic;

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

/// A load balancer: name, host, path, and how it passes requests on.
type Made<'a> = (&'a str, Option<&'a str>, &'a str, &'a Traffic);

/// All load balancers, the operator's first.
fn balancers_of<'a>(
    settings: &'a Settings,
    everything: &'a Everything,
) -> impl Iterator<Item = Made<'a>> {
    let configured = settings.accounts.iter().flat_map(|a| &a.load_balancers);
    let configured = configured.map(|b| {
        (
            b.name.as_str(),
            b.host.as_deref(),
            b.path.as_str(),
            &b.traffic,
        )
    });
    let made = everything.balancers.iter().map(|b| {
        (
            b.name.as_str(),
            b.host.as_deref(),
            b.path.as_str(),
            &b.traffic,
        )
    });
    configured.chain(made)
}

/// How a load balancer passes requests on; none when it is not there.
pub(crate) fn traffic<'a>(
    settings: &'a Settings,
    everything: &'a Everything,
    name: &str,
) -> Option<&'a Traffic> {
    let mut all = balancers_of(settings, everything);
    all.find(|(other, ..)| *other == name)
        .map(|(.., traffic)| traffic)
}

/// The whole configuration.
pub(crate) fn render(settings: &Settings, everything: &Everything) -> Config {
    let mut routes = Vec::new();
    let mut balancers: BTreeMap<String, Vec<Group>> = BTreeMap::new();
    let all: Vec<_> = balancers_of(settings, everything).collect();
    for (name, host, path, traffic) in &all {
        let mut route = Route {
            host: host.map(str::to_owned),
            path: (*path).to_owned(),
            load_balancer: (*name).to_owned(),
            ..Route::default()
        };
        let is_there = |other: &str| all.iter().any(|(name, ..)| *name == other);
        traffic.route(&mut route, is_there);
        routes.push(route);
        balancers.entry((*name).to_owned()).or_default();
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
            let mut rendered = render_group(group, everything, (n > 0).then_some(name.as_str()));
            if let Some(traffic) = traffic(settings, everything, &name) {
                traffic.group(&mut rendered, &group.capacity);
            }
            balancers.entry(name).or_default().push(rendered);
        }
    }
    Config {
        routes,
        load_balancers: balancers
            .into_iter()
            .map(|(name, groups)| {
                let traffic = traffic(settings, everything, &name);
                LoadBalancer {
                    groups,
                    sticky: traffic.and_then(|t| t.sticky.clone()),
                    hold_requests: traffic.and_then(|t| t.hold_requests),
                    name,
                }
            })
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
        ..Group::default()
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
    fn what_is_said_of_a_load_balancer_reaches_its_route_and_its_groups() {
        let mut settings = settings();
        let given = serde_json::json!({
            "sticky": {"cookie": "sid"}, "holdRequests": {"maxMs": 9, "maxRequests": 9},
            "slowStartMs": 7, "outlier": {"consecutive5xx": 3}, "limits": {"maxInFlight": 5},
            "methods": ["GET"], "headers": [{"name": "x", "present": true}],
            "mirror": {"loadBalancer": "b", "percent": 10},
        });
        let balancers = &mut settings.accounts[0].load_balancers;
        balancers[0].traffic = serde_json::from_value(given).unwrap();
        balancers[0].host = Some("*.a.test".into());
        let everything = group("x-v000", &["a"], &[rollout::Role::Serve]);
        let config = render(&settings, &everything);
        assert_eq!(config.check().faults, Vec::<String>::new());
        let (route, balancer) = (&config.routes[0], &config.load_balancers[0]);
        assert_eq!(route.limits.max_in_flight, Some(5));
        assert_eq!(route.conditions(), 2);
        assert_eq!(route.mirror.as_ref().unwrap().load_balancer, "b");
        assert!(balancer.sticky.is_some() && balancer.hold_requests.is_some());
        assert_eq!(balancer.groups[0].slow_start_ms, 7);
        assert!(balancer.groups[0].outlier.is_some());
        // Where the mirror is not there any more it is left out, not everything refused.
        settings.accounts[0].load_balancers.truncate(1);
        let config = render(&settings, &everything);
        assert_eq!(config.check().faults, Vec::<String>::new());
        assert!(config.routes[0].mirror.is_none());
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
