//! The read model: what runs, in the shapes that Clouddriver serves.
//!
//! Owns how journal, processes and the balancer's observations become answers.
//! Nothing is cached: every answer is read when it is asked for.

mod account;
mod cluster;
mod instance;
mod load_balancer;
mod server_group;
mod target;
mod traffic;

use std::collections::BTreeMap;

pub use account::{account, accounts};
pub use cluster::{applications, cluster, clusters};
pub use instance::instance;
pub use load_balancer::load_balancers;
pub use server_group::{full as server_group, summaries as server_groups};
pub use target::{Error as TargetError, resolve};
pub use traffic::{Wanted, traffic};

use crate::config::Config;
use crate::provider::local::journal::Everything;
use crate::provider::local::observed::Observed;
use crate::provider::local::shim::Facts;

/// What one answer is made from.
#[derive(Debug)]
pub struct Sight<'a> {
    /// The settings.
    pub config: &'a Config,
    /// The journal.
    pub everything: &'a Everything,
    /// What the balancer last said; none when it does not answer.
    pub observed: Option<&'a Observed>,
    /// What the shims say, by instance id.
    pub facts: &'a BTreeMap<String, Facts>,
}
