//! `disableServerGroup`: a group, or part of it, out of traffic; it keeps running.

use rollout::{Disable, Role};
use serde_json::json;

use super::planning::check_place;
use super::resize_server_group::weight;
use super::{
    Changes, Completion, Fault, Input, Kind, Phase, Planning, Refused, check_drain, faults, input,
};
use crate::config::Config;

/// The kind.
#[derive(Debug)]
pub(crate) struct DisableServerGroup;

/// The percentage asked for; all by default.
fn percentage(input: &Input) -> Result<u64, Fault> {
    match input.number("desiredPercentage")? {
        None => Ok(100),
        Some(p) if p <= 100 => Ok(p),
        Some(p) => Err(input::fault(
            "desiredPercentage",
            format!("{p} is more than 100; lower it"),
        )),
    }
}

impl Kind for DisableServerGroup {
    fn name(&self) -> &'static str {
        "disableServerGroup"
    }

    fn check(&self, input: &Input, config: &Config) -> Vec<Fault> {
        faults([
            check_place(input, config),
            check_drain(input),
            input.server_group().map(drop),
            percentage(input).map(drop),
            weight(input).map(drop),
        ])
    }

    fn phase(&self, number: u32, planning: &Planning<'_>) -> Result<Option<Phase>, Refused> {
        if number > 0 {
            return Ok(None);
        }
        let group = planning.target()?;
        let instances = planning.present(group);
        let total = u64::try_from(instances.len()).unwrap_or(u64::MAX);
        let wanted = (total * percentage(planning.input)?).div_ceil(100);
        let (serving, idle): (Vec<_>, Vec<_>) =
            instances.into_iter().partition(|p| p.role == Role::Serve);
        let idle = u64::try_from(idle.len()).unwrap_or(u64::MAX);
        let count = usize::try_from(wanted.saturating_sub(idle)).unwrap_or(usize::MAX);
        let (leaving, stay) = serving.split_at(count.min(serving.len()));
        let mut peers = planning.peers(group);
        peers.extend(stay.iter().cloned());
        let floor = if planning.input.flag("force") {
            0
        } else {
            planning.floor(group.capacity.desired, &peers)
        };
        let mut memory = planning.memory.clone();
        let ids: Vec<&str> = leaving.iter().map(|p| p.id.as_str()).collect();
        memory.insert("instanceIdsToDisable".to_owned(), json!(ids));
        let rollout = Disable {
            instances: leaving.to_vec(),
            peers,
            settings: planning.settings(group, floor),
        }
        .plan();
        let mut changes = Changes::default();
        if let Some(weight) = weight(planning.input)? {
            let mut group = group.clone();
            group.value.weight = weight;
            changes.groups.push(group);
        }
        Ok(Some(Phase {
            changes,
            rollout: Some(rollout),
            memory,
        }))
    }

    fn complete(&self, planning: &Planning<'_>) -> Completion {
        let mut completion = Completion::default();
        let ids = planning.memory.get("instanceIdsToDisable").cloned();
        completion
            .result
            .insert("instanceIdsToDisable".to_owned(), ids.unwrap_or_default());
        let whole = percentage(planning.input).is_ok_and(|p| p == 100);
        if let Ok(group) = planning.target()
            && whole
        {
            let mut group = group.clone();
            group.value.enabled = false;
            completion.changes.groups.push(group);
        }
        completion
    }
}
