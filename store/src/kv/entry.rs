//! A subject of a queue: whose it is, when it is due, who holds it.

use super::{Kv, KvRead, Rows, keys, number};
use crate::error::Error;
use crate::queue::{MOST_BYTES, MOST_MESSAGES, Message};
use crate::shard::Shard;

/// What is kept of a subject beside its messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// Under which due time it is among the ready, if it is.
    pub(super) due: Option<i64>,
    /// End of its lease, while it is leased.
    pub(super) lease_end: Option<i64>,
    /// Token of the lease given out last, 0 after it ended by an answer. It
    /// outlives the lease's time: only a takeover makes it worthless.
    pub(super) token: u64,
    /// Deliveries since the last acknowledgement.
    pub(super) tries: u32,
    /// Application.
    pub(super) group: String,
    /// The commit that gave the token out, if a commit did.
    pub(super) by: String,
}

fn signed(bytes: &[u8]) -> i64 {
    number(Some(bytes)) as i64
}

impl Entry {
    pub(super) fn load(
        kv: &dyn KvRead,
        shard: Shard,
        queue: &str,
        subject: &str,
    ) -> Result<Option<Self>, Error> {
        let Some(bytes) = kv.get(&keys::entry(shard, queue, subject))? else {
            return Ok(None);
        };
        let damaged = || Error::Damaged(format!("entry of {subject} in {queue}"));
        // Flags, then tries, due, lease end and token of eight bytes each, then the
        // group, NUL and the commit.
        let fixed = bytes.get(..33).ok_or_else(damaged)?;
        let names = std::str::from_utf8(&bytes[33..]).map_err(|_| damaged())?;
        let (group, by) = names.split_once('\0').unwrap_or((names, ""));
        let flags = fixed[0];
        Ok(Some(Self {
            due: (flags & 1 != 0).then(|| signed(&fixed[9..17])),
            lease_end: (flags & 2 != 0).then(|| signed(&fixed[17..25])),
            token: number(Some(&fixed[25..33])),
            tries: u32::try_from(number(Some(&fixed[1..9]))).unwrap_or(u32::MAX),
            group: group.to_owned(),
            by: by.to_owned(),
        }))
    }

    fn store(&self, kv: &mut dyn Kv, key: &[u8]) -> Result<(), Error> {
        let mut bytes = Vec::with_capacity(34 + self.group.len() + self.by.len());
        bytes.push(u8::from(self.due.is_some()) | (u8::from(self.lease_end.is_some()) << 1));
        bytes.extend(u64::from(self.tries).to_be_bytes());
        bytes.extend(self.due.unwrap_or(0).to_be_bytes());
        bytes.extend(self.lease_end.unwrap_or(0).to_be_bytes());
        bytes.extend(self.token.to_be_bytes());
        bytes.extend(self.group.as_bytes());
        bytes.push(0);
        bytes.extend(self.by.as_bytes());
        kv.put(key, &bytes)
    }

    /// Writes the entry as it should be: absent without messages, among the
    /// leased with a lease, among the ready without one.
    pub(super) fn settle(
        mut self,
        kv: &mut dyn Kv,
        shard: Shard,
        queue: &str,
        subject: &str,
        before: Option<&Self>,
    ) -> Result<(), Error> {
        if let Some(before) = before {
            if let Some(due) = before.due {
                kv.del(&keys::ready(shard, queue, &before.group, due, subject))?;
            }
            if let Some(end) = before.lease_end {
                kv.del(&keys::leased(shard, queue, end, subject))?;
            }
        }
        let key = keys::entry(shard, queue, subject);
        let earliest = messages(kv, shard, queue, subject)?
            .iter()
            .map(|m| m.due_ms)
            .min();
        if earliest.is_none() && self.lease_end.is_none() {
            return kv.del(&key);
        }
        self.due = None;
        match (self.lease_end, earliest) {
            (Some(end), _) => kv.put(&keys::leased(shard, queue, end, subject), &[])?,
            (None, Some(due)) => {
                self.due = Some(due);
                kv.put(&keys::ready(shard, queue, &self.group, due, subject), &[])?;
            }
            (None, None) => {}
        }
        self.store(kv, &key)
    }
}

fn message(row: (Vec<u8>, Vec<u8>)) -> Result<Message, Error> {
    let (key, value) = row;
    let fingerprint = keys::parts(&key)
        .last()
        .copied()
        .unwrap_or_default()
        .to_owned();
    if value.len() < 16 {
        return Err(Error::Damaged(format!("message {fingerprint}")));
    }
    Ok(Message {
        due_ms: signed(&value[..8]),
        sequence: number(Some(&value[8..16])),
        body: bytes::Bytes::copy_from_slice(&value[16..]),
        fingerprint,
    })
}

/// All messages of a subject, in no order that matters.
pub(super) fn messages(
    kv: &dyn KvRead,
    shard: Shard,
    queue: &str,
    subject: &str,
) -> Result<Vec<Message>, Error> {
    let from = keys::all_messages(shard, queue, subject);
    let rows: Rows = kv.scan(&from, &keys::end(&from), false, usize::MAX)?;
    rows.into_iter().map(message).collect()
}

/// One message of a subject.
pub(super) fn one(
    kv: &dyn KvRead,
    shard: Shard,
    queue: &str,
    subject: &str,
    fingerprint: &str,
) -> Result<Option<Message>, Error> {
    let key = keys::message(shard, queue, subject, fingerprint);
    kv.get(&key)?.map(|value| message((key, value))).transpose()
}

/// Writes a message.
pub(super) fn put_message(
    kv: &mut dyn Kv,
    shard: Shard,
    queue: &str,
    subject: &str,
    message: &Message,
) -> Result<(), Error> {
    let mut value = Vec::with_capacity(16 + message.body.len());
    value.extend(message.due_ms.to_be_bytes());
    value.extend(message.sequence.to_be_bytes());
    value.extend(&message.body);
    kv.put(
        &keys::message(shard, queue, subject, &message.fingerprint),
        &value,
    )
}

/// What of a subject is due, oldest first, within the limits of a delivery.
pub(super) fn due_messages(
    kv: &dyn KvRead,
    shard: Shard,
    queue: &str,
    subject: &str,
    now: i64,
) -> Result<Vec<Message>, Error> {
    let mut due = messages(kv, shard, queue, subject)?;
    due.retain(|m| m.due_ms <= now);
    due.sort_by_key(|m| (m.due_ms, m.sequence));
    due.truncate(MOST_MESSAGES);
    let mut bytes = 0;
    let fit = due
        .iter()
        .take_while(|m| {
            bytes += m.body.len();
            bytes <= MOST_BYTES
        })
        .count();
    due.truncate(fit.max(1));
    Ok(due)
}
