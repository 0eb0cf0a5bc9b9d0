//! Operations: durable changes of the world, performed once per effect id.
//!
//! Owns what kinds there are, what each plans and what it leaves behind. A kind
//! only decides: it plans one rollout after another from what the journal says;
//! `worker` performs them and `ledger` keeps every step. Never decides what to
//! deploy.

mod clone_server_group;
mod create_server_group;
mod create_server_groups;
mod destroy_server_group;
mod disable_server_group;
mod drain;
mod enable_server_group;
mod input;
pub mod ledger;
mod planning;
mod replace_in_place;
mod resize_server_group;
mod run_job;
mod sequence;
mod shift_traffic;
mod terminate_instances;
mod upsert_load_balancer;
pub mod worker;

use serde_json::{Map, Value};
use thiserror::Error;

pub(crate) use drain::check_drain;
pub use input::{Fault, Input};
pub use planning::{Planning, cluster_of};
pub(crate) use sequence::first_input as first_of;
pub(crate) use sequence::inputs as each_of;
pub(crate) use shift_traffic::first_group as weighed;

use crate::config::Config;
use crate::provider::local::document::{LoadBalancer, ServerGroup};
use crate::provider::local::job::Order;
use crate::provider::local::journal::Stored;

/// Every kind of operation.
pub static KINDS: [&dyn Kind; 13] = [
    &clone_server_group::CloneServerGroup,
    &create_server_group::CreateServerGroup,
    &create_server_groups::CreateServerGroups,
    &destroy_server_group::DestroyServerGroup,
    &disable_server_group::DisableServerGroup,
    &enable_server_group::EnableServerGroup,
    &replace_in_place::ReplaceInPlace,
    &resize_server_group::ResizeServerGroup,
    &run_job::RunJob,
    &sequence::Sequence,
    &shift_traffic::ShiftTraffic,
    &terminate_instances::TerminateInstances,
    &upsert_load_balancer::UpsertLoadBalancer,
];

/// The kind of this name.
pub fn kind(name: &str) -> Option<&'static dyn Kind> {
    KINDS.into_iter().find(|kind| kind.name() == name)
}

/// Why an operation cannot be done as things are.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refused {
    /// A field of the input does not fit what is there.
    #[error("{path} {message}")]
    Field {
        /// The field.
        path: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// The world is not as the operation needs it.
    #[error("{0}")]
    State(String),
    /// A replacement in place that would interrupt the service.
    #[error(transparent)]
    InPlace(#[from] rollout::Refusal),
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self::Field {
            path: fault.path,
            message: fault.message,
        }
    }
}

/// What a kind remembers from one phase to the next: names it chose.
pub type Memory = Map<String, Value>;

/// Changes of documents that belong to a decision.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// Server groups to write.
    pub groups: Vec<Stored<ServerGroup>>,
    /// Server groups to remove.
    pub gone: Vec<Stored<ServerGroup>>,
    /// Load balancers to write.
    pub balancers: Vec<Stored<LoadBalancer>>,
}

/// One phase: a rollout and what must be written before it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    /// Documents.
    pub changes: Changes,
    /// The rollout; none when the documents are all there is to do.
    pub rollout: Option<rollout::Rollout>,
    /// What to remember.
    pub memory: Memory,
}

/// The end of an operation that reached its goal.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Completion {
    /// Documents.
    pub changes: Changes,
    /// What the stage gets, in Clouddriver's shapes.
    pub result: Map<String, Value>,
}

/// One kind of operation. All of it is a function of its arguments.
pub trait Kind: Send + Sync {
    /// Name on the wire, such as `createServerGroup`.
    fn name(&self) -> &'static str;

    /// Checks what can be known without looking at the world.
    fn check(&self, input: &Input, config: &Config) -> Vec<Fault>;

    /// Plans a phase, 0 for the first; none when the phases are done.
    ///
    /// # Errors
    /// When it cannot be done as things are: the operation fails, and what
    /// earlier phases did stays.
    fn phase(&self, number: u32, planning: &Planning<'_>) -> Result<Option<Phase>, Refused>;

    /// What remains to be written when all phases have succeeded.
    fn complete(&self, planning: &Planning<'_>) -> Completion;

    /// The process that it runs to its end instead of planning phases; none for most kinds.
    fn job(&self, input: &Input) -> Option<Result<Order, Fault>> {
        let _ = input;
        None
    }

    /// What remains to be written when a phase failed and was undone. The
    /// default writes nothing.
    fn abandon(&self, planning: &Planning<'_>) -> Changes {
        let _ = planning;
        Changes::default()
    }
}

/// Collects the faults of several fields.
pub(crate) fn faults<const N: usize>(checks: [Result<(), Fault>; N]) -> Vec<Fault> {
    checks.into_iter().filter_map(Result::err).collect()
}

#[cfg(test)]
mod tests;
