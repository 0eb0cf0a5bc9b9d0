//! Resize: first what comes, then what goes.

use super::{Newcomer, Present, clear, ids, newcomers, present, working};
use crate::machine::Rollout;
use crate::member::Origin;
use crate::moves::{Move, bring_up, take_out};
use crate::settings::Settings;

/// Change how many instances a group has.
#[derive(Debug, Clone)]
pub struct Resize {
    /// The server group.
    pub group: String,
    /// Instances that stay.
    pub stay: Vec<Present>,
    /// Instances to bring up.
    pub add: Vec<Newcomer>,
    /// Instances to take down, and dead ones to clear away.
    pub remove: Vec<Present>,
    /// Whether the new ones get traffic (the group is enabled).
    pub serve: bool,
    /// Who else serves the same load balancers.
    pub peers: Vec<Present>,
    /// Limits.
    pub settings: Settings,
}

impl Resize {
    /// Which `count` of `instances` leave first: those that do not serve, then
    /// the newest. `instances` comes oldest first.
    pub fn choose(instances: &[Present], serving: &[String], count: usize) -> Vec<Present> {
        let mut order: Vec<&Present> = instances.iter().rev().collect();
        order.sort_by_key(|p| serving.contains(&p.id) && !p.dead);
        order.into_iter().take(count).cloned().collect()
    }

    /// The rollout.
    pub fn plan(self) -> Rollout {
        let (fresh, new) = newcomers(&self.group, &self.add);
        let mut moves = Vec::new();
        // What is dead goes first: its slot may be the one that is needed.
        let dead: Vec<Present> = self.remove.iter().filter(|p| p.dead).cloned().collect();
        let alive: Vec<Present> = self.remove.iter().filter(|p| !p.dead).cloned().collect();
        moves.extend(clear(&ids(&dead), &self.settings));
        if !new.is_empty() {
            moves.push(Move::Prepare {
                group: self.group.clone(),
            });
            moves.extend(bring_up(&new, self.serve));
        }
        if !alive.is_empty() {
            moves.extend(take_out(&ids(&alive), &working(&alive, &self.settings)));
        }
        let mut members = present(&self.remove, Origin::Existing);
        members.extend(fresh);
        members.extend(present(&self.stay, Origin::Peer));
        members.extend(present(&self.peers, Origin::Peer));
        Rollout::new(self.settings, members, moves)
    }
}
