//! Keys and arguments of a script call, as the scripts read them.

use std::collections::BTreeMap;

use super::names::Names;
use crate::batch::{Batch, Guard, IndexChange, Then};
use crate::error::Error;
use crate::event::FEED_LENGTH;
use crate::outbox;
use crate::queue::{Mode, Outgoing};
use crate::shard::Shard;

/// Times and delays are no longer, so that sums stay whole numbers in Lua.
const MOST_MS: u64 = 1 << 52;

/// A call in the making.
#[derive(Debug, Clone, Default)]
pub(super) struct Request {
    pub(super) keys: Vec<String>,
    pub(super) arguments: Vec<bytes::Bytes>,
}

impl Request {
    /// Begins with what every script reads first. The first key is the shard's
    /// counters, seven of each queue follow; so queue n is n+1 to the script.
    pub(super) fn new(names: &Names, shard: Shard, queues: &[&str]) -> Self {
        let mut request = Self::default();
        request.keys.push(names.meta(shard));
        for queue in queues {
            request.keys.extend(names.queue(shard, queue));
        }
        request.text(&names.channel());
        request.number(u64::from(shard.number()));
        request.text(names.store());
        request.number(queues.len() as u64);
        for queue in queues {
            request.text(queue);
        }
        request
    }

    pub(super) fn bytes(&mut self, value: bytes::Bytes) {
        self.arguments.push(value);
    }

    pub(super) fn text(&mut self, value: &str) {
        self.arguments
            .push(bytes::Bytes::copy_from_slice(value.as_bytes()));
    }

    pub(super) fn number(&mut self, value: u64) {
        self.arguments.push(value.to_string().into());
    }

    pub(super) fn ms(&mut self, value: u64) {
        self.number(value.min(MOST_MS));
    }

    /// Names a key that is in `keys` once, and its position as an argument.
    pub(super) fn key(&mut self, key: String) {
        let position = match self.keys.iter().position(|known| *known == key) {
            Some(position) => position,
            None => {
                self.keys.push(key);
                self.keys.len() - 1
            }
        };
        self.number(position as u64 + 1);
    }
}

/// The queues a batch touches, each with the number the script knows it by.
fn queues<'a>(batch: &'a Batch, messages: &'a [Outgoing]) -> BTreeMap<&'a str, u64> {
    let mut queues: BTreeMap<&str, u64> = batch
        .acknowledge
        .iter()
        .map(|ack| &ack.lease.address)
        .chain(messages.iter().map(|m| &m.to))
        .map(|to| (to.queue.as_str(), 0))
        .collect();
    for (number, value) in (1..).zip(queues.values_mut()) {
        *value = number;
    }
    queues
}

/// The messages of a batch, those to other shards wrapped for the outbox.
pub(super) fn messages(batch: &Batch) -> Result<Vec<Outgoing>, Error> {
    let crossings = batch
        .crossings
        .iter()
        .enumerate()
        .map(|(position, crossing)| outbox::wrap(&batch.id, position, crossing));
    batch
        .messages
        .iter()
        .cloned()
        .map(Ok)
        .chain(crossings)
        .collect()
}

/// A commit. `call` names this call over its repeats.
pub(super) fn commit(names: &Names, batch: &Batch, messages: &[Outgoing], call: &str) -> Request {
    let shard = batch.shard;
    let queues = queues(batch, messages);
    let order: Vec<&str> = queues.keys().copied().collect();
    let number_of = |queue: &str| queues.get(queue).copied().unwrap_or(0);
    let mut request = Request::new(names, shard, &order);
    request.text(&batch.id.replace('\0', ""));
    // A document that is written shows by itself that the batch was applied.
    match batch.documents.first() {
        Some(first) if !first.delete => request.number(0),
        _ => request.key(names.applied(shard, call)),
    }
    request.number(batch.documents.len() as u64);
    for change in &batch.documents {
        request.key(names.document(shard, &change.key));
        request.key(names.former_log(shard, &change.key));
        request.number(change.expected);
        request.number(u64::from(change.delete));
        request.number(change.back.unwrap_or(0));
        if change.delete || !change.blobs.is_empty() {
            request.key(names.blobs(shard, &change.key));
        } else {
            request.number(0);
        }
        request.number(change.blobs.len() as u64);
        for hash in &change.blobs {
            request.text(hash);
        }
        let (set, unset): (Vec<_>, Vec<_>) = change
            .parts
            .iter()
            .partition(|(_, content)| content.is_some());
        request.number(set.len() as u64);
        for (name, content) in set {
            request.text(&part(name));
            request.bytes(content.clone().unwrap_or_default());
        }
        request.number(unset.len() as u64);
        for (name, _) in unset {
            request.text(&part(name));
        }
    }
    indexes(&mut request, names, batch);
    guards(&mut request, names, batch);
    request.number(batch.acknowledge.len() as u64);
    for ack in &batch.acknowledge {
        request.number(number_of(&ack.lease.address.queue));
        request.text(&ack.lease.address.subject);
        request.number(ack.lease.token);
        request.number(ack.handled.len() as u64);
        for (fingerprint, sequence) in &ack.handled {
            request.text(fingerprint);
            request.number(*sequence);
        }
        match ack.then {
            Then::Continue(ms) => request.ms(ms),
            Then::Release => request.text("-1"),
        }
    }
    request.number(messages.len() as u64);
    for message in messages {
        request.number(number_of(&message.to.queue));
        request.text(&message.to.subject);
        request.text(&message.to.group);
        request.text(&message.fingerprint);
        request.text(message.mode.code());
        request.ms(message.delay_ms);
        request.ms(match message.mode {
            Mode::Leased(ms) => ms,
            Mode::Push | Mode::Ensure | Mode::Reschedule | Mode::Remove => 0,
        });
        request.bytes(message.body.clone());
    }
    request.number(FEED_LENGTH);
    request.number(batch.events.len() as u64);
    for (document, body) in &batch.events {
        request.key(names.document(shard, document));
        request.text(document.as_str());
        request.bytes(body.clone());
    }
    // The script finds the feed by its place.
    request.keys.push(names.feed(shard));
    request
}

/// The field of a part; the version and the commits' ids have shorter names.
pub(super) fn part(name: &str) -> String {
    format!("p:{name}")
}

fn indexes(request: &mut Request, names: &Names, batch: &Batch) {
    let shard = batch.shard;
    request.number(batch.indexes.len() as u64);
    for change in &batch.indexes {
        match change {
            IndexChange::Put {
                index,
                member,
                score,
            } => {
                request.text("put");
                request.key(names.index(shard, index));
                request.text(&score.to_string());
                request.text(member);
            }
            IndexChange::Drop { index, member } => {
                request.text("drop");
                request.key(names.index(shard, index));
                request.text(member);
            }
            IndexChange::Claim { key, value } => {
                request.text("claim");
                request.key(names.unique(shard, key));
                request.text(value);
            }
            IndexChange::Free { key } => {
                request.text("free");
                request.key(names.unique(shard, key));
            }
        }
    }
}

fn guards(request: &mut Request, names: &Names, batch: &Batch) {
    let shard = batch.shard;
    request.number(batch.guards.len() as u64);
    for guard in &batch.guards {
        let (kind, key, limit) = match guard {
            Guard::FewerThan { index, limit } => ("fewer", names.index(shard, index), *limit),
            Guard::Holds { name, token } => ("holds", names.lease(shard, name), *token),
            Guard::Version { key, expected } => ("version", names.document(shard, key), *expected),
        };
        request.text(kind);
        request.key(key);
        request.number(limit);
    }
}
