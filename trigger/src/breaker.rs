//! The burst breaker: a trigger that fires more often in a minute than the
//! configured limit is held until somebody releases it.
//!
//! Owns the documents `burst:<pipeline id>/<trigger id>`. A start takes its place
//! in the window before its event is committed, under the event's id: a repeat
//! finds the place it had, so nothing is counted twice and no start slips through
//! between two replicas. A process that dies in between leaves a place taken,
//! which can only hold a trigger earlier. Starts by hand are not counted. An event counts at the time it came:
//! what was kept during an outage and is decided at once afterwards is no burst.
//!
//! Differs from Spinnaker: it has no such limit, and a flapping source starts
//! pipelines without end.

use proto::status::{Failure, Kind};
use serde::{Deserialize, Serialize};
use store::{Batch, DocumentKey, Refused, Shard};

use crate::intake::{Intake, failed};
use crate::matcher::Decision;
use crate::refusal::Refusal;

/// The time starts are counted over, milliseconds.
const WINDOW_MS: i64 = 60_000;
/// Attempts when others write the same window.
const TRIES: usize = 100;

/// What a trigger started lately.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Window {
    /// Event id and time of each start, oldest first; never more than the limit.
    starts: Vec<(String, i64)>,
    /// Since when the trigger is held, milliseconds since the epoch.
    held_since_ms: Option<i64>,
}

impl Window {
    /// Gives an event its place; false when the trigger is held. Pure.
    fn admit(&mut self, event_id: &str, now_ms: i64, limit: usize) -> bool {
        if self.starts.iter().any(|(id, _)| id == event_id) {
            return true;
        }
        if self.held_since_ms.is_some() {
            return false;
        }
        self.starts
            .retain(|(_, at)| (now_ms - at).abs() < WINDOW_MS);
        if self.starts.len() >= limit {
            self.held_since_ms = Some(now_ms);
            return false;
        }
        self.starts.push((event_id.to_owned(), now_ms));
        true
    }
}

fn place(intake: &Intake, pipeline_id: &str, trigger_id: &str) -> (Shard, DocumentKey) {
    let name = format!("{pipeline_id}/{trigger_id}");
    let shard = intake.store.shards().of_name(&name);
    (shard, DocumentKey::new("burst", &name))
}

fn refusal(intake: &Intake, pipeline_id: &str, trigger_id: &str) -> Refusal {
    let limit = intake.config.burst_limit;
    let expected = format!("at most {limit} starts a minute");
    let message = format!(
        "the trigger is held: it fired more than {limit} times within a minute, and does not fire \
         until it is released"
    );
    let remedy = format!(
        "find out why it fired so often, then DELETE /pipelines/{pipeline_id}/triggers/{trigger_id}/hold"
    );
    Refusal::new("burst-limit", &expected, "more", &message, &remedy)
}

async fn read(intake: &Intake, shard: Shard, key: &DocumentKey) -> Result<(u64, Window), Failure> {
    let document = intake.store.load(shard, key).await.map_err(failed)?;
    let Some(document) = document else {
        return Ok((0, Window::default()));
    };
    let window = document
        .text("window")
        .and_then(|text| serde_json::from_str(text).ok())
        .ok_or_else(|| Failure::internal(format!("{key} cannot be read")))?;
    Ok((document.version, window))
}

/// Turns the starts of held triggers into refusals, and counts the others.
///
/// # Errors
/// When the store does not answer; what was counted stays counted.
pub(crate) async fn apply(
    intake: &Intake,
    (event_id, received_at_ms): (&str, i64),
    decisions: &mut [Decision],
) -> Result<(), Failure> {
    if intake.config.burst_limit == 0 || decisions.iter().all(|d| d.outcome.is_err()) {
        return Ok(());
    }
    for decision in decisions.iter_mut().filter(|d| d.outcome.is_ok()) {
        let (pipeline, trigger) = (&decision.pipeline_id, &decision.trigger_id);
        if !admitted(intake, event_id, pipeline, trigger, received_at_ms).await? {
            decision.outcome = Err(refusal(intake, pipeline, trigger));
        }
    }
    Ok(())
}

async fn admitted(
    intake: &Intake,
    event_id: &str,
    pipeline_id: &str,
    trigger_id: &str,
    now_ms: i64,
) -> Result<bool, Failure> {
    let limit = intake.config.burst_limit as usize;
    let (shard, key) = place(intake, pipeline_id, trigger_id);
    for _ in 0..TRIES {
        let (version, before) = read(intake, shard, &key).await?;
        let mut window = before.clone();
        let admitted = window.admit(event_id, now_ms, limit);
        if window == before {
            return Ok(admitted);
        }
        let text = serde_json::to_vec(&window)
            .map_err(|e| Failure::internal(format!("a window is no JSON: {e}")))?;
        let batch = Batch::new(shard, format!("burst:{}", intake.unique()))
            .document(&key, version)
            .set("window", text);
        match intake.store.commit(batch).await.map_err(failed)? {
            Ok(_) => {
                if !admitted {
                    tracing::warn!(
                        pipeline.id = pipeline_id,
                        trigger.id = trigger_id,
                        limit,
                        "trigger fires too often and is held"
                    );
                }
                return Ok(admitted);
            }
            Err(Refused::Conflict { .. }) => {}
            Err(other) => return Err(Failure::new(Kind::Unavailable, other.to_string())),
        }
    }
    let text = format!("the starts of trigger {trigger_id} are counted by too many at once");
    Err(Failure::new(Kind::Unavailable, text))
}

/// Turns the starts of held triggers into refusals and counts nothing.
///
/// # Errors
/// When the store does not answer.
pub(crate) async fn look(intake: &Intake, decisions: &mut [Decision]) -> Result<(), Failure> {
    for decision in decisions.iter_mut().filter(|d| d.outcome.is_ok()) {
        let (pipeline, trigger) = (&decision.pipeline_id, &decision.trigger_id);
        let (shard, key) = place(intake, pipeline, trigger);
        if intake.config.burst_limit > 0
            && read(intake, shard, &key).await?.1.held_since_ms.is_some()
        {
            decision.outcome = Err(refusal(intake, pipeline, trigger));
        }
    }
    Ok(())
}

/// Lets a trigger fire again; its count begins anew. One that is not held stays so.
///
/// # Errors
/// When the store does not answer, or others write the same window.
pub(crate) async fn release(
    intake: &Intake,
    pipeline_id: &str,
    trigger_id: &str,
) -> Result<(), Failure> {
    let (shard, key) = place(intake, pipeline_id, trigger_id);
    for _ in 0..TRIES {
        let (version, window) = read(intake, shard, &key).await?;
        if window.held_since_ms.is_none() {
            return Ok(());
        }
        let batch = Batch::new(shard, format!("burst:{}", intake.unique()))
            .document(&key, version)
            .delete();
        match intake.store.commit(batch).await.map_err(failed)? {
            Ok(_) => return Ok(()),
            Err(Refused::Conflict { .. }) => {}
            Err(other) => return Err(Failure::new(Kind::Unavailable, other.to_string())),
        }
    }
    let text = format!("trigger {trigger_id} is written by too many at once; try again");
    Err(Failure::new(Kind::Unavailable, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_a_minutes_and_a_held_trigger_stays_held() {
        // Times of events, whether each is admitted; limit 2.
        type Case = (&'static str, &'static [(&'static str, i64, bool)]);
        let table: [Case; 5] = [
            ("within", &[("a", 0, true), ("b", 1, true)]),
            (
                "a repeat keeps its place",
                &[
                    ("a", 0, true),
                    ("b", 1, true),
                    ("a", 2, true),
                    ("b", 3, true),
                ],
            ),
            (
                "a minute later there is room",
                &[("a", 0, true), ("b", 59_999, true), ("c", 60_000, true)],
            ),
            (
                "a backlog counts by when each came, in whatever order it is decided",
                &[
                    ("a", 0, true),
                    ("e", 130_000, true),
                    ("c", 65_000, true),
                    ("b", 30_000, true),
                    ("d", 100_000, true),
                ],
            ),
            (
                "held, for ever, but not for those that were let in",
                &[
                    ("a", 0, true),
                    ("b", 1, true),
                    ("c", 59_999, false),
                    ("d", 9_000_000, false),
                    ("b", 9_000_001, true),
                ],
            ),
        ];
        for (what, events) in table {
            let mut window = Window::default();
            for (id, at, wanted) in events {
                assert_eq!(window.admit(id, *at, 2), *wanted, "{what}: {id} at {at}");
                assert!(window.starts.len() <= 2, "{what}");
            }
        }
    }
}
