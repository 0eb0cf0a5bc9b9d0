//! The one tail of the orchestrator's feed that all live clients share, and the
//! last events, so that who comes back finds its place.
//!
//! Memory is bounded: a ring of the last events, each held once however many
//! clients wait for it. The order and the cursors are the orchestrator's.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::orchestrator::v1::execution_service_client::ExecutionServiceClient;
use proto::orchestrator::v1::{WatchEvent, WatchRequest};
use runtime::Shutdown;
use runtime::client::Peer;
use serde_json::json;
use tokio::sync::{broadcast, watch};
use tonic::Streaming;

use crate::answer::value;

/// Events kept for those who come back.
const KEPT: usize = 4_096;
/// Events a client's task may fall behind.
const BEHIND: usize = 1_024;
/// The first pause before the feed is opened again; it doubles up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// A change, written out once for all clients.
#[derive(Debug)]
pub(super) struct Delta {
    pub(super) cursor: String,
    pub(super) application: String,
    pub(super) data: String,
}

impl Delta {
    pub(super) fn of(event: &WatchEvent) -> Self {
        let what = event.event.as_ref().and_then(|json| value(json).ok());
        let data = json!({
            "application": event.application,
            "event": what,
            "executionId": event.execution_id,
        });
        Self {
            cursor: event.cursor.clone(),
            application: event.application.clone(),
            data: data.to_string(),
        }
    }
}

/// What the tail tells.
#[derive(Debug, Clone)]
pub(super) enum News {
    Delta(Arc<Delta>),
    /// What was shown may not be true any more.
    Reset,
}

/// What a client continues from: the events it missed, and those to come.
pub(super) type Place = (Vec<Arc<Delta>>, broadcast::Receiver<News>);

/// The tail. It begins with the first client and ends with the process.
#[derive(Debug)]
pub(crate) struct Hub {
    kept: Mutex<VecDeque<Arc<Delta>>>,
    news: broadcast::Sender<News>,
    open: watch::Sender<bool>,
    begun: Mutex<bool>,
}

impl Hub {
    pub(crate) fn new() -> Self {
        Self {
            kept: Mutex::default(),
            news: broadcast::channel(BEHIND).0,
            open: watch::channel(false).0,
            begun: Mutex::default(),
        }
    }

    /// Opens the tail if nobody has yet, and waits until it is open.
    pub(super) async fn opened(
        self: &Arc<Self>,
        executions: &ExecutionServiceClient<Peer>,
        shutdown: &Shutdown,
    ) {
        let first = !std::mem::replace(
            &mut *self.begun.lock().unwrap_or_else(PoisonError::into_inner),
            true,
        );
        if first {
            let (hub, executions, shutdown) =
                (Arc::clone(self), executions.clone(), shutdown.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = shutdown.begun() => {}
                    () = hub.tail(executions) => {}
                }
            });
        }
        let mut open = self.open.subscribe();
        // It ends only with the hub itself.
        let _closed = open.wait_for(|open| *open).await;
    }

    /// Everything from now on.
    pub(super) fn join(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// Everything after a cursor; none when it is not among the last events.
    pub(super) fn join_after(&self, cursor: &str) -> Option<Place> {
        // Under the lock that a new event takes: none is lost in between, none comes twice.
        let kept = self.kept();
        let place = kept.iter().rposition(|delta| delta.cursor == cursor)?;
        let missed = kept.iter().skip(place + 1).cloned().collect();
        Some((missed, self.news.subscribe()))
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Arc<Delta>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, event: &WatchEvent) {
        let mut kept = self.kept();
        let news = if event.reset {
            kept.clear();
            News::Reset
        } else {
            let delta = Arc::new(Delta::of(event));
            if kept.len() >= KEPT {
                kept.pop_front();
            }
            kept.push_back(Arc::clone(&delta));
            News::Delta(delta)
        };
        // Nobody listens: it is kept for who comes back.
        let _nobody = self.news.send(news);
    }

    /// Follows the feed for ever; after a failure it goes on where it was.
    async fn tail(&self, mut executions: ExecutionServiceClient<Peer>) {
        let mut cursor = String::new();
        let mut pause = SHORTEST;
        loop {
            let request = WatchRequest {
                cursor: cursor.clone(),
                application: String::new(),
            };
            if let Ok(reply) = executions.watch(request).await {
                if *self.open.borrow() && cursor.is_empty() {
                    // What happened meanwhile is unknown, and there is no place to resume from.
                    self.publish(&WatchEvent {
                        reset: true,
                        ..WatchEvent::default()
                    });
                }
                self.open.send_replace(true);
                pause = SHORTEST;
                self.read(reply.into_inner(), &mut cursor).await;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST);
        }
    }

    async fn read(&self, mut feed: Streaming<WatchEvent>, cursor: &mut String) {
        while let Ok(Some(event)) = feed.message().await {
            cursor.clone_from(&event.cursor);
            self.publish(&event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(cursor: &str) -> WatchEvent {
        WatchEvent {
            cursor: cursor.to_owned(),
            application: "a".to_owned(),
            ..WatchEvent::default()
        }
    }

    #[tokio::test]
    async fn who_comes_back_gets_what_it_missed_and_then_what_comes() {
        let hub = Hub::new();
        for number in 0..5 {
            hub.publish(&event(&format!("c{number}")));
        }
        let (missed, mut news) = hub.join_after("c2").unwrap();
        let cursors: Vec<_> = missed.iter().map(|d| d.cursor.as_str()).collect();
        assert_eq!(cursors, ["c3", "c4"]);
        hub.publish(&event("c5"));
        let News::Delta(next) = news.recv().await.unwrap() else {
            panic!("a reset");
        };
        assert_eq!(next.cursor, "c5");
        assert!(hub.join_after("unknown").is_none());
    }

    #[test]
    fn only_the_last_events_are_kept_and_none_after_a_reset() {
        let hub = Hub::new();
        for number in 0..=KEPT {
            hub.publish(&event(&number.to_string()));
        }
        assert_eq!(hub.kept().len(), KEPT);
        assert!(hub.join_after("0").is_none() && hub.join_after("1").is_some());
        hub.publish(&WatchEvent {
            reset: true,
            ..WatchEvent::default()
        });
        assert!(hub.join_after("5").is_none());
    }
}
