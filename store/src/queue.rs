//! Mailboxes: messages by subject, delayed, de-duplicated by fingerprint, leased
//! as a whole with a fencing token, dead-lettered to their owner.
//!
//! A queue holds subjects; a subject holds messages. An execution's mailbox is a
//! subject of the queue `mailbox`; a queue whose messages are leased one by one
//! uses the fingerprint as the subject.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::shard::Shard;

/// Messages returned for one subject at the most.
pub const MOST_MESSAGES: usize = 64;
/// Bytes of messages returned for one subject at the most (one message always fits).
pub const MOST_BYTES: usize = 256 * 1024;

/// Where a message goes: a subject of a queue, on behalf of an application.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address {
    /// Queue name, such as `mailbox`.
    pub queue: String,
    /// The subject within it, such as an execution's id.
    pub subject: String,
    /// Who is served in turn: the application. Fixed by the first message of a subject.
    pub group: String,
}

impl Address {
    /// An address.
    pub fn new(queue: &str, subject: &str, group: &str) -> Self {
        let clean = |text: &str| text.replace('\0', "");
        Self {
            queue: clean(queue),
            subject: clean(subject),
            group: clean(group),
        }
    }
}

/// How a message relates to one of the same fingerprint that waits already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Replaces its body and its time.
    Push,
    /// Nothing happens if one waits already.
    Ensure,
    /// Only the time of one that waits changes; without one nothing happens.
    Reschedule,
    /// The subject is leased to the committer at once, for this long in ms. It
    /// is refused as a conflict when the subject is leased to somebody.
    Leased(u64),
    /// A waiting one is removed.
    Remove,
}

/// A message to put into a mailbox of the batch's own shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Mailbox.
    pub to: Address,
    /// Identity within the mailbox.
    pub fingerprint: String,
    /// Relation to a waiting one.
    pub mode: Mode,
    /// Not before this time from the commit on, in ms.
    pub delay_ms: u64,
    /// Content; ignored by `Reschedule` and `Remove`.
    pub body: Bytes,
}

/// A message to a mailbox of any shard, by way of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crossing {
    /// The shard it goes to.
    pub shard: Shard,
    /// Mailbox there.
    pub to: Address,
    /// Identity: a repeated delivery finds the first one while that waits.
    pub fingerprint: String,
    /// Not before this time from the delivery on, in ms.
    pub delay_ms: u64,
    /// Content.
    pub body: Bytes,
}

/// A message taken out of a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Identity within the mailbox.
    pub fingerprint: String,
    /// When it was due, ms since the epoch by the store's clock.
    pub due_ms: i64,
    /// Which push put it there: one pushed again while it is handled stays.
    pub sequence: u64,
    /// Content.
    pub body: Bytes,
}

impl Message {
    /// What begins the fingerprint of a notice that a message was given up.
    pub const DEAD: &'static str = "dead:";

    /// The fingerprint of the message that was given up, if this is such a notice.
    /// The notice's body is that message's body.
    pub fn gives_up(&self) -> Option<&str> {
        self.fingerprint.strip_prefix(Self::DEAD)
    }
}

/// The right to handle a subject. Worthless once somebody else has taken it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Shard of the subject.
    pub shard: Shard,
    /// The subject.
    pub address: Address,
    /// Fencing token: larger than every one given out before in the shard.
    pub token: u64,
}

/// A subject with what is due in its mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The right to handle it.
    pub lease: Lease,
    /// How often it was delivered since the last acknowledgement, this one included.
    pub tries: u32,
    /// What is due, oldest first.
    pub messages: Vec<Message>,
}

/// The answer to a reservation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reserved {
    /// Subjects, one application in turn.
    pub deliveries: Vec<Delivery>,
    /// In how many ms the next thing is due or a lease ends; none if nothing waits.
    pub next_ms: Option<u64>,
}

/// What to reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserve<'a> {
    /// Queue.
    pub queue: &'a str,
    /// Subjects at the most; no more than 64 are given out.
    pub most: usize,
    /// How long the leases last, in ms.
    pub lease_ms: u64,
    /// A subject delivered more often without an acknowledgement loses its first
    /// due message to the dead letters and gets a notice of it instead.
    pub max_tries: u32,
}
