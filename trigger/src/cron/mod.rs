//! Schedules: each trigger has one message that waits for its next time.
//!
//! Owns the documents `cron:<trigger id>`. The event of a time is durable before
//! the schedule moves past it, and its id is that of trigger and time: whoever
//! repeats it finds it, however many replicas there are. A schedule that is new
//! begins now; of the times that were missed only the last counts, and only when
//! it was missed by less than [`CATCH_UP_MS`].

mod expression;

use std::time::Duration;

use bytes::Bytes;
use jiff::tz::TimeZone;
use proto::status::{Failure, Kind};
use runtime::Shutdown;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::{Address, Batch, Delivery, DocumentKey, Mode, Outgoing, Refused, Then};

use crate::event::{self, Event};
use crate::intake::{Intake, failed, now_ms};
use crate::matcher;
use crate::proof::Proof;

pub(crate) use expression::Expression;

/// The queue of schedules.
pub(crate) const QUEUE: &str = "trigger-cron";
/// The subject that looks after the others.
const ALL: &str = "-";
/// How often new and changed triggers are looked for.
const LOOK: Duration = Duration::from_secs(2);
/// A time that was missed by less fires late; in ms.
const CATCH_UP_MS: i64 = 600_000;
/// Longest wait of one message, in ms: what is further off is looked at again.
const LONGEST_MS: i64 = 3_600_000;

/// What a schedule goes by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Schedule {
    expression: String,
    zone: String,
    /// Its next time, ms since the epoch; none: never again.
    next: Option<i64>,
}

/// The zone of a trigger. Differs from Spinnaker: UTC unless the trigger names
/// another, in `timeZone`; there it is one zone for all, Los Angeles by default.
pub(crate) fn zone_of(trigger: &Map<String, Value>) -> &str {
    let zone = trigger.get("timeZone").and_then(Value::as_str);
    zone.map(str::trim)
        .filter(|z| !z.is_empty())
        .unwrap_or("UTC")
}

/// An expression and a zone, read.
///
/// # Errors
/// Which of the two is wrong, as (field, message).
pub(crate) fn read(
    trigger: &Map<String, Value>,
    id: &str,
) -> Result<(Expression, TimeZone), (&'static str, String)> {
    let text = trigger.get("cronExpression").and_then(Value::as_str);
    let text = text.map(str::trim).filter(|t| !t.is_empty());
    let missing = || {
        (
            "cronExpression",
            "it is missing; write 0 0 2 * * ?".to_owned(),
        )
    };
    let text = text.ok_or_else(missing)?;
    let expression = Expression::parse(text, id).map_err(|reason| ("cronExpression", reason))?;
    let name = zone_of(trigger);
    let zone = TimeZone::get(name).map_err(|_| {
        let message = format!("\"{name}\" is no time zone; use a name such as Europe/Berlin");
        ("timeZone", message)
    })?;
    Ok((expression, zone))
}

fn message(subject: &str, mode: Mode, delay_ms: i64) -> Outgoing {
    Outgoing {
        to: Address::new(QUEUE, subject, ""),
        fingerprint: "tick".to_owned(),
        mode,
        delay_ms: u64::try_from(delay_ms.clamp(0, LONGEST_MS)).unwrap_or(0),
        body: Bytes::new(),
    }
}

fn key(id: &str) -> DocumentKey {
    DocumentKey::new("cron", id)
}

/// Makes sure that somebody looks after the schedules.
///
/// # Errors
/// Never: it tries until it succeeds or the shutdown begins.
pub(crate) async fn begin(intake: Intake, shutdown: Shutdown) -> Result<(), Failure> {
    loop {
        let shard = intake.store.shards().of_name(ALL);
        let batch = Batch::new(shard, format!("cron:{}", intake.unique())).message(message(
            ALL,
            Mode::Ensure,
            0,
        ));
        match intake.store.commit(batch).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(refused)) => tracing::warn!(reason = %refused, "schedules cannot begin yet"),
            Err(error) => tracing::warn!(reason = %error, "schedules cannot begin yet"),
        }
        if !shutdown.sleep(LOOK).await {
            return Ok(());
        }
    }
}

/// Handles what waits for one schedule.
///
/// # Errors
/// When it has to be tried again.
pub(crate) async fn handle(intake: &Intake, delivery: &Delivery) -> Result<(), Failure> {
    let subject = delivery.lease.address.subject.clone();
    let batch = if subject == ALL {
        look(intake).await?;
        let shard = intake.store.shards().of_name(ALL);
        let delay = i64::try_from(LOOK.as_millis()).unwrap_or(LONGEST_MS);
        Batch::new(shard, format!("cron:{}", intake.unique())).message(message(
            ALL,
            Mode::Push,
            delay,
        ))
    } else {
        one(intake, &subject).await?
    };
    finish(intake, batch.acknowledge(delivery, Then::Release)).await
}

async fn finish(intake: &Intake, batch: Batch) -> Result<(), Failure> {
    match intake.store.commit(batch).await.map_err(failed)? {
        // Whoever took it over, or changed the schedule meanwhile, goes on.
        Ok(_) | Err(Refused::Fenced(_)) => Ok(()),
        Err(other) => Err(Failure::new(Kind::Unavailable, other.to_string())),
    }
}

/// The live triggers with their ids.
async fn triggers(intake: &Intake) -> Result<Vec<(String, Map<String, Value>)>, Failure> {
    let mut found = Vec::new();
    for pipeline in intake.peers.pipelines("cron").await? {
        for trigger in matcher::triggers(&pipeline, "cron") {
            if matcher::is_live(&pipeline, trigger) {
                found.push((matcher::trigger_id(trigger), trigger.clone()));
            }
        }
    }
    Ok(found)
}

/// Gives triggers that are new or changed their schedule.
async fn look(intake: &Intake) -> Result<(), Failure> {
    for (id, trigger) in triggers(intake).await? {
        let Ok((expression, zone)) = read(&trigger, &id) else {
            continue;
        };
        let shard = intake.store.shards().of_name(&id);
        let document = intake.store.load(shard, &key(&id)).await.map_err(failed)?;
        let version = document.as_ref().map_or(0, |d| d.version);
        let stored = document.and_then(|d| serde_json::from_str(d.text("schedule")?).ok());
        let text = trigger.get("cronExpression").and_then(Value::as_str);
        let (text, name) = (text.unwrap_or_default(), zone_of(&trigger));
        let same = |s: &Schedule| s.expression == text && s.zone == name;
        if stored.as_ref().is_some_and(same) {
            continue;
        }
        let now = now_ms();
        let next = expression.next_after(now, &zone);
        let schedule = Schedule {
            expression: text.to_owned(),
            zone: name.to_owned(),
            next,
        };
        let mut batch = Batch::new(shard, format!("cron:{}", intake.unique()))
            .document(&key(&id), version)
            .set("schedule", json!(schedule).to_string());
        if let Some(next) = next {
            batch = batch.message(message(&id, Mode::Push, next - now));
        }
        match intake.store.commit(batch).await.map_err(failed)? {
            // Another replica was faster.
            Ok(_) | Err(Refused::Conflict { .. }) => {}
            Err(other) => return Err(Failure::new(Kind::Unavailable, other.to_string())),
        }
    }
    Ok(())
}

/// The time that is to fire: the last one that has come, if it is not too long ago.
fn due(expression: &Expression, zone: &TimeZone, next: i64, now: i64) -> Option<i64> {
    let mut last = (next <= now).then_some(next)?;
    // Only those within the window count, so the way there is short.
    if now - last > CATCH_UP_MS {
        last = expression
            .next_after(now - CATCH_UP_MS, zone)
            .filter(|at| *at <= now)?;
    }
    while let Some(later) = expression.next_after(last, zone).filter(|at| *at <= now) {
        last = later;
    }
    Some(last)
}

/// Fires a schedule if its time has come, and sets the next.
async fn one(intake: &Intake, id: &str) -> Result<Batch, Failure> {
    let shard = intake.store.shards().of_name(id);
    let batch = Batch::new(shard, format!("cron:{}", intake.unique()));
    let Some(document) = intake.store.load(shard, &key(id)).await.map_err(failed)? else {
        return Ok(batch);
    };
    let live = triggers(intake)
        .await?
        .into_iter()
        .find(|(known, _)| known == id);
    let schedule = document
        .text("schedule")
        .and_then(|text| serde_json::from_str(text).ok());
    let gone = batch.clone().document(&key(id), document.version).delete();
    let (Some((_, trigger)), Some(schedule)) = (live, schedule) else {
        // It was deleted or switched off; enabled again, it begins anew.
        return Ok(gone);
    };
    let schedule: Schedule = schedule;
    let text = trigger.get("cronExpression").and_then(Value::as_str);
    let changed = text != Some(schedule.expression.as_str()) || zone_of(&trigger) != schedule.zone;
    let (Ok((expression, zone)), false, Some(next)) = (read(&trigger, id), changed, schedule.next)
    else {
        return Ok(gone);
    };
    let now = now_ms();
    if let Some(at) = due(&expression, &zone, next, now) {
        intake
            .take_in(&event(id, &schedule.expression, at, now))
            .await?;
    }
    let next = if next > now {
        Some(next)
    } else {
        expression.next_after(now, &zone)
    };
    let schedule = Schedule { next, ..schedule };
    let batch = batch
        .document(&key(id), document.version)
        .set("schedule", json!(schedule).to_string());
    Ok(match next {
        Some(next) => batch.message(message(id, Mode::Push, next - now)),
        None => batch,
    })
}

/// The event of one time.
fn event(id: &str, expression: &str, at: i64, now: i64) -> Event {
    let content = json!({"triggerId": id, "cronExpression": expression, "time": at});
    Event {
        id: event::id("cron", &[id, &at.to_string()]),
        kind: "cron".to_owned(),
        via: "schedule".to_owned(),
        received_at_ms: now,
        happened_at_ms: 0,
        content: content.as_object().cloned().unwrap_or_default(),
        artifacts: Vec::new(),
        proof: Proof::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_missed_times_the_last_one_fires_if_it_is_not_too_long_ago() {
        let every = Expression::parse("0 0/1 * * * ?", "x").unwrap();
        let daily = Expression::parse("0 0 2 * * ?", "x").unwrap();
        let minute = 60_000;
        let base = 1_795_651_200_000; // 2026-11-26T00:00:00Z
        for (expression, next, now, expected) in [
            (&every, base, base - 1, None),
            (&every, base, base, Some(base)),
            (&every, base, base + 3 * minute + 5, Some(base + 3 * minute)),
            (&every, base, base + 60 * minute, Some(base + 60 * minute)),
            (
                &daily,
                base + 120 * minute,
                base + 125 * minute,
                Some(base + 120 * minute),
            ),
            (&daily, base + 120 * minute, base + 131 * minute, None),
        ] {
            assert_eq!(
                due(expression, &TimeZone::UTC, next, now),
                expected,
                "{next} {now}"
            );
        }
    }
}
