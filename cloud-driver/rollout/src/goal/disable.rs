//! Disable: take traffic from instances that keep running.

use super::{Present, ids, present};
use crate::machine::Rollout;
use crate::member::Origin;
use crate::moves::Move;
use crate::settings::Settings;

/// Take a group, or part of it, out of traffic.
#[derive(Debug, Clone)]
pub struct Disable {
    /// Who loses its traffic.
    pub instances: Vec<Present>,
    /// Who else serves the same load balancers: the capacity that stays.
    pub peers: Vec<Present>,
    /// Limits; `floor` counts peers and instances alike.
    pub settings: Settings,
}

impl Disable {
    /// The rollout. Its inverse gives traffic back to those that had it.
    pub fn plan(self) -> Rollout {
        let mut members = present(&self.instances, Origin::Existing);
        members.extend(present(&self.peers, Origin::Peer));
        let moves = if self.instances.is_empty() {
            Vec::new()
        } else {
            vec![Move::Drain {
                members: ids(&self.instances),
            }]
        };
        Rollout::new(self.settings, members, moves)
    }
}
