//! `upsertLoadBalancer`: a route of the balancer, made or changed.

use serde_json::json;

use super::planning::check_place;
use super::{Changes, Completion, Fault, Input, Kind, Phase, Planning, Refused, faults, input};
use crate::account::is_plain;
use crate::config::Config;
use crate::provider::local::balancer::Details;
use crate::provider::local::document::LoadBalancer;
use crate::provider::local::journal::Stored;
use crate::provider::local::traffic::Traffic;

/// The kind.
#[derive(Debug)]
pub(crate) struct UpsertLoadBalancer;

fn name(input: &Input) -> Result<&str, Fault> {
    match input.text(&["name", "loadBalancerName"]) {
        Some(name) if is_plain(name) => Ok(name),
        Some(name) => Err(input::fault(
            "name",
            format!("\"{name}\" may hold letters, digits, '.', '_' and '-' only"),
        )),
        None => Err(input::fault("name", "is missing; name the load balancer")),
    }
}

fn path(input: &Input) -> Result<&str, Fault> {
    let path = input.text(&["path"]).unwrap_or("/");
    if path.starts_with('/') && path.chars().all(|c| c.is_ascii_graphic()) {
        Ok(path)
    } else {
        Err(input::fault(
            "path",
            format!("\"{path}\" is no path; begin it with '/'"),
        ))
    }
}

fn host(input: &Input) -> Result<Option<&str>, Fault> {
    match input.text(&["host"]) {
        Some(host) if !is_plain(host.strip_prefix("*.").unwrap_or(host)) => Err(input::fault(
            "host",
            format!("\"{host}\" is no host name and no *. before one; leave port and scheme out"),
        )),
        host => Ok(host),
    }
}

/// How it passes requests on from now on; fields that are absent stay as they were.
fn traffic(input: &Input, before: &Traffic) -> Result<Traffic, Fault> {
    let new = before.with(input.fields());
    let new = new.map_err(|flaw| input::fault(flaw.field, flaw.why))?;
    let own = name(input).unwrap_or_default();
    match &new.mirror {
        Some(mirror) if mirror.load_balancer == own => Err(input::fault(
            "mirror.loadBalancer",
            format!("\"{own}\" is this one; name another"),
        )),
        _ => Ok(new),
    }
}

/// Whether its listeners can stand beside those of the other load balancers.
fn fits(planning: &Planning<'_>, balancer: &Stored<LoadBalancer>) -> Result<(), Fault> {
    let mut everything = planning.everything.clone();
    everything
        .balancers
        .retain(|other| other.name != balancer.name);
    everything.balancers.push(balancer.clone());
    let (all, unheard) = Details::listeners_of(planning.config, &everything);
    let mut own = balancer.listeners.iter().map(|listener| &listener.address);
    if let Some(one) = unheard
        .iter()
        .find(|one| own.any(|address| *address == one.address))
    {
        let text = format!("{}: {}", one.address, one.why);
        return Err(input::fault("listeners", text));
    }
    let all = balancer::Config {
        listeners: all,
        ..balancer::Config::default()
    };
    match all.check().faults.into_iter().next() {
        None => Ok(()),
        Some(found) => Err(input::fault(
            "listeners",
            format!("with all others: {found}"),
        )),
    }
}

impl Kind for UpsertLoadBalancer {
    fn name(&self) -> &'static str {
        "upsertLoadBalancer"
    }

    fn check(&self, input: &Input, config: &Config) -> Vec<Fault> {
        let mut found = faults([
            check_place(input, config),
            name(input).map(drop),
            path(input).map(drop),
            host(input).map(drop),
            traffic(input, &Traffic::default()).map(drop),
            input.listeners().map(drop),
        ]);
        let named = name(input).unwrap_or_default();
        let mut configured = config.accounts.iter().flat_map(|a| &a.load_balancers);
        if configured.any(|b| b.name == named) {
            found.push(input::fault(
                "name",
                format!("\"{named}\" is configured by the operator; change it in accounts"),
            ));
        }
        found
    }

    fn phase(&self, number: u32, planning: &Planning<'_>) -> Result<Option<Phase>, Refused> {
        if number > 0 {
            return Ok(None);
        }
        let (account, region) = planning.place()?;
        let name = name(planning.input)?;
        let there = planning
            .everything
            .balancers
            .iter()
            .find(|b| b.name == name);
        if let Some(other) = there.filter(|b| b.account != account) {
            let text = format!(
                "\"{name}\" belongs to account {}; choose another name",
                other.account
            );
            return Err(input::fault("name", text).into());
        }
        let before = there.map(|b| b.traffic.clone()).unwrap_or_default();
        let traffic = traffic(planning.input, &before)?;
        if let Some(mirror) = &traffic.mirror
            && planning.traffic(&mirror.load_balancer).is_none()
        {
            let other = &mirror.load_balancer;
            let text = format!("\"{other}\" does not exist; create it first, or leave mirror out");
            return Err(input::fault("mirror.loadBalancer", text).into());
        }
        let before = || there.map(|b| b.listeners.clone()).unwrap_or_default();
        // Absent: as they were, because stages of before know nothing of them.
        let listeners = planning.input.listeners()?.unwrap_or_else(before);
        let balancer = Stored {
            version: there.map_or(0, |b| b.version),
            value: LoadBalancer {
                account: account.to_owned(),
                region: region.to_owned(),
                name: name.to_owned(),
                host: host(planning.input)?.map(str::to_owned),
                path: path(planning.input)?.to_owned(),
                traffic,
                listeners,
            },
        };
        fits(planning, &balancer)?;
        Ok(Some(Phase {
            changes: Changes {
                balancers: vec![balancer],
                ..Changes::default()
            },
            rollout: None,
            memory: planning.memory.clone(),
        }))
    }

    fn complete(&self, planning: &Planning<'_>) -> Completion {
        let mut completion = Completion::default();
        let region = planning.input.region().unwrap_or_default();
        let name = name(planning.input).unwrap_or_default();
        let balancers = json!({ region: {"name": name} });
        completion
            .result
            .insert("loadBalancers".to_owned(), balancers);
        completion
    }
}
