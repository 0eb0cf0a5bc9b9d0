//! What is desired as the balancer's configuration: a pure function, so that the
//! same always gives the same body and repeating it changes nothing.

use std::collections::BTreeMap;

use balancer::{Config, Group, Health, Instance, LoadBalancer, Role, Route};
use rollout::router::{Desired, Group as Wanted, Probe, Target};

use super::access_log;
use super::details::Details;

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
pub(crate) fn render(desired: &Desired, details: &Details) -> Config {
    let mut balancers: BTreeMap<&str, Vec<Group>> = BTreeMap::new();
    let is_there = |name: &str| desired.entrances.iter().any(|e| e.name == name);
    let route = |entrance: &rollout::router::Entrance| {
        let mut route = Route {
            host: entrance.host.clone(),
            path: entrance.path.clone(),
            load_balancer: entrance.name.clone(),
            ..Route::default()
        };
        if let Some(traffic) = details.traffic.get(&entrance.name) {
            traffic.route(&mut route, is_there);
        }
        route
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
        let capacity = details.capacity.get(&group.name).copied();
        for (n, name) in behind.into_iter().enumerate() {
            let mut rendered = render_group(group, (n > 0).then_some(name));
            if let Some(traffic) = details.traffic.get(name) {
                traffic.group(&mut rendered, &capacity.unwrap_or_default());
            }
            balancers.entry(name).or_default().push(rendered);
        }
    }
    let balancers = balancers.into_iter();
    Config {
        routes: desired.entrances.iter().map(route).collect(),
        load_balancers: balancers
            .map(|(name, groups)| {
                let traffic = details.traffic.get(name);
                LoadBalancer {
                    name: name.to_owned(),
                    groups,
                    sticky: traffic.and_then(|t| t.sticky.clone()),
                    hold_requests: traffic.and_then(|t| t.hold_requests),
                }
            })
            .collect(),
        settings: balancer::Settings {
            access_log: details
                .access_log
                .as_ref()
                .and_then(|log| access_log::of_those_there(log, is_there)),
            ..balancer::Settings::default()
        },
        listeners: details.listeners.clone(),
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
        ..Group::default()
    }
}

#[cfg(test)]
mod tests {
    use balancer::AccessLog;
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
        let config = render(&desired, &Details::default());
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
        assert_eq!(config, render(&desired, &Details::default()));
    }

    #[test]
    fn what_is_said_of_a_load_balancer_reaches_its_route_and_its_groups() {
        let given = serde_json::json!({
            "sticky": {"cookie": "sid"}, "holdRequests": {"maxMs": 9, "maxRequests": 9},
            "slowStartMs": 7, "outlier": {"consecutive5xx": 3}, "limits": {"maxInFlight": 5},
            "methods": ["GET"], "headers": [{"name": "x", "present": true}],
            "mirror": {"loadBalancer": "b", "percent": 10},
        });
        let traffic = serde_json::from_value(given).unwrap();
        let details = Details {
            traffic: BTreeMap::from([("a".to_owned(), traffic)]),
            ..Details::default()
        };
        let mut desired = group("x-v000", &["a"], &[rollout::Role::Serve]);
        desired.entrances[0].host = Some("*.a.test".into());
        let config = render(&desired, &details);
        assert_eq!(config.check().faults, Vec::<String>::new());
        let (route, balancer) = (&config.routes[0], &config.load_balancers[0]);
        assert_eq!(route.limits.max_in_flight, Some(5));
        assert_eq!(route.conditions(), 2);
        assert_eq!(route.mirror.as_ref().unwrap().load_balancer, "b");
        assert!(balancer.sticky.is_some() && balancer.hold_requests.is_some());
        assert_eq!(balancer.groups[0].slow_start_ms, 7);
        assert!(balancer.groups[0].outlier.is_some());
        // Where the mirror is not there any more it is left out, not everything refused.
        desired.entrances.truncate(1);
        let config = render(&desired, &details);
        assert_eq!(config.check().faults, Vec::<String>::new());
        assert!(config.routes[0].mirror.is_none());
    }

    #[test]
    fn a_log_of_load_balancers_that_are_not_there_is_no_log_of_all() {
        let mut details = Details::default();
        let desired = group("x-v000", &["a"], &[rollout::Role::Serve]);
        assert!(render(&desired, &details).settings.access_log.is_none());
        for (named, logged) in [
            (&[][..], Some(&[][..])),
            (&["b", "later", "a"][..], Some(&["b", "a"][..])),
            (&["later", UNROUTED][..], None),
        ] {
            let names = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
            details.access_log = Some(AccessLog {
                sample: 3,
                load_balancers: names(named),
                ..AccessLog::default()
            });
            let config = render(&desired, &details);
            assert_eq!(config.check().faults, Vec::<String>::new(), "{named:?}");
            let expected = logged.map(|logged| AccessLog {
                sample: 3,
                load_balancers: names(logged),
                ..AccessLog::default()
            });
            assert_eq!(config.settings.access_log, expected, "{named:?}");
        }
    }

    #[test]
    fn a_group_behind_no_load_balancer_is_probed_and_reached_by_no_route() {
        for balancers in [&[][..], &["unknown"]] {
            let config = render(
                &group("x-v000", balancers, &[rollout::Role::Serve]),
                &Details::default(),
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
