//! Create: new instances beside what is there, warmed up and, if asked, serving.

use super::{Newcomer, newcomers};
use crate::machine::Rollout;
use crate::moves::{Move, bring_up};
use crate::settings::Settings;

/// Bring up a server group.
#[derive(Debug, Clone)]
pub struct Create {
    /// The server group.
    pub group: String,
    /// Its instances.
    pub instances: Vec<Newcomer>,
    /// Whether they get traffic; if not they stay warm.
    pub serve: bool,
    /// Limits.
    pub settings: Settings,
}

impl Create {
    /// The rollout. Its inverse takes the new instances away again.
    pub fn plan(self) -> Rollout {
        let (members, ids) = newcomers(&self.group, &self.instances);
        let mut moves = vec![Move::Prepare { group: self.group }];
        if !ids.is_empty() {
            moves.extend(bring_up(&ids, self.serve));
        }
        Rollout::new(self.settings, members, moves)
    }
}
