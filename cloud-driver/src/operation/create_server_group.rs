//! `createServerGroup`: the next server group of a cluster, beside what runs.

use rollout::Create;

use super::planning::{check_place, cluster_of};
use super::{
    Changes, Completion, Fault, Input, Kind, Phase, Planning, Refused, check_drain, faults, input,
};
use crate::config::Config;
use crate::provider::local::document::ServerGroup;

/// The kind.
#[derive(Debug)]
pub(crate) struct CreateServerGroup;

/// Fields that create, clone and replace in place share.
pub(crate) fn check_group(input: &Input, config: &Config) -> Vec<Fault> {
    faults([
        check_place(input, config),
        input.capacity().map(drop),
        input.load_balancers().map(drop),
        input.environment().map(drop),
        input.health().map(drop),
        input.timing().map(drop),
        check_drain(input),
    ])
}

/// The cluster's name fits.
pub(crate) fn check_cluster(input: &Input) -> Result<(), Fault> {
    match cluster_of(input) {
        Ok(_) => Ok(()),
        Err(Refused::Field { path, message }) => Err(input::fault(path, message)),
        Err(other) => Err(input::fault("application", other.to_string())),
    }
}

impl Kind for CreateServerGroup {
    fn name(&self) -> &'static str {
        "createServerGroup"
    }

    fn check(&self, input: &Input, config: &Config) -> Vec<Fault> {
        let mut found = check_group(input, config);
        found.extend(check_cluster(input).err());
        if input.image().is_none() {
            found.push(input::fault(
                "imageId",
                "is missing; name an image such as registry/repository:tag",
            ));
        }
        found
    }

    fn phase(&self, number: u32, planning: &Planning<'_>) -> Result<Option<Phase>, Refused> {
        if number > 0 {
            return Ok(None);
        }
        let mut group = planning.next_group(None)?;
        let source = planning.input.nested("source");
        if planning.input.flag("useSourceCapacity") || source.flag("useSourceCapacity") {
            let source = planning.input.source();
            if let Some(source) = source.and_then(|name| planning.group(&name)) {
                group.value.capacity = source.capacity;
            } else if planning.input.capacity()?.is_none() {
                let text = "useSourceCapacity is set and there is no source; set capacity";
                return Err(input::fault("capacity", text).into());
            }
        }
        bring_up(group, planning).map(Some)
    }

    fn complete(&self, planning: &Planning<'_>) -> Completion {
        completed(planning)
    }

    fn abandon(&self, planning: &Planning<'_>) -> Changes {
        withdrawn(planning)
    }
}

/// The phase that brings a new group up.
pub(crate) fn bring_up(
    group: crate::provider::local::journal::Stored<ServerGroup>,
    planning: &Planning<'_>,
) -> Result<Phase, Refused> {
    let count = usize::try_from(group.capacity.desired).unwrap_or(usize::MAX);
    let instances = planning.newcomers(&group, count, 0)?;
    let mut memory = planning.memory.clone();
    memory.insert("serverGroup".to_owned(), group.name.clone().into());
    let rollout = Create {
        group: group.name.clone(),
        instances,
        serve: group.enabled,
        settings: planning.settings(&group, 0),
    }
    .plan();
    Ok(Phase {
        changes: Changes {
            groups: vec![group],
            ..Changes::default()
        },
        rollout: Some(rollout),
        memory,
    })
}

/// The end of every kind that deployed a group.
pub(crate) fn completed(planning: &Planning<'_>) -> Completion {
    let group = planning.remembered("serverGroup");
    Completion {
        changes: Changes::default(),
        result: group.map(|g| planning.deployed(g)).unwrap_or_default(),
    }
}

/// A new group whose instances were all taken away again goes too.
pub(crate) fn withdrawn(planning: &Planning<'_>) -> Changes {
    let group = planning.remembered("serverGroup");
    let empty = |g: &ServerGroup| planning.everything.instances_of(g).next().is_none();
    let made_here = |g: &ServerGroup| g.operation == planning.operation;
    Changes {
        gone: group
            .filter(|g| empty(g) && made_here(g))
            .cloned()
            .into_iter()
            .collect(),
        ..Changes::default()
    }
}
