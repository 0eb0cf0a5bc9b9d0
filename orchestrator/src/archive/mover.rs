//! Moving finished executions: one message a shard asks for it, some time after one ended.
//!
//! A segment's document comes first, with no row that counts, so that nothing of what follows is
//! forgotten; then its object; then commits that each take executions out of the store and let
//! their rows count. After a crash at any point the next look takes up those that are still there.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::future::try_join_all;
use orchestrator_core::NOBODYS;
use proto::status::{Failure, Kind};
use store::archive::{
    Catalog, MOST_BYTES, MOST_ROWS, Row, SegmentDocument, Summary, document_key, segment_name,
    write,
};
use store::{
    Address, Batch, Delivery, DocumentKey, Guard, IndexChange, IndexEntry, Order, Refused, Shard,
    Then, Version,
};
use tokio::sync::OwnedSemaphorePermit;

use super::content::Content;
use super::{expire_message, row};
use crate::commit;
use crate::definition::{refused, unavailable};
use crate::engine::Engine;
use crate::executions::{assembled, only};
use crate::ids;

/// Executions that one commit takes out: each is five index entries and two documents.
const OUT: usize = 60;
/// Executions read at the same time while nothing is known of their size, and at the most.
const READ: (usize, usize) = (4, 32);
/// Shards looked at at the same time. Most of a look is waiting for the store: with one, as many executions
/// as a process can run would end faster than they leave.
pub(crate) const AT_ONCE: usize = 4;
/// How often somebody else may be faster.
const TRIES: usize = 20;
/// A look that failed is taken again after this time, ms.
const AGAIN_MS: u64 = 60_000;
/// A segment of which no row counts after this time, ms, was left by a process that died.
const UNFINISHED_MS: u64 = 3_600_000;

/// An execution on its way out of the store.
struct Leaving {
    version: Version,
    log_version: Version,
    indexes: Vec<String>,
    row: Row,
    content: Bytes,
}

impl Leaving {
    fn is(&self, key: &DocumentKey) -> bool {
        *key == commit::execution_key(&self.row.id) || *key == commit::log_key(&self.row.id)
    }
}

impl Engine {
    /// Looks at the finished executions of a shard.
    pub(crate) async fn put_away(self, delivery: Delivery, place: OwnedSemaphorePermit) {
        let _place = place;
        let _held = self.inner.leases.hold(&delivery);
        if let Err(failure) = self.look(&delivery).await {
            tracing::warn!(error = %failure, "finished executions cannot be put away now");
            let _ = self.inner.store.release(&delivery.lease, AGAIN_MS).await;
        }
    }

    async fn look(&self, delivery: &Delivery) -> Result<(), Failure> {
        let shard = delivery.lease.shard;
        for round in 0..TRIES {
            let again = match self.inner.executions.archive() {
                Some(archive) if self.inner.config.archive.moves() => {
                    self.move_out(archive, shard).await?
                }
                _ => self.end_old(shard).await?,
            };
            let events = self.forget_events(shard).await?;
            let again = again.into_iter().chain(events).min();
            let again = again.or_else(|| (round + 1 == TRIES).then_some(AGAIN_MS));
            let mut batch = Batch::new(shard, ids::commit()).acknowledge(delivery, Then::Release);
            batch = match again {
                Some(delay_ms) => batch.message(rest(delay_ms)),
                // One that ended meanwhile found this message waiting: then look again.
                None => batch.guard(Guard::FewerThan {
                    index: commit::DONE.to_owned(),
                    limit: 1,
                }),
            };
            match self.inner.store.commit(batch).await.map_err(unavailable)? {
                Err(Refused::Guard(_)) => {}
                Ok(_) | Err(Refused::Fenced(_)) => return Ok(()),
                Err(other) => return Err(refused(&other)),
            }
        }
        Ok(())
    }

    /// Moves what is due; answers in how many ms to look again, none if nothing is left.
    async fn move_out(&self, archive: &Catalog, shard: Shard) -> Result<Option<u64>, Failure> {
        let (store, config) = (&self.inner.store, &self.inner.config.archive);
        let (after, within) = (millis(config.after.0), millis(config.within.0));
        let order = Order::Ascending;
        let mut last: Option<IndexEntry> = None;
        loop {
            let page = store.page(shard, commit::DONE, last.as_ref(), order, MOST_ROWS);
            let mut due = page.await.map_err(unavailable)?;
            let now = self.now();
            due.retain(|entry| entry.score <= now.saturating_sub(after));
            let is_full = due.len() == MOST_ROWS;
            let Some(first) = due.first() else { break };
            if !is_full && first.score > now.saturating_sub(within.max(after)) {
                break;
            }
            // One that cannot be moved now is passed over until the next look.
            last = due.last().cloned();
            self.move_these(archive, shard, &due).await?;
            if !is_full {
                break;
            }
        }
        let left = store.page(shard, commit::DONE, None, order, 1).await;
        let left = left.map_err(unavailable)?.into_iter().next();
        Ok(left.map(|first| {
            let due = first
                .score
                .saturating_add(within)
                .saturating_sub(self.now());
            u64::try_from(due.max(after).max(1_000)).unwrap_or(0)
        }))
    }

    async fn move_these(
        &self,
        archive: &Catalog,
        shard: Shard,
        due: &[IndexEntry],
    ) -> Result<(), Failure> {
        let (mut open, mut bytes) = (Vec::new(), 0);
        let (mut rest, mut width) = (due, READ.0);
        while !rest.is_empty() {
            let (now, later) = rest.split_at(width.min(rest.len()));
            rest = later;
            let read = now.iter().map(|entry| {
                // In a task of its own each: on a busy machine, what is done in one takes one share of it.
                let read = self.clone().leaving(shard, entry.member.clone());
                let read = tokio::spawn(read);
                async { read.await.map_err(|e| Failure::internal(e.to_string()))? }
            });
            let mut largest = 1;
            for leaving in try_join_all(read).await?.into_iter().flatten() {
                largest = largest.max(leaving.content.len());
                bytes += leaving.content.len();
                open.push(leaving);
                if bytes >= MOST_BYTES {
                    self.close(archive, shard, std::mem::take(&mut open))
                        .await?;
                    bytes = 0;
                }
            }
            width = (MOST_BYTES / largest).clamp(READ.0, READ.1);
        }
        if open.is_empty() {
            return Ok(());
        }
        self.close(archive, shard, open).await
    }

    /// A finished execution as it leaves; none for one that cannot.
    async fn leaving(self, shard: Shard, id: String) -> Result<Option<Leaving>, Failure> {
        match self.read_leaving(shard, &id).await {
            Err(failure) if failure.kind != Kind::Unavailable => {
                tracing::error!(execution.id = id, error = %failure, "an execution cannot be archived");
                Ok(None)
            }
            read => read,
        }
    }

    async fn read_leaving(&self, shard: Shard, id: &str) -> Result<Option<Leaving>, Failure> {
        let executions = &self.inner.executions;
        // Beside one another, for under load each waits its turn in the store. Both versions guard what is taken out.
        let (parts, log) = futures_util::try_join!(executions.parts(id), executions.log_parts(id))?;
        let (Some((version, parts)), (log_version, log)) = (parts, log) else {
            return Ok(None);
        };
        let execution = assembled(id, version, &parts)?.and_then(only);
        let Some(execution) = execution.filter(|e| e.status.is_complete()) else {
            return Ok(None);
        };
        if self.inner.store.shards().of_id(id) != shard {
            return Ok(None);
        }
        let content = Content {
            id: id.to_owned(),
            version,
            parts,
            log,
        };
        let content = content.encode().map_err(Failure::internal)?;
        Ok(Some(Leaving {
            version,
            log_version,
            indexes: commit::listings(&execution),
            row: row::of(&execution),
            content,
        }))
    }

    /// Makes a segment of these executions and takes them out of the store.
    async fn close(
        &self,
        archive: &Catalog,
        shard: Shard,
        leaving: Vec<Leaving>,
    ) -> Result<(), Failure> {
        let entries: Vec<(Row, Bytes)> = leaving
            .iter()
            .map(|l| (l.row.clone(), l.content.clone()))
            .collect();
        let work = tokio::task::spawn_blocking(move || {
            let written = write(&entries)?;
            Ok((written, Summary::of(entries.iter().map(|(row, _)| row))))
        });
        let written = work.await.map_err(|e| Failure::internal(e.to_string()))?;
        let ((object, layout), summary) = written.map_err(unavailable)?;
        let name = segment_name(shard, summary.newest, &ids::commit());
        let document = SegmentDocument::new(layout, summary);
        self.announce(shard, &name, &document).await?;
        let kept = archive.objects().put(&name, object).await;
        kept.map_err(unavailable)?;
        let mut moved = 0;
        for (number, chunk) in leaving.chunks(OUT).enumerate() {
            let first = number * OUT;
            moved += self.take_out(archive, shard, &name, chunk, first).await?;
        }
        tracing::info!(
            segment = name,
            executions = moved,
            "executions were archived"
        );
        Ok(())
    }

    /// Makes the segment's document, and sees to it that it ends if nothing follows.
    async fn announce(
        &self,
        shard: Shard,
        name: &str,
        document: &SegmentDocument,
    ) -> Result<(), Failure> {
        let batch = document.write(Batch::new(shard, ids::commit()), name, 0);
        let batch = batch.message(expire_message(name, UNFINISHED_MS));
        let made = self.inner.store.commit(batch).await.map_err(unavailable)?;
        made.map(|_| ()).map_err(|other| refused(&other))
    }

    /// One commit: these executions leave the store and their rows count. One that was changed
    /// meanwhile stays. Answers how many left.
    async fn take_out(
        &self,
        archive: &Catalog,
        shard: Shard,
        name: &str,
        leaving: &[Leaving],
        first: usize,
    ) -> Result<usize, Failure> {
        let mut stays: BTreeSet<&str> = BTreeSet::new();
        for _ in 0..TRIES + leaving.len() {
            let found = archive.document(shard, name).await.map_err(unavailable)?;
            let found = found.filter(|(_, document)| !document.ending);
            let Some((version, mut document)) = found else {
                return Err(Failure::internal(format!("segment {name} went meanwhile")));
            };
            let goes = |l: &&(usize, &Leaving)| !stays.contains(l.1.row.id.as_str());
            let going: Vec<(usize, &Leaving)> = leaving.iter().enumerate().collect();
            let going: Vec<&(usize, &Leaving)> = going.iter().filter(goes).collect();
            if going.is_empty() {
                return Ok(0);
            }
            for (number, _) in &going {
                document.set(first + number, true);
            }
            let ends = document.summary.ended;
            let ends = ends.saturating_add(millis(self.inner.config.retention.0));
            let delay = u64::try_from(ends.saturating_sub(self.now())).unwrap_or(0);
            let mut batch = document.write(Batch::new(shard, ids::commit()), name, version);
            batch = batch.message(expire_message(name, delay));
            for (_, leaving) in &going {
                batch = without(batch, leaving);
            }
            match self.inner.store.commit(batch).await.map_err(unavailable)? {
                Ok(_) => return Ok(going.len()),
                Err(Refused::Conflict { key, .. }) if key == document_key(name) => {}
                Err(Refused::Conflict { key, .. }) => {
                    let changed = leaving.iter().filter(|l| l.is(&key));
                    stays.extend(changed.map(|l| l.row.id.as_str()));
                }
                Err(other) => return Err(refused(&other)),
            }
        }
        Err(Failure::internal(format!(
            "segment {name} was changed by others every time"
        )))
    }
}

/// Adds to a batch that an execution leaves the store.
fn without(batch: Batch, leaving: &Leaving) -> Batch {
    let id = &leaving.row.id;
    let mut batch = batch
        .document(&commit::execution_key(id), leaving.version)
        .delete()
        .document(&commit::log_key(id), leaving.log_version)
        .delete();
    let done = [commit::DONE.to_owned()];
    for index in leaving.indexes.iter().chain(&done) {
        batch = batch.index(IndexChange::Drop {
            index: index.clone(),
            member: id.clone(),
        });
    }
    batch
}

/// Asks for a look at what is left. It is another message than the one that an end asks for, so
/// that a later end is not told that one waits already.
fn rest(delay_ms: u64) -> store::Outgoing {
    store::Outgoing {
        to: Address::new(commit::RETENTION, commit::DONE, NOBODYS),
        fingerprint: "rest".to_owned(),
        mode: store::Mode::Push,
        delay_ms,
        body: Bytes::new(),
    }
}

pub(super) fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
