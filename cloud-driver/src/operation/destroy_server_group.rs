//! `destroyServerGroup`: drain what still serves, stop everything, forget it.
//!
//! Differs from Spinnaker: a group that serves is drained first, because an
//! instance that is stopped with requests in flight fails them. The last group
//! that serves its load balancers goes only with `force: true`.

use rollout::{Destroy, Role};

use super::planning::check_place;
use super::{
    Changes, Completion, Fault, Input, Kind, Phase, Planning, Refused, check_drain, faults,
};
use crate::config::Config;

/// The kind.
#[derive(Debug)]
pub(crate) struct DestroyServerGroup;

impl Kind for DestroyServerGroup {
    fn name(&self) -> &'static str {
        "destroyServerGroup"
    }

    fn check(&self, input: &Input, config: &Config) -> Vec<Fault> {
        faults([
            check_place(input, config),
            check_drain(input),
            input.server_group().map(drop),
        ])
    }

    fn phase(&self, number: u32, planning: &Planning<'_>) -> Result<Option<Phase>, Refused> {
        if number > 0 {
            return Ok(None);
        }
        let name = planning.input.server_group()?;
        // Gone already: reached.
        let Some(group) = planning.group(name) else {
            return Ok(None);
        };
        let instances = planning.present(group);
        let peers = planning.peers(group);
        let serves = instances.iter().any(|p| p.role == Role::Serve && !p.dead);
        let force = planning.input.flag("force");
        if serves && peers.is_empty() && !force && !group.load_balancers.is_empty() {
            return Err(Refused::State(format!(
                "{name} is the only server group that serves {}; disable it first, or set force: true",
                group.load_balancers.join(", ")
            )));
        }
        let floor = if force {
            0
        } else {
            planning.floor(group.capacity.desired, &peers)
        };
        let rollout = Destroy {
            instances,
            peers,
            settings: planning.settings(group, floor),
        }
        .plan();
        Ok(Some(Phase {
            changes: Changes::default(),
            rollout: Some(rollout),
            memory: planning.memory.clone(),
        }))
    }

    fn complete(&self, planning: &Planning<'_>) -> Completion {
        let group = planning.input.server_group().ok();
        let group = group.and_then(|name| planning.group(name));
        Completion {
            changes: Changes {
                gone: group.cloned().into_iter().collect(),
                ..Changes::default()
            },
            ..Completion::default()
        }
    }
}
