//! `terminateInstances`: take instances down and bring others up in their place,
//! as an auto scaling group does; with `decrement` the group is smaller by them.

use rollout::{Destroy, Present};
use serde_json::{Value, json};

use super::planning::check_place;
use super::resize_server_group::to_size;
use super::{
    Changes, Completion, Fault, Input, Kind, Phase, Planning, Refused, check_drain, faults, input,
};
use crate::config::Config;
use crate::provider::local::document::ServerGroup;
use crate::provider::local::journal::Stored;

/// The kind.
#[derive(Debug)]
pub(crate) struct TerminateInstances;

fn ids(input: &Input) -> Result<Vec<String>, Fault> {
    match input.names("instanceIds")? {
        Some(ids) if !ids.is_empty() => Ok(ids),
        _ => Err(input::fault(
            "instanceIds",
            "is missing or empty; name the instances",
        )),
    }
}

/// The one group all of the instances belong to.
fn group<'a>(planning: &Planning<'a>) -> Result<&'a Stored<ServerGroup>, Refused> {
    let (account, region) = planning.place()?;
    let mut found = None;
    for (n, id) in ids(planning.input)?.iter().enumerate() {
        let instance = planning
            .everything
            .instances
            .iter()
            .find(|i| i.id == *id && i.account == account && i.region == region);
        let path = format!("instanceIds[{n}]");
        let Some(instance) = instance else {
            return Err(input::fault(path, format!("\"{id}\" does not exist there")).into());
        };
        match found {
            None => found = planning.group(&instance.group),
            Some(first) if first.name != instance.group => {
                let text = format!(
                    "\"{id}\" is not of server group {}; use one operation a group",
                    first.name
                );
                return Err(input::fault(path, text).into());
            }
            Some(_) => {}
        }
    }
    found.ok_or_else(|| Refused::State("the instances belong to no server group".to_owned()))
}

impl Kind for TerminateInstances {
    fn name(&self) -> &'static str {
        "terminateInstances"
    }

    fn check(&self, input: &Input, config: &Config) -> Vec<Fault> {
        faults([
            check_place(input, config),
            check_drain(input),
            ids(input).map(drop),
        ])
    }

    fn phase(&self, number: u32, planning: &Planning<'_>) -> Result<Option<Phase>, Refused> {
        match number {
            0 => {
                let mut group = group(planning)?.clone();
                let leaving = ids(planning.input)?;
                let (leaving, stay): (Vec<Present>, Vec<Present>) = planning
                    .present(&group)
                    .into_iter()
                    .partition(|p| leaving.contains(&p.id));
                let mut changes = Changes::default();
                if planning.input.flag("decrement") {
                    let fewer = u32::try_from(leaving.len()).unwrap_or(u32::MAX);
                    let capacity = &mut group.value.capacity;
                    capacity.desired = capacity.desired.saturating_sub(fewer);
                    capacity.min = capacity.min.min(capacity.desired);
                    changes.groups.push(group.clone());
                }
                let mut peers = planning.peers(&group);
                peers.extend(stay);
                let floor = planning.floor(group.capacity.desired, &peers);
                let mut memory = planning.memory.clone();
                memory.insert("serverGroup".to_owned(), json!(group.name));
                let rollout = Destroy {
                    instances: leaving,
                    peers,
                    settings: planning.settings(&group, floor),
                }
                .plan();
                Ok(Some(Phase {
                    changes,
                    rollout: Some(rollout),
                    memory,
                }))
            }
            1 => match planning.remembered("serverGroup") {
                Some(group) => to_size(group.clone(), planning, number).map(Some),
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }

    fn complete(&self, planning: &Planning<'_>) -> Completion {
        let mut completion = Completion::default();
        let ids = ids(planning.input).unwrap_or_default();
        let ids = Value::Array(ids.into_iter().map(Value::String).collect());
        completion.result.insert("instanceIds".to_owned(), ids);
        completion
    }
}
