//! Noticing that a server lost acknowledged commits.
//!
//! Each shard counts its commits. A count that is lower than one this process has
//! seen before it asked can only mean that the server went back.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::Epoch;
use crate::shard::{Shard, Shards};

/// How far a shard was seen: losses noticed, then commits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seen {
    pub(super) epoch: u64,
    pub(super) seq: u64,
}

/// The furthest that each shard was seen.
#[derive(Debug)]
pub(super) struct Tracker {
    shards: Mutex<Vec<Option<Seen>>>,
    epoch: watch::Sender<Epoch>,
}

impl Tracker {
    pub(super) fn new(shards: Shards) -> Self {
        Self {
            shards: Mutex::new(vec![None; usize::from(shards.count())]),
            epoch: watch::Sender::default(),
        }
    }

    fn shards(&self) -> MutexGuard<'_, Vec<Option<Seen>>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far the shard was seen; ask before sending a command.
    pub(super) fn seen(&self, shard: Shard) -> Option<Seen> {
        self.shards()
            .get(usize::from(shard.number()))
            .copied()
            .flatten()
    }

    /// Takes note of an answer. A loss that somebody noticed, here or elsewhere,
    /// shows as a higher epoch.
    pub(super) fn note(&self, shard: Shard, now: Seen) {
        let mut shards = self.shards();
        let Some(slot) = shards.get_mut(usize::from(shard.number())) else {
            return;
        };
        let known = *slot;
        if known.is_none_or(|known| now > known) {
            *slot = Some(now);
        }
        if known.is_some_and(|known| now.epoch > known.epoch) {
            self.epoch.send_modify(|epoch| epoch.rollbacks += 1);
        }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Epoch> {
        self.epoch.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_told_once_however_many_answers_show_it() {
        let shards = Shards::new(1);
        let (tracker, shard) = (Tracker::new(shards), shards.numbered(0));
        let at = |epoch, seq| tracker.note(shard, Seen { epoch, seq });
        at(0, 7);
        at(0, 5);
        assert_eq!(tracker.seen(shard), Some(Seen { epoch: 0, seq: 7 }));
        at(1, 3);
        at(1, 4);
        assert_eq!(tracker.watch().borrow().rollbacks, 1);
        assert_eq!(tracker.seen(shard), Some(Seen { epoch: 1, seq: 4 }));
    }
}
