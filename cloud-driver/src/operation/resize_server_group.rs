//! `resizeServerGroup`: as many instances as asked for; dead ones are replaced.

use rollout::Resize;
use serde_json::json;

use super::drain::can_idle;
use super::planning::check_place;
use super::{
    Changes, Completion, Fault, Input, Kind, Phase, Planning, Refused, check_drain, faults, input,
};
use crate::config::Config;
use crate::provider::local::document::{ServerGroup, WEIGHT};
use crate::provider::local::journal::Stored;

/// The kind.
#[derive(Debug)]
pub(crate) struct ResizeServerGroup;

impl Kind for ResizeServerGroup {
    fn name(&self) -> &'static str {
        "resizeServerGroup"
    }

    fn check(&self, input: &Input, config: &Config) -> Vec<Fault> {
        let mut found = faults([
            check_place(input, config),
            check_drain(input),
            input.server_group().map(drop),
            weight(input).map(drop),
        ]);
        match input.capacity() {
            Ok(Some(_)) => {}
            Ok(None) => found.push(input::fault("capacity", "is missing; set capacity.desired")),
            Err(fault) => found.push(fault),
        }
        found
    }

    fn phase(&self, number: u32, planning: &Planning<'_>) -> Result<Option<Phase>, Refused> {
        if number > 0 {
            return Ok(None);
        }
        let mut group = planning.target()?.clone();
        if let Some(capacity) = planning.input.capacity()? {
            group.value.capacity = capacity;
        }
        if let Some(weight) = weight(planning.input)? {
            group.value.weight = weight;
        }
        to_size(group, planning, number).map(Some)
    }

    fn complete(&self, planning: &Planning<'_>) -> Completion {
        let group = planning.target().ok();
        let result = group.map(|g| json!({"serverGroupName": g.name, "capacity": g.capacity}));
        Completion {
            result: result
                .and_then(|r| r.as_object().cloned())
                .unwrap_or_default(),
            ..Completion::default()
        }
    }
}

/// The share of the requests a group is to have meanwhile, if the input says one: a
/// group that grows or shrinks beside another takes the requests of its size.
pub(crate) fn weight(input: &Input) -> Result<Option<u32>, Fault> {
    match input.number("weight")? {
        None => Ok(None),
        Some(weight) if (1..=1000).contains(&weight) => {
            Ok(Some(u32::try_from(weight).unwrap_or(WEIGHT)))
        }
        Some(weight) => Err(super::input::fault(
            "weight",
            format!("{weight} is not 1 to 1000; correct it"),
        )),
    }
}

/// The phase that makes a group as large as it says.
pub(crate) fn to_size(
    group: Stored<ServerGroup>,
    planning: &Planning<'_>,
    number: u32,
) -> Result<Phase, Refused> {
    let present = planning.present(&group);
    let (dead, alive): (Vec<_>, Vec<_>) = present.into_iter().partition(|p| p.dead);
    let wanted = usize::try_from(group.capacity.desired).unwrap_or(usize::MAX);
    let serving: Vec<String> = planning.serving.iter().cloned().collect();
    let leaving = Resize::choose(&alive, &serving, alive.len().saturating_sub(wanted));
    let stay: Vec<_> = alive
        .iter()
        .filter(|p| !leaving.contains(p))
        .cloned()
        .collect();
    // What would take work at once is started when the group is enabled.
    let missing = if can_idle(&group) {
        wanted.saturating_sub(alive.len())
    } else {
        0
    };
    // The dead leave first, so their slots are free for who comes; beyond them
    // it takes slots that are free now.
    let mut slots = dead.iter().map(|p| p.slot.clone());
    let mut add = Vec::new();
    while add.len() < missing {
        let Some(slot) = slots.next() else { break };
        add.push(planning.newcomer(&group, slot, number));
    }
    let rest = missing - add.len();
    if rest > 0 {
        add.extend(planning.newcomers(&group, rest, number)?);
    }
    let peers = planning.peers(&group);
    let others: Vec<_> = stay.iter().chain(&peers).cloned().collect();
    let floor = if leaving.is_empty() {
        0
    } else {
        planning.floor(group.capacity.desired, &others)
    };
    let mut remove = dead;
    remove.extend(leaving);
    let rollout = Resize {
        group: group.name.clone(),
        stay,
        add,
        remove,
        serve: group.enabled,
        peers,
        settings: planning.settings(&group, floor),
    }
    .plan();
    Ok(Phase {
        changes: Changes {
            groups: vec![group],
            ..Changes::default()
        },
        rollout: Some(rollout),
        memory: planning.memory.clone(),
    })
}
