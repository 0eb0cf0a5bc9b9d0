//! Replace in place, drained: slot by slot, out the old, in the new, for
//! services that run one instance per host and have no room for two.

use std::collections::BTreeMap;

use thiserror::Error;

use super::{Newcomer, Present, ids, newcomers, present};
use crate::machine::Rollout;
use crate::member::{Origin, Pair};
use crate::moves::Move;
use crate::settings::Settings;

/// Why a replacement in place is refused before anything is touched.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// One host: the service would be down between old and new.
    #[error(
        "{group} runs on one host slot, so replacing it in place interrupts the service; give the host a second slot, or set holdRequests on its load balancer, or set allowOutage: true"
    )]
    OneHost {
        /// The group to be replaced.
        group: String,
    },
    /// The floor leaves nothing to replace at a time.
    #[error("floor {floor} leaves no instance of {group} to replace: it has {size}; set floor to at most {max}", max = size.saturating_sub(1))]
    Floor {
        /// The group to be replaced.
        group: String,
        /// What was asked.
        floor: usize,
        /// How many instances it has.
        size: usize,
    },
    /// The new instances do not match the old ones' slots.
    #[error("slot {slot} of {group} has no successor; old and new must take the same slots")]
    Slot {
        /// The group to be replaced.
        group: String,
        /// The slot.
        slot: String,
    },
}

/// Replace every instance of one group by one of another, in its slot.
#[derive(Debug, Clone)]
pub struct ReplaceInPlace {
    /// The group that leaves.
    pub old_group: String,
    /// Its instances.
    pub old: Vec<Present>,
    /// The old group's weight, which the new one has at the end.
    pub weight: u32,
    /// The group that comes.
    pub new_group: String,
    /// Its instances, one for each slot of the old.
    pub new: Vec<Newcomer>,
    /// How many must serve at each instant; default all but one.
    pub floor: Option<usize>,
    /// Accept that nothing serves for a while: one host means an interruption, unless the load
    /// balancers hold requests meanwhile.
    pub allow_outage: bool,
    /// Limits; its floor is set from `floor`.
    pub settings: Settings,
}

impl ReplaceInPlace {
    /// The rollout: images first, then batch by batch. Its inverse puts every
    /// slot back, from the old image where the old instance is gone.
    ///
    /// # Errors
    /// When it cannot be done without an outage that nobody allowed, or the
    /// slots do not match.
    pub fn plan(self) -> Result<Rollout, Refusal> {
        let size = self.old.len();
        let group = || self.old_group.clone();
        let floor = match self.floor {
            _ if size <= 1 && !self.allow_outage && size > 0 => {
                return Err(Refusal::OneHost { group: group() });
            }
            None => size.saturating_sub(1),
            Some(floor) if floor >= size.max(1) => {
                return Err(Refusal::Floor {
                    group: group(),
                    floor,
                    size,
                });
            }
            Some(floor) => floor,
        };
        let mut pairs = Vec::new();
        for old in &self.old {
            let new = self.new.iter().find(|n| n.slot == old.slot);
            let new = new.ok_or_else(|| Refusal::Slot {
                group: group(),
                slot: old.slot.clone(),
            })?;
            pairs.push(Pair {
                old: old.id.clone(),
                new: new.id.clone(),
                restored: None,
                turn: None,
            });
        }
        let (fresh, new_ids) = newcomers(&self.new_group, &self.new);
        let mut members = present(&self.old, Origin::Existing);
        members.extend(fresh);
        let mut moves = vec![Move::Prepare {
            group: self.new_group.clone(),
        }];
        if !pairs.is_empty() {
            moves.push(Move::Pick {
                batch: size - floor,
            });
            moves.push(Move::Confirm { members: new_ids });
        }
        debug_assert_eq!(ids(&self.old).len(), pairs.len());
        let mut settings = self.settings;
        settings.floor = floor;
        let mut rollout = Rollout::new(settings, members, moves);
        rollout.pairs = pairs;
        rollout.initial_weights =
            BTreeMap::from([(self.old_group, self.weight), (self.new_group, 0)]);
        rollout.weights = rollout.initial_weights.clone();
        Ok(rollout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::Role;

    fn plan(size: usize, floor: Option<usize>, allow_outage: bool) -> Result<Rollout, Refusal> {
        let slot = |n: usize| format!("h{n}");
        ReplaceInPlace {
            old_group: "a-v000".into(),
            old: (0..size)
                .map(|n| Present {
                    id: format!("old{n}"),
                    group: "a-v000".into(),
                    slot: slot(n),
                    role: Role::Serve,
                    dead: false,
                })
                .collect(),
            weight: 100,
            new_group: "a-v001".into(),
            new: (0..size)
                .map(|n| Newcomer {
                    id: format!("new{n}"),
                    slot: slot(n),
                })
                .collect(),
            floor,
            allow_outage,
            settings: Settings::default(),
        }
        .plan()
    }

    #[test]
    fn the_floor_is_all_but_one_unless_set() {
        for (size, floor, expected, batch) in
            [(3, None, 2, 1), (3, Some(1), 1, 2), (5, Some(0), 0, 5)]
        {
            let rollout = plan(size, floor, false).unwrap();
            assert_eq!(rollout.settings.floor, expected);
            assert!(rollout.plan.contains(&Move::Pick { batch }));
        }
        assert!(matches!(
            plan(3, Some(3), false),
            Err(Refusal::Floor { .. })
        ));
    }

    #[test]
    fn one_host_is_refused_with_the_remedies_unless_an_outage_is_allowed() {
        let text = plan(1, None, false).unwrap_err().to_string();
        for remedy in ["second slot", "holdRequests", "allowOutage"] {
            assert!(text.contains(remedy), "{text}");
        }
        assert_eq!(plan(1, None, true).unwrap().settings.floor, 0);
    }
}
