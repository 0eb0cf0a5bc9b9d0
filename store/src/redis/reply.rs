//! What the scripts answer, read into our types.

use bytes::Bytes;
use redis::Value;

use crate::batch::{Batch, Committed, Refused};
use crate::document::DocumentKey;
use crate::error::Error;
use crate::event::FeedEntry;
use crate::queue::{Address, Delivery, Lease, Message, Outgoing};
use crate::shard::Shard;

pub(super) fn damaged(what: &str, value: &Value) -> Error {
    let shape = match value {
        Value::Nil => "nothing".to_owned(),
        Value::Int(_) => "a number".to_owned(),
        Value::BulkString(_) | Value::SimpleString(_) => "a text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::ServerError(error) => error.to_string(),
        _ => "something else".to_owned(),
    };
    Error::Damaged(format!("redis answered {shape} where {what} is expected"))
}

pub(super) fn bytes(value: Value) -> Result<Bytes, Error> {
    match value {
        Value::BulkString(bytes) => Ok(bytes.into()),
        Value::SimpleString(text) => Ok(text.into()),
        other => Err(damaged("a text", &other)),
    }
}

pub(super) fn text(value: Value) -> Result<String, Error> {
    String::from_utf8(bytes(value)?.into())
        .map_err(|_| Error::Damaged("redis answered a text that is not UTF-8".to_owned()))
}

pub(super) fn int(value: Value) -> Result<i64, Error> {
    match value {
        Value::Int(number) => Ok(number),
        other => text(other)?
            .parse()
            .map_err(|_| Error::Damaged("redis answered a text that is no number".to_owned())),
    }
}

pub(super) fn number(value: Value) -> Result<u64, Error> {
    u64::try_from(int(value)?)
        .map_err(|_| Error::Damaged("redis answered a negative number".to_owned()))
}

pub(super) fn list(value: Value) -> Result<std::vec::IntoIter<Value>, Error> {
    match value {
        Value::Array(values) => Ok(values.into_iter()),
        Value::Nil => Ok(Vec::new().into_iter()),
        other => Err(damaged("a list", &other)),
    }
}

/// The next of a list.
pub(super) fn next(values: &mut impl Iterator<Item = Value>) -> Result<Value, Error> {
    values
        .next()
        .ok_or_else(|| Error::Damaged("redis answered too short a list".to_owned()))
}

/// What every script answers first.
pub(super) struct Reply {
    pub(super) status: String,
    /// Commits of the shard so far.
    pub(super) seq: u64,
    /// Losses noticed so far.
    pub(super) epoch: u64,
    pub(super) rest: std::vec::IntoIter<Value>,
}

impl Reply {
    pub(super) fn read(value: Value) -> Result<Self, Error> {
        let mut rest = list(value)?;
        Ok(Self {
            status: text(next(&mut rest)?)?,
            seq: number(next(&mut rest)?)?,
            epoch: number(next(&mut rest)?)?,
            rest,
        })
    }

    pub(super) fn next(&mut self) -> Result<Value, Error> {
        next(&mut self.rest)
    }

    /// Whether it comes from the store that was meant.
    pub(super) fn is_ours(&self) -> bool {
        self.status != "emptied"
    }

    /// A position in a list of the request, counted from 0.
    fn position(&mut self) -> Result<usize, Error> {
        let position = number(self.next()?)?;
        Ok(usize::try_from(position.saturating_sub(1)).unwrap_or(usize::MAX))
    }
}

fn delivery(value: Value, shard: Shard, queue: &str) -> Result<Delivery, Error> {
    let mut values = list(value)?;
    let subject = text(next(&mut values)?)?;
    let group = text(next(&mut values)?)?;
    let token = number(next(&mut values)?)?;
    let tries = u32::try_from(int(next(&mut values)?)?).unwrap_or(u32::MAX);
    let messages = list(next(&mut values)?)?
        .map(|value| {
            let mut values = list(value)?;
            Ok(Message {
                fingerprint: text(next(&mut values)?)?,
                due_ms: int(next(&mut values)?)?,
                sequence: number(next(&mut values)?)?,
                body: bytes(next(&mut values)?)?,
            })
        })
        .collect::<Result<_, Error>>()?;
    Ok(Delivery {
        lease: Lease {
            shard,
            address: Address {
                queue: queue.to_owned(),
                subject,
                group,
            },
            token,
        },
        tries,
        messages,
    })
}

pub(super) fn deliveries(value: Value, shard: Shard, queue: &str) -> Result<Vec<Delivery>, Error> {
    list(value)?
        .map(|value| delivery(value, shard, queue))
        .collect()
}

/// Deliveries, each with the position of what it answers in the request.
fn answers<'a>(
    value: Value,
    shard: Shard,
    address: impl Fn(usize) -> Option<&'a Address>,
) -> Result<Vec<Delivery>, Error> {
    let one = |value: Value| {
        let mut values = list(value)?;
        let position = number(next(&mut values)?)?.saturating_sub(1);
        let asked = usize::try_from(position).ok().and_then(&address);
        let Some(asked) = asked else {
            return Err(Error::Damaged(format!(
                "redis answered position {position}"
            )));
        };
        let mut found = delivery(next(&mut values)?, shard, &asked.queue)?;
        // The lease goes by the address that was asked with, as it came.
        found.lease.address = asked.clone();
        Ok(found)
    };
    list(value)?.map(one).collect()
}

/// The answer to a commit.
pub(super) fn committed(
    mut reply: Reply,
    batch: &Batch,
    messages: &[Outgoing],
) -> Result<Result<Committed, Refused>, Error> {
    let unknown = |position| Error::Damaged(format!("redis refused position {position}"));
    let refused = match reply.status.as_str() {
        "ok" => {
            let duplicate = int(reply.next()?)? == 1;
            let versions = list(reply.next()?)?.map(number).collect::<Result<_, _>>()?;
            let leased = answers(reply.next()?, batch.shard, |at| {
                messages.get(at).map(|m| &m.to)
            })?;
            let next = answers(reply.next()?, batch.shard, |at| {
                batch.acknowledge.get(at).map(|a| &a.lease.address)
            })?;
            return Ok(Ok(Committed {
                duplicate,
                versions,
                leased,
                next,
            }));
        }
        "fenced" => {
            let at = reply.position()?;
            let ack = batch.acknowledge.get(at).ok_or_else(|| unknown(at))?;
            Refused::Fenced(ack.lease.address.clone())
        }
        "conflict" => {
            let at = reply.position()?;
            let change = batch.documents.get(at).ok_or_else(|| unknown(at))?;
            Refused::Conflict {
                key: change.key.clone(),
                actual: number(reply.next()?)?,
            }
        }
        "guard" => {
            let at = reply.position()?;
            Refused::Guard(batch.guards.get(at).ok_or_else(|| unknown(at))?.name())
        }
        "taken" => {
            let at = reply.position()?;
            let value = text(reply.next()?)?;
            match batch.indexes.get(at) {
                Some(crate::IndexChange::Claim { key, .. }) => Refused::Taken {
                    key: key.clone(),
                    value,
                },
                _ => return Err(unknown(at)),
            }
        }
        "missing" => {
            let at = reply.position()?;
            let change = batch.documents.get(at).ok_or_else(|| unknown(at))?;
            let at = reply.position()?;
            Refused::Missing {
                key: change.key.clone(),
                hash: change.blobs.get(at).ok_or_else(|| unknown(at))?.clone(),
            }
        }
        "busy" => {
            let at = reply.position()?;
            Refused::Busy(messages.get(at).ok_or_else(|| unknown(at))?.to.clone())
        }
        other => return Err(Error::Damaged(format!("redis answered status {other}"))),
    };
    Ok(Err(refused))
}

/// An entry of the feed's stream: the position of its last event, then the events one after the other.
pub(super) fn feed_entry(value: Value) -> Result<Vec<FeedEntry>, Error> {
    let mut values = list(value)?;
    let id = text(next(&mut values)?)?;
    let last: u64 = id
        .split('-')
        .next()
        .and_then(|p| p.parse().ok())
        .ok_or_else(|| Error::Damaged(format!("feed entry {id}")))?;
    let fields = list(next(&mut values)?)?;
    let count = fields.len() as u64 / 6;
    let mut fields = fields.skip(1).step_by(2);
    (last.saturating_sub(count) + 1..=last)
        .map(|position| {
            let name = text(next(&mut fields)?)?;
            let version = number(next(&mut fields)?)?;
            let body = bytes(next(&mut fields)?)?;
            let (collection, id) = name.split_once(':').unwrap_or((&name, ""));
            Ok(FeedEntry {
                position,
                document: DocumentKey::new(collection, id),
                version,
                body,
            })
        })
        .collect()
}
