//! What is desired as the balancer's configuration: a pure function, so that the
//! same always gives the same body and repeating it changes nothing.

use std::collections::BTreeMap;

use balancer::{Config, Group, Health, Instance, LoadBalancer, Role, Route};
use rollout::router::{Desired, Group as Wanted, Probe, Target};

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
pub(crate) fn render(desired: &Desired) -> Config {
    let mut balancers: BTreeMap<&str, Vec<Group>> = BTreeMap::new();
    let route = |entrance: &rollout::router::Entrance| Route {
        host: entrance.host.clone(),
        path: entrance.path.clone(),
        load_balancer: entrance.name.clone(),
    };
    for entrance in &desired.entrances {
        balancers.entry(&entrance.name).or_default();
    }
    for group in &desired.groups {
        let names = group.entrances.iter().map(String::as_str);
        let known: Vec<&str> = names.filter(|n| balancers.contains_key(n)).collect();
        let behind = if known.is_empty() {
            vec![UNROUTED]
        } else {
            known
        };
        for (n, name) in behind.into_iter().enumerate() {
            let rendered = render_group(group, (n > 0).then_some(name));
            balancers.entry(name).or_default().push(rendered);
        }
    }
    let balancers = balancers.into_iter();
    Config {
        routes: desired.entrances.iter().map(route).collect(),
        load_balancers: balancers
            .map(|(name, groups)| LoadBalancer {
                name: name.to_owned(),
                groups,
            })
            .collect(),
        settings: balancer::Settings::default(),
    }
}

fn render_group(group: &Wanted, again: Option<&str>) -> Group {
    let entry = |target: &Target| {
        let role = match target.role {
            rollout::Role::Absent => return None,
            rollout::Role::Warm => Role::Warm,
            rollout::Role::Serve => Role::Serve,
            rollout::Role::Drain => Role::Drain,
        };
        Some(Instance {
            id: match again {
                None => target.id.clone(),
                Some(name) => format!("{}{AGAIN}{name}", target.id),
            },
            address: target.address.clone(),
            role,
        })
    };
    Group {
        name: group.name.clone(),
        weight: group.weight,
        health: Health {
            path: match &group.probe {
                Probe::Path(path) => Some(path.clone()),
                Probe::Connection | Probe::Process => None,
            },
            ..Health::default()
        },
        instances: group.members.iter().filter_map(entry).collect(),
        protocol: balancer::Protocol::default(),
    }
}

#[cfg(test)]
mod tests {
    use rollout::router::Entrance;

    use super::*;

    fn group(name: &str, behind: &[&str], roles: &[rollout::Role]) -> Desired {
        let entrance = |name: &str, host: Option<&str>, path: &str| Entrance {
            name: name.into(),
            host: host.map(Into::into),
            path: path.into(),
        };
        let member = |(n, role): (usize, &rollout::Role)| Target {
            id: format!("{name}-{n}"),
            address: format!("127.0.0.1:{}", 20_000 + n),
            role: *role,
        };
        Desired {
            entrances: vec![
                entrance("a", Some("a.test"), "/"),
                entrance("b", None, "/b"),
            ],
            groups: vec![Wanted {
                name: name.into(),
                entrances: behind.iter().map(|b| (*b).to_owned()).collect(),
                weight: 7,
                probe: Probe::Path("/ok".into()),
                supply: rollout::router::Supply::Sent,
                members: roles.iter().enumerate().map(member).collect(),
            }],
        }
    }

    #[test]
    fn instances_stand_behind_each_of_their_load_balancers_under_names_of_their_own() {
        use rollout::Role::{Absent, Drain, Serve};
        let desired = group("x-v000", &["a", "b"], &[Serve, Drain, Absent]);
        let config = render(&desired);
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
        assert_eq!(config, render(&desired));
    }

    #[test]
    fn a_group_behind_no_load_balancer_is_probed_and_reached_by_no_route() {
        for balancers in [&[][..], &["unknown"]] {
            let config = render(&group("x-v000", balancers, &[rollout::Role::Serve]));
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
