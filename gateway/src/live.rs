//! `GET /live`: server-sent events. A snapshot of what runs, then each event as
//! it is committed; a client that comes back with `Last-Event-ID` goes on where
//! it was.
//!
//! Holds nothing but a bounded queue per client. The order and the cursor are
//! the orchestrator's. Spinnaker has no push channel at all.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use proto::orchestrator::v1::{ExecutionKind, ListExecutionsRequest, WatchEvent, WatchRequest};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::answer::value;
use crate::clients::answer;
use crate::error::Error;
use crate::request::{Caller, Query};
use crate::{Gateway, listing};

/// A comment is sent this often, so that nobody in between takes the stream for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Statuses of what is in the snapshot.
const OPEN: [&str; 4] = ["NOT_STARTED", "RUNNING", "PAUSED", "SUSPENDED"];

struct Connection {
    gate: Gateway,
    caller: Caller,
    application: String,
    events: mpsc::Sender<Result<Event, Infallible>>,
    _place: OwnedSemaphorePermit,
}

/// `GET /live?application=`
pub(crate) async fn stream(
    State(gate): State<Gateway>,
    caller: Caller,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let place = Arc::clone(&gate.live).try_acquire_owned().map_err(|_| {
        Error::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many live connections are open; read again later or poll",
        )
    })?;
    let application = query.text("application").to_lowercase();
    let resumed = headers
        .get("last-event-id")
        .and_then(|v| v.to_str().ok())
        .map(ToOwned::to_owned)
        .or_else(|| query.get("cursor").map(ToOwned::to_owned))
        .unwrap_or_default();
    // Before the snapshot is read: what happens in between is seen twice, never missed.
    let call = caller.request(WatchRequest {
        cursor: resumed.clone(),
        application: application.clone(),
    });
    let watch = answer(gate.clients.executions.clone().watch(call)).await?;
    let (events, queue) = mpsc::channel(gate.config.live_buffer.max(1));
    let connection = Connection {
        gate,
        caller,
        application,
        events,
        _place: place,
    };
    tokio::spawn(connection.run(watch, resumed.is_empty()));
    let stream = Sse::new(ReceiverStream::new(queue))
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("still here"));
    let mut response = stream.into_response();
    response.headers_mut().insert(
        "cache-control",
        http::HeaderValue::from_static("no-cache, no-transform"),
    );
    Ok(response)
}

impl Connection {
    async fn run(self, watch: Streaming<WatchEvent>, fresh: bool) {
        let shutdown = self.gate.shutdown.clone();
        tokio::select! {
            () = shutdown.begun() => {}
            () = self.events.closed() => {}
            () = self.forward(watch, fresh) => {}
        }
    }

    async fn forward(&self, mut watch: Streaming<WatchEvent>, fresh: bool) {
        if fresh && self.snapshot().await.is_err() {
            return;
        }
        while let Ok(Some(event)) = watch.message().await {
            let sent = if event.reset {
                // What was shown may not be true any more: begin anew.
                let reset = Event::default().event("reset").id(event.cursor).data("{}");
                match self.send(reset) {
                    Ok(()) => self.snapshot().await,
                    Err(full) => Err(full),
                }
            } else {
                self.delta(&event)
            };
            if sent.is_err() {
                // Too slow: it resumes from the last event it got.
                return;
            }
        }
    }

    fn delta(&self, event: &WatchEvent) -> Result<(), ()> {
        let what = event.event.as_ref().and_then(|json| value(json).ok());
        let data = json!({
            "application": event.application,
            "event": what,
            "executionId": event.execution_id,
        });
        let delta = Event::default().event("execution").id(&event.cursor);
        self.send(delta.data(data.to_string()))
    }

    /// Everything that is not complete, without contexts and outputs.
    async fn snapshot(&self) -> Result<(), ()> {
        let request = ListExecutionsRequest {
            kind: ExecutionKind::Pipeline.into(),
            application: self.application.clone(),
            statuses: OPEN.iter().map(|s| (*s).to_owned()).collect(),
            ..ListExecutionsRequest::default()
        };
        let Ok(open) = listing::executions(&self.gate, &self.caller, request).await else {
            return Err(());
        };
        let data = json!({"executions": Value::Array(open)});
        self.send(Event::default().event("snapshot").data(data.to_string()))
    }

    fn send(&self, event: Event) -> Result<(), ()> {
        self.events.try_send(Ok(event)).map_err(|_| ())
    }
}
