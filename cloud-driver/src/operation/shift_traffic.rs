//! `shiftTraffic`: new shares of the requests for server groups of one cluster.
//!
//! Input: `weights`, `{server group: 0 to 1000}`, relative to each other; a group
//! that is not named keeps its weight. Done when the balancer says that the
//! shares are in effect.

use std::collections::BTreeMap;

use rollout::{Role, Shift};
use serde_json::{Value, json};

use super::planning::check_place;
use super::{Changes, Completion, Fault, Input, Kind, Phase, Planning, Refused, faults, input};
use crate::config::Config;

/// The kind.
#[derive(Debug)]
pub(crate) struct ShiftTraffic;

/// Most a weight may be.
const MOST: u64 = 1000;

fn weights(input: &Input) -> Result<BTreeMap<String, u32>, Fault> {
    let value = input.value();
    let Some(Value::Object(given)) = value.get("weights") else {
        let message = "is missing; set {server group: weight}";
        return Err(input::fault("weights", message));
    };
    if given.is_empty() || given.len() > 20 {
        let message = "must name 1 to 20 server groups";
        return Err(input::fault("weights", message));
    }
    let weight = |(name, value): (&String, &Value)| match value.as_u64() {
        Some(weight) if weight <= MOST => {
            Ok((name.clone(), u32::try_from(weight).unwrap_or(u32::MAX)))
        }
        _ => Err(input::fault(
            format!("weights.{name}"),
            format!("{value} is no whole number from 0 to {MOST}; correct it"),
        )),
    };
    given.iter().map(weight).collect()
}

/// One of the groups that an input shifts between.
pub(crate) fn first_group(input: &Input) -> Option<String> {
    let value = input.value();
    value.get("weights")?.as_object()?.keys().next().cloned()
}

impl Kind for ShiftTraffic {
    fn name(&self) -> &'static str {
        "shiftTraffic"
    }

    fn check(&self, input: &Input, config: &Config) -> Vec<Fault> {
        faults([check_place(input, config), weights(input).map(drop)])
    }

    fn phase(&self, number: u32, planning: &Planning<'_>) -> Result<Option<Phase>, Refused> {
        if number > 0 {
            return Ok(None);
        }
        let asked = weights(planning.input)?;
        let mut groups = Vec::new();
        for name in asked.keys() {
            let group = planning.group(name).ok_or_else(|| {
                let text = format!("server group {name} does not exist; correct weights");
                Refused::State(text)
            })?;
            groups.push(group);
        }
        if let Some(worker) = groups.iter().find(|g| g.drain.is_some()) {
            return Err(Refused::State(format!(
                "{} takes its own work, so it has no share to shift; resize, enable or disable it",
                worker.name
            )));
        }
        let Some(first) = groups.first() else {
            return Ok(None);
        };
        if let Some(other) = groups.iter().find(|g| g.cluster != first.cluster) {
            return Err(Refused::State(format!(
                "{} and {} are of different clusters; shift one cluster at a time",
                first.name, other.name
            )));
        }
        let all: Vec<_> = planning
            .everything
            .cluster(&first.account, &first.region, &first.cluster)
            .collect();
        let serves = |name: &str| {
            let group = all.iter().find(|g| g.name == name);
            group.is_some_and(|g| planning.present(g).iter().any(|p| p.role == Role::Serve))
        };
        let current: BTreeMap<String, u32> = all
            .iter()
            .filter(|g| serves(&g.name))
            .map(|g| (g.name.clone(), g.weight))
            .collect();
        let mut after = current.clone();
        after.extend(asked.into_iter().filter(|(name, _)| serves(name)));
        if after.values().all(|weight| *weight == 0) {
            let text = "no server group that serves would have a weight; give one more than 0";
            return Err(Refused::State(text.to_owned()));
        }
        let rollout = Shift {
            weights: after,
            current,
            settings: planning.settings(first, 0),
        }
        .plan();
        Ok(Some(Phase {
            changes: Changes::default(),
            rollout: Some(rollout),
            memory: planning.memory.clone(),
        }))
    }

    fn complete(&self, planning: &Planning<'_>) -> Completion {
        let weights = weights(planning.input).unwrap_or_default();
        let result = json!({ "weights": weights });
        Completion {
            result: result.as_object().cloned().unwrap_or_default(),
            ..Completion::default()
        }
    }
}
