//! `createServerGroups`: several server groups at once, such as the baseline and the canary of a comparison. They
//! start together, get traffic in one configuration of the balancer, and one that does not come up takes the others
//! with it.
//!
//! Input: `account`, `region` and `serverGroups`, a list of inputs of `createServerGroup` for clusters of their own.
//! Each may have a `trafficShare`, the percentage of its load balancers' requests that it is to get beside what
//! serves there: its weight follows from theirs, which stay as they are.

use std::collections::BTreeSet;

use rollout::{CreateTogether, Role, Settings};
use serde_json::{Map, Value, json};

use super::create_server_group::CreateServerGroup;
use super::planning::check_place;
use super::{Changes, Completion, Fault, Input, Kind, Phase, Planning, Refused, faults, input};
use crate::config::Config;
use crate::provider::local::document::{ServerGroup, WEIGHT};
use crate::provider::local::journal::Stored;

/// The kind.
#[derive(Debug)]
pub(crate) struct CreateServerGroups;

/// Most groups of one operation.
const MOST: usize = 20;
/// Most a weight may be.
const MOST_WEIGHT: f64 = 1_000.0;
const MADE: &str = "serverGroups";

/// The inputs of the groups.
pub(crate) fn parts(input: &Input) -> Result<Vec<Input>, Fault> {
    let value = input.value();
    match value.get("serverGroups") {
        Some(Value::Array(list)) if (1..=MOST).contains(&list.len()) => {
            list.iter().map(|one| Input::of(one.clone())).collect()
        }
        _ => Err(input::fault(
            "serverGroups",
            format!("must be a list of 1 to {MOST} server groups"),
        )),
    }
}

/// The share of the requests a group asks for, in percent.
fn share(part: &Input) -> Result<Option<f64>, Fault> {
    let value = part.value();
    let number = match value.get("trafficShare") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number.to_string().parse().ok(),
        Some(Value::String(text)) => text.trim().parse::<f64>().ok(),
        Some(_) => None,
    };
    let number = number.filter(|share| *share > 0.0 && *share < 100.0);
    number.map(Some).ok_or_else(|| {
        input::fault(
            "trafficShare",
            "is no percentage above 0 and below 100; correct it",
        )
    })
}

/// The circumstances of one of the groups.
fn within<'a>(planning: &Planning<'a>, part: &'a Input) -> Planning<'a> {
    Planning {
        operation: planning.operation,
        input: part,
        config: planning.config,
        everything: planning.everything,
        dead: planning.dead,
        serving: planning.serving,
        memory: planning.memory,
        now_ms: planning.now_ms,
    }
}

fn placed(n: usize, fault: Fault) -> Fault {
    input::fault(format!("serverGroups[{n}].{}", fault.path), fault.message)
}

impl Kind for CreateServerGroups {
    fn name(&self) -> &'static str {
        "createServerGroups"
    }

    fn check(&self, input: &Input, config: &Config) -> Vec<Fault> {
        let mut found = faults([check_place(input, config)]);
        let parts = match parts(input) {
            Ok(parts) => parts,
            Err(fault) => {
                found.push(fault);
                return found;
            }
        };
        for (n, part) in parts.iter().enumerate() {
            let own = CreateServerGroup.check(part, config).into_iter();
            found.extend(own.chain(share(part).err()).map(|fault| placed(n, fault)));
            let same = part.account() == input.account() && part.region() == input.region();
            if !same && found.is_empty() {
                let text = "is not where the others are created; use an operation for each place";
                found.push(placed(n, input::fault("region", text)));
            }
        }
        found
    }

    fn phase(&self, number: u32, planning: &Planning<'_>) -> Result<Option<Phase>, Refused> {
        if number > 0 {
            return Ok(None);
        }
        let parts = parts(planning.input)?;
        let mut groups: Vec<Stored<ServerGroup>> = Vec::new();
        for (n, part) in parts.iter().enumerate() {
            let group = within(planning, part).next_group(None)?;
            if let Some(other) = groups.iter().position(|g| g.cluster == group.cluster) {
                let text = format!(
                    "is that of serverGroups[{other}]; create one group of a cluster at a time"
                );
                return Err(placed(n, input::fault("cluster", text)).into());
            }
            if let Some(first) = groups.first()
                && (first.enabled != group.enabled
                    || first.drain.is_some() != group.drain.is_some())
            {
                let text =
                    "differs from the others in whether it gets traffic; create it by itself";
                return Err(placed(n, input::fault("startDisabled", text)).into());
            }
            groups.push(group);
        }
        weigh(&mut groups, &parts, planning)?;
        let mut rollout = CreateTogether {
            groups: Vec::new(),
            serve: groups.first().is_some_and(|g| g.enabled),
            settings: longest(&groups, planning),
        };
        for group in &groups {
            let count = usize::try_from(group.capacity.desired).unwrap_or(usize::MAX);
            let instances = planning.newcomers(group, count, 0)?;
            rollout.groups.push((group.name.clone(), instances));
        }
        let mut memory = planning.memory.clone();
        let names: Vec<&str> = groups.iter().map(|g| g.name.as_str()).collect();
        memory.insert(MADE.to_owned(), json!(names));
        Ok(Some(Phase {
            changes: Changes {
                groups,
                ..Changes::default()
            },
            rollout: Some(rollout.plan()),
            memory,
        }))
    }

    fn complete(&self, planning: &Planning<'_>) -> Completion {
        let mut result: Map<String, Value> = Map::new();
        for key in ["serverGroupNames", "deployments"] {
            let of = |group: &ServerGroup| planning.deployed(group).remove(key);
            let lists = made(planning).filter_map(|group| of(group));
            let all: Vec<Value> = lists
                .filter_map(|list| match list {
                    Value::Array(list) => Some(list),
                    _ => None,
                })
                .flatten()
                .collect();
            result.insert(key.to_owned(), all.into());
        }
        Completion {
            changes: Changes::default(),
            result,
        }
    }

    fn abandon(&self, planning: &Planning<'_>) -> Changes {
        let empty = |g: &ServerGroup| planning.everything.instances_of(g).next().is_none();
        let made_here = |g: &ServerGroup| g.operation == planning.operation;
        Changes {
            gone: made(planning)
                .filter(|g| empty(g) && made_here(g))
                .cloned()
                .collect(),
            ..Changes::default()
        }
    }
}

/// The groups that this operation made, in the order they were asked for.
fn made<'a>(planning: &Planning<'a>) -> impl Iterator<Item = &'a Stored<ServerGroup>> {
    let names = planning.memory.get(MADE).and_then(Value::as_array);
    let (account, region) = (planning.input.account().ok(), planning.input.region().ok());
    let everything = planning.everything;
    names
        .into_iter()
        .flatten()
        .filter_map(move |name| everything.group(account?, region?, name.as_str()?))
}

/// Weights for the shares that are asked for: with `W` the weights of what serves behind the same load balancers and
/// `S` the shares of all new groups, a share of `s` percent is `W·s/(100-S)`, rounded and at least 1.
fn weigh(
    groups: &mut [Stored<ServerGroup>],
    parts: &[Input],
    planning: &Planning<'_>,
) -> Result<(), Refused> {
    let shares: Vec<Option<f64>> = parts.iter().map(share).collect::<Result<_, _>>()?;
    let all: f64 = shares.iter().flatten().sum();
    if all >= 100.0 {
        let text =
            format!("are {all} % together, which leaves nothing for what serves; lower them");
        return Err(input::fault("serverGroups.trafficShare", text).into());
    }
    for (n, (group, share)) in groups.iter_mut().zip(&shares).enumerate() {
        let Some(share) = share else { continue };
        let names: BTreeSet<&String> = group.load_balancers.iter().collect();
        let serves = |other: &&Stored<ServerGroup>| {
            other.load_balancers.iter().any(|name| names.contains(name))
                && planning
                    .present(other)
                    .iter()
                    .any(|p| p.role == Role::Serve && !p.dead)
        };
        let beside = planning.everything.groups.iter().filter(serves);
        let sum: f64 = beside.map(|other| f64::from(other.weight)).sum();
        if sum <= 0.0 {
            group.value.weight = WEIGHT;
            continue;
        }
        let weight = (sum * share / (100.0 - all)).round().max(1.0);
        if weight > MOST_WEIGHT {
            let text = format!(
                "of {share} % needs a weight above {MOST_WEIGHT} beside what serves; lower the shares"
            );
            return Err(placed(n, input::fault("trafficShare", text)).into());
        }
        group.value.weight = format!("{weight:.0}").parse().unwrap_or(WEIGHT);
    }
    Ok(())
}

/// The limits of all of them: what the slowest needs.
fn longest(groups: &[Stored<ServerGroup>], planning: &Planning<'_>) -> Settings {
    let mut each = groups.iter().map(|group| planning.settings(group, 0));
    let first = each.next().unwrap_or_default();
    each.fold(first, |all, one| Settings {
        settle_ms: all.settle_ms.max(one.settle_ms),
        start_timeout_ms: all.start_timeout_ms.max(one.start_timeout_ms),
        drain_timeout_ms: all.drain_timeout_ms.max(one.drain_timeout_ms),
        grace_ms: all.grace_ms.max(one.grace_ms),
        ..all
    })
}
