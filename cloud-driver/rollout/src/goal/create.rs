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
        CreateTogether {
            groups: vec![(self.group, self.instances)],
            serve: self.serve,
            settings: self.settings,
        }
        .plan()
    }
}

/// Bring up several server groups at once: every image first, then all instances start, and all get traffic at the
/// same moment. One that does not come up takes the others with it.
#[derive(Debug, Clone)]
pub struct CreateTogether {
    /// The server groups and their instances.
    pub groups: Vec<(String, Vec<Newcomer>)>,
    /// Whether they get traffic; if not they stay warm.
    pub serve: bool,
    /// Limits.
    pub settings: Settings,
}

impl CreateTogether {
    /// The rollout. Its inverse takes the new instances away again.
    pub fn plan(self) -> Rollout {
        let (mut members, mut ids, mut moves) = (Vec::new(), Vec::new(), Vec::new());
        for (group, instances) in self.groups {
            let (own, own_ids) = newcomers(&group, &instances);
            members.extend(own);
            ids.extend(own_ids);
            moves.push(Move::Prepare { group });
        }
        if !ids.is_empty() {
            moves.extend(bring_up(&ids, self.serve));
        }
        Rollout::new(self.settings, members, moves)
    }
}
