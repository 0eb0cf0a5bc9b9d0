//! The numbered changes of this process: the last ones are kept for whoever watches.

use std::collections::VecDeque;

use balancer::{Event, EventKind, Observed};
use tokio::sync::watch;

/// Changes kept.
const MOST: usize = 4096;

/// The changes.
#[derive(Debug)]
pub(crate) struct Events {
    kept: VecDeque<Event>,
    number: u64,
    last: watch::Sender<u64>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            kept: VecDeque::new(),
            number: 0,
            last: watch::Sender::new(0),
        }
    }
}

impl Events {
    /// Adds one.
    pub(crate) fn add(
        &mut self,
        kind: EventKind,
        generation: u64,
        at_ms: i64,
        about: Option<(&str, Observed)>,
    ) {
        self.number += 1;
        if self.kept.len() == MOST {
            self.kept.pop_front();
        }
        self.kept.push_back(Event {
            number: self.number,
            kind,
            at_ms,
            generation,
            instance: about.map(|(id, _)| id.to_owned()),
            state: about.map(|(_, state)| state),
        });
        self.last.send_replace(self.number);
    }

    /// Number of the last one.
    pub(crate) fn last(&self) -> u64 {
        self.number
    }

    /// Changes with each.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// Those after `number`; none when some of them are not kept any more, or never were.
    pub(crate) fn after(&self, number: u64) -> Option<Vec<Event>> {
        if number > self.number {
            return None;
        }
        let missing = usize::try_from(self.number - number).ok()?;
        let skip = self.kept.len().checked_sub(missing)?;
        Some(self.kept.iter().skip(skip).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_forgotten_or_never_was_is_not_made_up() {
        let mut events = Events::default();
        assert_eq!(events.after(0), Some(Vec::new()));
        assert_eq!(events.after(1), None);
        for _ in 0..MOST + 3 {
            events.add(EventKind::Config, 1, 0, None);
        }
        let total = MOST as u64 + 3;
        assert_eq!(events.after(2), None);
        assert_eq!(events.after(3).unwrap().len(), MOST);
        let last: Vec<_> = events
            .after(total - 2)
            .unwrap()
            .iter()
            .map(|e| e.number)
            .collect();
        assert_eq!(last, [total - 1, total]);
    }
}
