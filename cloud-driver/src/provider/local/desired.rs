//! The journal as what routers are told: a pure function, so that the same journal
//! always gives the same and repeating it changes nothing.

use rollout::router::{Desired, Drain, Entrance, Group, Probe, Supply, Target};

use super::document::{HealthCheck, Instance, ServerGroup};
use super::journal::{Everything, Stored};
use crate::config::Config;

/// Everything that is desired.
pub(crate) fn desired(config: &Config, everything: &Everything) -> Desired {
    let configured = config.accounts.iter().flat_map(|a| &a.load_balancers);
    let configured = configured.map(|b| (&b.name, &b.host, &b.path));
    let made = everything
        .balancers
        .iter()
        .map(|b| (&b.name, &b.host, &b.path));
    let entrance = |(name, host, path): (&String, &Option<String>, &String)| Entrance {
        name: name.clone(),
        host: host.clone(),
        path: path.clone(),
    };
    let groups = everything.groups.iter();
    Desired {
        entrances: configured.chain(made).map(entrance).collect(),
        groups: groups.map(|group| of(group, everything)).collect(),
    }
}

fn of(group: &ServerGroup, everything: &Everything) -> Group {
    let target = |instance: &Stored<Instance>| Target {
        id: instance.id.clone(),
        address: format!("127.0.0.1:{}", instance.port),
        role: instance.role,
    };
    Group {
        name: group.name.clone(),
        entrances: group.load_balancers.clone(),
        weight: group.weight,
        probe: match &group.health {
            HealthCheck { process: true, .. } => Probe::Process,
            HealthCheck {
                path: Some(path), ..
            } => Probe::Path(path.clone()),
            HealthCheck { path: None, .. } => Probe::Connection,
        },
        supply: match &group.drain {
            None => Supply::Sent,
            Some(drain) => Supply::Taken(Drain {
                path: drain.path.clone(),
                signal: drain.signal.clone(),
                resume: drain.resume,
            }),
        },
        members: everything
            .instances_of(group)
            .filter(|i| i.role != rollout::Role::Absent)
            .map(target)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use rollout::Role;

    use super::*;

    fn everything(roles: &[Role]) -> Everything {
        let group: ServerGroup = serde_json::from_value(serde_json::json!({
            "account": "prod", "region": "local", "name": "x-v000", "application": "x",
            "cluster": "x", "moniker": {}, "image": {"id": "i"},
            "capacity": {"min": 1, "max": 1, "desired": 1}, "loadBalancers": ["a"],
            "enabled": true, "weight": 7, "environment": {}, "health": {"path": "/ok"},
            "createdMs": 0, "operation": "o",
        }))
        .unwrap();
        let instance = |(n, role): (usize, &Role)| Stored {
            version: 1,
            value: Instance {
                id: format!("x-v000-{n}"),
                account: "prod".into(),
                region: "local".into(),
                group: "x-v000".into(),
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
    fn the_journal_and_the_accounts_say_what_is_desired() {
        let account = "{name: prod, regions: {local: 3}, \
                       load-balancers: [{name: a, host: a.test}, {name: b, path: /b}]}";
        let config = Config {
            accounts: vec![serde_yaml_ng::from_str(account).unwrap()],
            ..Config::default()
        };
        let everything = everything(&[Role::Serve, Role::Absent, Role::Drain]);
        let desired = desired(&config, &everything);
        let names: Vec<&str> = desired.entrances.iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        let [group] = &desired.groups[..] else {
            panic!("{desired:?}");
        };
        assert_eq!(
            (group.weight, &group.entrances[..]),
            (7, &["a".to_owned()][..])
        );
        assert_eq!(group.probe, Probe::Path("/ok".into()));
        let members: Vec<_> = group
            .members
            .iter()
            .map(|m| (m.id.as_str(), m.address.as_str(), m.role))
            .collect();
        assert_eq!(
            members,
            [
                ("x-v000-0", "127.0.0.1:20000", Role::Serve),
                ("x-v000-2", "127.0.0.1:20002", Role::Drain)
            ]
        );
    }
}
