//! `enableServerGroup`: traffic for a group, once all of it is ready.

use rollout::Enable;

use super::planning::check_place;
use super::{
    Changes, Completion, Fault, Input, Kind, Phase, Planning, Refused, check_drain, faults,
};
use crate::config::Config;
use crate::provider::local::document::WEIGHT;

/// The kind.
#[derive(Debug)]
pub(crate) struct EnableServerGroup;

impl Kind for EnableServerGroup {
    fn name(&self) -> &'static str {
        "enableServerGroup"
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
        let group = planning.target()?;
        let instances = planning.present(group);
        let (dead, alive): (Vec<_>, Vec<_>) = instances.iter().partition(|p| p.dead);
        let wanted = usize::try_from(group.capacity.desired).unwrap_or(usize::MAX);
        let missing = wanted.saturating_sub(alive.len());
        let mut fresh: Vec<_> = dead
            .iter()
            .take(missing)
            .map(|p| planning.newcomer(group, p.slot.clone(), number))
            .collect();
        let rest = missing - fresh.len();
        if rest > 0 {
            fresh.extend(planning.newcomers(group, rest, number)?);
        }
        let mut changes = Changes::default();
        if group.weight < WEIGHT {
            // It gave its share away, whole or in part, when another took over.
            let mut group = group.clone();
            group.value.weight = WEIGHT;
            changes.groups.push(group);
        }
        let rollout = Enable {
            group: group.name.clone(),
            instances,
            missing: fresh,
            settings: planning.settings(group, 0),
        }
        .plan();
        Ok(Some(Phase {
            changes,
            rollout: Some(rollout),
            memory: planning.memory.clone(),
        }))
    }

    fn complete(&self, planning: &Planning<'_>) -> Completion {
        let mut completion = Completion::default();
        if let Ok(group) = planning.target() {
            let mut group = group.clone();
            group.value.enabled = true;
            completion.changes.groups.push(group);
        }
        completion
    }
}
