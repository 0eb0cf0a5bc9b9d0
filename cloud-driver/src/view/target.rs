//! Targets: `current_asg_dynamic` and its kin, over a cluster in a region.
//!
//! Source: `clouddriver: ClusterController.getTargetServerGroup`.

use thiserror::Error;

use super::Sight;
use crate::provider::local::document::ServerGroup;

/// Why a target names no server group.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// A word that is no target.
    #[error(
        "target \"{0}\" is unknown; use current, previous, newest, ancestor, oldest, largest or fail"
    )]
    Unknown(String),
    /// The cluster has no such group.
    #[error("cluster {cluster} has no {target} server group in {account}/{region}")]
    Missing {
        /// Cluster.
        cluster: String,
        /// Target as asked for.
        target: String,
        /// Account.
        account: String,
        /// Region.
        region: String,
    },
    /// `fail` was asked for and there is more than one.
    #[error(
        "cluster {cluster} has {count} server groups in {account}/{region}, and the target is fail"
    )]
    Several {
        /// Cluster.
        cluster: String,
        /// How many.
        count: usize,
        /// Account.
        account: String,
        /// Region.
        region: String,
    },
}

/// The server group a target names, newest by creation.
///
/// # Errors
/// When it names none.
pub fn resolve<'a>(
    sight: &'a Sight<'_>,
    account: &'a str,
    region: &'a str,
    cluster: &'a str,
    target: &str,
) -> Result<&'a ServerGroup, Error> {
    let word = target.to_ascii_lowercase();
    let word = word.trim_end_matches("_dynamic").trim_end_matches("_asg");
    let members: Vec<&ServerGroup> = sight
        .everything
        .cluster(account, region, cluster)
        .map(|g| &g.value)
        .collect();
    let missing = || Error::Missing {
        cluster: cluster.to_owned(),
        target: target.to_owned(),
        account: account.to_owned(),
        region: region.to_owned(),
    };
    let found = match word {
        "current" | "newest" => members.last(),
        "previous" | "ancestor" => members.iter().rev().nth(1),
        "oldest" => members.first().filter(|_| members.len() > 1),
        "largest" => members
            .iter()
            .max_by_key(|g| (sight.everything.instances_of(g).count(), g.created_ms)),
        "fail" if members.len() > 1 => {
            return Err(Error::Several {
                cluster: cluster.to_owned(),
                count: members.len(),
                account: account.to_owned(),
                region: region.to_owned(),
            });
        }
        "fail" => members.first(),
        _ => return Err(Error::Unknown(target.chars().take(64).collect())),
    };
    found.copied().ok_or_else(missing)
}
