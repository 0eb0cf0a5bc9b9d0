//! Canary runs: documents that a message moves on.
//!
//! Owns the documents `canary-run:<id>` and the queue [`QUEUE`], whose subjects are runs. What happens next is decided
//! by the machine of the crate `judge`; here its state, the data it was decided on, the next message and the
//! acknowledgement of the last are one commit. A run that waits is a message with a due time and costs nothing.

mod archive;
mod handle;
mod judgement;
mod reach;
mod record;
mod room;
mod start;
mod status;
#[cfg(test)]
mod tests;
mod trial;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use judge::run::Status;
use proto::message::{OPERATION_FINISHED, OperationFinished};
use proto::status::{Failure, Kind};
use serde_json::Value;
use store::{
    Address, Batch, Crossing, DocumentKey, IndexChange, Mode, Order, Outgoing, Refused, Shared,
};

use crate::failure::failed;
use crate::ids;
use crate::remote::Remote;
use crate::stores::Stores;

pub(crate) use handle::TICK;
use record::list_of;
pub(crate) use record::{Record, Run, Waiter};
pub(crate) use start::{Start, known_judge};

/// The queue of runs that wait.
pub(crate) const QUEUE: &str = "canary-runs";
/// How often what met another commit is decided anew.
const TRIES: usize = 5;

/// The runs. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Runs {
    pub(crate) store: Shared,
    pub(crate) stores: Arc<dyn Stores>,
    /// `RemoteJudge-v1.0`, where there is one.
    pub(crate) remote: Option<Arc<Remote>>,
    /// Where runs that have ended go.
    pub(crate) archive: Option<store::archive::Shared>,
    /// How long one that ended is kept.
    pub(crate) retention: Duration,
}

/// What runs are asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) application: String,
    pub(crate) limit: usize,
    /// From 1.
    pub(crate) page: usize,
    /// Kayenta's states; none: all.
    pub(crate) statuses: Vec<String>,
}

/// Runs of one answer at the most.
const MOST: usize = 100;
/// Runs that are read to find those in a state.
const MOST_READ: usize = 1_000;
/// Bytes of one list, well within a message.
const MOST_ANSWERED: usize = 12 << 20;

fn key(id: &str) -> DocumentKey {
    DocumentKey::new("canary-run", id)
}

fn index(application: &str) -> String {
    format!("canary-runs:{}", application.to_lowercase())
}

fn claim(effect_id: &str) -> String {
    format!("canary-effect:{effect_id}")
}

/// A message to a run, so many ms from now.
fn note(run: &Run, what: &str, delay_ms: i64) -> Outgoing {
    Outgoing {
        to: Address::new(QUEUE, &run.id, &run.application.to_lowercase()),
        fingerprint: what.to_owned(),
        mode: Mode::Push,
        delay_ms: u64::try_from(delay_ms).unwrap_or(0),
        body: Bytes::new(),
    }
}

impl Runs {
    /// A run as Kayenta's status response; none if there is none.
    pub(crate) async fn get(&self, id: &str) -> Result<Option<Value>, Failure> {
        match self.load(id).await? {
            Some(loaded) => self.told(&loaded).await.map(Some),
            None => self.archived_run(id).await,
        }
    }

    /// The pairs of a list: of a run, or of one of its judgements.
    pub(crate) async fn pairs_of_list(&self, list: &str) -> Result<Option<Value>, Failure> {
        let (run, number) = list_of(list);
        match self.load(run).await? {
            Some(loaded) => self.pairs(&loaded, number).await,
            None => self.archived_pairs(run, list).await,
        }
    }

    async fn told(&self, loaded: &record::Loaded) -> Result<Value, Failure> {
        let result = match loaded.record.state.status {
            Status::Succeeded => self.result(loaded).await?,
            _ => None,
        };
        Ok(status::response(&loaded.run, &loaded.record.state, result))
    }

    /// Runs of an application, newest first: of those in a state that is asked for, the ones among the newest
    /// [`MOST_READ`].
    ///
    /// # Errors
    /// When the store cannot be read; `Invalid` if they are too much for one answer.
    pub(crate) async fn list(&self, wanted: &Wanted) -> Result<Vec<Value>, Failure> {
        let shard = self.store.shards().of_application(&wanted.application);
        let index = index(&wanted.application);
        let limit = wanted.limit.clamp(1, MOST);
        let mut skip = wanted.page.max(1).saturating_sub(1).saturating_mul(limit);
        let (mut found, mut after, mut read, mut bytes) = (Vec::new(), None, 0, 0);
        loop {
            let page = self
                .store
                .page(shard, &index, after.as_ref(), Order::Descending, 200)
                .await
                .map_err(failed)?;
            let Some(last) = page.last().cloned() else {
                return Ok(found);
            };
            for entry in page {
                // Without a state to look for, what is skipped need not be read.
                if wanted.statuses.is_empty() && skip > 0 {
                    skip -= 1;
                    continue;
                }
                if read == MOST_READ {
                    return Ok(found);
                }
                read += 1;
                let Some(loaded) = self.load(&entry.member).await? else {
                    continue;
                };
                let state = loaded.record.state.status.as_str();
                if !wanted.statuses.is_empty() && !wanted.statuses.iter().any(|s| s == state) {
                    continue;
                }
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                let told = self.told(&loaded).await?;
                bytes += record::json(&told)?.len();
                if bytes > MOST_ANSWERED {
                    let message = format!(
                        "{limit} runs have more than {MOST_ANSWERED} bytes together: ask for {} or fewer at once",
                        found.len().max(1)
                    );
                    return Err(Failure::field("limit", message));
                }
                found.push(told);
                if found.len() == limit {
                    return Ok(found);
                }
            }
            after = Some(last);
        }
    }

    /// Ends a run; one that has ended stays as it is.
    pub(crate) async fn cancel(&self, id: &str, reason: &str) -> Result<(), Failure> {
        for _ in 0..TRIES {
            let Some(loaded) = self.load(id).await? else {
                return Err(Failure::not_found(format!(
                    "canary run {id} does not exist"
                )));
            };
            let state = &loaded.record.state;
            if state.status.is_complete() {
                return Ok(());
            }
            let now = self.store.now_ms().await.map_err(failed)?;
            let reason = match reason.is_empty() {
                true => "Canary execution was canceled.".to_owned(),
                false => reason.chars().take(500).collect(),
            };
            let event = judge::run::Event::Canceled { reason };
            let (state, _) = state.clone().after(&loaded.run.course, event, now);
            let record = Record {
                state,
                ..loaded.record.clone()
            };
            let stop = Outgoing {
                mode: Mode::Remove,
                ..note(&loaded.run, TICK, 0)
            };
            let batch = Batch::new(loaded.shard, ids::unique())
                .document(&key(id), loaded.version)
                .set(record::STATE, record.to_bytes()?)
                .message(stop)
                .message(self.afterwards(&loaded.run));
            let batch = self.wake(batch, &loaded.run, false)?;
            match self.store.commit(batch).await.map_err(failed)? {
                Ok(_) => return Ok(()),
                // It was judged meanwhile.
                Err(Refused::Conflict { .. }) => {}
                Err(other) => return Err(crate::failure::refused(&other)),
            }
        }
        let message = format!("canary run {id} is being judged; repeat");
        Err(Failure::new(Kind::Conflict, message))
    }

    /// With the message to whoever waits for the end of a run, in the shard of its execution.
    fn wake(&self, batch: Batch, run: &Run, succeeded: bool) -> Result<Batch, Failure> {
        let Some(waiter) = &run.waiter else {
            return Ok(batch);
        };
        let body = record::json(&OperationFinished {
            operation_id: run.id.clone(),
            succeeded,
            execution_id: waiter.execution_id.clone(),
            stage_id: waiter.stage_id.clone(),
            task_id: waiter.task_id.clone(),
        })?;
        Ok(batch.crossing(Crossing {
            shard: self.store.shards().of_id(&waiter.execution_id),
            to: Address::new(OPERATION_FINISHED, &run.id, &waiter.execution_id),
            fingerprint: run.id.clone(),
            delay_ms: 0,
            body,
        }))
    }

    /// The message to a run that has ended.
    fn afterwards(&self, run: &Run) -> Outgoing {
        match self.archive {
            Some(_) => note(run, archive::ARCHIVE, 0),
            None => self.forgetting(run),
        }
    }

    /// The message that ends what is kept of a run.
    fn forgetting(&self, run: &Run) -> Outgoing {
        let retention = i64::try_from(self.retention.as_millis()).unwrap_or(i64::MAX);
        note(run, handle::FORGET, retention)
    }

    /// A batch that removes all of a run.
    fn removed(&self, batch: Batch, loaded: &record::Loaded) -> Batch {
        let batch = batch
            .document(&key(&loaded.run.id), loaded.version)
            .delete()
            .index(IndexChange::Drop {
                index: index(&loaded.run.application),
                member: loaded.run.id.clone(),
            });
        match loaded.run.effect_id.as_str() {
            "" => batch,
            effect => batch.index(IndexChange::Free { key: claim(effect) }),
        }
    }
}
