//! Shift: change the groups' shares of the requests.

use std::collections::BTreeMap;

use crate::machine::Rollout;
use crate::moves::Move;
use crate::settings::Settings;

/// Change weights.
#[derive(Debug, Clone)]
pub struct Shift {
    /// New weights of every group behind the load balancer, relative.
    pub weights: BTreeMap<String, u32>,
    /// The weights they have.
    pub current: BTreeMap<String, u32>,
    /// Limits.
    pub settings: Settings,
}

impl Shift {
    /// The rollout: done when the router says the shares are in effect.
    pub fn plan(self) -> Rollout {
        let moves = vec![Move::Weigh {
            weights: self.weights,
        }];
        let mut rollout = Rollout::new(self.settings, Vec::new(), moves);
        rollout.weights = self.current.clone();
        rollout.initial_weights = self.current;
        rollout
    }
}
