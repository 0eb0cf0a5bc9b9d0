//! What a server holds of a store as such: how it was made, which one it is, and a mark of that
//! with the counters of every shard.
//!
//! The marks are what scripts compare: a process that goes on after a server was emptied is
//! refused there, before it writes as if nothing had been.
//!
//! | field of the key `layout` | what |
//! |---|---|
//! | `format`, `shards` | what it was made with |
//! | `id` | which store it is |
//! | `marked` | every shard has its mark |
//! | `restoring` | it is being filled from an archive |

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use super::core::Core;
use super::reply;
use crate::error::Error;
use crate::presence::{Opening, Presence};
use crate::shard::Shards;

/// Number of the layout; a store with another one is refused.
const FORMAT: u64 = 1;
/// The field of a shard's counters with the id of its store.
const MARK: &str = "made";

type Fields = BTreeMap<String, String>;

/// What is there.
pub(super) async fn look(core: &Core, shards: Shards) -> Result<Presence, Error> {
    presence(core, shards, &read(core).await?).await
}

async fn read(core: &Core) -> Result<Fields, Error> {
    let mut all = redis::cmd("HGETALL");
    all.arg(core.names.layout());
    let found = core.send(&all).await?;
    redis::from_redis_value(found).map_err(|e| Error::Damaged(format!("the layout: {e}")))
}

/// What it was made with is what is wanted; somebody may be making it right now.
fn compare(fields: &Fields, shards: Shards) -> Result<(), Error> {
    for (name, wanted) in [("format", FORMAT), ("shards", u64::from(shards.count()))] {
        let there = fields.get(name);
        if let Some(there) = there.filter(|there| **there != wanted.to_string()) {
            return Err(Error::Damaged(format!(
                "it was made with {name} {there}, not {wanted}"
            )));
        }
    }
    Ok(())
}

async fn presence(core: &Core, shards: Shards, fields: &Fields) -> Result<Presence, Error> {
    compare(fields, shards)?;
    let restoring = fields.contains_key("restoring");
    if !fields.contains_key("format") {
        return Ok(match restoring {
            true => Presence::Unfinished,
            false => Presence::Absent,
        });
    }
    // One of a version that knew no marks, or whose making was cut off, gets them when it is opened.
    if let Some(id) = fields.get("id").filter(|_| fields.contains_key("marked")) {
        for shard in shards.all() {
            let mut get = redis::cmd("HGET");
            get.arg(core.names.meta(shard)).arg(MARK);
            let mark = match core.send(&get).await? {
                redis::Value::Nil => String::new(),
                there => reply::text(there)?,
            };
            if mark != *id {
                tracing::error!(shard = shard.number(), "a shard of the store was emptied");
                return Ok(Presence::Absent);
            }
        }
    }
    Ok(match restoring {
        true => Presence::Unfinished,
        false => Presence::Whole,
    })
}

/// Opens what is there or makes it; answers which store it is.
pub(super) async fn open(core: &Core, shards: Shards, opening: Opening) -> Result<String, Error> {
    let key = core.names.layout();
    let fields = read(core).await?;
    let found = presence(core, shards, &fields).await?;
    if let Some(reason) = opening.refuses(found) {
        return Err(Error::Damaged(reason.to_owned()));
    }
    if found == Presence::Absent && fields.contains_key("marked") {
        // Some shards were emptied. It is another store from now on, also to who still knows it.
        core.send(redis::cmd("DEL").arg(&key)).await?;
    }
    if opening == Opening::Restore {
        // First, so that it is not taken for whole if this ends here.
        let mut set = redis::cmd("HSET");
        core.send(set.arg(&key).arg("restoring").arg(1)).await?;
    }
    let fresh = || RandomState::new().build_hasher().finish();
    let id = format!("{:016x}{:016x}", fresh(), fresh());
    for (name, value) in [
        ("id", id),
        ("format", FORMAT.to_string()),
        ("shards", shards.count().to_string()),
    ] {
        // Whoever is first says so; all who make it at the same time agree.
        let mut set = redis::cmd("HSETNX");
        core.send(set.arg(&key).arg(name).arg(value)).await?;
    }
    let fields = read(core).await?;
    compare(&fields, shards)?;
    let id = fields.get("id").cloned().unwrap_or_default();
    if !fields.contains_key("marked") {
        for shard in shards.all() {
            let mut mark = redis::cmd("HSET");
            mark.arg(core.names.meta(shard)).arg(MARK).arg(&id);
            core.send(&mark).await?;
        }
        let mut set = redis::cmd("HSET");
        core.send(set.arg(&key).arg("marked").arg(1)).await?;
    }
    Ok(id)
}

/// What was to be restored is there.
pub(super) async fn restored(core: &Core) -> Result<(), Error> {
    let mut unset = redis::cmd("HDEL");
    unset.arg(core.names.layout()).arg("restoring");
    core.send(&unset).await.map(|_| ())
}
