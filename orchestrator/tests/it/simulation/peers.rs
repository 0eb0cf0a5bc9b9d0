//! The outside: peers that act on an effect id, count what they see, and judge it.

use std::collections::{BTreeMap, BTreeSet};

use super::law::Invariant;

/// What an effect is: one round of one task of one attempt of one stage.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Effect {
    /// Number of the execution.
    pub(crate) execution: usize,
    /// Where the stage is: its id may be another one after it was planned again.
    pub(crate) path: String,
    /// Of the stage of the author's that it belongs to.
    pub(crate) attempt: u32,
    pub(crate) task: String,
    pub(crate) round: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Peers {
    /// By key: what it is, and how often it was asked about.
    seen: BTreeMap<String, (Effect, u64)>,
    keys: BTreeMap<Effect, String>,
    /// Look-ups, and those whose answer is durable.
    looked_up: usize,
    pub(crate) recorded: BTreeSet<String>,
}

impl Peers {
    /// A call under a key: acts if it is new, and answers how often it was asked
    /// about before. Invariant 5.
    pub(crate) fn call(&mut self, key: &str, effect: &Effect) -> Result<u64, String> {
        if let Some((other, _)) = self.seen.get(key)
            && other != effect
        {
            let what = format!("key {key} stands for {other:?} and for {effect:?}");
            return Invariant::OnceOutside.broken(what);
        }
        if let Some(other) = self.keys.get(effect)
            && other != key
        {
            let what = format!("{effect:?} has the keys {other} and {key}");
            return Invariant::OnceOutside.broken(what);
        }
        self.keys.insert(effect.clone(), key.to_owned());
        let (_, asked) = self
            .seen
            .entry(key.to_owned())
            .or_insert_with(|| (effect.clone(), 0));
        *asked += 1;
        Ok(*asked - 1)
    }

    /// Answers a look-up, each time with another text; every fifth has none.
    pub(crate) fn look_up(&mut self) -> Result<String, String> {
        self.looked_up += 1;
        let number = self.looked_up;
        if number.is_multiple_of(5) {
            Err(format!("no answer to question {number}"))
        } else {
            Ok(format!("answer {number}"))
        }
    }

    /// Answers have become durable: from now on nothing may be decided by others. A worker
    /// that read before may have asked again, but not have committed what it was told.
    pub(crate) fn recorded<'a>(
        &mut self,
        keys: impl IntoIterator<Item = &'a String>,
    ) -> Result<(), String> {
        for key in keys {
            if !self.recorded.insert(key.clone()) {
                return Invariant::AnsweredOnce.broken(key);
            }
        }
        Ok(())
    }

    /// How much was done outside.
    pub(crate) fn acts(&self) -> usize {
        self.seen.len()
    }
}
