//! What a message to a run does. The judgement is made before anything is written; then state, result, pairs, next
//! message and acknowledgement are one commit. A crash before it has done nothing but ask metric stores.

use judge::CanaryConfig;
use judge::run::{Effect, Event, Judged, Look};
use proto::status::{Failure, Kind};
use serde_json::json;
use store::{Batch, Delivery, Message, Refused, Then};

use super::archive::ARCHIVE;
use super::judgement::{Judgement, Matter, Trouble};
use super::record::{self, Loaded, MOST_BYTES, Record};
use super::{Runs, key, note};
use crate::failure::{failed, refused};
use crate::ids;
use crate::source::{Class, Retry};

/// Message: a judgement may be due.
pub(crate) const TICK: &str = "tick";
/// Message: it ended long enough ago.
pub(super) const FORGET: &str = "forget";

impl Runs {
    /// Handles what waits for one run.
    ///
    /// # Errors
    /// When it has to be tried again.
    pub(crate) async fn handle(&self, delivery: &Delivery) -> Result<(), Failure> {
        let id = delivery.lease.address.subject.as_str();
        let shard = delivery.lease.shard;
        let batch = Batch::new(shard, ids::unique()).acknowledge(delivery, Then::Release);
        let loaded = match self.load(id).await {
            Ok(Some(loaded)) => loaded,
            Ok(None) => return self.finish(batch).await,
            // Nobody can do anything with it; what was said stays in the log.
            Err(failure) if failure.kind == Kind::Internal => {
                tracing::error!(
                    canary.id = id,
                    reason = failure.message,
                    "canary run is damaged"
                );
                return self.finish(batch).await;
            }
            Err(failure) => return Err(failure),
        };
        let asks = |what: &str| {
            let mut all = delivery.messages.iter().map(|m| m.fingerprint.as_str());
            all.any(|fingerprint| fingerprint.trim_start_matches(Message::DEAD) == what)
        };
        if asks(FORGET) {
            let batch = self.removed(batch, &loaded);
            return self.finish(batch).await;
        }
        if asks(ARCHIVE) {
            return self.archived(batch, &loaded).await;
        }
        let now = self.store.now_ms().await.map_err(failed)?;
        let course = &loaded.run.course;
        let (_, effect) = loaded.record.state.clone().after(course, Event::Tick, now);
        match effect {
            Effect::End => self.finish(batch).await,
            Effect::Wait { until_ms } => {
                let next = note(&loaded.run, TICK, until_ms.saturating_sub(now));
                self.finish(batch.message(next)).await
            }
            Effect::Judge(look) => self.judged(batch, loaded, look).await,
        }
    }

    async fn judged(&self, batch: Batch, loaded: Loaded, look: Look) -> Result<(), Failure> {
        let judged = match self.matter(&loaded) {
            Ok(matter) => matter.judge(&loaded.run.id, &look).await,
            Err(failure) => Err(Trouble {
                class: Class::Invalid,
                message: failure.message,
            }),
        };
        let now = self.store.now_ms().await.map_err(failed)?;
        let run = &loaded.run;
        let mut record = loaded.record.clone();
        let mut batch = batch.document(&key(&run.id), loaded.version);
        let event = match judged {
            Ok(judgement) => {
                let ends = |judged: &Judged| {
                    let event = Event::Judged(judged.clone());
                    let (state, _) = record.state.clone().after(&run.course, event, now);
                    state.status.is_complete()
                };
                let mut judged = told(&look, &judgement, now);
                // Of looks within an interval only the last is kept with what it was made on.
                if look.is_interval || ends(&judged) {
                    batch = self
                        .keep(batch, &run.id, &mut record, (&mut judged, judgement))
                        .await?;
                }
                Event::Judged(judged)
            }
            Err(trouble) => Event::Failed {
                number: look.number,
                again_ms: Retry::default()
                    .again(record.state.attempts + 1, trouble.class)
                    .map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)),
                message: trouble.message,
            },
        };
        if let Event::Failed {
            message, again_ms, ..
        } = &event
        {
            tracing::warn!(
                canary.id = run.id,
                reason = message,
                again = again_ms.is_some(),
                "canary not judged"
            );
        }
        let (state, effect) = record.state.after(&run.course, event, now);
        let ended = state.status.is_complete();
        record.state = state;
        batch = batch.set(record::STATE, record.to_bytes()?);
        batch = batch.message(match effect {
            Effect::End => self.afterwards(run),
            Effect::Wait { until_ms } => note(run, TICK, until_ms.saturating_sub(now)),
            Effect::Judge(_) => note(run, TICK, 0),
        });
        self.finish(batch).await?;
        if ended {
            let state = record.state.status.as_str();
            tracing::info!(
                canary.id = run.id,
                application = run.application,
                state,
                "canary run ended"
            );
        }
        Ok(())
    }

    fn matter(&self, loaded: &Loaded) -> Result<Matter, Failure> {
        let run = &loaded.run;
        let planned = run.course.pace.look(1).experiment.is_some();
        let config: &CanaryConfig = &run.config;
        Matter::new(self, config, &run.request, &run.metrics_account, planned)
    }

    /// Keeps result and pairs with the run, as far as there is room.
    async fn keep(
        &self,
        batch: Batch,
        id: &str,
        record: &mut Record,
        (judged, judgement): (&mut Judged, Judgement),
    ) -> Result<Batch, Failure> {
        let result = record::json(&json!(judgement.result))?;
        let size = judgement.pairs.len();
        let room = MOST_BYTES.saturating_sub(record.kept_bytes + result.len());
        let most = room.min(store::blob::MAX_BLOB);
        let pairs = if size <= most {
            record.kept_bytes += size;
            judged.kept = true;
            Some(judgement.pairs)
        } else {
            judged.warnings.push(format!(
                "the metric set pairs have {size} bytes, more than the {most} that are left for this run: they were \
                 judged and are not kept; give a longer step or fewer metrics"
            ));
            None
        };
        record.kept_bytes += result.len();
        self.put_judgement(batch, id, judged.number, (result, pairs))
            .await
    }

    pub(super) async fn finish(&self, batch: Batch) -> Result<(), Failure> {
        match self.store.commit(batch).await.map_err(failed)? {
            // Whoever took it over reads the truth.
            Ok(_) | Err(Refused::Fenced(_)) => Ok(()),
            Err(other) => Err(refused(&other)),
        }
    }
}

fn told(look: &Look, judgement: &Judgement, at_ms: i64) -> Judged {
    let result = &judgement.result;
    Judged {
        number: look.number,
        window: look.experiment,
        control: look.control,
        score: result.score.score,
        classification: result.score.classification.clone(),
        decision: result.decision,
        digest: judgement.digest.clone(),
        at_ms,
        warnings: result.warnings.clone(),
        kept: false,
    }
}
