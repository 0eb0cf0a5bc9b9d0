//! The way back, planned from what has been asked so far: nothing is looked up,
//! so it can be planned anew after each fault on the way.

use crate::machine::Rollout;
use crate::member::{Member, Origin, Role, Standing};
use crate::moves::{Move, bring_up, take_down};

impl Rollout {
    /// Whether an inverse exists: no instance was told to stop that lived and
    /// cannot be started again in its slot.
    pub(crate) fn reversible(&self) -> bool {
        !self.pairs.is_empty()
            || self
                .members
                .values()
                .all(|m| m.origin != Origin::Existing || m.died || m.standing < Standing::Stopping)
    }

    pub(crate) fn inverse(&mut self) -> Vec<Move> {
        if self.pairs.is_empty() {
            self.undo()
        } else {
            self.exchange_back()
        }
    }

    /// First back in what was serving, then out what was not there.
    fn undo(&mut self) -> Vec<Move> {
        let mut moves = Vec::new();
        if self.weights != self.initial_weights {
            moves.push(Move::Weigh {
                weights: self.initial_weights.clone(),
            });
        }
        let existing = |m: &&Member| m.origin == Origin::Existing && m.usable();
        let back: Vec<String> = self
            .members
            .values()
            .filter(existing)
            .filter(|m| m.initial == Role::Serve && m.role != Role::Serve)
            .map(|m| m.id.clone())
            .collect();
        if !back.is_empty() {
            let members = || back.clone();
            moves.push(Move::Warm { members: members() });
            moves.push(Move::Serve { members: members() });
        }
        let out: Vec<String> = self
            .members
            .values()
            .filter(existing)
            .filter(|m| m.initial != Role::Serve && m.role != m.initial)
            .filter(|m| matches!(m.role, Role::Serve | Role::Warm))
            .map(|m| m.id.clone())
            .collect();
        if !out.is_empty() {
            moves.push(Move::Drain { members: out });
        }
        let new: Vec<&Member> = self
            .members
            .values()
            .filter(|m| m.origin == Origin::New)
            .collect();
        moves.extend(removal(&new));
        moves
    }

    /// Slot by slot, the last one first: out the new, in the old.
    fn exchange_back(&mut self) -> Vec<Move> {
        let mut moves = Vec::new();
        let mut turns: Vec<(usize, usize)> = self
            .pairs
            .iter()
            .enumerate()
            .filter_map(|(i, p)| p.turn.map(|t| (t, i)))
            .collect();
        turns.sort_unstable_by(|a, b| b.cmp(a));
        let mut back = Vec::new();
        for (_, i) in turns {
            if let Some((slot_moves, id)) = self.exchange_back_slot(i) {
                moves.extend(slot_moves);
                back.push(id);
            }
        }
        if !back.is_empty() {
            moves.push(Move::Confirm { members: back });
        }
        moves
    }

    fn exchange_back_slot(&mut self, index: usize) -> Option<(Vec<Move>, String)> {
        let pair = self.pairs.get(index)?.clone();
        let old = self.members.get(&pair.old)?.clone();
        let new = self.members.get(&pair.new)?;
        let mut moves = removal(&[new]);
        if old.usable() {
            if old.role != Role::Serve {
                let members = || vec![old.id.clone()];
                moves.push(Move::Warm { members: members() });
                moves.push(Move::Serve { members: members() });
            }
            return Some((moves, old.id));
        }
        let former = pair.restored.as_ref().and_then(|id| self.members.get(id));
        if let Some(restored) = former {
            if restored.usable() && restored.role == Role::Serve {
                return Some((moves, restored.id.clone()));
            }
            moves.extend(removal(&[restored]));
        }
        moves.extend(removal(&[&old]));
        // The former attempt's id is used up, even if nothing was started.
        let id = format!("{}-r", pair.restored.as_deref().unwrap_or(&old.id));
        let member = Member::fresh(id.clone(), old.group, old.slot, Origin::Restored);
        self.members.insert(id.clone(), member);
        if let Some(pair) = self.pairs.get_mut(index) {
            pair.restored = Some(id.clone());
        }
        moves.push(Move::Prepare {
            group: self.members.get(&id)?.group.clone(),
        });
        moves.extend(bring_up(std::slice::from_ref(&id), true));
        Some((moves, id))
    }
}

/// Out of the router, stopped, removed: as far as each has come.
fn removal(members: &[&Member]) -> Vec<Move> {
    let there: Vec<&&Member> = members
        .iter()
        .filter(|m| m.touched() && m.standing != Standing::Released)
        .collect();
    let ids = |members: Vec<&&Member>| -> Vec<String> {
        members.into_iter().map(|m| m.id.clone()).collect()
    };
    if there.is_empty() {
        return Vec::new();
    }
    let all = ids(there.clone());
    let with_traffic = ids(there
        .into_iter()
        .filter(|m| matches!(m.role, Role::Serve | Role::Drain))
        .collect());
    let mut moves = take_down(&all);
    moves.remove(0);
    if !with_traffic.is_empty() {
        moves.insert(
            0,
            Move::Drain {
                members: with_traffic,
            },
        );
    }
    moves
}
