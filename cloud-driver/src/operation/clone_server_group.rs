//! `cloneServerGroup`: the next server group, like a given or the newest one of
//! the cluster but for what the input says.

use super::create_server_group::{bring_up, check_group, completed, withdrawn};
use super::planning::{cluster_of, unknown};
use super::{Changes, Completion, Fault, Input, Kind, Phase, Planning, Refused, input};
use crate::config::Config;
use crate::provider::local::document::ServerGroup;
use crate::provider::local::journal::Stored;

/// The kind.
#[derive(Debug)]
pub(crate) struct CloneServerGroup;

/// The group an input names as source, else the newest of its cluster.
pub(crate) fn source<'a>(
    planning: &Planning<'a>,
) -> Result<Option<&'a Stored<ServerGroup>>, Refused> {
    if let Some(name) = planning.input.source() {
        let found = planning.group(&name);
        return match found {
            Some(group) => Ok(Some(group)),
            None => Err(unknown(planning, "source.serverGroupName", &name)),
        };
    }
    let (account, region) = planning.place()?;
    let (_, cluster) = cluster_of(planning.input)?;
    Ok(planning
        .everything
        .groups
        .iter()
        .rev()
        .find(|g| g.account == account && g.region == region && g.cluster == cluster))
}

impl Kind for CloneServerGroup {
    fn name(&self) -> &'static str {
        "cloneServerGroup"
    }

    fn check(&self, input: &Input, config: &Config) -> Vec<Fault> {
        let mut found = check_group(input, config);
        if input.source().is_none() && input.text(&["application"]).is_none() {
            found.push(input::fault(
                "source.serverGroupName",
                "is missing, and application too; name what to clone",
            ));
        }
        found
    }

    fn phase(&self, number: u32, planning: &Planning<'_>) -> Result<Option<Phase>, Refused> {
        if number > 0 {
            return Ok(None);
        }
        let base = source(planning)?;
        if base.is_none() && planning.input.image().is_none() {
            let text = "the cluster has no server group to clone; name an image (imageId)";
            return Err(Refused::State(text.to_owned()));
        }
        bring_up(planning.next_group(base.map(|b| &b.value))?, planning).map(Some)
    }

    fn complete(&self, planning: &Planning<'_>) -> Completion {
        completed(planning)
    }

    fn abandon(&self, planning: &Planning<'_>) -> Changes {
        withdrawn(planning)
    }
}
