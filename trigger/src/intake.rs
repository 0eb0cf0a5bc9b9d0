//! Durable intake: an event, what was decided about it and the starts it causes
//! are one commit, made before anybody is told that the event was received.
//!
//! Owns the documents `event:<id>` and the queue [`QUEUE`], whose subjects are
//! events. When the orchestrator cannot say which pipelines there are, the
//! event is kept and decided later from the queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use proto::message::{EXECUTION_REQUESTS, ExecutionRequested};
use proto::status::{Failure, Kind};
use store::blob::{self, Aside};
use store::{
    Address, Batch, Crossing, Delivery, DocumentKey, Mode, Outgoing, Refused, Shard, Then,
};

use crate::access::{self, Access};
use crate::breaker;
use crate::config::Config;
use crate::decisions;
use crate::event::{self, Event};
use crate::jenkins::access as masters;
use crate::matcher::{self, Decision};
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::source;

/// The queue of events that wait: to be decided, to be listed, to be forgotten.
pub(crate) const QUEUE: &str = "trigger-events";
/// Message: the event is not decided yet.
const MATCH: &str = "match";
/// Message: its decisions are to be listed with their pipelines.
const LIST: &str = "list";
/// Message: it is old enough to be forgotten.
pub(crate) const FORGET: &str = "forget";
/// How long a sender waits for what is decided about its event; then it is kept and decided from the queue.
/// Senders give up after ten seconds, GitHub for one.
const PATIENCE: Duration = Duration::from_secs(2);
/// Starts one event may cause; a batch holds no more.
const MAX_STARTS: usize = 400;

/// Takes events in.
#[derive(Debug, Clone)]
pub(crate) struct Intake {
    pub(crate) store: store::Shared,
    pub(crate) peers: Peers,
    pub(crate) config: Arc<Config>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access: Access,
    commits: Arc<AtomicU64>,
    process: String,
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A store's failure as callers see it.
pub(crate) fn failed(error: store::Error) -> Failure {
    let kind = match error {
        store::Error::Unavailable(_) => Kind::Unavailable,
        store::Error::Limit { .. } => Kind::Exhausted,
        store::Error::Open { .. } | store::Error::Damaged(_) => Kind::Internal,
    };
    Failure::new(kind, error.to_string())
}

pub(crate) fn refused(refused: &Refused) -> Failure {
    let kind = match refused {
        Refused::Full(_) => Kind::Exhausted,
        _ => Kind::Unavailable,
    };
    Failure::new(kind, refused.to_string())
}

/// A message to an event itself.
pub(crate) fn note(event_id: &str, what: &str, delay_ms: u128) -> Outgoing {
    Outgoing {
        to: Address::new(QUEUE, event_id, ""),
        fingerprint: what.to_owned(),
        mode: Mode::Ensure,
        delay_ms: u64::try_from(delay_ms).unwrap_or(u64::MAX),
        body: Bytes::new(),
    }
}

impl Intake {
    pub(crate) fn new(
        store: store::Shared,
        peers: Peers,
        config: Arc<Config>,
        metrics: Arc<Metrics>,
        access: Access,
    ) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let started = since.unwrap_or_default().as_nanos();
        Self {
            store,
            peers,
            config,
            metrics,
            access,
            commits: Arc::default(),
            process: format!("{}-{started}", std::process::id()),
        }
    }

    /// A text that no other call of any process gets.
    pub(crate) fn unique(&self) -> String {
        let number = self.commits.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number}", self.process)
    }

    fn shard(&self, event_id: &str) -> Shard {
        self.store.shards().of_name(event_id)
    }

    pub(crate) fn key(event_id: &str) -> DocumentKey {
        DocumentKey::new("event", event_id)
    }

    /// Makes an event durable with all it causes; false when it was known.
    ///
    /// # Errors
    /// When it could not be made durable; then nothing of it happened.
    pub(crate) async fn take_in(&self, event: &Event) -> Result<bool, Failure> {
        let (shard, key) = (self.shard(&event.id), Self::key(&event.id));
        if self
            .store
            .load(shard, &key)
            .await
            .map_err(failed)?
            .is_some()
        {
            self.metrics.duplicates.add(1);
            return Ok(false);
        }
        let content = serde_json::to_vec(event)
            .map_err(|e| Failure::internal(format!("event {} is no JSON: {e}", event.id)))?;
        let content = Bytes::from(content);
        let batch = Batch::new(shard, format!("event:{}:{}", event.id, self.unique()))
            .new_work()
            .document(&key, 0);
        let (batch, aside) = self.put_aside(batch, &key, &content).await?;
        let content = aside.map_or(content, |aside| aside.stands);
        let batch = batch.set("event", content).message(note(
            &event.id,
            FORGET,
            self.config.event_retention.0.as_millis(),
        ));
        let decided = tokio::time::timeout(PATIENCE, self.decide(event)).await;
        let late = || Failure::new(Kind::Unavailable, "the orchestrator does not answer");
        let batch = match decided.unwrap_or_else(|_| Err(late())) {
            Ok(decisions) => self.decided(batch, &event.id, decisions).await?,
            Err(failure) if matches!(failure.kind, Kind::Unavailable | Kind::Internal) => {
                tracing::warn!(
                    event.id = event.id,
                    reason = failure.message,
                    "event is kept and decided later"
                );
                batch.message(note(&event.id, MATCH, 0))
            }
            Err(failure) => return Err(failure),
        };
        match self.store.commit(batch).await.map_err(failed)? {
            Ok(_) => {
                self.metrics.accepted.add(1);
                tracing::info!(trigger.type = event.kind, event.id = event.id, via = event.via, "event taken in");
                Ok(true)
            }
            // Somebody else took it in at the same time.
            Err(Refused::Conflict { .. }) => {
                self.metrics.duplicates.add(1);
                Ok(false)
            }
            Err(other) => Err(refused(&other)),
        }
    }

    async fn decide(&self, event: &Event) -> Result<Vec<Decision>, Failure> {
        let source = source::of_kind(&event.kind)?;
        let pipelines = self.peers.pipelines(source.kind()).await?;
        let mut decisions = matcher::decide(source, event, &pipelines);
        access::apply(self, &pipelines, &mut decisions).await?;
        masters::apply(self, event, &pipelines, &mut decisions).await?;
        breaker::apply(self, (&event.id, event.received_at_ms), &mut decisions).await?;
        Ok(decisions)
    }

    /// Puts a large value aside with an event, whose batch keeps it: it goes when the event is
    /// forgotten.
    async fn put_aside(
        &self,
        batch: Batch,
        event: &DocumentKey,
        content: &Bytes,
    ) -> Result<(Batch, Option<Aside>), Failure> {
        let Some(aside) = blob::outsource(content) else {
            return Ok((batch, None));
        };
        let put = self
            .store
            .put_blob(batch.shard(), event, aside.content.clone());
        put.await.map_err(failed)?;
        Ok((batch.blob(&aside.hash), Some(aside)))
    }

    /// Adds the decisions and the starts they mean to an event's batch.
    async fn decided(
        &self,
        mut batch: Batch,
        event_id: &str,
        decisions: Vec<Decision>,
    ) -> Result<Batch, Failure> {
        let starts = decisions.iter().filter(|d| d.outcome.is_ok()).count();
        if starts > MAX_STARTS {
            return Err(Failure::new(
                Kind::Exhausted,
                format!("event {event_id} would start {starts} pipelines, more than {MAX_STARTS}"),
            ));
        }
        self.metrics.started.add(starts);
        self.metrics.rejected.add(decisions.len() - starts);
        batch = batch.set("decisions", decisions::write(&decisions));
        for request in decisions.iter().filter_map(|d| d.outcome.as_ref().ok()) {
            batch = self.start(batch, event_id, request).await?;
        }
        if decisions.is_empty() {
            Ok(batch)
        } else {
            Ok(batch.message(note(event_id, LIST, 0)))
        }
    }

    async fn start(
        &self,
        batch: Batch,
        event_id: &str,
        request: &ExecutionRequested,
    ) -> Result<Batch, Failure> {
        let body = serde_json::to_vec(request)
            .map_err(|e| Failure::internal(format!("a start is no JSON: {e}")))?;
        let fingerprint = event::start_fingerprint(request);
        let to = Address::new(
            EXECUTION_REQUESTS,
            &fingerprint,
            &request.application.to_lowercase(),
        );
        let shard = self.store.shards().of_application(&request.application);
        let (event, body) = (Self::key(event_id), Bytes::from(body));
        let (batch, aside) = self.put_aside(batch, &event, &body).await?;
        let body = aside.map_or(body, |aside| aside.in_message(batch.shard(), &event));
        Ok(batch.crossing(Crossing {
            shard,
            to,
            fingerprint,
            delay_ms: 0,
            body,
        }))
    }

    /// Handles what waits for one event.
    ///
    /// # Errors
    /// When it has to be tried again.
    pub(crate) async fn handle(&self, delivery: &Delivery) -> Result<(), Failure> {
        let event_id = delivery.lease.address.subject.as_str();
        let (shard, key) = (self.shard(event_id), Self::key(event_id));
        let id = format!("handled:{event_id}:{}", self.unique());
        let batch = Batch::new(shard, id).acknowledge(delivery, Then::Release);
        let Some(document) = self.store.load(shard, &key).await.map_err(failed)? else {
            return self.finish(batch).await;
        };
        let wanted = |what: &str| {
            delivery
                .messages
                .iter()
                .any(|message| message.gives_up().unwrap_or(&message.fingerprint) == what)
        };
        if wanted(FORGET) {
            return self
                .finish(batch.document(&key, document.version).delete())
                .await;
        }
        let read = match document.parts.get("event") {
            Some(content) => {
                let content =
                    blob::resolve(self.store.as_ref(), shard, &key, content.clone()).await;
                serde_json::from_slice(&content.map_err(failed)?).ok()
            }
            None => None,
        };
        let event: Event =
            read.ok_or_else(|| Failure::internal(format!("event {event_id} cannot be read")))?;
        if wanted(MATCH) && !document.parts.contains_key("decisions") {
            let decisions = self.decide(&event).await?;
            let batch = batch.document(&key, document.version);
            return self
                .finish(self.decided(batch, event_id, decisions).await?)
                .await;
        }
        if let Some(decided) = document.text("decisions").filter(|_| wanted(LIST)) {
            decisions::list(self, &event, decided).await?;
        }
        self.finish(batch).await
    }

    async fn finish(&self, batch: Batch) -> Result<(), Failure> {
        match self.store.commit(batch).await.map_err(failed)? {
            // Whoever took it over reads the truth.
            Ok(_) | Err(Refused::Fenced(_)) => Ok(()),
            Err(other) => Err(refused(&other)),
        }
    }
}
