//! The end of executions that were kept long enough. Of each pipeline some are kept however old
//! they are, so that a pipeline that seldom runs has a history too.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use orchestrator_core::NOBODYS;
use proto::status::{Failure, Kind};
use store::archive::{Catalog, Filter, Position, Segment, SegmentDocument};
use store::{Address, Batch, Delivery, Guard, IndexChange, Order, Refused, Shard, Then};
use tokio::sync::OwnedSemaphorePermit;

use super::mover::millis;
use super::row;
use crate::commit;
use crate::definition::{refused, unavailable};
use crate::engine::Engine;
use crate::ids;

/// The queue whose messages end archived executions, one for each segment.
pub(crate) const EXPIRY: &str = "archive-expiry";
/// Entries of an index read at once.
const PAGE: usize = 250;
/// One that failed is looked at again after this time, ms.
const AGAIN_MS: u64 = 60_000;

/// The object of a segment of which no row counts stays for this time, ms: somebody may have read
/// its document before and read the object now.
pub(crate) const GRACE_MS: u64 = 10_000;

/// Asks for a look at a segment, in place of the look that was asked for before.
pub(crate) fn expire_message(segment: &str, delay_ms: u64) -> store::Outgoing {
    store::Outgoing {
        to: Address::new(EXPIRY, segment, NOBODYS),
        fingerprint: "expire".to_owned(),
        mode: store::Mode::Push,
        delay_ms,
        body: Bytes::new(),
    }
}

/// Where the executions of each pipeline begin that may end; none if none may.
type Bounds = BTreeMap<String, Option<Position>>;

impl Engine {
    /// Ends what was kept long enough in a segment.
    pub(crate) async fn expire(self, delivery: Delivery, place: OwnedSemaphorePermit) {
        let _place = place;
        let _held = self.inner.leases.hold(&delivery);
        if let Err(failure) = self.end_archived(&delivery).await {
            let segment = delivery.lease.address.subject.as_str();
            tracing::warn!(segment, error = %failure, "archived executions cannot be ended now");
            let _ = self.inner.store.release(&delivery.lease, AGAIN_MS).await;
        }
    }

    async fn end_archived(&self, delivery: &Delivery) -> Result<(), Failure> {
        let (shard, name) = (
            delivery.lease.shard,
            delivery.lease.address.subject.as_str(),
        );
        let Some(archive) = self.inner.executions.archive() else {
            let reason = "the archive it is in is not configured any more: set \
                          orchestrator.archive as it was, so that its objects end too";
            return Err(Failure::internal(reason));
        };
        loop {
            let found = archive.document(shard, name).await.map_err(unavailable)?;
            let Some((version, mut document)) = found else {
                return self.settle(delivery).await;
            };
            let batch = Batch::new(shard, ids::commit());
            let batch = if document.ending {
                // After a crash in between it is removed once more.
                archive.objects().delete(name).await.map_err(unavailable)?;
                SegmentDocument::end(batch, name, version)
            } else if document.is_over() {
                // Said first: whoever still moves executions to it must not find it without its
                // object.
                document.ending = true;
                let batch = document.write(batch, name, version);
                batch.message(expire_message(name, 0))
            } else {
                let opened = archive.open(name, document.layout).await;
                let segment = opened.map_err(unavailable)?;
                self.end_rows(archive, shard, &segment, &mut document)
                    .await?;
                let delay = match document.is_over() {
                    true => GRACE_MS,
                    false => self.next_look(&document),
                };
                let batch = document.write(batch, name, version);
                batch.message(expire_message(name, delay))
            };
            let batch = batch.acknowledge(delivery, Then::Release);
            match self.inner.store.commit(batch).await.map_err(unavailable)? {
                Ok(_) | Err(Refused::Fenced(_)) => return Ok(()),
                Err(Refused::Conflict { .. }) => {}
                Err(other) => return Err(refused(&other)),
            }
        }
    }

    /// In how many ms something of a segment may end.
    fn next_look(&self, document: &SegmentDocument) -> u64 {
        let keep = millis(self.inner.config.retention.0);
        let ends = document.summary.ended.saturating_add(keep);
        // What is kept for its pipeline's sake may go when newer ones have come.
        let delay = ends.saturating_sub(self.now()).max(keep / 20).max(1_000);
        u64::try_from(delay).unwrap_or(0)
    }

    async fn end_rows(
        &self,
        archive: &Catalog,
        shard: Shard,
        segment: &Segment,
        document: &mut SegmentDocument,
    ) -> Result<(), Failure> {
        let until = self
            .now()
            .saturating_sub(millis(self.inner.config.retention.0));
        let mut bounds = Bounds::new();
        let counting: Vec<usize> = document.counting().collect();
        for number in counting {
            let Some(found) = segment.row(number) else {
                continue;
            };
            if found.ended > until {
                continue;
            }
            let config = found.text(row::PIPELINE);
            let at = (found.at, found.id.clone());
            if self
                .may_end(Some(archive), shard, config, &at, &mut bounds)
                .await?
            {
                document.set(number, false);
            }
        }
        Ok(())
    }

    /// Whether enough newer executions of its pipeline are there.
    async fn may_end(
        &self,
        archive: Option<&Catalog>,
        shard: Shard,
        config: &str,
        at: &Position,
        bounds: &mut Bounds,
    ) -> Result<bool, Failure> {
        let keep = self.inner.config.keep_per_pipeline;
        if config.is_empty() || keep == 0 {
            return Ok(true);
        }
        if !bounds.contains_key(config) {
            let newest = self.newest_of(archive, shard, config, keep).await?;
            let bound = newest.into_iter().nth(keep - 1);
            bounds.insert(config.to_owned(), bound);
        }
        let bound = bounds.get(config).and_then(Option::as_ref);
        Ok(bound.is_some_and(|bound| at < bound))
    }

    /// The places of a pipeline's newest executions, newest first.
    async fn newest_of(
        &self,
        archive: Option<&Catalog>,
        shard: Shard,
        config: &str,
        most: usize,
    ) -> Result<Vec<Position>, Failure> {
        let index = commit::of_pipeline(config);
        let store = &self.inner.store;
        let live = store.page(shard, &index, None, Order::Descending, most.min(PAGE));
        let live = live.await.map_err(unavailable)?;
        let mut all: BTreeSet<Position> = live.into_iter().map(|e| (e.score, e.member)).collect();
        if let Some(archive) = archive {
            let filter = Filter::default().any(row::PIPELINE, &[config.to_owned()]);
            let mut walk = archive.walk([shard], filter, None);
            for _ in 0..most {
                match walk.next().await.map_err(unavailable)? {
                    Some(located) => all.insert(located.position()),
                    None => break,
                };
            }
        }
        Ok(all.into_iter().rev().take(most).collect())
    }

    /// Where nothing is moved: ends what was kept long enough in the store. Answers in how many
    /// ms to look again, none if nothing is left.
    pub(super) async fn end_old(&self, shard: Shard) -> Result<Option<u64>, Failure> {
        let keep = millis(self.inner.config.retention.0);
        let mut bounds = Bounds::new();
        let mut last = None;
        let mut next: Option<i64> = None;
        loop {
            let (store, order) = (&self.inner.store, Order::Ascending);
            let page = store.page(shard, commit::DONE, last.as_ref(), order, PAGE);
            let page = page.await.map_err(unavailable)?;
            let until = self.now().saturating_sub(keep);
            let due = page.partition_point(|entry| entry.score <= until);
            for entry in &page[..due] {
                if !self.end_live(shard, &entry.member, &mut bounds).await? {
                    // It may go when newer ones of its pipeline have come.
                    next = Some(keep / 20);
                }
            }
            if let Some(later) = page.get(due) {
                let due = later.score.saturating_sub(until);
                next = Some(next.map_or(due, |next| next.min(due)));
                break;
            }
            if page.len() < PAGE {
                break;
            }
            last = page.last().cloned();
        }
        let pause = next.map(|due| due.max(keep / 100).max(1_000));
        Ok(pause.map(|pause| u64::try_from(pause).unwrap_or(0)))
    }

    /// Ends one in the store; false if it is kept.
    async fn end_live(&self, shard: Shard, id: &str, bounds: &mut Bounds) -> Result<bool, Failure> {
        let executions = &self.inner.executions;
        let Some(loaded) = executions.load(id).await? else {
            self.forget(shard, id).await?;
            return Ok(true);
        };
        let Some(execution) = loaded.execution() else {
            return Ok(true);
        };
        let config = execution.pipeline_config_id.as_ref();
        let config = config.map_or("", |config| config.as_str());
        let at = (execution.build_time, id.to_owned());
        let archive = executions.archive();
        if !self.may_end(archive, shard, config, &at, bounds).await? {
            return Ok(false);
        }
        match executions.delete(id).await {
            Err(failure) if !matches!(failure.kind, Kind::NotFound | Kind::Conflict) => {
                Err(failure)
            }
            // It is gone, or it runs again.
            _ => Ok(true),
        }
    }

    /// Takes what is not in the store off the list of those that ended there.
    async fn forget(&self, shard: Shard, id: &str) -> Result<(), Failure> {
        let batch = Batch::new(shard, ids::commit())
            .index(IndexChange::Drop {
                index: commit::DONE.to_owned(),
                member: id.to_owned(),
            })
            .guard(Guard::Version {
                key: commit::execution_key(id),
                expected: 0,
            });
        // Refused only if it was put back meanwhile.
        let _ = self.inner.store.commit(batch).await.map_err(unavailable)?;
        Ok(())
    }
}
