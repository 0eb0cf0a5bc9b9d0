//! `replaceInPlace`: every instance of one group gives its host slot to one of
//! another, drained, one batch at a time; the strategy `inplacedrain`.
//!
//! The new group is the next of the cluster (fields absent from the input are
//! the source's), or, with `targetServerGroupName`, one that is there and has
//! no instances left: the way back up to the first destroy.

use rollout::{Newcomer, Resize};
use serde_json::Value;

use super::clone_server_group::source;
use super::create_server_group::{bring_up, check_group, completed, withdrawn};
use super::planning::unknown;
use super::{Changes, Completion, Fault, Input, Kind, Phase, Planning, Refused, input};
use crate::config::Config;
use crate::provider::local::document::{Capacity, ServerGroup};
use crate::provider::local::journal::Stored;

/// The kind.
#[derive(Debug)]
pub(crate) struct ReplaceInPlace;

impl Kind for ReplaceInPlace {
    fn name(&self) -> &'static str {
        "replaceInPlace"
    }

    fn check(&self, input: &Input, config: &Config) -> Vec<Fault> {
        let mut found = check_group(input, config);
        found.extend(input.number("floor").err());
        if input.source().is_none() && input.text(&["application"]).is_none() {
            found.push(input::fault(
                "source.serverGroupName",
                "is missing, and application too; name what to replace",
            ));
        }
        found
    }

    fn phase(&self, number: u32, planning: &Planning<'_>) -> Result<Option<Phase>, Refused> {
        match number {
            0 => first(planning).map(Some),
            1 => size(planning),
            _ => Ok(None),
        }
    }

    fn complete(&self, planning: &Planning<'_>) -> Completion {
        let mut completion = completed(planning);
        // The old group stays, empty and out of traffic: until it is destroyed
        // it can be restored.
        if let Some(old) = planning.remembered("source") {
            let mut old = old.clone();
            old.value.enabled = false;
            old.value.capacity = Capacity::of(0);
            completion.changes.groups.push(old);
        }
        completion
    }

    fn abandon(&self, planning: &Planning<'_>) -> Changes {
        let mut changes = withdrawn(planning);
        // A restored target that failed again is as it was: empty, without traffic.
        if let Some(target) = planning.remembered("serverGroup")
            && target.operation != planning.operation
            && planning.everything.instances_of(target).next().is_none()
        {
            let mut target = target.clone();
            target.value.enabled = false;
            target.value.capacity = Capacity::of(0);
            changes.groups.push(target);
        }
        changes
    }
}

fn first(planning: &Planning<'_>) -> Result<Phase, Refused> {
    let old = source(planning)?;
    let old = old.filter(|g| planning.everything.instances_of(g).next().is_some());
    let mut group = match planning.input.text(&["targetServerGroupName"]) {
        Some(name) => target(planning, name, old)?,
        None => planning.next_group(source(planning)?.map(|g| &g.value))?,
    };
    let Some(old) = old else {
        // Nothing runs yet: there is nobody to give a slot.
        return bring_up(group, planning);
    };
    if old.name == group.name {
        let text = format!(
            "{} is to be replaced by itself; name another source",
            old.name
        );
        return Err(Refused::State(text));
    }
    group.value.enabled = true;
    let present = planning.present(old);
    let newcomer = |slot: &String| -> Newcomer { planning.newcomer(&group, slot.clone(), 0) };
    let new: Vec<Newcomer> = present.iter().map(|p| newcomer(&p.slot)).collect();
    let floor = planning.input.number("floor")?;
    let rollout = rollout::ReplaceInPlace {
        old_group: old.name.clone(),
        old: present,
        weight: old.weight,
        new_group: group.name.clone(),
        new,
        floor: floor.map(|f| usize::try_from(f).unwrap_or(usize::MAX)),
        // Requests that wait are no outage.
        allow_outage: planning.input.flag("allowOutage") || planning.holds_requests(old),
        settings: planning.settings_between(&group, old),
    }
    .plan()?;
    let mut memory = planning.memory.clone();
    memory.insert("serverGroup".to_owned(), group.name.clone().into());
    memory.insert("source".to_owned(), old.name.clone().into());
    // While it takes slots over, its share of the requests is that of its instances.
    group.value.weight = 0;
    group.value.ancestor = Some(old.name.clone());
    Ok(Phase {
        changes: Changes {
            groups: vec![group],
            ..Changes::default()
        },
        rollout: Some(rollout),
        memory,
    })
}

/// An existing group that takes the slots back.
fn target(
    planning: &Planning<'_>,
    name: &str,
    old: Option<&Stored<ServerGroup>>,
) -> Result<Stored<ServerGroup>, Refused> {
    let found = planning.group(name);
    let mut group = found
        .ok_or_else(|| unknown(planning, "targetServerGroupName", name))?
        .clone();
    if planning.everything.instances_of(&group).next().is_some() {
        let text = format!("{name} has instances; enable it instead of restoring it in place");
        return Err(Refused::State(text));
    }
    let wanted = planning.input.capacity()?;
    group.value.capacity = wanted
        .or_else(|| old.map(|g| g.capacity))
        .unwrap_or(group.capacity);
    Ok(group)
}

/// The second phase: as many as were asked for, if the source had more or fewer.
fn size(planning: &Planning<'_>) -> Result<Option<Phase>, Refused> {
    let Some(group) = planning.remembered("serverGroup") else {
        return Ok(None);
    };
    if !planning.memory.get("source").is_some_and(Value::is_string) {
        return Ok(None);
    }
    let present = planning.present(group);
    let wanted = usize::try_from(group.capacity.desired).unwrap_or(usize::MAX);
    if present.len() == wanted {
        return Ok(None);
    }
    let serving: Vec<String> = planning.serving.iter().cloned().collect();
    let surplus = present.len().saturating_sub(wanted);
    let remove = Resize::choose(&present, &serving, surplus);
    let stay: Vec<_> = present
        .iter()
        .filter(|p| !remove.contains(p))
        .cloned()
        .collect();
    let add = planning.newcomers(group, wanted.saturating_sub(present.len()), 1)?;
    let floor = planning.floor(group.capacity.desired, &stay);
    let rollout = Resize {
        group: group.name.clone(),
        stay,
        add,
        remove,
        serve: true,
        peers: Vec::new(),
        settings: planning.settings(group, floor),
    }
    .plan();
    Ok(Some(Phase {
        changes: Changes::default(),
        rollout: Some(rollout),
        memory: planning.memory.clone(),
    }))
}
