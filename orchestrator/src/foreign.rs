//! What this version does not know and another one may: left to that one, longer each time, while one of its
//! processes is alive.

use orchestrator_core::{StageCatalog, foreign_type};
use proto::status::Failure;
use store::{Batch, Delivery, Mode, Outgoing, Then};

use crate::consumers::message_kind;
use crate::definition::{refused, unavailable};
use crate::engine::Engine;
use crate::turn::{Loaded, Step};
use crate::worker::read;

/// A mailbox after what is another version's was put off.
pub(crate) enum Sifted {
    /// All of it is ours to handle.
    Ours,
    /// Some was put off; the rest, if there is any.
    PutOff(Option<Delivery>),
    /// Somebody else has the mailbox.
    Fenced,
}

impl Engine {
    /// Puts off the messages of a mailbox that only a living process of another version can handle. The others
    /// do not wait for them.
    pub(crate) async fn sift(
        &self,
        delivery: &Delivery,
        loaded: &Loaded,
    ) -> Result<Sifted, Failure> {
        let mut batch: Option<Batch> = None;
        let lease = &delivery.lease;
        for message in &delivery.messages {
            let Some(what) = foreign(message, loaded, self.inner.ground.stages) else {
                continue;
            };
            if !self.is_anothers(&what).await? {
                continue;
            }
            let subject = &lease.address.subject;
            let print = &message.fingerprint;
            let delay_ms = self.inner.consumers.pause_ms(&format!("{subject} {print}"));
            tracing::info!(subject, what, delay_ms, "left to another version");
            let open = batch.take().unwrap_or_else(|| {
                let then = Then::Continue(self.inner.config.lease_ms());
                Batch::new(lease.shard, self.inner.ground.fresh_id()).fenced_by(lease, then)
            });
            batch = Some(open.message(Outgoing {
                to: lease.address.clone(),
                fingerprint: print.clone(),
                mode: Mode::Reschedule,
                delay_ms,
                body: message.body.clone(),
            }));
        }
        let Some(batch) = batch else {
            return Ok(Sifted::Ours);
        };
        match self.inner.store.commit(batch).await.map_err(unavailable)? {
            Ok(committed) => Ok(Sifted::PutOff(committed.next.into_iter().next())),
            Err(store::Refused::Fenced(_)) => Ok(Sifted::Fenced),
            Err(other) => Err(refused(&other)),
        }
    }

    /// Hands a delivery back that only a living process of another version can handle; whether it did.
    pub(crate) async fn leave(&self, delivery: &Delivery, what: &str) -> Result<bool, Failure> {
        let is_notice = delivery.messages.iter().any(|m| m.gives_up().is_some());
        if is_notice || !self.is_anothers(what).await? {
            return Ok(false);
        }
        let subject = &delivery.lease.address.subject;
        let delay_ms = self.inner.consumers.pause_ms(subject);
        tracing::info!(subject, what, delay_ms, "left to another version");
        let released = self.inner.store.release(&delivery.lease, delay_ms).await;
        released.map(|_| true).map_err(unavailable)
    }

    async fn is_anothers(&self, what: &str) -> Result<bool, Failure> {
        let found = self.inner.consumers.another_knows(what).await;
        found.map_err(unavailable)
    }
}

/// What of a message this version does not know. A notice that one was given up is for everybody.
fn foreign(message: &store::Message, loaded: &Loaded, stages: &dyn StageCatalog) -> Option<String> {
    if message.gives_up().is_some() {
        return None;
    }
    match read(message) {
        Ok(Step::Message(read)) => foreign_type(&read, loaded.execution()?, stages),
        Ok(Step::Finished(..) | Step::Decided(_)) => None,
        Err(_) => {
            let kind = message.fingerprint.split('/').next();
            kind.map(message_kind)
        }
    }
}
