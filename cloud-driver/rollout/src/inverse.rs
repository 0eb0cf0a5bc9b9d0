//! The way back, planned from what has been asked so far: nothing is looked up,
//! so it can be planned anew after each fault on the way.

use crate::machine::Rollout;
use crate::member::{Member, Origin, Role, Standing};
use crate::moves::{Move, bring_up, take_out};
use crate::settings::Settings;

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
        let existing = |m: &&Member| m.origin == Origin::Existing && self.returns(m);
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
        let gone = removal(&new, &self.settings);
        moves.extend(self.start_spent_again());
        moves.extend(gone);
        moves
    }

    /// Whether an instance that was there may be given work again.
    fn returns(&self, member: &Member) -> bool {
        let spent = self.settings.drain_is_final && member.role == Role::Drain;
        member.usable() && !spent
    }

    /// What served and was drained for good: another one in its slot, first where it has ended.
    fn start_spent_again(&mut self) -> Vec<Move> {
        if !self.settings.drain_is_final {
            return Vec::new();
        }
        let served = |m: &&Member| m.origin == Origin::Existing && m.initial == Role::Serve;
        let spent = |m: &&Member| matches!(m.role, Role::Drain | Role::Absent);
        let members = self.members.values().filter(served).filter(spent);
        let mut spent: Vec<Member> = members.cloned().collect();
        spent.sort_by_key(|m| !m.died);
        let again = spent.iter().map(|old| self.start_again(old).0);
        again.flatten().collect()
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
        let mut moves = removal(&[new], &self.settings);
        if self.returns(&old) {
            if old.role != Role::Serve {
                let members = || vec![old.id.clone()];
                moves.push(Move::Warm { members: members() });
                moves.push(Move::Serve { members: members() });
            }
            return Some((moves, old.id));
        }
        let (again, id) = self.start_again(&old);
        moves.extend(again);
        if let Some(pair) = self.pairs.get_mut(index) {
            pair.restored = Some(id.clone());
        }
        Some((moves, id))
    }

    /// Another instance in the slot of `old`, from the old group's image, unless one serves there
    /// already; who does in the end.
    fn start_again(&mut self, old: &Member) -> (Vec<Move>, String) {
        let in_slot = |m: &&Member| m.origin == Origin::Restored && m.slot == old.slot;
        let mut former: Vec<&Member> = self.members.values().filter(in_slot).collect();
        let serves = |m: &&&Member| m.usable() && m.role == Role::Serve;
        if let Some(there) = former.iter().find(serves) {
            return (Vec::new(), there.id.clone());
        }
        // Each attempt has a longer name: an id is used up even if nothing was started.
        former.sort_by_key(|m| m.id.len());
        let last = former.last().map_or(&old.id, |m| &m.id);
        let id = format!("{last}-r");
        former.push(old);
        let mut moves = removal(&former, &self.settings);
        let (group, slot) = (old.group.clone(), old.slot.clone());
        let member = Member::fresh(id.clone(), group.clone(), slot, Origin::Restored);
        self.members.insert(id.clone(), member);
        moves.push(Move::Prepare { group });
        moves.extend(bring_up(std::slice::from_ref(&id), true));
        (moves, id)
    }
}

/// Out of the router, stopped, removed: as far as each has come.
fn removal(members: &[&Member], settings: &Settings) -> Vec<Move> {
    let there: Vec<&&Member> = members
        .iter()
        .filter(|m| m.touched() && m.standing != Standing::Released)
        .collect();
    if there.is_empty() {
        return Vec::new();
    }
    let working = there.iter().filter(|m| settings.works(m.role));
    let working: Vec<String> = working.map(|m| m.id.clone()).collect();
    let all: Vec<String> = there.iter().map(|m| m.id.clone()).collect();
    take_out(&all, &working)
}
