//! Events of executions as they are committed, from a cursor on: read from the
//! store's feed, which wakes the reader.

use std::time::Duration;

use proto::common::v1::Json;
use proto::orchestrator::v1::WatchEvent;
use proto::status::Failure;
use serde_json::Value;
use store::Shared;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::definition::unavailable;
use crate::engine::Engine;

/// Events on their way to one reader; a slower one holds up nobody else.
const BUFFER: usize = 256;
/// A look at the feed at least this often, should another process's news be lost on the way.
const FALLBACK: Duration = Duration::from_secs(30);

/// Where a reader is in each shard's feed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cursor(Vec<u64>);

impl Cursor {
    fn parse(text: &str, shards: usize) -> Option<Self> {
        let positions: Option<Vec<u64>> = text.split('.').map(|p| p.parse().ok()).collect();
        positions
            .filter(|positions| positions.len() == shards)
            .map(Self)
    }

    fn text(&self) -> String {
        let positions: Vec<String> = self.0.iter().map(u64::to_string).collect();
        positions.join(".")
    }
}

/// Opens the stream. An empty cursor begins now; one that is not ours begins anew
/// with a reset.
pub(super) async fn open(
    engine: Engine,
    cursor: String,
    application: String,
) -> Result<impl Stream<Item = Result<WatchEvent, Status>> + Send + use<>, Failure> {
    let store = engine.inner.store.clone();
    let count = usize::from(store.shards().count());
    let known = Cursor::parse(&cursor, count);
    let reset = known.is_none() && !cursor.is_empty();
    let start = match known {
        Some(known) => known,
        None => now(&store).await?,
    };
    let (events, stream) = mpsc::channel(BUFFER);
    tokio::spawn(async move {
        tokio::select! {
            () = events.closed() => {}
            _ = follow(&store, start, &application, reset, &events) => {}
        }
    });
    Ok(ReceiverStream::new(stream))
}

/// The end of every feed.
async fn now(store: &Shared) -> Result<Cursor, Failure> {
    let mut positions = Vec::new();
    for shard in store.shards().all() {
        let page = store.feed(shard, u64::MAX, 1).await.map_err(unavailable)?;
        positions.push(page.last);
    }
    Ok(Cursor(positions))
}

type Sender = mpsc::Sender<Result<WatchEvent, Status>>;

async fn follow(
    store: &Shared,
    mut cursor: Cursor,
    application: &str,
    reset: bool,
    events: &Sender,
) -> Result<(), mpsc::error::SendError<Result<WatchEvent, Status>>> {
    if reset {
        events.send(Ok(reset_at(&cursor))).await?;
    }
    let mut news = store.news();
    loop {
        // Marked as seen before the feeds are read: what comes meanwhile ends the wait at once.
        news.borrow_and_update();
        let mut found = false;
        for shard in store.shards().all() {
            let place = usize::from(shard.number());
            let after = cursor.0.get(place).copied().unwrap_or(0);
            let page = match store.feed(shard, after, 200).await {
                Ok(page) => page,
                Err(error) => {
                    return events.send(Err(unavailable(error).into())).await;
                }
            };
            if page.reset {
                if let Some(position) = cursor.0.get_mut(place) {
                    *position = page.last;
                }
                events.send(Ok(reset_at(&cursor))).await?;
                continue;
            }
            for entry in page.entries {
                found = true;
                if let Some(position) = cursor.0.get_mut(place) {
                    *position = entry.position;
                }
                let Some(id) = entry.document.as_str().strip_prefix("execution:") else {
                    continue;
                };
                let text = String::from_utf8_lossy(&entry.body).into_owned();
                let of = application_of(&text);
                if !application.is_empty() && !of.eq_ignore_ascii_case(application) {
                    continue;
                }
                events
                    .send(Ok(WatchEvent {
                        cursor: cursor.text(),
                        execution_id: id.to_owned(),
                        application: of,
                        event: Some(Json { text }),
                        reset: false,
                    }))
                    .await?;
            }
        }
        if !found {
            // A reset of the store's connection, or the time, lets it look again just as news do.
            let _silent = tokio::time::timeout(FALLBACK, news.changed()).await;
        }
    }
}

fn reset_at(cursor: &Cursor) -> WatchEvent {
    WatchEvent {
        cursor: cursor.text(),
        reset: true,
        ..WatchEvent::default()
    }
}

fn application_of(event: &str) -> String {
    let event: Value = serde_json::from_str(event).unwrap_or_default();
    let detail = event.get("detail").and_then(|d| d.get("application"));
    detail
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_one_position_per_shard() {
        let cursor = Cursor(vec![0, 17, 3]);
        assert_eq!(
            Cursor::parse(&cursor.text(), 3),
            Some(Cursor(vec![0, 17, 3]))
        );
        assert_eq!(Cursor::parse("1.2", 3), None);
        assert_eq!(Cursor::parse("x", 1), None);
    }
}
