//! What a message to a run does. The judgement is made before anything is written; then state, result, pairs, next
//! message and acknowledgement are one commit. A crash before it has done nothing but ask metric stores.

use std::collections::BTreeSet;

use judge::CanaryConfig;
use judge::run::{Effect, Event, Judged, Look, State, Status};
use proto::status::{Failure, Kind};
use serde_json::json;
use store::blob::{MAX_BLOB, THRESHOLD};
use store::{Batch, Delivery, Message, Refused, Then};

use super::archive::ARCHIVE;
use super::judgement::{Judgement, Matter, Trouble};
use super::record::{self, Loaded, MOST_BYTES, Record};
use super::{Run, Runs, key, note};
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
        let settled = self.settled(batch.clone(), &loaded, &look, judged).await;
        match settled {
            // The store takes nothing as large as this: asked again the run would never end.
            Err(failure) if failure.kind == Kind::Invalid => {
                let message = format!(
                    "what the judgement comes to cannot be kept: {}; judge fewer metrics",
                    failure.message
                );
                let class = Class::Invalid;
                let trouble = Err(Trouble { class, message });
                self.settled(batch, &loaded, &look, trouble).await
            }
            settled => settled,
        }
    }

    /// Writes what became of a judgement.
    ///
    /// # Errors
    /// `Invalid` when it is too large for the store; else it has to be tried again.
    async fn settled(
        &self,
        batch: Batch,
        loaded: &Loaded,
        look: &Look,
        judged: Result<Judgement, Trouble>,
    ) -> Result<(), Failure> {
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
                let mut judged = told(look, &judgement, now);
                let ends = ends(&judged);
                // Of looks within an interval only the last is kept with what it was made on.
                if look.is_interval || ends {
                    let made = (&mut judged, judgement, ends);
                    batch = self.keep(batch, run, &mut record, made).await?;
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
        for number in dropped(&loaded.record.state, &record.state) {
            batch = batch.unset(&record::pairs_of(number));
        }
        batch = batch.set(record::STATE, record.to_bytes()?);
        batch = batch.message(match effect {
            Effect::End => self.afterwards(run),
            Effect::Wait { until_ms } => note(run, TICK, until_ms.saturating_sub(now)),
            Effect::Judge(_) => note(run, TICK, 0),
        });
        if ended {
            let succeeded = record.state.status == Status::Succeeded;
            batch = self.wake(batch, run, succeeded)?;
        }
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

    /// Keeps the pairs with the run, as far as there is room, and the result of a judgement that ends it.
    async fn keep(
        &self,
        mut batch: Batch,
        run: &Run,
        record: &mut Record,
        (judged, judgement, ends): (&mut Judged, Judgement, bool),
    ) -> Result<Batch, Failure> {
        if ends {
            let result = record::json(&json!(judgement.result))?;
            batch = self.put(batch, &run.id, record::RESULT, result).await?;
        }
        let Some(pairs) = judgement.pairs else {
            return Ok(batch);
        };
        let size = pairs.len();
        if size > MAX_BLOB {
            judged.warnings.push(format!(
                "the metric set pairs have {size} bytes, more than the {MAX_BLOB} of a list that can be kept: they \
                 were judged and are not kept; give a longer step or fewer metrics"
            ));
            return Ok(batch);
        }
        // The judgement that decides has room, whatever the others took.
        let others = MOST_BYTES - MAX_BLOB;
        if !ends && record.kept_bytes + size > others {
            judged.warnings.push(format!(
                "the metric set pairs were judged and are not kept: those of the run have had {others} bytes, and \
                 what is left is for the last judgement's"
            ));
            return Ok(batch);
        }
        let grows = run.course.pace.grows();
        if grows {
            // The new ones have the earlier ones in them.
            for earlier in &mut record.state.intervals {
                earlier.kept = false;
            }
        }
        // A part that is replaced takes no room, what was put aside does until the run is forgotten.
        if !grows || size > THRESHOLD {
            record.kept_bytes += size;
        }
        judged.kept = true;
        let name = record::pairs_of(judged.number);
        self.put(batch, &run.id, &name, pairs).await
    }

    pub(super) async fn finish(&self, batch: Batch) -> Result<(), Failure> {
        match self.store.commit(batch).await.map_err(failed)? {
            // Whoever took it over reads the truth.
            Ok(_) | Err(Refused::Fenced(_)) => Ok(()),
            Err(other) => Err(refused(&other)),
        }
    }
}

/// The judgements whose pairs were kept and are not any more.
fn dropped(before: &State, after: &State) -> Vec<u64> {
    let kept = |state: &State| -> BTreeSet<u64> {
        let kept = state.intervals.iter().filter(|judged| judged.kept);
        kept.map(|judged| judged.number).collect()
    };
    let (before, after) = (kept(before), kept(after));
    before.difference(&after).copied().collect()
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
