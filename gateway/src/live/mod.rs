//! `GET /live`: server-sent events. `snapshot` of what runs, `marker`, then one
//! `execution` for each change as it is committed. An event's id is
//! `<sequence>@<cursor>`: the sequence grows by one for each event a client
//! gets, also over reconnections; who comes back with `Last-Event-ID` goes on
//! where it was. `reset`: begin anew. `end`: why this connection is closed.
//!
//! All clients share one tail of the orchestrator's feed ([`hub`]); each has a
//! bounded queue beside it. Spinnaker has no push channel at all.

mod hub;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use proto::orchestrator::v1::{ExecutionKind, ListExecutionsRequest, WatchRequest};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::clients::answer;
use crate::error::{self, Error};
use crate::request::{Caller, Query};
use crate::{Gateway, listing};

pub(crate) use hub::Hub;
use hub::{Delta, News};

/// A comment is sent this often, so that nobody in between takes the stream for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a client may take to read a snapshot or what it missed.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether a client is still whom it was.
const PROVEN: Duration = Duration::from_secs(5);
/// Statuses of what is in the snapshot.
const OPEN: [&str; 4] = ["NOT_STARTED", "RUNNING", "PAUSED", "SUSPENDED"];

/// The connection is over, for this reason.
struct Over(&'static str);

const SLOW: Over = Over("this client reads too slowly; come back with Last-Event-ID");
const GONE: Over = Over("who you are cannot be shown any more; log in and come back");
const FEED: Over = Over("a part of the service cannot be reached now; come back");

struct Connection {
    gate: Gateway,
    caller: Caller,
    /// Lower case; empty: all.
    application: String,
    events: mpsc::Sender<Result<Event, Infallible>>,
    sequence: u64,
    _place: OwnedSemaphorePermit,
}

/// Where a client was: its last sequence number and the orchestrator's cursor.
fn resumed(headers: &HeaderMap, query: &Query) -> Option<(u64, String)> {
    let id = headers
        .get("last-event-id")
        .and_then(|v| v.to_str().ok())
        .or_else(|| query.get("cursor"))
        .filter(|id| !id.is_empty())?;
    Some(match id.split_once('@') {
        Some((sequence, cursor)) => (sequence.parse().unwrap_or(0), cursor.to_owned()),
        None => (0, id.to_owned()),
    })
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
    let opened = gate.hub.opened(&gate.clients.executions, &gate.shutdown);
    tokio::time::timeout(PATIENCE, opened)
        .await
        .map_err(|_| Error::from(error::unavailable()))?;
    // Before the snapshot is read: what happens in between is seen twice, never missed.
    let news = gate.hub.join();
    let at = resumed(&headers, &query);
    // One more than configured: the reason of the end has a place of its own.
    let (events, queue) = mpsc::channel(gate.config.live_buffer.max(1) + 1);
    let connection = Connection {
        application: query.text("application").to_lowercase(),
        gate,
        caller,
        events,
        sequence: at.as_ref().map_or(0, |(sequence, _)| *sequence),
        _place: place,
    };
    tokio::spawn(connection.run(news, at.map(|(_, cursor)| cursor)));
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
    async fn run(mut self, news: broadcast::Receiver<News>, cursor: Option<String>) {
        let (shutdown, events) = (self.gate.shutdown.clone(), self.events.clone());
        let over = tokio::select! {
            () = shutdown.begun() => return,
            () = events.closed() => return,
            over = self.serve(news, cursor) => over,
        };
        let Err(Over(reason)) = over else { return };
        let data = json!({"reason": reason}).to_string();
        // It has its own place in the queue, so it fits unless the client has gone.
        let _gone = events.try_send(Ok(Event::default().event("end").data(data)));
    }

    async fn serve(
        &mut self,
        mut news: broadcast::Receiver<News>,
        cursor: Option<String>,
    ) -> Result<(), Over> {
        match cursor {
            None => self.snapshot().await?,
            Some(cursor) => match self.gate.hub.join_after(&cursor) {
                Some(place) => news = self.missed(place).await?,
                None => news = self.catch_up(cursor).await?,
            },
        }
        let mut proofs = tokio::time::interval(PROVEN);
        proofs.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let next = tokio::select! {
                next = news.recv() => next,
                _ = proofs.tick() => {
                    self.prove().await?;
                    continue;
                }
            };
            match next {
                Ok(News::Delta(delta)) => self.delta(&delta).await?,
                Ok(News::Reset) => self.begin_anew().await?,
                Err(broadcast::error::RecvError::Lagged(_)) => return Err(SLOW),
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            }
        }
    }

    async fn missed(
        &mut self,
        (missed, news): hub::Place,
    ) -> Result<broadcast::Receiver<News>, Over> {
        for delta in missed {
            if let Some(event) = self.event(&delta).await? {
                self.send(event).await?;
            }
        }
        Ok(news)
    }

    /// Reads from an older place until the shared tail has the same event.
    async fn catch_up(&mut self, cursor: String) -> Result<broadcast::Receiver<News>, Over> {
        let call = self.caller.request(WatchRequest {
            cursor,
            application: String::new(),
        });
        let opened = answer(self.gate.clients.executions.clone().watch(call)).await;
        let mut feed: Streaming<_> = opened.map_err(|_| FEED)?;
        loop {
            let Ok(Some(event)) = feed.message().await else {
                return Err(FEED);
            };
            if event.reset {
                let news = self.gate.hub.join();
                self.begin_anew().await?;
                return Ok(news);
            }
            self.delta(&Delta::of(&event)).await?;
            if let Some(place) = self.gate.hub.join_after(&event.cursor) {
                return self.missed(place).await;
            }
        }
    }

    async fn reads(&self, application: &str) -> Result<bool, Over> {
        let wanted =
            self.application.is_empty() || application.eq_ignore_ascii_case(&self.application);
        if !wanted {
            return Ok(false);
        }
        let may = self
            .gate
            .directory
            .may_read(&self.gate, &self.caller, application);
        may.await.map_err(|_| FEED)
    }

    /// Who is logged in is proven again now and then: what was taken ends here too.
    async fn prove(&mut self) -> Result<(), Over> {
        let Some(proof) = self.caller.proof() else {
            return Ok(());
        };
        let user = self.gate.identity.of(&self.gate.clients, proof).await;
        let user = user.map_err(|error| match error.status() {
            StatusCode::UNAUTHORIZED => GONE,
            _ => FEED,
        })?;
        let id = self.caller.request_id().to_owned();
        self.caller = Caller::proven(id, user.as_ref(), &self.gate.policy, proof.clone());
        Ok(())
    }

    /// The event of a change; none when this client does not get it.
    async fn event(&mut self, delta: &Delta) -> Result<Option<Event>, Over> {
        if !self.reads(&delta.application).await? {
            return Ok(None);
        }
        self.sequence += 1;
        let id = format!("{}@{}", self.sequence, delta.cursor);
        Ok(Some(
            Event::default().event("execution").id(id).data(&delta.data),
        ))
    }

    /// At once or not at all: a client that does not read holds up nobody and keeps nothing.
    async fn delta(&mut self, delta: &Delta) -> Result<(), Over> {
        match self.event(delta).await? {
            Some(_) if self.events.capacity() <= 1 => Err(SLOW),
            Some(event) => self.events.try_send(Ok(event)).map_err(|_| SLOW),
            None => Ok(()),
        }
    }

    /// Waits for a client that has much to read at once, but not for ever.
    async fn send(&self, event: Event) -> Result<(), Over> {
        let sent = self.events.reserve_many(2);
        match tokio::time::timeout(PATIENCE, sent).await {
            Ok(Ok(mut places)) => {
                if let Some(place) = places.next() {
                    place.send(Ok(event));
                }
                Ok(())
            }
            Ok(Err(_)) | Err(_) => Err(SLOW),
        }
    }

    async fn begin_anew(&mut self) -> Result<(), Over> {
        self.send(Event::default().event("reset").data("{}"))
            .await?;
        self.snapshot().await
    }

    /// Everything that is not complete, without contexts and outputs; then the marker.
    async fn snapshot(&mut self) -> Result<(), Over> {
        let request = ListExecutionsRequest {
            kind: ExecutionKind::Pipeline.into(),
            application: self.application.clone(),
            statuses: OPEN.iter().map(|s| (*s).to_owned()).collect(),
            ..ListExecutionsRequest::default()
        };
        let open = listing::executions(&self.gate, &self.caller, request)
            .await
            .map_err(|_| FEED)?;
        let mut readable = Vec::with_capacity(open.len());
        for execution in open {
            let of = execution.get("application").and_then(Value::as_str);
            if self.reads(of.unwrap_or_default()).await? {
                readable.push(execution);
            }
        }
        let data = json!({"executions": Value::Array(readable)});
        self.send(Event::default().event("snapshot").data(data.to_string()))
            .await?;
        let data = json!({"sequence": self.sequence}).to_string();
        self.send(Event::default().event("marker").data(data)).await
    }
}
