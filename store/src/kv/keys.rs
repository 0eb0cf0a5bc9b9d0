//! Where each thing lies in the ordered map: a letter for the kind, the shard,
//! then names separated by NUL and numbers as sixteen hex digits.

use crate::document::DocumentKey;
use crate::shard::Shard;

fn key(kind: char, shard: Shard, parts: &[&str]) -> Vec<u8> {
    let mut key = format!("{kind}{:02x}", shard.number());
    for part in parts {
        key.push('\0');
        key.push_str(part);
    }
    key.into_bytes()
}

fn open(kind: char, shard: Shard, parts: &[&str]) -> Vec<u8> {
    let mut key = key(kind, shard, parts);
    key.push(0);
    key
}

/// A number whose text sorts as the number does; negative ones are below.
pub(crate) fn ordered(value: i64) -> String {
    format!("{:016x}", (value as u64) ^ (1 << 63))
}

/// The number of such a text.
pub(crate) fn unordered(text: &str) -> i64 {
    (u64::from_str_radix(text, 16).unwrap_or(1 << 63) ^ (1 << 63)) as i64
}

/// The end of the range of keys that begin with `prefix`, which ends with NUL.
pub(crate) fn end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

/// The last of a key's parts, as text.
pub(crate) fn parts(key: &[u8]) -> Vec<&str> {
    std::str::from_utf8(key)
        .map(|k| k.split('\0').collect())
        .unwrap_or_default()
}

pub(crate) fn header(shard: Shard, document: &DocumentKey) -> Vec<u8> {
    key('d', shard, &[document.as_str()])
}
pub(crate) fn part(shard: Shard, document: &DocumentKey, name: &str) -> Vec<u8> {
    key('p', shard, &[document.as_str(), name])
}
pub(crate) fn all_parts(shard: Shard, document: &DocumentKey) -> Vec<u8> {
    open('p', shard, &[document.as_str()])
}
/// The events that version 0.1 kept beside a document; they go with it.
pub(crate) fn former_log(shard: Shard, document: &DocumentKey) -> Vec<u8> {
    open('l', shard, &[document.as_str()])
}
pub(crate) fn feed(shard: Shard, position: u64) -> Vec<u8> {
    key('f', shard, &[&format!("{position:016x}")])
}
pub(crate) fn all_feed(shard: Shard) -> Vec<u8> {
    open('f', shard, &[])
}
pub(crate) fn meta(shard: Shard, name: &str) -> Vec<u8> {
    key('m', shard, &[name])
}
pub(crate) fn entry(shard: Shard, queue: &str, subject: &str) -> Vec<u8> {
    key('e', shard, &[queue, subject])
}
pub(crate) fn message(shard: Shard, queue: &str, subject: &str, fingerprint: &str) -> Vec<u8> {
    key('q', shard, &[queue, subject, fingerprint])
}
pub(crate) fn all_messages(shard: Shard, queue: &str, subject: &str) -> Vec<u8> {
    open('q', shard, &[queue, subject])
}
pub(crate) fn ready(shard: Shard, queue: &str, group: &str, due: i64, subject: &str) -> Vec<u8> {
    key('u', shard, &[queue, group, &ordered(due), subject])
}
pub(crate) fn ready_group(shard: Shard, queue: &str, group: &str) -> Vec<u8> {
    open('u', shard, &[queue, group])
}
pub(crate) fn all_ready(shard: Shard, queue: &str) -> Vec<u8> {
    open('u', shard, &[queue])
}
pub(crate) fn leased(shard: Shard, queue: &str, end: i64, subject: &str) -> Vec<u8> {
    key('x', shard, &[queue, &ordered(end), subject])
}
pub(crate) fn all_leased(shard: Shard, queue: &str) -> Vec<u8> {
    open('x', shard, &[queue])
}
pub(crate) fn every_leased(shard: Shard) -> Vec<u8> {
    open('x', shard, &[])
}
pub(crate) fn served(shard: Shard, queue: &str) -> Vec<u8> {
    key('r', shard, &[queue])
}
pub(crate) fn index(shard: Shard, name: &str, score: i64, member: &str) -> Vec<u8> {
    key('i', shard, &[name, &ordered(score), member])
}
pub(crate) fn all_index(shard: Shard, name: &str) -> Vec<u8> {
    open('i', shard, &[name])
}
pub(crate) fn member(shard: Shard, name: &str, member: &str) -> Vec<u8> {
    key('j', shard, &[name, member])
}
pub(crate) fn cardinality(shard: Shard, name: &str) -> Vec<u8> {
    key('c', shard, &[name])
}
pub(crate) fn unique(shard: Shard, name: &str) -> Vec<u8> {
    key('k', shard, &[name])
}
pub(crate) fn named(shard: Shard, name: &str) -> Vec<u8> {
    key('n', shard, &[name])
}
pub(crate) fn blob(shard: Shard, owner: &DocumentKey, hash: &str) -> Vec<u8> {
    key('b', shard, &[owner.as_str(), hash])
}
pub(crate) fn all_blobs(shard: Shard, owner: &DocumentKey) -> Vec<u8> {
    open('b', shard, &[owner.as_str()])
}
/// Where large values were before they had an owner.
pub(crate) fn shared_blob(shard: Shard, hash: &str) -> Vec<u8> {
    key('b', shard, &[hash])
}
/// A document that did not exist when values of it were put.
pub(crate) fn unowned(shard: Shard, at: i64, owner: &str) -> Vec<u8> {
    key('o', shard, &[&ordered(at), owner])
}
pub(crate) fn all_unowned(shard: Shard) -> Vec<u8> {
    open('o', shard, &[])
}
pub(crate) fn dead(shard: Shard, queue: &str, at: i64, subject: &str, print: &str) -> Vec<u8> {
    key('z', shard, &[queue, &ordered(at), subject, print])
}
pub(crate) fn all_dead(shard: Shard, queue: &str) -> Vec<u8> {
    open('z', shard, &[queue])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_sort_as_text() {
        let values = [i64::MIN, -5, 0, 7, 1_700_000_000_000, i64::MAX];
        let texts: Vec<_> = values.iter().map(|v| ordered(*v)).collect();
        assert!(texts.is_sorted());
        assert_eq!(
            texts.iter().map(|t| unordered(t)).collect::<Vec<_>>(),
            values
        );
    }
}
