//! Large values of documents: they lie beside their document and go with it.

use super::commit::{delete_range, version};
use super::{Kv, KvRead, keys};
use crate::blob::UNOWNED;
use crate::document::DocumentKey;
use crate::error::Error;
use crate::shard::Shard;

/// Documents looked at with one write at the most.
const MOST: usize = 100;

/// Keeps a value. One of a document that does not exist yet is noted, so that it goes if the
/// document never comes.
pub(crate) fn put(
    kv: &mut dyn Kv,
    now: i64,
    shard: Shard,
    owner: &DocumentKey,
    hash: &str,
    content: &[u8],
) -> Result<(), Error> {
    forget_unowned(kv, now, shard)?;
    kv.put(&keys::blob(shard, owner, hash), content)?;
    if version(kv, shard, owner)? == 0 {
        kv.put(&keys::unowned(shard, now, owner.as_str()), &[])?;
    }
    Ok(())
}

/// A value, beside its document or where all lay before they had owners.
pub(crate) fn get(
    kv: &dyn KvRead,
    shard: Shard,
    owner: &DocumentKey,
    hash: &str,
) -> Result<Option<Vec<u8>>, Error> {
    match kv.get(&keys::blob(shard, owner, hash))? {
        Some(own) => Ok(Some(own)),
        None => kv.get(&keys::shared_blob(shard, hash)),
    }
}

/// Removes values whose document did not come in time.
pub(crate) fn forget_unowned(kv: &mut dyn Kv, now: i64, shard: Shard) -> Result<(), Error> {
    let patience = i64::try_from(UNOWNED.as_millis()).unwrap_or(i64::MAX);
    let from = keys::all_unowned(shard);
    let to = keys::unowned(shard, now.saturating_sub(patience), "");
    for (row, _) in kv.scan(&from, &to, false, MOST)? {
        if let Some((collection, id)) = keys::parts(&row).last().and_then(|k| k.split_once(':')) {
            let owner = DocumentKey::new(collection, id);
            if version(kv, shard, &owner)? == 0 {
                delete_range(kv, &keys::all_blobs(shard, &owner))?;
            }
        }
        kv.del(&row)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::Map;
    use crate::shard::Shards;

    #[test]
    fn values_from_before_they_had_owners_are_found() {
        let mut map = Map::default();
        let shard = Shards::new(1).numbered(0);
        let owner = DocumentKey::new("test", "1");
        map.put(&keys::shared_blob(shard, "sha256:1"), b"old")
            .unwrap();
        let found = |map: &Map, hash: &str| get(map, shard, &owner, hash).unwrap();
        assert_eq!(found(&map, "sha256:1"), Some(b"old".to_vec()));
        put(&mut map, 1, shard, &owner, "sha256:2", b"new").unwrap();
        assert_eq!(found(&map, "sha256:2"), Some(b"new".to_vec()));
        assert_eq!(found(&map, "sha256:3"), None);
    }
}
