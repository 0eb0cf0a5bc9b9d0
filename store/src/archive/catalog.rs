//! The catalogue: a document of each segment in the store, found by an index over the
//! newest entry of each.
//!
//! | where | what |
//! |---|---|
//! | `archive-segment:<name>`, part `h` | [`SegmentDocument`]: what is in the segment, and which rows count |
//! | index `archive-segments` | segments by their newest row |
//!
//! A row counts when the batch that took its entry out of the store said so, and until a
//! batch puts the entry back or ends it: an entry is in one place at any moment.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};

use super::segment::{Layout, Row, Segment};
use super::summary::{Filter, Summary};
use crate::batch::{Batch, IndexChange};
use crate::document::{DocumentKey, Version};
use crate::error::Error;
use crate::{IndexEntry, Order, Shard};

/// Segments by their newest row.
pub const INDEX: &str = "archive-segments";
/// The part of a segment's document.
const PART: &str = "h";
/// Documents read at once, in the end; who looks for the newest needs a few of each shard.
const PAGE: usize = 250;
/// The same at first, and how much more each time.
const FIRST: (usize, usize) = (4, 4);

/// The document of a segment.
pub fn document_key(segment: &str) -> DocumentKey {
    DocumentKey::new("archive-segment", segment)
}

/// The name of a segment: its shard and newest row for people, and what no other has.
pub fn segment_name(shard: Shard, newest: i64, unique: &str) -> String {
    format!(
        "executions/{:02}/{newest:013}-{unique}.segment",
        shard.number()
    )
}

/// What the store knows of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentDocument {
    /// Sizes of the object.
    pub layout: Layout,
    /// What is in it.
    pub summary: Summary,
    /// Its object is being removed: no row counts ever again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ending: bool,
    /// Rows that count: hex digits, four rows each.
    live: String,
}

impl SegmentDocument {
    /// A segment of which no row counts yet.
    pub fn new(layout: Layout, summary: Summary) -> Self {
        Self {
            live: "0".repeat(summary.rows.div_ceil(4)),
            layout,
            summary,
            ending: false,
        }
    }

    /// Whether a row counts.
    pub fn counts(&self, row: usize) -> bool {
        let digit = self.live.as_bytes().get(row / 4).copied().unwrap_or(b'0');
        let bits = char::from(digit).to_digit(16).unwrap_or(0);
        bits & (1 << (row % 4)) != 0
    }

    /// From now on a row counts, or does not.
    pub fn set(&mut self, row: usize, counts: bool) {
        let mut digits: Vec<char> = self.live.chars().collect();
        if let Some(digit) = digits.get_mut(row / 4) {
            let bit = 1 << (row % 4);
            let bits = digit.to_digit(16).unwrap_or(0);
            let bits = if counts { bits | bit } else { bits & !bit };
            *digit = char::from_digit(bits, 16).unwrap_or('0');
        }
        self.live = digits.into_iter().collect();
    }

    /// Rows that count.
    pub fn counting(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.summary.rows).filter(|row| self.counts(*row))
    }

    /// Whether no row counts.
    pub fn is_over(&self) -> bool {
        self.live.bytes().all(|digit| digit == b'0')
    }

    /// Writes it with a batch, under the version that was read (0: it is new).
    pub fn write(&self, batch: Batch, segment: &str, version: Version) -> Batch {
        // A struct of numbers and texts always serialises.
        let content = serde_json::to_vec(self).unwrap_or_default();
        let batch = batch.document(&document_key(segment), version);
        let batch = batch.set(PART, content);
        batch.index(IndexChange::Put {
            index: INDEX.to_owned(),
            member: segment.to_owned(),
            score: self.summary.newest,
        })
    }

    /// Ends it with a batch.
    pub fn end(batch: Batch, segment: &str, version: Version) -> Batch {
        let batch = batch.document(&document_key(segment), version).delete();
        batch.index(IndexChange::Drop {
            index: INDEX.to_owned(),
            member: segment.to_owned(),
        })
    }
}

/// A row's place in lists.
pub type Position = (i64, String);

/// An entry that was found.
#[derive(Debug, Clone)]
pub struct Located {
    /// The shard of its segment.
    pub shard: Shard,
    /// Its segment.
    pub segment: Arc<Segment>,
    /// Its number in the segment.
    pub number: usize,
    /// Its row.
    pub row: Row,
}

impl Located {
    /// Its place in lists.
    pub fn position(&self) -> Position {
        (self.row.at, self.row.id.clone())
    }
}

/// The catalogue of an archive. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog {
    store: crate::Shared,
    objects: super::Shared,
}

impl Catalog {
    /// The catalogue in this store of the segments among these objects.
    pub fn new(store: crate::Shared, objects: super::Shared) -> Self {
        Self { store, objects }
    }

    /// The objects.
    pub fn objects(&self) -> &super::Shared {
        &self.objects
    }

    /// The document of a segment, with its version.
    ///
    /// # Errors
    /// When the store cannot be read or its content is damaged.
    pub async fn document(
        &self,
        shard: Shard,
        segment: &str,
    ) -> Result<Option<(Version, SegmentDocument)>, Error> {
        let found = self.documents(shard, &[segment.to_owned()]).await?;
        Ok(found.into_iter().flatten().next())
    }

    async fn documents(
        &self,
        shard: Shard,
        segments: &[String],
    ) -> Result<Vec<Option<(Version, SegmentDocument)>>, Error> {
        let keys: Vec<DocumentKey> = segments.iter().map(|s| document_key(s)).collect();
        let parts = self.store.load_part(shard, &keys, PART).await?;
        let mut documents = Vec::new();
        for (segment, part) in segments.iter().zip(parts) {
            documents.push(match part {
                None => None,
                Some((version, content)) => {
                    let document = serde_json::from_slice(&content).map_err(|e| {
                        Error::Damaged(format!("the document of the segment {segment}: {e}"))
                    })?;
                    Some((version, document))
                }
            });
        }
        Ok(documents)
    }

    /// Reads a segment's table.
    ///
    /// # Errors
    /// When the archive cannot be read, or `Damaged`.
    pub async fn open(&self, segment: &str, layout: Layout) -> Result<Arc<Segment>, Error> {
        let objects = self.objects.as_ref();
        let opened = Segment::open(objects, segment, Some(layout)).await?;
        Ok(Arc::new(opened))
    }

    /// The content of an entry.
    ///
    /// # Errors
    /// When the archive cannot be read, or `Damaged`.
    pub async fn content(&self, located: &Located) -> Result<Bytes, Error> {
        let objects = self.objects.as_ref();
        located.segment.content(objects, located.number).await
    }

    /// An entry by its id, with the version of its segment's document.
    ///
    /// # Errors
    /// When store or archive cannot be read, or `Damaged`.
    pub async fn find(&self, shard: Shard, id: &str) -> Result<Option<Located>, Error> {
        let mut after = None;
        loop {
            let (segments, last) = self.page(shard, after.as_ref(), PAGE).await?;
            for (name, document) in segments {
                if document.is_over() || !document.summary.may_have(id) {
                    continue;
                }
                let segment = self.open(&name, document.layout).await?;
                let rows = segment.rows().enumerate();
                let mut found = rows.filter(|(number, _)| document.counts(*number));
                if let Some((number, row)) = found.find(|(_, row)| row.id == id) {
                    let row = row.clone();
                    return Ok(Some(Located {
                        shard,
                        segment: Arc::clone(&segment),
                        number,
                        row,
                    }));
                }
            }
            match last {
                Some(last) => after = Some(last),
                None => return Ok(None),
            }
        }
    }

    /// Segments after a position of the index, and where they end; none for the end.
    async fn page(
        &self,
        shard: Shard,
        after: Option<&IndexEntry>,
        most: usize,
    ) -> Result<(Vec<(String, SegmentDocument)>, Option<IndexEntry>), Error> {
        let order = Order::Descending;
        let entries = self.store.page(shard, INDEX, after, order, most).await?;
        let last = entries.last().filter(|_| entries.len() == most).cloned();
        let names: Vec<String> = entries.into_iter().map(|entry| entry.member).collect();
        let documents = if names.is_empty() {
            Vec::new()
        } else {
            self.documents(shard, &names).await?
        };
        // One that went since the index was read has nothing any more.
        let found = names
            .into_iter()
            .zip(documents)
            .filter_map(|(name, document)| Some((name, document?.1)));
        Ok((found.collect(), last))
    }

    /// Entries of these shards that a filter takes, newest first, from a place in lists on
    /// (exclusive).
    pub fn walk(
        &self,
        shards: impl IntoIterator<Item = Shard>,
        filter: Filter,
        after: Option<Position>,
    ) -> Walk {
        let sources = shards.into_iter().map(Source::new).collect();
        Walk {
            catalog: self.clone(),
            filter,
            after,
            sources,
        }
    }
}

/// A walk over the catalogue: no segment is read before one of its rows may be next.
#[derive(Debug)]
pub struct Walk {
    catalog: Catalog,
    filter: Filter,
    after: Option<Position>,
    sources: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    shard: Shard,
    /// Where the index was read to, and whether that was its end.
    last: Option<IndexEntry>,
    ended: bool,
    /// Documents that are read next.
    page: usize,
    /// Segments in which something may be, newest first.
    closed: VecDeque<(String, SegmentDocument)>,
    /// Rows of opened segments, newest first.
    open: Vec<VecDeque<Located>>,
}

impl Source {
    fn new(shard: Shard) -> Self {
        Self {
            shard,
            last: None,
            ended: false,
            page: FIRST.0,
            closed: VecDeque::new(),
            open: Vec::new(),
        }
    }

    fn head(&self) -> Option<Position> {
        let heads = self.open.iter().filter_map(VecDeque::front);
        heads.map(Located::position).max()
    }

    /// Reads until the head is the newest of all that is left.
    async fn settle(
        &mut self,
        catalog: &Catalog,
        filter: &Filter,
        after: Option<&Position>,
    ) -> Result<(), Error> {
        loop {
            let known = self.head().map(|(at, _)| at);
            let next = self.closed.front().map(|(_, d)| d.summary.newest);
            // What the index still holds is no newer than what was read last.
            let unread = match &self.last {
                _ if self.ended => None,
                None => Some(i64::MAX),
                Some(last) => Some(last.score),
            };
            if let Some(unread) = unread
                && known.max(next).is_none_or(|newest| unread >= newest)
            {
                let page = catalog.page(self.shard, self.last.as_ref(), self.page);
                let (segments, last) = page.await?;
                self.page = (self.page * FIRST.1).min(PAGE);
                self.ended = last.is_none();
                self.last = last.or_else(|| self.last.take());
                let reaches = |d: &SegmentDocument| {
                    after.is_none_or(|(at, _)| d.summary.oldest <= *at)
                        && !d.is_over()
                        && d.summary.may_take(filter)
                };
                self.closed
                    .extend(segments.into_iter().filter(|(_, d)| reaches(d)));
                continue;
            }
            match next {
                Some(newest) if known.is_none_or(|known| newest >= known) => {
                    let Some((name, document)) = self.closed.pop_front() else {
                        return Ok(());
                    };
                    let segment = catalog.open(&name, document.layout).await?;
                    let mut rows: Vec<Located> = document
                        .counting()
                        .filter_map(|number| {
                            let row = segment.row(number)?.clone();
                            Some(Located {
                                shard: self.shard,
                                segment: Arc::clone(&segment),
                                number,
                                row,
                            })
                        })
                        .filter(|found| filter.takes(&found.row))
                        .filter(|found| after.is_none_or(|after| found.position() < *after))
                        .collect();
                    rows.sort_by_key(|found| Reverse(found.position()));
                    if !rows.is_empty() {
                        self.open.push(rows.into());
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    fn take(&mut self) -> Option<Located> {
        let newest = self.open.iter_mut().max_by_key(|rows| {
            let head = rows.front();
            head.map(Located::position)
        })?;
        let found = newest.pop_front();
        self.open.retain(|rows| !rows.is_empty());
        found
    }
}

impl Walk {
    /// From now on entries with this value are not asked for: segments in which there is
    /// nothing else are passed over.
    pub fn except(&mut self, field: &str, value: &str) {
        let unwanted = self.filter.except.entry(field.to_owned()).or_default();
        if unwanted.insert(value.to_owned()) {
            let filter = &self.filter;
            for source in &mut self.sources {
                source.closed.retain(|(_, d)| d.summary.may_take(filter));
                for rows in &mut source.open {
                    rows.retain(|found| filter.takes(&found.row));
                }
                source.open.retain(|rows| !rows.is_empty());
            }
        }
    }

    /// The place of the next entry; none at the end.
    ///
    /// # Errors
    /// When store or archive cannot be read, or `Damaged`.
    pub async fn peek(&mut self) -> Result<Option<Position>, Error> {
        let (catalog, filter, after) = (&self.catalog, &self.filter, self.after.as_ref());
        let sources = self.sources.iter_mut();
        try_join_all(sources.map(|source| source.settle(catalog, filter, after))).await?;
        Ok(self.sources.iter().filter_map(Source::head).max())
    }

    /// The next entry; none at the end.
    ///
    /// # Errors
    /// When store or archive cannot be read, or `Damaged`.
    pub async fn next(&mut self) -> Result<Option<Located>, Error> {
        let Some(newest) = self.peek().await? else {
            return Ok(None);
        };
        let mut sources = self.sources.iter_mut();
        let source = sources.find(|source| source.head().as_ref() == Some(&newest));
        Ok(source.and_then(Source::take))
    }
}
