//! Leases: lengthening and handing back those of subjects; taking named ones.

use super::entry::Entry;
use super::{Kv, KvRead, keys, number};
use crate::NamedLease;
use crate::error::Error;
use crate::queue::Lease;
use crate::shard::Shard;

fn later(now: i64, ms: u64) -> i64 {
    now.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// Lengthens a lease that nobody has taken over; one that had run out lives again.
pub(crate) fn extend(kv: &mut dyn Kv, now: i64, lease: &Lease, ms: u64) -> Result<bool, Error> {
    let (queue, subject) = (&lease.address.queue, &lease.address.subject);
    match Entry::load(kv, lease.shard, queue, subject)? {
        Some(before) if before.token == lease.token => {
            Entry {
                lease_end: Some(later(now, ms)),
                ..before.clone()
            }
            .settle(kv, lease.shard, queue, subject, Some(&before))?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// Hands a subject back: its due messages wait for `delay` ms, the try does not count.
pub(crate) fn release(kv: &mut dyn Kv, now: i64, lease: &Lease, ms: u64) -> Result<bool, Error> {
    let (shard, to) = (lease.shard, &lease.address);
    let Some(before) = Entry::load(kv, shard, &to.queue, &to.subject)? else {
        return Ok(false);
    };
    if before.token != lease.token {
        return Ok(false);
    }
    if ms > 0 {
        for mut message in super::entry::messages(kv, shard, &to.queue, &to.subject)? {
            message.due_ms = message.due_ms.max(later(now, ms));
            super::entry::put_message(kv, shard, &to.queue, &to.subject, &message)?;
        }
    }
    let tries = before.tries.saturating_sub(1);
    Entry {
        lease_end: None,
        token: 0,
        tries,
        ..before.clone()
    }
    .settle(kv, shard, &to.queue, &to.subject, Some(&before))?;
    Ok(true)
}

/// Whether a named lease is held under this token: taken by nobody since.
pub(crate) fn holds(
    kv: &dyn KvRead,
    _now: i64,
    shard: Shard,
    name: &str,
    token: u64,
) -> Result<bool, Error> {
    let row = kv.get(&keys::named(shard, name))?;
    Ok(row.is_some_and(|row| number(Some(&row)) == token))
}

/// Takes a named lease, renews it, or answers none if somebody else holds it.
pub(crate) fn take(
    kv: &mut dyn Kv,
    now: i64,
    shard: Shard,
    name: &str,
    holder: &str,
    ms: u64,
) -> Result<Option<NamedLease>, Error> {
    let key = keys::named(shard, name);
    let row = kv.get(&key)?.unwrap_or_default();
    let ends = number(row.get(8..)) as i64;
    let same = row.get(16..).is_some_and(|held| held == holder.as_bytes());
    let token = if same {
        number(Some(&row))
    } else if row.is_empty() || ends <= now {
        // What it fences may lie outside of the store and outlive it: like the clock, a token is above
        // all that a store gave out which was lost.
        let counter = keys::meta(shard, "token");
        let clock = u64::try_from(now).unwrap_or(0).saturating_mul(1_000);
        let token = (number(kv.get(&counter)?.as_deref()) + 1).max(clock);
        kv.put(&counter, &token.to_be_bytes())?;
        token
    } else {
        return Ok(None);
    };
    let mut value = token.to_be_bytes().to_vec();
    value.extend(later(now, ms).to_be_bytes());
    value.extend(holder.as_bytes());
    kv.put(&key, &value)?;
    Ok(Some(NamedLease {
        name: name.to_owned(),
        token,
    }))
}
