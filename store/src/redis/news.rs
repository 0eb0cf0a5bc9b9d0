//! Hearing that something was pushed or is due.
//!
//! One listening connection per process serves all its consumers and feeds, on one
//! server as in a cluster. A message published while it is down is not heard, so
//! after connecting everything is looked at once.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use super::core::Core;
use super::durability;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Everybody is to be back soon after the server is: see [`OTHERS`].
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// Time for the others to look what is left, after a server was started again.
const OTHERS: Duration = Duration::from_millis(500);
/// A connection that is silent for so long is asked whether it lives.
const SILENCE: Duration = Duration::from_secs(30);

/// Listens for ever; ends by being dropped.
pub(super) async fn listen(core: Arc<Core>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match hear(&core).await {
            Ok(()) => {
                away(&core);
                pause = FIRST_PAUSE;
            }
            Err(error) => {
                tracing::debug!(%error, "news of the store cannot be heard");
                if is_away(&error) {
                    away(&core);
                } else if !core.settling.is_settled() {
                    // A server that answers is there, though it tells no news.
                    settle(&core).await;
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// A cluster has other servers that go on.
fn away(core: &Core) {
    if !core.link.is_cluster() {
        core.settling.away();
    }
}

/// Whether the server was not reached.
fn is_away(error: &redis::RedisError) -> bool {
    error.is_io_error() || error.is_timeout() || error.is_connection_dropped()
}

/// Listens until the connection ends.
async fn hear(core: &Core) -> redis::RedisResult<()> {
    let (mut sink, mut messages) = core.link.listen().await?.split();
    sink.subscribe(core.names.channel()).await?;
    if !settle(core).await {
        return Ok(());
    }
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

/// Looks how far every shard is, and lets calls be made once the others have had time for it too; false if the server
/// does not answer.
async fn settle(core: &Core) -> bool {
    if !core.probe().await && !core.link.is_cluster() {
        return false;
    }
    if !core.settling.is_settled() {
        if may_have_lost(core).await {
            tokio::time::sleep(OTHERS).await;
        }
        core.settling.settled();
    }
    true
}

/// Whether the server that is back may lack commits: it was started a moment ago and does not keep all, or it is a replica
/// that took its master's place and that commits did not wait for.
async fn may_have_lost(core: &Core) -> bool {
    if core.link.is_watched() && core.link.wait().is_none() {
        return true;
    }
    let durability = durability::ask(&core.link).await;
    durability.is_ok_and(|durability| durability.unsettled().is_some())
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
