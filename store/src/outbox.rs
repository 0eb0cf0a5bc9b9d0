//! Messages to other shards: written with the batch, delivered afterwards.
//!
//! The queue was committed with the state, so the relay is a consumer like any
//! other and no sweeper. A crash between delivery and acknowledgement delivers
//! again under the same fingerprint.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::queue::{Address, Crossing, Delivery, Mode, Outgoing};
use crate::{Batch, Refused, Shared, Then};

/// The queue that holds what leaves a shard.
pub const QUEUE: &str = "out";

#[derive(Serialize, Deserialize)]
struct Envelope {
    shard: u16,
    to: Address,
    fingerprint: String,
    delay: u64,
    body: String,
}

/// A crossing as a message of its own shard's outbox.
pub(crate) fn wrap(commit: &str, position: usize, crossing: &Crossing) -> Result<Outgoing, Error> {
    let body = std::str::from_utf8(&crossing.body)
        .map_err(|_| Error::Damaged("a message to another shard is not text".to_owned()))?;
    let envelope = Envelope {
        shard: crossing.shard.number(),
        to: crossing.to.clone(),
        fingerprint: crossing.fingerprint.clone(),
        delay: crossing.delay_ms,
        body: body.to_owned(),
    };
    let text = serde_json::to_vec(&envelope).map_err(|e| Error::Damaged(e.to_string()))?;
    let name = format!("{commit}/{position}");
    Ok(Outgoing {
        to: Address::new(QUEUE, &name, &crossing.to.group),
        fingerprint: name,
        mode: Mode::Ensure,
        delay_ms: 0,
        body: Bytes::from(text),
    })
}

/// Delivers one message of the outbox and takes it out.
///
/// # Errors
/// When the store is unavailable; the message stays and is delivered again.
pub async fn relay(store: &Shared, delivery: &Delivery) -> Result<(), Error> {
    let shard = delivery.lease.shard;
    for message in &delivery.messages {
        // A notice that a message was given up carries that message: it is still to be delivered.
        let envelope: Envelope = serde_json::from_slice(&message.body)
            .map_err(|e| Error::Damaged(format!("outbox message {}: {e}", message.fingerprint)))?;
        let target = store.shards().numbered(envelope.shard);
        let delivered =
            Batch::new(target, format!("relay:{}", message.fingerprint)).message(Outgoing {
                to: envelope.to,
                fingerprint: envelope.fingerprint,
                mode: Mode::Ensure,
                delay_ms: envelope.delay,
                body: envelope.body.into(),
            });
        if let Err(refused) = store.commit(delivered).await? {
            return Err(Error::Unavailable(refused.to_string()));
        }
    }
    let done = Batch::new(shard, format!("relayed:{}", delivery.lease.address.subject))
        .acknowledge(delivery, Then::Release);
    match store.commit(done).await? {
        // Somebody else delivered it too, under the same fingerprint.
        Ok(_) | Err(Refused::Fenced(_)) => Ok(()),
        Err(refused) => Err(Error::Unavailable(refused.to_string())),
    }
}
