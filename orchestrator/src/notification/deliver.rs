//! The worker: loads the execution, renders, sends, and commits what came of it.
//!
//! | sent | → |
//! |---|---|
//! | delivered | acknowledged |
//! | failed, may work later | the same notification again after a pause, with the acknowledgement |
//! | failed for good, or for a day | an entry in `systemNotifications`, with the acknowledgement |
//!
//! A worker that dies between sending and acknowledging is taken over after its
//! lease: the notification is sent again under the same id, and never under another.

use std::time::Duration;

use orchestrator_core::{Effects, Execution, Outcome, context, note};
use proto::status::Failure;
use runtime::retry::Backoff;
use serde_json::Value;
use store::{Batch, Delivery, Then};
use tokio::sync::OwnedSemaphorePermit;

use super::plan::Planned;
use super::sender::{self, SendError, Sending};
use super::{address, render};
use crate::definition::{refused, unavailable};
use crate::engine::{Engine, Extra, TRIES, Tried};
use crate::ids;
use crate::stage::Catalog;
use crate::turn::{Loaded, Step};

/// No pause between two tries is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// What an entry in `systemNotifications` is filed under.
const GROUP: &str = "notification";

/// How often the expressions of a notification may ask for something more.
const ROUNDS: usize = 4;

impl Engine {
    /// Sends one planned notification.
    pub(crate) async fn notify(self, delivery: Delivery, place: OwnedSemaphorePermit) {
        let _place = place;
        let _held = self.inner.leases.hold(&delivery);
        if let Err(failure) = self.deliver(&delivery).await {
            let notification = delivery.lease.address.subject.as_str();
            tracing::warn!(notification, error = %failure, "a notification cannot be sent now");
            let _ = self.inner.store.release(&delivery.lease, 1_000).await;
        }
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), Failure> {
        let Some(message) = delivery.messages.first() else {
            return Ok(());
        };
        let planned: Planned = match serde_json::from_slice(&message.body) {
            Ok(planned) => planned,
            Err(error) => {
                tracing::error!(%error, "a notification cannot be read");
                return self.settle(delivery).await;
            }
        };
        let Some(loaded) = self.inner.executions.find(&planned.execution_id).await? else {
            return self.settle(delivery).await;
        };
        let Some(execution) = loaded.execution() else {
            return self.settle(delivery).await;
        };
        let sent = if message.gives_up().is_some() {
            Err(SendError::never(
                "its worker fell silent each time it was sent",
            ))
        } else {
            self.send(&planned, execution).await
        };
        let Err(error) = sent else {
            tracing::info!(notification = planned.id, "notified");
            return self.settle(delivery).await;
        };
        let config = &self.inner.config.notifications;
        let failures = planned.failures.saturating_add(1);
        let backoff = Backoff {
            initial: config.first_pause.0,
            factor: 2.0,
            cap: LONGEST_PAUSE,
            jitter: 0.2,
        };
        let pause = millis(backoff.pause(failures, rand::random()));
        let over = planned.at.saturating_add(millis(config.give_up_after.0));
        if error.permanent || self.now().saturating_add(pause) > over {
            tracing::warn!(notification = planned.id, %error, failures, "a notification is given up");
            return self.give_up(delivery, loaded, &planned, &error).await;
        }
        tracing::debug!(notification = planned.id, %error, failures, "a notification is tried again");
        let again = Planned {
            failures,
            last_error: Some(error.message),
            ..planned
        };
        let application = &delivery.lease.address.group;
        let delay = u64::try_from(pause).unwrap_or(0);
        let batch = Batch::new(delivery.lease.shard, ids::commit())
            .message(again.message(application, delay))
            .acknowledge(delivery, Then::Release);
        // Refused only if somebody took it over, and then they go on.
        let _ = self.inner.store.commit(batch).await.map_err(unavailable)?;
        Ok(())
    }

    /// Renders and sends, in a task of its own so that a panic ends this try and no more.
    async fn send(&self, planned: &Planned, execution: &Execution) -> Result<(), SendError> {
        let (engine, planned, execution) = (self.clone(), planned.clone(), execution.clone());
        let limit = engine.inner.config.notifications.timeout.0;
        let work = tokio::spawn(async move {
            let config = &engine.inner.config;
            let notification = engine.evaluated(&planned, &execution).await;
            let kind = address::text(&notification, "type").unwrap_or_default();
            let Some(sender) = sender::find(kind) else {
                let known = sender::known_types();
                let text = format!("\"{kind}\" is no notification type; use {known}");
                return Err(SendError::never(text));
            };
            let message = render::render(&planned, &notification, &execution, &config.page_url);
            let sending = Sending {
                id: &planned.id,
                notification: &notification,
                message: &message,
                execution: &execution,
                config: &config.notifications,
                http: engine.inner.services.http(),
            };
            let text = || SendError::later(format!("no answer within {} s", limit.as_secs()));
            tokio::time::timeout(limit, sender.send(&sending))
                .await
                .unwrap_or_else(|_| Err(text()))
        });
        work.await.unwrap_or_else(|_| {
            Err(SendError::later(
                "the sender panicked; this is a fault of ours",
            ))
        })
    }

    /// A notification with its expressions evaluated; what cannot be stays as written
    /// (`orca: EchoNotifyingExecutionListener`).
    async fn evaluated(&self, planned: &Planned, execution: &Execution) -> Value {
        let stage = planned
            .stage_id
            .as_deref()
            .and_then(|id| execution.stages.iter().find(|s| s.id.as_str() == id));
        let shard = self
            .inner
            .store
            .shards()
            .of_application(&execution.application);
        let (now, mut answers) = (self.now(), orchestrator_core::Answers::new());
        for _ in 0..ROUNDS {
            let found = {
                let env = orchestrator_core::Env {
                    now,
                    ids: &mut self.ids(shard),
                    answers: &answers,
                    stages: &Catalog,
                    settings: &self.inner.settings,
                };
                context::evaluate(execution, stage, &planned.notification, &env)
            };
            match found {
                Ok(evaluated) => return evaluated.value,
                Err(lookups) => answers.extend(self.look_up(lookups, execution.user()).await),
            }
        }
        planned.notification.clone()
    }

    async fn give_up(
        &self,
        delivery: &Delivery,
        mut loaded: Loaded,
        planned: &Planned,
        error: &SendError,
    ) -> Result<(), Failure> {
        let kind = address::text(&planned.notification, "type").unwrap_or("notification");
        let message = format!(
            "The {kind} notification of {} was given up after {} tries: {}",
            planned.when,
            planned.failures.saturating_add(1),
            error.message
        );
        for _ in 0..TRIES {
            let Some(effects) = noted(&loaded, &message, self.now()) else {
                return self.settle(delivery).await;
            };
            let steps = [Step::Decided(effects)];
            let extra = Extra {
                acknowledge: Some((delivery, Then::Release)),
                ..Extra::default()
            };
            match self
                .advance(&loaded, delivery.lease.shard, &steps, extra)
                .await?
            {
                Tried::Committed(..) | Tried::Fenced => return Ok(()),
                Tried::Conflict => {}
                Tried::Refused(other) => return Err(refused(&other)),
            }
            let (executions, id) = (&self.inner.executions, &planned.execution_id);
            loaded = match executions.load(id).await? {
                Some(loaded) => loaded,
                // What is noted of an archived one is noted in the store.
                None if executions.put_back(id, self.inner.config.stay_ms()).await? => continue,
                None => return self.settle(delivery).await,
            };
        }
        Err(Failure::internal(
            "the execution was changed by others every time",
        ))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn noted(loaded: &Loaded, message: &str, now: i64) -> Option<Effects> {
    match note(loaded.execution()?, GROUP, message, now) {
        Outcome::Done(effects) => Some(*effects),
        Outcome::Needs(_) | Outcome::Ignored(_) => None,
    }
}
