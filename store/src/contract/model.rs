//! A small model of the store, which keeps everything in plain lists.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Mode, Outgoing};

/// A xorshift generator: the same calls for the same seed.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    pub(super) fn one_in(&mut self, limit: u64) -> bool {
        self.below(limit) == 0
    }

    pub(super) fn of<T: Copy>(&mut self, values: &[T]) -> T {
        let at = usize::try_from(self.below(values.len() as u64)).unwrap();
        values[at]
    }
}

#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) print: String,
    pub(super) due: i64,
    pub(super) order: u64,
    /// Its sequence, once a delivery told.
    pub(super) sequence: Option<u64>,
    pub(super) body: String,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Subject {
    pub(super) messages: Vec<Waiting>,
    pub(super) lease_end: Option<i64>,
    pub(super) token: u64,
    pub(super) tries: u32,
}

impl Subject {
    pub(super) fn due(&self, now: i64) -> Vec<Waiting> {
        let mut due: Vec<_> = self
            .messages
            .iter()
            .filter(|m| m.due <= now)
            .cloned()
            .collect();
        due.sort_by_key(|m| (m.due, m.order));
        due
    }

    pub(super) fn first_due(&self) -> Option<i64> {
        self.messages.iter().map(|m| m.due).min()
    }
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) documents: BTreeMap<String, (u64, String, usize)>,
    pub(super) running: Vec<String>,
    pub(super) claims: BTreeMap<String, String>,
    pub(super) subjects: BTreeMap<(String, String), Subject>,
    pub(super) served: String,
    pub(super) order: u64,
    pub(super) highest_token: u64,
    pub(super) dead: BTreeSet<(String, String)>,
}

pub(super) fn group_of(subject: &str) -> &str {
    &subject[..1]
}

impl Model {
    pub(super) fn subject(&mut self, name: &str) -> &mut Subject {
        let key = (group_of(name).to_owned(), name.to_owned());
        self.subjects.entry(key).or_default()
    }

    pub(super) fn token(&self, name: &str) -> u64 {
        let key = (group_of(name).to_owned(), name.to_owned());
        self.subjects.get(&key).map_or(0, |s| s.token)
    }

    /// Subjects without messages and lease are forgotten, their tokens with them.
    pub(super) fn forget(&mut self) {
        self.subjects
            .retain(|_, s| !s.messages.is_empty() || s.lease_end.is_some());
    }

    pub(super) fn put(&mut self, subject: &str, print: &str, due: i64, body: String) {
        self.order += 1;
        let order = self.order;
        let messages = &mut self.subject(subject).messages;
        messages.retain(|m| m.print != print);
        messages.push(Waiting {
            print: print.to_owned(),
            due,
            order,
            sequence: None,
            body,
        });
    }

    pub(super) fn push(&mut self, now: i64, message: &Outgoing) {
        let name = &message.to.subject;
        let due = now + i64::try_from(message.delay_ms).unwrap();
        let body = String::from_utf8(message.body.to_vec()).unwrap();
        let there = self.subject(name).messages.iter();
        let there = there
            .clone()
            .find(|m| m.print == message.fingerprint)
            .cloned();
        match (message.mode, there) {
            (Mode::Ensure, Some(_)) | (Mode::Reschedule | Mode::Remove, None) => {}
            (Mode::Remove, Some(_)) => {
                let messages = &mut self.subject(name).messages;
                messages.retain(|m| m.print != message.fingerprint);
            }
            (Mode::Reschedule, Some(there)) => {
                self.put(name, &message.fingerprint, due, there.body);
            }
            _ => self.put(name, &message.fingerprint, due, body),
        }
    }
}
