//! Hearing that something was pushed or is due.
//!
//! One listening connection per process serves all its consumers and feeds, on one
//! server as in a cluster. A message published while it is down is not heard, so
//! after connecting everything is looked at once.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use super::core::Core;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A connection that is silent for so long is asked whether it lives.
const SILENCE: Duration = Duration::from_secs(30);

/// Listens for ever; ends by being dropped.
pub(super) async fn listen(core: Arc<Core>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match hear(&core).await {
            Ok(()) => pause = FIRST_PAUSE,
            Err(error) => tracing::debug!(%error, "news of the store cannot be heard"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Listens until the connection ends.
async fn hear(core: &Core) -> redis::RedisResult<()> {
    let (mut sink, mut messages) = core.link.listen().await?.split();
    sink.subscribe(core.names.channel()).await?;
    core.probe().await;
    core.wakes.wake_all(core.shards);
    loop {
        match tokio::time::timeout(SILENCE, messages.next()).await {
            Ok(Some(message)) => take(core, message.get_payload_bytes()),
            Ok(None) => return Ok(()),
            Err(_) => match tokio::time::timeout(SILENCE, sink.ping::<redis::Value>()).await {
                Ok(alive) => alive.map(|_| ())?,
                Err(_) => return Ok(()),
            },
        }
    }
}

/// The number of the shard, then the queues with news; an empty name stands for
/// the feed.
fn take(core: &Core, payload: &[u8]) {
    let text = String::from_utf8_lossy(payload);
    let mut parts = text.split('\0');
    let Some(number) = parts.next().and_then(|n| n.parse().ok()) else {
        return;
    };
    for queue in parts {
        if queue.is_empty() {
            core.wakes.wake_feed();
        } else {
            core.wakes.wake(queue, core.shards.numbered(number));
        }
    }
}
