//! Listing executions: live ones by their indexes, archived ones by the catalogue,
//! newest first as if they were in one list.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use futures_util::{StreamExt, TryStreamExt, stream};
use orchestrator_core::{Execution, ExecutionType};
use proto::status::{Failure, Kind};
use serde_json::{Map, Value};
use store::archive::{self, Filter, Position};
use store::{IndexEntry, Order, Shard, Shared, blob};

use super::{Executions, damaged};
use crate::archive::row;
use crate::commit::{self, HEADER};
use crate::definition::unavailable;
use crate::ids;
use crate::large;
use crate::turn::Loaded;

/// Executions of a page by default.
const PAGE: usize = 50;
/// Executions of a page at the most.
const MOST: usize = 500;
/// Executions read at the same time.
const READ: usize = 16;
/// Entries looked at for one page at the most.
const MOST_LOOKED_AT: usize = 5_000;

/// What a listing asks for.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Kind; none: pipelines.
    pub kind: Option<ExecutionType>,
    /// Application; empty: all.
    pub application: String,
    /// Pipelines; empty: all.
    pub configs: Vec<String>,
    /// Status names; empty: all.
    pub statuses: Vec<String>,
    /// Names of pipelines; empty: all.
    pub names: Vec<String>,
    /// Types of triggers; empty: all.
    pub triggers: Vec<String>,
    /// Ids of the events that started them; empty: all.
    pub events: Vec<String>,
    /// Images they used, such as `shop/web:1.2`, or without the tag; empty: all.
    pub images: Vec<String>,
    /// Submitted no earlier, ms since the epoch.
    pub from: Option<i64>,
    /// Submitted no later, ms since the epoch.
    pub to: Option<i64>,
    /// At most so many of each pipeline; 0: no limit of its own.
    pub per_pipeline: usize,
    /// Page size; 0: the default.
    pub size: usize,
    /// Where the last page ended.
    pub cursor: String,
}

impl Listing {
    /// What of an execution's row it asks for.
    fn filter(&self) -> Filter {
        let plural = self.kind.unwrap_or_default().plural().to_owned();
        let filter = Filter {
            from: self.from,
            to: self.to,
            ..Filter::default()
        };
        let filter = filter
            .any(row::KIND, &[plural])
            .any(row::PIPELINE, &self.configs)
            .any(row::STATUS, &self.statuses)
            .any(row::NAME, &self.names)
            .any(row::TRIGGER, &self.triggers)
            .any(row::EVENT, &self.events)
            .any(row::IMAGE, &self.images);
        if self.application.is_empty() || !self.configs.is_empty() {
            return filter;
        }
        filter.any(row::APPLICATION, &[self.application.to_lowercase()])
    }

    /// None of those asked for can be over.
    fn is_active(&self) -> bool {
        let complete = |name: &String| {
            orchestrator_core::Status::parse(name).is_none_or(|status| status.is_complete())
        };
        !self.statuses.is_empty() && !self.statuses.iter().any(complete)
    }

    /// Where it goes on; none: at the newest.
    fn after(&self) -> Result<Option<IndexEntry>, Failure> {
        let place = self.cursor.split('\n').next().unwrap_or_default();
        match (place, self.to) {
            ("", None) => Ok(None),
            // Before whatever was submitted later.
            ("", Some(to)) => Ok(Some(IndexEntry {
                score: to.saturating_add(1),
                member: String::new(),
            })),
            (place, _) => Ok(Some(parse_cursor(place)?)),
        }
    }
}

/// One that only a newer version reads is missing from a list; it spoils no list.
fn readable(found: Result<Option<Loaded>, Failure>) -> Result<Option<Loaded>, Failure> {
    match found {
        Err(failure) if failure.kind == Kind::Unimplemented => {
            tracing::warn!(error = %failure, "an execution is left out of a list");
            Ok(None)
        }
        found => found,
    }
}

/// Counts executions of each pipeline, for listings with a limit of each. They go on with the
/// next page: the second line of a cursor.
#[derive(Default)]
struct Counts(BTreeMap<String, usize>);

impl Counts {
    fn of(cursor: &str) -> Result<Self, Failure> {
        match cursor.split_once('\n') {
            None => Ok(Self::default()),
            Some((_, counts)) => serde_json::from_str(counts)
                .map(Self)
                .map_err(|_| unknown(cursor)),
        }
    }

    fn cursor(&self, (at, id): &Position) -> String {
        if self.0.is_empty() {
            return format!("{at}:{id}");
        }
        // Names with numbers always serialise.
        let counts = serde_json::to_string(&self.0).unwrap_or_default();
        format!("{at}:{id}\n{counts}")
    }

    /// Pipelines of which no more are wanted.
    fn full(&self, most: usize) -> impl Iterator<Item = &str> {
        let full = self.0.iter().filter(move |(_, count)| **count >= most);
        full.map(|(config, _)| config.as_str())
            .filter(|config| !config.starts_with("name:"))
    }

    /// Whether another one of its pipeline is wanted.
    fn takes(&mut self, found: &archive::Row, most: usize) -> bool {
        if most == 0 {
            return true;
        }
        // Without a definition, its name stands for it.
        let config = match found.text(row::PIPELINE) {
            "" => format!("name:{}", found.text(row::NAME)),
            id => id.to_owned(),
        };
        let count = self.0.entry(config).or_default();
        *count += 1;
        *count <= most
    }
}

impl Executions {
    /// A page of executions, newest first, and where the next one begins; empty
    /// for the end.
    ///
    /// # Errors
    /// When the store or the archive cannot be read.
    pub async fn list(&self, asked: &Listing) -> Result<(Vec<Execution>, String), Failure> {
        let size = if asked.size == 0 {
            PAGE
        } else {
            asked.size.min(MOST)
        };
        let filter = asked.filter();
        let mut live = self.walk(asked)?;
        let mut kept = self.kept_walk(asked, &live, &filter)?;
        let mut counts = Counts::of(&asked.cursor)?;
        if let Some(kept) = &mut kept {
            for config in counts.full(asked.per_pipeline.max(1)) {
                kept.except(row::PIPELINE, config);
            }
        }
        let mut found: Vec<Taken> = Vec::new();
        let mut cursor = String::new();
        let mut looked_at = 0;
        let mut headers = Headers::default();
        loop {
            let in_store = live.peek(&self.store).await?;
            let in_archive = match &mut kept {
                Some(kept) => kept.peek().await.map_err(unavailable)?,
                None => None,
            };
            let Some(next) = in_store.clone().max(in_archive.clone()) else {
                break;
            };
            if asked.from.is_some_and(|from| next.0 < from) {
                break;
            }
            looked_at += 1;
            let mut taken = None;
            let mut is_live = false;
            if in_store.as_ref() == Some(&next)
                && let Some((shard, entry)) = live.pop()
            {
                if headers.lacks(&entry.member) {
                    let ahead = live.ahead(shard, &entry);
                    headers.read(self.headers(shard, ahead).await?);
                }
                if let Some(header) = headers.take(&entry.member) {
                    is_live = true;
                    taken = self.live(&entry.member, &header, &filter).await?;
                } else if in_archive.as_ref() != Some(&next) {
                    // It was moved since the index was read.
                    taken = self.moved(shard, &entry.member, &filter).await?;
                }
            }
            if in_archive.as_ref() == Some(&next)
                && let Some(kept) = &mut kept
                && let Some(located) = kept.next().await.map_err(unavailable)?
                && !is_live
            {
                taken = Some(Taken::Kept(located));
            }
            if let Some(taken) = taken {
                let row = taken.row();
                if counts.takes(row, asked.per_pipeline) {
                    found.push(taken);
                } else if let Some(kept) = &mut kept
                    && !row.text(row::PIPELINE).is_empty()
                {
                    kept.except(row::PIPELINE, row.text(row::PIPELINE));
                }
            }
            if found.len() >= size || looked_at >= MOST_LOOKED_AT {
                cursor = counts.cursor(&next);
                break;
            }
        }
        let reads: Vec<_> = found.into_iter().map(|taken| self.taken(taken)).collect();
        let read: Vec<Option<Execution>> = stream::iter(reads).buffered(READ).try_collect().await?;
        Ok((read.into_iter().flatten().collect(), cursor))
    }

    /// A live one, if it is asked for.
    async fn live(
        &self,
        id: &str,
        header: &Map<String, Value>,
        filter: &Filter,
    ) -> Result<Option<Taken>, Failure> {
        // What needs the stages is asked after they were read.
        let mut first = filter.clone();
        let images = first.fields.remove(row::IMAGE);
        let row = row::of_header(header);
        if !first.takes(&row) {
            return Ok(None);
        }
        if images.is_some() {
            let execution = readable(self.load(id).await)?.and_then(super::only);
            if !execution.is_some_and(|execution| filter.takes(&row::of(&execution))) {
                return Ok(None);
            }
        }
        let id = id.to_owned();
        Ok(Some(Taken::Live { id, row }))
    }

    async fn moved(
        &self,
        shard: Shard,
        id: &str,
        filter: &Filter,
    ) -> Result<Option<Taken>, Failure> {
        let Some(archive) = &self.archive else {
            return Ok(None);
        };
        let found = archive.find(shard, id).await.map_err(unavailable)?;
        Ok(found
            .filter(|located| filter.takes(&located.row))
            .map(Taken::Kept))
    }

    async fn taken(&self, taken: Taken) -> Result<Option<Execution>, Failure> {
        match taken {
            // It may have been moved since its header was read.
            Taken::Live { id, .. } => Ok(readable(self.find(&id).await)?.and_then(super::only)),
            Taken::Kept(located) => Ok(readable(self.read(&located).await)?.and_then(super::only)),
        }
    }

    fn kept_walk(
        &self,
        asked: &Listing,
        live: &Walk,
        filter: &Filter,
    ) -> Result<Option<archive::Walk>, Failure> {
        let Some(archive) = self.archive.as_ref().filter(|_| !asked.is_active()) else {
            return Ok(None);
        };
        let shards: BTreeSet<Shard> = live.sources.iter().map(|s| s.shard).collect();
        let after = asked.after()?.map(|entry| (entry.score, entry.member));
        Ok(Some(archive.walk(shards, filter.clone(), after)))
    }

    /// The header of an execution that is in the store; a [reference](crate::large) in it stays one.
    pub(super) async fn header(
        &self,
        shard: Shard,
        id: &str,
    ) -> Result<Option<Map<String, Value>>, Failure> {
        let read = self.headers(shard, vec![id.to_owned()]).await?;
        Ok(read.into_iter().next().and_then(|(_, header)| header))
    }

    /// The headers of several, read at once; none of one that is not in the store.
    pub(super) async fn headers(
        &self,
        shard: Shard,
        ids: Vec<String>,
    ) -> Result<Vec<(String, Option<Map<String, Value>>)>, Failure> {
        let keys: Vec<_> = ids.iter().map(|id| commit::execution_key(id)).collect();
        let parts = self.store.load_part(shard, &keys, HEADER).await;
        let mut read = Vec::with_capacity(ids.len());
        for ((id, key), part) in ids.into_iter().zip(&keys).zip(parts.map_err(unavailable)?) {
            let header = match part {
                None => None,
                Some((_, content)) => {
                    let content = blob::resolve(self.store.as_ref(), shard, key, content).await;
                    let (content, _) = large::json_of(&content.map_err(unavailable)?);
                    let header = serde_json::from_slice(&content);
                    Some(header.map_err(|e| damaged(&id, &e.to_string()))?)
                }
            };
            read.push((id, header));
        }
        Ok(read)
    }

    fn walk(&self, asked: &Listing) -> Result<Walk, Failure> {
        let shards = self.store.shards();
        let plural = asked.kind.unwrap_or_default().plural();
        let only_active = asked.is_active();
        let mut sources = Vec::new();
        if asked.configs.is_empty() {
            if asked.application.is_empty() {
                for shard in shards.all() {
                    sources.push((shard, commit::listing(plural, "")));
                }
            } else {
                let shard = shards.of_application(&asked.application);
                let index = if only_active {
                    commit::active_of(plural, &asked.application)
                } else {
                    commit::listing(plural, &asked.application)
                };
                sources.push((shard, index));
            }
        }
        for config in &asked.configs {
            let carried = ids::shard_of_uuid(config).map(|number| shards.numbered(number));
            let known = match (&asked.application, carried) {
                (application, _) if !application.is_empty() => {
                    Some(shards.of_application(application))
                }
                (_, carried) => carried,
            };
            // An id from elsewhere does not say where its executions are.
            let places: Vec<Shard> = match known {
                Some(shard) => vec![shard],
                None => shards.all().collect(),
            };
            for shard in places {
                sources.push((shard, commit::of_pipeline(config)));
            }
        }
        let after = asked.after()?;
        Ok(Walk {
            sources: sources
                .into_iter()
                .map(|s| Source::new(s, after.clone()))
                .collect(),
        })
    }
}

/// An execution that is asked for.
enum Taken {
    /// It is in the store, not read yet.
    Live {
        /// Which.
        id: String,
        /// What its header says.
        row: archive::Row,
    },
    /// It is in the archive, not read yet.
    Kept(archive::Located),
}

impl Taken {
    fn row(&self) -> &archive::Row {
        match self {
            Self::Live { row, .. } => row,
            Self::Kept(located) => &located.row,
        }
    }
}

fn parse_cursor(cursor: &str) -> Result<IndexEntry, Failure> {
    let parsed = cursor.split_once(':').and_then(|(score, member)| {
        Some(IndexEntry {
            score: score.parse().ok()?,
            member: member.to_owned(),
        })
    });
    parsed.ok_or_else(|| unknown(cursor))
}

fn unknown(cursor: &str) -> Failure {
    Failure::invalid(
        format!("cursor \"{cursor}\" is none of ours; begin without one"),
        Vec::new(),
    )
}

/// Headers of executions that come next, read together; none of one that is not in the store.
#[derive(Default)]
struct Headers(HashMap<String, Option<Map<String, Value>>>);

impl Headers {
    fn lacks(&self, id: &str) -> bool {
        !self.0.contains_key(id)
    }

    fn read(&mut self, more: Vec<(String, Option<Map<String, Value>>)>) {
        self.0.extend(more);
    }

    fn take(&mut self, id: &str) -> Option<Map<String, Value>> {
        self.0.remove(id).flatten()
    }
}

/// Several indexes, read newest first as if they were one.
struct Walk {
    sources: Vec<Source>,
}

struct Source {
    shard: Shard,
    index: String,
    ahead: VecDeque<IndexEntry>,
    last: Option<IndexEntry>,
    ended: bool,
}

impl Source {
    fn new((shard, index): (Shard, String), after: Option<IndexEntry>) -> Self {
        Self {
            shard,
            index,
            ahead: VecDeque::new(),
            last: after,
            ended: false,
        }
    }

    fn head(&self) -> Option<Position> {
        let entry = self.ahead.front()?;
        Some((entry.score, entry.member.clone()))
    }

    async fn fill(&mut self, store: &Shared) -> Result<(), Failure> {
        if !self.ahead.is_empty() || self.ended {
            return Ok(());
        }
        let page = store
            .page(
                self.shard,
                &self.index,
                self.last.as_ref(),
                Order::Descending,
                100,
            )
            .await
            .map_err(unavailable)?;
        self.ended = page.len() < 100;
        if let Some(last) = page.last() {
            self.last = Some(last.clone());
        }
        self.ahead = page.into();
        Ok(())
    }
}

impl Walk {
    /// The place of the next entry; none at the end.
    async fn peek(&mut self, store: &Shared) -> Result<Option<Position>, Failure> {
        for source in &mut self.sources {
            source.fill(store).await?;
        }
        Ok(self.sources.iter().filter_map(Source::head).max())
    }

    /// The entries of a shard that come next, this one first.
    fn ahead(&self, shard: Shard, first: &IndexEntry) -> Vec<String> {
        let sources = self.sources.iter().filter(|source| source.shard == shard);
        let next = sources.flat_map(|source| source.ahead.iter().take(PAGE));
        let ids = std::iter::once(first).chain(next);
        ids.take(MOST).map(|entry| entry.member.clone()).collect()
    }

    /// The entry that was peeked at.
    fn pop(&mut self) -> Option<(Shard, IndexEntry)> {
        let newest = self.sources.iter_mut().max_by_key(|source| source.head())?;
        Some((newest.shard, newest.ahead.pop_front()?))
    }
}
