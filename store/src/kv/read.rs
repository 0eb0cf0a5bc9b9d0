//! Reads, each of one moment.

use bytes::Bytes;

use super::{KvRead, keys, number};
use crate::document::{Document, DocumentKey, Version};
use crate::error::Error;
use crate::event::{FeedEntry, FeedPage};
use crate::shard::Shard;
use crate::{IndexEntry, Order};

/// Entries that one read answers at the most.
const MOST: usize = 500;

pub(crate) fn document(
    kv: &dyn KvRead,
    shard: Shard,
    key: &DocumentKey,
) -> Result<Option<Document>, Error> {
    let version = super::commit::version(kv, shard, key)?;
    if version == 0 {
        return Ok(None);
    }
    let prefix = keys::all_parts(shard, key);
    let mut document = Document {
        version,
        ..Document::default()
    };
    for (row, content) in kv.scan(&prefix, &keys::end(&prefix), false, usize::MAX)? {
        let name = keys::parts(&row)
            .get(2)
            .map(ToString::to_string)
            .unwrap_or_default();
        document.parts.insert(name, content.into());
    }
    Ok(Some(document))
}

pub(crate) fn part(
    kv: &dyn KvRead,
    shard: Shard,
    key: &DocumentKey,
    part: &str,
) -> Result<Option<(Version, Bytes)>, Error> {
    let version = super::commit::version(kv, shard, key)?;
    let content = kv.get(&keys::part(shard, key, part))?;
    Ok(content
        .filter(|_| version > 0)
        .map(|content| (version, content.into())))
}

pub(crate) fn page(
    kv: &dyn KvRead,
    shard: Shard,
    index: &str,
    after: Option<&IndexEntry>,
    order: Order,
    most: usize,
) -> Result<Vec<IndexEntry>, Error> {
    let all = keys::all_index(shard, index);
    let (mut from, mut to) = (all.clone(), keys::end(&all));
    if let Some(after) = after {
        let at = keys::index(shard, index, after.score, &after.member);
        match order {
            Order::Ascending => {
                from = at;
                from.push(0);
            }
            Order::Descending => to = at,
        }
    }
    let rows = kv.scan(&from, &to, order == Order::Descending, most.min(MOST))?;
    let entry = |row: &[u8]| {
        let parts = keys::parts(row);
        IndexEntry {
            score: parts.get(2).map_or(0, |s| keys::unordered(s)),
            member: parts.get(3).map(ToString::to_string).unwrap_or_default(),
        }
    };
    Ok(rows.iter().map(|(row, _)| entry(row)).collect())
}

pub(crate) fn feed(
    kv: &dyn KvRead,
    shard: Shard,
    after: u64,
    most: usize,
) -> Result<FeedPage, Error> {
    let all = keys::all_feed(shard);
    let last = number(kv.get(&keys::meta(shard, "feed"))?.as_deref());
    let rows = kv.scan(
        &keys::feed(shard, after.saturating_add(1)),
        &keys::end(&all),
        false,
        most.min(MOST),
    )?;
    let mut entries = Vec::with_capacity(rows.len());
    for (row, value) in rows {
        let position = keys::parts(&row)
            .last()
            .and_then(|s| u64::from_str_radix(s, 16).ok())
            .unwrap_or(0);
        let rest = value.get(8..).unwrap_or_default();
        let cut = rest.iter().position(|b| *b == 0).unwrap_or(rest.len());
        let name = String::from_utf8_lossy(&rest[..cut]);
        let (collection, id) = name.split_once(':').unwrap_or((&name, ""));
        entries.push(FeedEntry {
            position,
            document: DocumentKey::new(collection, id),
            version: number(Some(&value)),
            body: Bytes::copy_from_slice(rest.get(cut + 1..).unwrap_or_default()),
        });
    }
    let forgotten = entries
        .first()
        .is_some_and(|first| first.position != after + 1);
    Ok(FeedPage {
        shard,
        entries,
        reset: forgotten || after > last,
        last,
    })
}

pub(crate) fn dead(
    kv: &dyn KvRead,
    shard: Shard,
    queue: &str,
) -> Result<Vec<(String, String)>, Error> {
    let all = keys::all_dead(shard, queue);
    let rows = kv.scan(&all, &keys::end(&all), true, MOST)?;
    Ok(rows
        .iter()
        .filter_map(|(row, _)| {
            let parts = keys::parts(row);
            Some((parts.get(3)?.to_string(), parts.get(4)?.to_string()))
        })
        .collect())
}
