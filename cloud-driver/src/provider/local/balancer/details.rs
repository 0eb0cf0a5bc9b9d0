//! What load balancers are to do beyond what every router knows: the balancer's own words.

use std::collections::BTreeMap;

use balancer::{AccessLog, Listener};

use super::listeners::{Unheard, merge};
use crate::config::Config;
use crate::provider::local::document::Capacity;
use crate::provider::local::journal::Everything;
use crate::provider::local::traffic::Traffic;

/// What is said of all load balancers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Details {
    /// How they pass requests on, by name.
    pub(crate) traffic: BTreeMap<String, Traffic>,
    /// How many instances their server groups are to have, by name.
    pub(crate) capacity: BTreeMap<String, Capacity>,
    /// Where clients reach them, beside the balancer's own port.
    pub(crate) listeners: Vec<Listener>,
    /// What of that cannot stand together.
    pub(crate) unheard: Vec<Unheard>,
    /// What is written of requests, as the operator says it.
    pub(crate) access_log: Option<AccessLog>,
}

impl Details {
    /// Those of the configuration and of the journal; of equal names the operator's counts.
    pub(crate) fn of(config: &Config, everything: &Everything) -> Self {
        let made = everything.balancers.iter();
        let made = made.map(|b| (b.name.clone(), b.traffic.clone()));
        let configured = config.accounts.iter().flat_map(|a| &a.load_balancers);
        let configured = configured.map(|b| (b.name.clone(), b.traffic.clone()));
        let groups = everything.groups.iter();
        let (listeners, unheard) = Self::listeners_of(config, everything);
        Self {
            traffic: made.chain(configured).collect(),
            capacity: groups.map(|g| (g.name.clone(), g.capacity)).collect(),
            listeners,
            unheard,
            access_log: config.local.access_log.as_ref().map(|log| log.told()),
        }
    }

    /// The listeners of all load balancers, the operator's first, and what of them cannot be.
    pub(crate) fn listeners_of(
        config: &Config,
        everything: &Everything,
    ) -> (Vec<Listener>, Vec<Unheard>) {
        let configured = config.accounts.iter().flat_map(|a| &a.load_balancers);
        let configured = configured.map(|b| (b.name.as_str(), b.listeners.as_slice()));
        let made = everything.balancers.iter();
        let made = made.map(|b| (b.name.as_str(), b.listeners.as_slice()));
        merge(configured.chain(made), config.balancer_port)
    }
}
