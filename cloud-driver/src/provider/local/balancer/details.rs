//! What load balancers are to do beyond what every router knows: the balancer's own words, by name.

use std::collections::BTreeMap;

use crate::config::Config;
use crate::provider::local::document::Capacity;
use crate::provider::local::journal::Everything;
use crate::provider::local::traffic::Traffic;

/// What is said of all load balancers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Details {
    /// How they pass requests on.
    pub(crate) traffic: BTreeMap<String, Traffic>,
    /// How many instances their server groups are to have, by name.
    pub(crate) capacity: BTreeMap<String, Capacity>,
}

impl Details {
    /// Those of the configuration and of the journal; of equal names the operator's counts.
    pub(crate) fn of(config: &Config, everything: &Everything) -> Self {
        let made = everything.balancers.iter();
        let made = made.map(|b| (b.name.clone(), b.traffic.clone()));
        let configured = config.accounts.iter().flat_map(|a| &a.load_balancers);
        let configured = configured.map(|b| (b.name.clone(), b.traffic.clone()));
        let groups = everything.groups.iter();
        Self {
            traffic: made.chain(configured).collect(),
            capacity: groups
                .map(|g| (g.name.clone(), g.capacity))
                .collect(),
        }
    }
}
