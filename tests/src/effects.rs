//! What was done outside: a receiver that remembers `Idempotency-Key` acts once for each key, whatever is repeated.

use std::collections::{BTreeMap, BTreeSet};

use crate::sink::Delivery;

/// What the outside knows of what it was sent before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Every key: a repeat is refused.
    Keys,
    /// Nothing: a repeat is done once more.
    None,
}

/// What was asked for from one place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Under which keys.
    pub keys: BTreeSet<String>,
    /// How often it was done; what was answered with a failure was not.
    pub done: usize,
}

/// What was done, by the place that asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger<P> {
    /// Each place.
    pub places: BTreeMap<P, Asked>,
    /// Requests that the outside had been sent before and refused to do again.
    pub repeats: usize,
}

impl<P: Ord> Ledger<P> {
    /// Of these requests; those without a place are nobody's.
    pub fn of(
        deliveries: &[Delivery],
        memory: Memory,
        place: impl Fn(&Delivery) -> Option<P>,
    ) -> Self {
        let (mut places, mut repeats) = (BTreeMap::<P, Asked>::new(), 0);
        let mut known = BTreeSet::new();
        for delivery in deliveries {
            let Some(place) = place(delivery) else {
                continue;
            };
            let asked = places.entry(place).or_default();
            let key = delivery.headers.get("idempotency-key");
            let key = key.cloned().unwrap_or_default();
            asked.keys.insert(key.clone());
            if delivery.status >= 400 {
                continue;
            }
            let is_new = known.insert(key);
            if is_new || memory == Memory::None {
                asked.done += 1;
            } else {
                repeats += 1;
            }
        }
        Self { places, repeats }
    }

    /// How much was done in all.
    pub fn done(&self) -> usize {
        self.places.values().map(|asked| asked.done).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn delivery(place: &str, key: &str, status: u16) -> Delivery {
        Delivery {
            at: Instant::now(),
            at_ms: 0,
            method: "POST".to_owned(),
            path: place.to_owned(),
            query: String::new(),
            headers: [("idempotency-key".to_owned(), key.to_owned())].into(),
            body: bytes::Bytes::new(),
            status,
        }
    }

    fn ledger(deliveries: &[Delivery], memory: Memory) -> Ledger<String> {
        Ledger::of(deliveries, memory, |delivery| Some(delivery.path.clone()))
    }

    #[test]
    fn a_repeat_is_done_again_only_by_who_forgets() {
        let sent = [
            delivery("a", "1", 503),
            delivery("a", "1", 200),
            delivery("a", "1", 200),
            delivery("b", "2", 200),
        ];
        let kept = ledger(&sent, Memory::Keys);
        assert_eq!(
            (kept.places["a"].done, kept.repeats, kept.done()),
            (1, 1, 2)
        );
        let forgotten = ledger(&sent, Memory::None);
        assert_eq!((forgotten.places["a"].done, forgotten.repeats), (2, 0));
    }

    #[test]
    fn another_key_is_another_effect() {
        let sent = [delivery("a", "1", 200), delivery("a", "2", 200)];
        let kept = ledger(&sent, Memory::Keys);
        assert_eq!((kept.places["a"].keys.len(), kept.places["a"].done), (2, 2));
    }
}
