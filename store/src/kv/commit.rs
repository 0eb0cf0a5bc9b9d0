//! Applying a batch: every check first, then every write.

use super::entry::{Entry, due_messages, messages, one, put_message};
use super::{Kv, KvRead, keys, next, number};
use crate::batch::{Acknowledgement, Batch, Committed, Guard, IndexChange, Refused, Then};
use crate::document::{DocumentKey, Version};
use crate::error::Error;
use crate::event::FEED_LENGTH;
use crate::outbox;
use crate::queue::{Address, Delivery, Lease, Message, Mode, Outgoing};
use crate::shard::Shard;

/// What a control build leaves out, to show that the engine's tests would notice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Relaxed {
    /// Neither leases nor versions are compared.
    pub(crate) fencing: bool,
    /// State is written, messages are not: the crash between saving and pushing.
    pub(crate) messages: bool,
}

/// The header of a document: version, eight bytes that are not used any more, id of the last commit.
struct Header {
    version: Version,
    commit: String,
}

impl Header {
    fn load(kv: &dyn KvRead, shard: Shard, key: &DocumentKey) -> Result<Self, Error> {
        let bytes = kv.get(&keys::header(shard, key))?.unwrap_or_default();
        let commit = bytes.get(16..).unwrap_or_default();
        Ok(Self {
            version: number(Some(&bytes)),
            commit: String::from_utf8_lossy(commit).into_owned(),
        })
    }

    fn store(&self, kv: &mut dyn Kv, shard: Shard, key: &DocumentKey) -> Result<(), Error> {
        let mut bytes = self.version.to_be_bytes().to_vec();
        bytes.extend([0; 8]);
        bytes.extend(self.commit.as_bytes());
        kv.put(&keys::header(shard, key), &bytes)
    }
}

/// The version of a document; 0 if it does not exist.
pub(crate) fn version(kv: &dyn KvRead, shard: Shard, key: &DocumentKey) -> Result<u64, Error> {
    Ok(number(kv.get(&keys::header(shard, key))?.as_deref()))
}

/// Applies a batch, or answers why not.
pub(crate) fn commit(
    kv: &mut dyn Kv,
    now: i64,
    batch: &Batch,
    relaxed: Relaxed,
) -> Result<Result<Committed, Refused>, Error> {
    let shard = batch.shard;
    if let Some(first) = batch.documents.first()
        && Header::load(kv, shard, &first.key)?.commit == batch.id
    {
        return Ok(Ok(repeated(kv, now, batch)?));
    }
    if let Some(refused) = refusal(kv, now, batch, relaxed)? {
        return Ok(Err(refused));
    }
    let mut committed = Committed::default();
    for change in &batch.documents {
        let mut header = Header::load(kv, shard, &change.key)?;
        if change.delete {
            kv.del(&keys::header(shard, &change.key))?;
            delete_range(kv, &keys::all_parts(shard, &change.key))?;
            delete_range(kv, &keys::former_log(shard, &change.key))?;
            delete_range(kv, &keys::all_blobs(shard, &change.key))?;
            committed.versions.push(0);
            continue;
        }
        for (name, content) in &change.parts {
            let key = keys::part(shard, &change.key, name);
            match content {
                Some(content) => kv.put(&key, content)?,
                None => kv.del(&key)?,
            }
        }
        header.version = change.back.unwrap_or(header.version + 1);
        header.commit.clone_from(&batch.id);
        header.store(kv, shard, &change.key)?;
        committed.versions.push(header.version);
    }
    for change in &batch.indexes {
        apply_index(kv, shard, change)?;
    }
    for acknowledged in &batch.acknowledge {
        drop_handled(kv, shard, acknowledged)?;
    }
    if !relaxed.messages {
        for message in &batch.messages {
            let leased = push(kv, now, batch, message)?;
            committed.leased.extend(leased);
        }
        for (position, crossing) in batch.crossings.iter().enumerate() {
            let message = outbox::wrap(&batch.id, position, crossing)?;
            push(kv, now, batch, &message)?;
        }
    }
    for acknowledged in &batch.acknowledge {
        committed.next.extend(settle(kv, now, shard, acknowledged)?);
    }
    for (document, body) in &batch.events {
        append(kv, shard, document, body)?;
    }
    Ok(Ok(committed))
}

/// The answer to a batch that was applied before.
fn repeated(kv: &dyn KvRead, now: i64, batch: &Batch) -> Result<Committed, Error> {
    let shard = batch.shard;
    let mut committed = Committed {
        duplicate: true,
        ..Committed::default()
    };
    for change in &batch.documents {
        committed.versions.push(version(kv, shard, &change.key)?);
    }
    let held = |to: &Address| -> Result<Option<Delivery>, Error> {
        let Some(entry) = Entry::load(kv, shard, &to.queue, &to.subject)? else {
            return Ok(None);
        };
        if entry.token == 0 {
            return Ok(None);
        }
        Ok(Some(Delivery {
            lease: Lease {
                shard,
                address: to.clone(),
                token: entry.token,
            },
            tries: entry.tries,
            messages: due_messages(kv, shard, &to.queue, &to.subject, now)?,
        }))
    };
    for message in batch
        .messages
        .iter()
        .filter(|m| matches!(m.mode, Mode::Leased(_)))
    {
        // Only a token that this commit gave out is its caller's.
        let to = &message.to;
        let ours =
            Entry::load(kv, shard, &to.queue, &to.subject)?.is_some_and(|e| e.by == batch.id);
        committed.leased.extend(held(to)?.filter(|_| ours));
    }
    for acknowledged in &batch.acknowledge {
        let lease = &acknowledged.lease;
        committed
            .next
            .extend(held(&lease.address)?.filter(|d| d.lease.token == lease.token));
    }
    Ok(committed)
}

fn refusal(
    kv: &dyn KvRead,
    now: i64,
    batch: &Batch,
    relaxed: Relaxed,
) -> Result<Option<Refused>, Error> {
    let shard = batch.shard;
    if !relaxed.fencing {
        for acknowledged in &batch.acknowledge {
            let to = &acknowledged.lease.address;
            let entry = Entry::load(kv, shard, &to.queue, &to.subject)?;
            if entry.is_none_or(|e| e.token != acknowledged.lease.token) {
                return Ok(Some(Refused::Fenced(to.clone())));
            }
        }
        for change in &batch.documents {
            let actual = version(kv, shard, &change.key)?;
            if actual != change.expected {
                return Ok(Some(Refused::Conflict {
                    key: change.key.clone(),
                    actual,
                }));
            }
        }
    }
    for guard in &batch.guards {
        let holds = match guard {
            Guard::FewerThan { index, limit } => {
                number(kv.get(&keys::cardinality(shard, index))?.as_deref()) < *limit
            }
            Guard::Holds { name, token } => super::lease::holds(kv, now, shard, name, *token)?,
            Guard::Version { key, expected } => version(kv, shard, key)? == *expected,
        };
        if !holds {
            return Ok(Some(Refused::Guard(guard.name())));
        }
    }
    for change in &batch.documents {
        for hash in &change.blobs {
            if kv.get(&keys::blob(shard, &change.key, hash))?.is_none() {
                return Ok(Some(Refused::Missing {
                    key: change.key.clone(),
                    hash: hash.clone(),
                }));
            }
        }
    }
    for change in &batch.indexes {
        if let IndexChange::Claim { key, value } = change
            && let Some(there) = kv.get(&keys::unique(shard, key))?
            && there != value.as_bytes()
        {
            let value = String::from_utf8_lossy(&there).into_owned();
            return Ok(Some(Refused::Taken {
                key: key.clone(),
                value,
            }));
        }
    }
    for message in batch
        .messages
        .iter()
        .filter(|m| matches!(m.mode, Mode::Leased(_)))
    {
        let entry = Entry::load(kv, shard, &message.to.queue, &message.to.subject)?;
        if entry.is_some_and(|e| e.lease_end.is_some()) {
            return Ok(Some(Refused::Busy(message.to.clone())));
        }
    }
    Ok(None)
}

pub(super) fn delete_range(kv: &mut dyn Kv, prefix: &[u8]) -> Result<(), Error> {
    for (key, _) in kv.scan(prefix, &keys::end(prefix), false, usize::MAX)? {
        kv.del(&key)?;
    }
    Ok(())
}

fn apply_index(kv: &mut dyn Kv, shard: Shard, change: &IndexChange) -> Result<(), Error> {
    match change {
        IndexChange::Claim { key, value } => kv.put(&keys::unique(shard, key), value.as_bytes()),
        IndexChange::Free { key } => kv.del(&keys::unique(shard, key)),
        IndexChange::Put {
            index,
            member,
            score,
        } => {
            let at = keys::member(shard, index, member);
            match kv.get(&at)? {
                Some(old) => {
                    let old = number(Some(&old)) as i64;
                    kv.del(&keys::index(shard, index, old, member))?;
                }
                None => {
                    next(kv, &keys::cardinality(shard, index))?;
                }
            }
            kv.put(&at, &score.to_be_bytes())?;
            kv.put(&keys::index(shard, index, *score, member), &[])
        }
        IndexChange::Drop { index, member } => {
            let at = keys::member(shard, index, member);
            let Some(old) = kv.get(&at)? else {
                return Ok(());
            };
            kv.del(&at)?;
            kv.del(&keys::index(
                shard,
                index,
                number(Some(&old)) as i64,
                member,
            ))?;
            let count = keys::cardinality(shard, index);
            let left = number(kv.get(&count)?.as_deref()).saturating_sub(1);
            kv.put(&count, &left.to_be_bytes())
        }
    }
}

fn drop_handled(kv: &mut dyn Kv, shard: Shard, done: &Acknowledgement) -> Result<(), Error> {
    let to = &done.lease.address;
    for (fingerprint, sequence) in &done.handled {
        let there = one(kv, shard, &to.queue, &to.subject, fingerprint)?;
        if there.is_some_and(|m| m.sequence == *sequence) {
            kv.del(&keys::message(shard, &to.queue, &to.subject, fingerprint))?;
        }
    }
    Ok(())
}

/// Ends or continues an acknowledged lease.
fn settle(
    kv: &mut dyn Kv,
    now: i64,
    shard: Shard,
    done: &Acknowledgement,
) -> Result<Option<Delivery>, Error> {
    let to = &done.lease.address;
    let before = Entry::load(kv, shard, &to.queue, &to.subject)?;
    let group = before
        .as_ref()
        .map_or_else(|| to.group.clone(), |e| e.group.clone());
    let mut after = Entry {
        due: None,
        lease_end: None,
        token: 0,
        tries: 0,
        group,
        by: String::new(),
    };
    let mut next = None;
    if let Then::Continue(ms) = done.then {
        let due = due_messages(kv, shard, &to.queue, &to.subject, now)?;
        if !due.is_empty() {
            after.lease_end = Some(now.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)));
            after.token = done.lease.token;
            after.tries = 1;
            next = Some(Delivery {
                lease: done.lease.clone(),
                tries: 1,
                messages: due,
            });
        }
    }
    after.settle(kv, shard, &to.queue, &to.subject, before.as_ref())?;
    Ok(next)
}

/// Puts a message into its mailbox; answers the delivery if it was pushed leased.
fn push(
    kv: &mut dyn Kv,
    now: i64,
    batch: &Batch,
    outgoing: &Outgoing,
) -> Result<Option<Delivery>, Error> {
    let shard = batch.shard;
    let (queue, subject) = (&outgoing.to.queue, &outgoing.to.subject);
    let waiting = one(kv, shard, queue, subject, &outgoing.fingerprint)?;
    let due_ms = now.saturating_add(i64::try_from(outgoing.delay_ms).unwrap_or(i64::MAX));
    let body = match (outgoing.mode, &waiting) {
        (Mode::Ensure, Some(_)) | (Mode::Reschedule | Mode::Remove, None) => return Ok(None),
        (Mode::Reschedule, Some(waiting)) => waiting.body.clone(),
        _ => outgoing.body.clone(),
    };
    if outgoing.mode == Mode::Remove {
        kv.del(&keys::message(shard, queue, subject, &outgoing.fingerprint))?;
    } else {
        let sequence = next(kv, &keys::meta(shard, "sequence"))?;
        let fingerprint = outgoing.fingerprint.clone();
        let message = Message {
            fingerprint,
            due_ms,
            sequence,
            body,
        };
        put_message(kv, shard, queue, subject, &message)?;
    }
    let before = Entry::load(kv, shard, queue, subject)?;
    let mut after = before.clone().unwrap_or_else(|| Entry {
        group: outgoing.to.group.clone(),
        ..Entry::default()
    });
    let mut delivery = None;
    if let Mode::Leased(ms) = outgoing.mode {
        after.token = next(kv, &keys::meta(shard, "token"))?;
        after.lease_end = Some(now.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)));
        after.tries = 1;
        after.by.clone_from(&batch.id);
        let mut due = messages(kv, shard, queue, subject)?;
        due.retain(|m| m.due_ms <= now);
        due.sort_by_key(|m| (m.due_ms, m.sequence));
        delivery = Some(Delivery {
            lease: Lease {
                shard,
                address: outgoing.to.clone(),
                token: after.token,
            },
            tries: 1,
            messages: due,
        });
    }
    after.settle(kv, shard, queue, subject, before.as_ref())?;
    Ok(delivery)
}

/// Appends to the shard's feed.
fn append(kv: &mut dyn Kv, shard: Shard, key: &DocumentKey, body: &[u8]) -> Result<(), Error> {
    let position = next(kv, &keys::meta(shard, "feed"))?;
    let mut entry = version(kv, shard, key)?.to_be_bytes().to_vec();
    entry.extend(key.as_str().as_bytes());
    entry.push(0);
    entry.extend(body);
    kv.put(&keys::feed(shard, position), &entry)?;
    if position > FEED_LENGTH {
        kv.del(&keys::feed(shard, position - FEED_LENGTH))?;
    }
    Ok(())
}
