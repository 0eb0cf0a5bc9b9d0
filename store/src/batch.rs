//! The one way to write: a batch is applied entirely or refused.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::document::{DocumentKey, Version};
use crate::error::Error;
use crate::queue::{Address, Crossing, Delivery, Lease, MOST_BYTES, Mode, Outgoing};
use crate::shard::Shard;

/// A part of a document is no larger; larger values are blobs.
pub const MAX_PART: usize = 512 * 1024;
/// A batch is no larger in all.
pub const MAX_BATCH: usize = 4 * 1024 * 1024;
/// Parts, messages, events, index changes: no more of each.
pub const MAX_ENTRIES: usize = 500;

/// Scores are whole numbers that a double holds exactly: no further from 0.
const MAX_SCORE: u64 = 1 << 53;

/// Changes of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentChange {
    /// The document.
    pub key: DocumentKey,
    /// The version that was read; 0: it must not exist.
    pub expected: Version,
    /// Parts to write; none removes the part.
    pub parts: BTreeMap<String, Option<Bytes>>,
    /// The document ends with this batch: parts and version go.
    pub delete: bool,
    /// A document that is put back begins under this version; otherwise under 1.
    pub back: Option<Version>,
    /// Values of it that were put before, which must be there.
    pub blobs: Vec<String>,
}

/// Changes of indexes, all in the batch's shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexChange {
    /// The member is in the index with this score.
    Put {
        /// Index name.
        index: String,
        /// Member, such as an execution's id.
        member: String,
        /// Order; ties go by member.
        score: i64,
    },
    /// The member is not in the index.
    Drop {
        /// Index name.
        index: String,
        /// Member.
        member: String,
    },
    /// The key has this value; refused if it has another one already.
    Claim {
        /// Unique key.
        key: String,
        /// Value.
        value: String,
    },
    /// The key has no value.
    Free {
        /// Unique key.
        key: String,
    },
}

/// A condition beside the documents' versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// The index has fewer members.
    FewerThan {
        /// Index name.
        index: String,
        /// Limit.
        limit: u64,
    },
    /// A named lease is still held under this token.
    Holds {
        /// The lease's name.
        name: String,
        /// Its token.
        token: u64,
    },
    /// A document has this version although the batch does not write it.
    Version {
        /// The document.
        key: DocumentKey,
        /// The version that was read.
        expected: Version,
    },
}

impl Guard {
    /// What a refusal is called.
    pub fn name(&self) -> String {
        match self {
            Self::FewerThan { index, .. } => format!("fewer-than:{index}"),
            Self::Holds { name, .. } => format!("holds:{name}"),
            Self::Version { key, .. } => format!("version:{key}"),
        }
    }
}

/// What becomes of a leased subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The lease goes on, for so many ms, if anything is due in the mailbox after
    /// this batch: it comes back in [`Committed::next`]. Otherwise as `Release`.
    Continue(u64),
    /// The lease ends; what waits is served again when it is due.
    Release,
}

/// The acknowledgement of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The lease, whose token is compared.
    pub lease: Lease,
    /// Messages that were handled, by fingerprint and sequence. One that was
    /// pushed again meanwhile stays.
    pub handled: Vec<(String, u64)>,
    /// What follows.
    pub then: Then,
}

/// Everything one decision writes. Lies in one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub(crate) shard: Shard,
    pub(crate) id: String,
    pub(crate) documents: Vec<DocumentChange>,
    pub(crate) indexes: Vec<IndexChange>,
    pub(crate) guards: Vec<Guard>,
    pub(crate) acknowledge: Vec<Acknowledgement>,
    pub(crate) messages: Vec<Outgoing>,
    pub(crate) crossings: Vec<Crossing>,
    pub(crate) events: Vec<(DocumentKey, Bytes)>,
    pub(crate) new_work: bool,
}

impl Batch {
    /// An empty batch of a shard. `id` names this commit over all its repeats;
    /// no two batches that write the same document may share one.
    pub fn new(shard: Shard, id: impl Into<String>) -> Self {
        Self {
            shard,
            id: id.into(),
            documents: Vec::new(),
            indexes: Vec::new(),
            guards: Vec::new(),
            acknowledge: Vec::new(),
            messages: Vec::new(),
            crossings: Vec::new(),
            events: Vec::new(),
            new_work: false,
        }
    }

    /// This batch begins something new: a store that is full refuses it, while
    /// it lets what runs go on.
    #[must_use]
    pub fn new_work(mut self) -> Self {
        self.new_work = true;
        self
    }

    /// Writes a document that was read at `expected` (0: it must not exist).
    #[must_use]
    pub fn document(mut self, key: &DocumentKey, expected: Version) -> Self {
        self.documents.push(DocumentChange {
            key: key.clone(),
            expected,
            parts: BTreeMap::new(),
            delete: false,
            back: None,
            blobs: Vec::new(),
        });
        self
    }

    /// Writes a part of the document named last; without one nothing happens.
    #[must_use]
    pub fn set(mut self, part: &str, content: impl Into<Bytes>) -> Self {
        if let Some(document) = self.documents.last_mut() {
            document
                .parts
                .insert(part.replace('\0', ""), Some(content.into()));
        }
        self
    }

    /// Removes a part of the document named last.
    #[must_use]
    pub fn unset(mut self, part: &str) -> Self {
        if let Some(document) = self.documents.last_mut() {
            document.parts.insert(part.replace('\0', ""), None);
        }
        self
    }

    /// Puts the document named last back: it has this version afterwards, so that what
    /// counts its versions goes on where it was. It must not be below the one it has.
    #[must_use]
    pub fn put_back(mut self, version: Version) -> Self {
        if let Some(document) = self.documents.last_mut() {
            document.back = Some(version.max(document.expected + 1));
        }
        self
    }

    /// The document named last keeps a value that was [put](crate::Store::put_blob) before: it stays
    /// as long as the document does. Refused if it is not there any more.
    #[must_use]
    pub fn blob(mut self, hash: impl Into<String>) -> Self {
        if let Some(document) = self.documents.last_mut() {
            document.blobs.push(hash.into());
        }
        self
    }

    /// Deletes the document named last, with its large values.
    #[must_use]
    pub fn delete(mut self) -> Self {
        if let Some(document) = self.documents.last_mut() {
            document.delete = true;
        }
        self
    }

    /// Changes an index.
    #[must_use]
    pub fn index(mut self, change: IndexChange) -> Self {
        self.indexes.push(change);
        self
    }

    /// Adds a condition.
    #[must_use]
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guards.push(guard);
        self
    }

    /// Acknowledges a delivery: these messages were handled.
    #[must_use]
    pub fn acknowledge(mut self, delivery: &Delivery, then: Then) -> Self {
        self.acknowledge.push(Acknowledgement {
            lease: delivery.lease.clone(),
            handled: delivery
                .messages
                .iter()
                .map(|m| (m.fingerprint.clone(), m.sequence))
                .collect(),
            then,
        });
        self
    }

    /// Keeps a lease's subject untouched but requires that the lease is still ours.
    #[must_use]
    pub fn fenced_by(self, lease: &Lease, then: Then) -> Self {
        self.acknowledge(
            &Delivery {
                lease: lease.clone(),
                tries: 0,
                messages: Vec::new(),
            },
            then,
        )
    }

    /// Puts a message into a mailbox of this shard.
    #[must_use]
    pub fn message(mut self, message: Outgoing) -> Self {
        self.messages.push(message);
        self
    }

    /// Sends a message to a mailbox of any shard: with this commit if it is of this one, else by the outbox.
    #[must_use]
    pub fn crossing(mut self, crossing: Crossing) -> Self {
        if crossing.shard == self.shard {
            return self.message(Outgoing {
                to: crossing.to,
                fingerprint: crossing.fingerprint,
                mode: Mode::Ensure,
                delay_ms: crossing.delay_ms,
                body: crossing.body,
            });
        }
        self.crossings.push(crossing);
        self
    }

    /// Appends an event of a document to the shard's feed. The document must be
    /// written by this batch.
    #[must_use]
    pub fn event(mut self, document: &DocumentKey, body: impl Into<Bytes>) -> Self {
        self.events.push((document.clone(), body.into()));
        self
    }

    /// The shard.
    pub fn shard(&self) -> Shard {
        self.shard
    }

    /// The commit id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Refuses what is too large before anything is sent.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let count = |what: &str, actual: usize| {
            if actual > MAX_ENTRIES {
                let what = format!("{what} of the batch");
                return Err(Error::Limit {
                    what,
                    actual,
                    limit: MAX_ENTRIES,
                });
            }
            Ok(())
        };
        count("messages", self.messages.len() + self.crossings.len())?;
        count("events", self.events.len())?;
        count("index changes", self.indexes.len())?;
        count("documents", self.documents.len())?;
        count("acknowledgements", self.acknowledge.len())?;
        for change in &self.indexes {
            if let IndexChange::Put {
                index,
                member,
                score,
            } = change
                && score.unsigned_abs() > MAX_SCORE
            {
                return Err(Error::Limit {
                    what: format!("the score of {member} in {index}"),
                    actual: usize::try_from(score.unsigned_abs()).unwrap_or(usize::MAX),
                    limit: usize::try_from(MAX_SCORE).unwrap_or(usize::MAX),
                });
            }
        }
        let mut total = 0;
        for document in &self.documents {
            count("parts", document.parts.len())?;
            count("large values", document.blobs.len())?;
            for (part, content) in &document.parts {
                let actual = content.as_ref().map_or(0, Bytes::len);
                if actual > MAX_PART {
                    let what = format!("part {part} of {}", document.key);
                    return Err(Error::Limit {
                        what,
                        actual,
                        limit: MAX_PART,
                    });
                }
                total += actual;
            }
        }
        for (to, body) in self
            .messages
            .iter()
            .map(|m| (&m.to, &m.body))
            .chain(self.crossings.iter().map(|c| (&c.to, &c.body)))
        {
            if body.len() > MOST_BYTES {
                let what = format!("a message to {} of {}", to.subject, to.queue);
                return Err(Error::Limit {
                    what,
                    actual: body.len(),
                    limit: MOST_BYTES,
                });
            }
            total += body.len();
        }
        total += self
            .events
            .iter()
            .map(|(_, body)| body.len())
            .sum::<usize>();
        if total > MAX_BATCH {
            let what = "the batch".to_owned();
            return Err(Error::Limit {
                what,
                actual: total,
                limit: MAX_BATCH,
            });
        }
        Ok(())
    }
}

/// A batch that is durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// It had been applied by an earlier try under the same id.
    pub duplicate: bool,
    /// New version of each document written, in the batch's order.
    pub versions: Vec<Version>,
    /// Leases of the messages pushed with [`Mode::Leased`], in the batch's order.
    pub leased: Vec<Delivery>,
    /// What is due in the mailboxes acknowledged with [`Then::Continue`]; absent
    /// for one whose lease ended because nothing was.
    pub next: Vec<Delivery>,
}

/// Why a batch was refused; nothing of it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// A lease was taken over: drop the work, its new holder reads the truth.
    Fenced(Address),
    /// A document has another version: read again, decide again.
    Conflict {
        /// The document.
        key: DocumentKey,
        /// Its version now; 0 if it does not exist.
        actual: Version,
    },
    /// A guard does not hold.
    Guard(String),
    /// A unique key has another value.
    Taken {
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
    /// A large value of a document is not there any more: put it again.
    Missing {
        /// The document.
        key: DocumentKey,
        /// The value's content hash.
        hash: String,
    },
    /// A message to be pushed leased goes to a subject that somebody holds.
    Busy(Address),
    /// The store is full; only new work is refused.
    Full(String),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fenced(to) => write!(f, "{} of {} was taken over", to.subject, to.queue),
            Self::Conflict { key, actual } => write!(f, "{key} is at version {actual}"),
            Self::Guard(name) => write!(f, "guard {name} does not hold"),
            Self::Taken { key, value } => write!(f, "{key} is taken by {value}"),
            Self::Missing { key, hash } => write!(f, "the value {hash} of {key} is not there"),
            Self::Busy(to) => write!(f, "{} of {} is leased", to.subject, to.queue),
            Self::Full(reason) => write!(f, "the store is full ({reason}); free space and repeat"),
        }
    }
}

impl Mode {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Ensure => "ensure",
            Self::Reschedule => "reschedule",
            Self::Leased(_) => "leased",
            Self::Remove => "remove",
        }
    }
}
