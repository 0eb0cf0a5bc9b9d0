//! Destroy: drain what still serves, stop everything, remove it.

use super::{Present, ids, present};
use crate::machine::Rollout;
use crate::member::{Origin, Role};
use crate::moves::{Move, take_down};
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
        let with_traffic = ids(self
            .instances
            .iter()
            .filter(|p| matches!(p.role, Role::Serve | Role::Drain)));
        let mut moves = Vec::new();
        if !with_traffic.is_empty() {
            moves.push(Move::Drain {
                members: with_traffic,
            });
        }
        if !all.is_empty() {
            moves.extend(take_down(&all).into_iter().skip(1));
        }
        let mut members = present(&self.instances, Origin::Existing);
        members.extend(present(&self.peers, Origin::Peer));
        Rollout::new(self.settings, members, moves)
    }
}
