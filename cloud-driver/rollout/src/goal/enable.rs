//! Enable: give traffic to a group that has none, once it is whole and ready.

use super::{Newcomer, Present, clear, ids, newcomers, present};
use crate::machine::Rollout;
use crate::member::{Origin, Role};
use crate::moves::{Move, bring_up};
use crate::settings::Settings;

/// Give a group traffic.
#[derive(Debug, Clone)]
pub struct Enable {
    /// The server group.
    pub group: String,
    /// Its instances; dead ones are removed.
    pub instances: Vec<Present>,
    /// Instances that are missing, started first.
    pub missing: Vec<Newcomer>,
    /// Limits.
    pub settings: Settings,
}

impl Enable {
    /// The rollout: nothing gets traffic before all of the group is ready.
    pub fn plan(self) -> Rollout {
        let (fresh, new) = newcomers(&self.group, &self.missing);
        let dead = ids(self.instances.iter().filter(|p| p.dead));
        // Those that serve go on: warming them would take them out of traffic.
        let waiting = |p: &&Present| !p.dead && p.role != Role::Serve;
        let alive = ids(self.instances.iter().filter(waiting));
        let mut moves = clear(&dead, &self.settings);
        if !new.is_empty() {
            moves.push(Move::Prepare { group: self.group });
            moves.extend(bring_up(&new, false).into_iter().take(1));
        }
        let all: Vec<String> = alive.into_iter().chain(new).collect();
        if !all.is_empty() {
            moves.extend(bring_up(&all, true).into_iter().skip(1));
        }
        let mut members = present(&self.instances, Origin::Existing);
        members.extend(fresh);
        Rollout::new(self.settings, members, moves)
    }
}
