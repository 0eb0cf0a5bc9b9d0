//! Destroy: drain what still serves, stop everything, remove it.

use super::{Present, ids, present, working};
use crate::machine::Rollout;
use crate::member::Origin;
use crate::moves::take_out;
use crate::settings::Settings;

/// Take a group away for good.
#[derive(Debug, Clone)]
pub struct Destroy {
    /// Its instances.
    pub instances: Vec<Present>,
    /// Who else serves the same load balancers.
    pub peers: Vec<Present>,
    /// Limits.
    pub settings: Settings,
}

impl Destroy {
    /// The rollout. There is an inverse up to the first stop.
    pub fn plan(self) -> Rollout {
        let all = ids(&self.instances);
        let mut moves = Vec::new();
        if !all.is_empty() {
            moves = take_out(&all, &working(&self.instances, &self.settings));
        }
        let mut members = present(&self.instances, Origin::Existing);
        members.extend(present(&self.peers, Origin::Peer));
        Rollout::new(self.settings, members, moves)
    }
}
