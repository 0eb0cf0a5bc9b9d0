//! Leasing what is due: one application in turn, expired leases first.

use super::entry::{Entry, due_messages, put_message};
use super::{Kv, keys, next};
use crate::error::Error;
use crate::queue::{Address, Delivery, Lease, Message, Reserve, Reserved};
use crate::shard::Shard;

/// Subjects given out at the most.
const MOST: usize = 64;

/// Performs a reservation.
pub(crate) fn reserve(
    kv: &mut dyn Kv,
    now: i64,
    shard: Shard,
    what: Reserve<'_>,
) -> Result<Reserved, Error> {
    let most = what.most.min(MOST);
    expire(kv, now, shard, what.queue)?;
    let mut deliveries = Vec::new();
    while deliveries.len() < most {
        let Some((group, subject)) = next_ready(kv, now, shard, what.queue)? else {
            break;
        };
        kv.put(&keys::served(shard, what.queue), group.as_bytes())?;
        deliveries.push(lease(kv, now, shard, what, &subject)?);
    }
    Ok(Reserved {
        deliveries,
        next_ms: next_event(kv, now, shard, what.queue)?,
    })
}

/// Puts subjects whose lease ended back among the ready; their old token is
/// worthless only once somebody leases them anew.
fn expire(kv: &mut dyn Kv, now: i64, shard: Shard, queue: &str) -> Result<(), Error> {
    let from = keys::all_leased(shard, queue);
    let to = keys::leased(shard, queue, now.saturating_add(1), "");
    for (key, _) in kv.scan(&from, &to, false, MOST)? {
        let parts = keys::parts(&key);
        let Some(subject) = parts.get(3).map(ToString::to_string) else {
            continue;
        };
        let Some(before) = Entry::load(kv, shard, queue, &subject)? else {
            kv.del(&key)?;
            continue;
        };
        Entry {
            lease_end: None,
            ..before.clone()
        }
        .settle(kv, shard, queue, &subject, Some(&before))?;
    }
    Ok(())
}

/// Ends every lease of a shard: who held them ended with the process that had the
/// store open before.
pub(crate) fn expire_all(kv: &mut dyn Kv, shard: Shard) -> Result<(), Error> {
    let from = keys::every_leased(shard);
    for (key, _) in kv.scan(&from, &keys::end(&from), false, usize::MAX)? {
        let parts = keys::parts(&key);
        let [_, queue, _, subject] = parts[..] else {
            return Err(Error::Damaged("leased row".to_owned()));
        };
        let (queue, subject) = (queue.to_owned(), subject.to_owned());
        match Entry::load(kv, shard, &queue, &subject)? {
            Some(before) => Entry {
                lease_end: None,
                ..before.clone()
            }
            .settle(kv, shard, &queue, &subject, Some(&before))?,
            None => kv.del(&key)?,
        }
    }
    Ok(())
}

/// The next ready subject: of the group after the one served last, its earliest.
fn next_ready(
    kv: &dyn Kv,
    now: i64,
    shard: Shard,
    queue: &str,
) -> Result<Option<(String, String)>, Error> {
    let all = keys::all_ready(shard, queue);
    let end = keys::end(&all);
    let last = kv.get(&keys::served(shard, queue))?.unwrap_or_default();
    let last = String::from_utf8(last).unwrap_or_default();
    let after_last = keys::end(&keys::ready_group(shard, queue, &last));
    for (from, to) in [(after_last.clone(), end), (all, after_last)] {
        let mut from = from;
        while let Some((key, _)) = kv.scan(&from, &to, false, 1)?.pop() {
            let parts = keys::parts(&key);
            let [_, _, group, due, subject] = parts[..] else {
                return Err(Error::Damaged(format!("ready row of {queue}")));
            };
            if keys::unordered(due) <= now {
                return Ok(Some((group.to_owned(), subject.to_owned())));
            }
            from = keys::end(&keys::ready_group(shard, queue, group));
        }
    }
    Ok(None)
}

fn lease(
    kv: &mut dyn Kv,
    now: i64,
    shard: Shard,
    what: Reserve<'_>,
    subject: &str,
) -> Result<Delivery, Error> {
    let queue = what.queue;
    let before = Entry::load(kv, shard, queue, subject)?
        .ok_or_else(|| Error::Damaged(format!("{subject} of {queue} is ready without an entry")))?;
    let mut tries = before.tries + 1;
    if tries > what.max_tries && bury_first(kv, now, shard, queue, subject)? {
        tries = 1;
    }
    let token = next(kv, &keys::meta(shard, "token"))?;
    let end = now.saturating_add(i64::try_from(what.lease_ms).unwrap_or(i64::MAX));
    Entry {
        lease_end: Some(end),
        token,
        tries,
        by: String::new(),
        ..before.clone()
    }
    .settle(kv, shard, queue, subject, Some(&before))?;
    Ok(Delivery {
        lease: Lease {
            shard,
            address: Address::new(queue, subject, &before.group),
            token,
        },
        tries,
        messages: due_messages(kv, shard, queue, subject, now)?,
    })
}

/// Gives up the first due message: it goes to the dead letters, a notice takes
/// its place. A notice itself is never given up.
fn bury_first(
    kv: &mut dyn Kv,
    now: i64,
    shard: Shard,
    queue: &str,
    subject: &str,
) -> Result<bool, Error> {
    let due = due_messages(kv, shard, queue, subject, now)?;
    let Some(first) = due.into_iter().find(|m| m.gives_up().is_none()) else {
        return Ok(false);
    };
    kv.del(&keys::message(shard, queue, subject, &first.fingerprint))?;
    kv.put(
        &keys::dead(shard, queue, now, subject, &first.fingerprint),
        &first.body,
    )?;
    let notice = Message {
        fingerprint: format!("{}{}", Message::DEAD, first.fingerprint),
        due_ms: now,
        sequence: next(kv, &keys::meta(shard, "sequence"))?,
        body: first.body,
    };
    put_message(kv, shard, queue, subject, &notice)?;
    Ok(true)
}

/// In how many ms something is due or a lease ends.
fn next_event(kv: &dyn Kv, now: i64, shard: Shard, queue: &str) -> Result<Option<u64>, Error> {
    let mut earliest: Option<i64> = None;
    let mut note = |at: i64| earliest = Some(earliest.map_or(at, |e| e.min(at)));
    let leased = keys::all_leased(shard, queue);
    if let Some((key, _)) = kv.scan(&leased, &keys::end(&leased), false, 1)?.pop() {
        note(
            keys::parts(&key)
                .get(2)
                .map_or(now, |end| keys::unordered(end)),
        );
    }
    let all = keys::all_ready(shard, queue);
    let end = keys::end(&all);
    let mut from = all;
    while let Some((key, _)) = kv.scan(&from, &end, false, 1)?.pop() {
        let parts = keys::parts(&key);
        let [_, _, group, due, _] = parts[..] else {
            return Err(Error::Damaged(format!("ready row of {queue}")));
        };
        note(keys::unordered(due));
        from = keys::end(&keys::ready_group(shard, queue, group));
    }
    Ok(earliest.map(|at| u64::try_from(at.saturating_sub(now)).unwrap_or(0)))
}
