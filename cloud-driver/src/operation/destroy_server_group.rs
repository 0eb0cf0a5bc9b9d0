//! `destroyServerGroup`: drain what still serves, stop everything, forget it.
//!
//! Differs from Spinnaker: a group that serves is drained first, because an
//! instance that is stopped with requests in flight fails them. The last group
//! that serves its load balancers goes only with `force: true`. With `createdTime`
//! only the group of that age goes: names come back in a cluster that was emptied,
//! and who queues for the end of one group must not end its successor.

use rollout::{Destroy, Role};

use super::planning::check_place;
use super::{
    Changes, Completion, Fault, Input, Kind, Phase, Planning, Refused, check_drain, faults,
};
use crate::config::Config;
use crate::provider::local::document::ServerGroup;
use crate::provider::local::journal::Stored;

/// The kind.
#[derive(Debug)]
pub(crate) struct DestroyServerGroup;

/// When the group was created that is meant, Unix milliseconds; none: whichever has the name.
fn created(input: &Input) -> Result<Option<u64>, Fault> {
    input.number("createdTime")
}

/// The group that is meant; none if it is gone.
fn meant<'a>(planning: &Planning<'a>) -> Result<Option<&'a Stored<ServerGroup>>, Refused> {
    let created = created(planning.input)?;
    let group = planning.group(planning.input.server_group()?);
    Ok(group.filter(|group| {
        created.is_none_or(|created| u64::try_from(group.created_ms) == Ok(created))
    }))
}

impl Kind for DestroyServerGroup {
    fn name(&self) -> &'static str {
        "destroyServerGroup"
    }

    fn check(&self, input: &Input, config: &Config) -> Vec<Fault> {
        faults([
            check_place(input, config),
            check_drain(input),
            input.server_group().map(drop),
            created(input).map(drop),
        ])
    }

    fn phase(&self, number: u32, planning: &Planning<'_>) -> Result<Option<Phase>, Refused> {
        if number > 0 {
            return Ok(None);
        }
        // Gone already: reached.
        let Some(group) = meant(planning)? else {
            return Ok(None);
        };
        let instances = planning.present(group);
        let peers = planning.peers(group);
        let serves = instances.iter().any(|p| p.role == Role::Serve && !p.dead);
        let force = planning.input.flag("force");
        if serves && peers.is_empty() && !force && !group.load_balancers.is_empty() {
            return Err(Refused::State(format!(
                "{} is the only server group that serves {}; disable it first, or set force: true",
                group.name,
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
        let group = meant(planning).ok().flatten();
        Completion {
            changes: Changes {
                gone: group.cloned().into_iter().collect(),
                ..Changes::default()
            },
            ..Completion::default()
        }
    }
}
