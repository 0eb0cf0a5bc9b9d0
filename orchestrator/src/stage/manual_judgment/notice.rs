//! When people are told again that a judgment waits for them. Pure.
//!
//! The first notice is sent when the stage begins to wait; each notification remembers in
//! the stage's context when it was last sent, as in Orca.

use orchestrator_core::Stage;
use serde_json::{Map, Value, json};

use crate::notification::plan::{AWAITED, LAST_TOLD, MOST_OF_STAGE, wants};
use crate::task::number;

/// More often nobody is told, whatever a notification says.
const SHORTEST_MS: i64 = 1_000;

/// What the clock says of a stage's notices.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Look {
    /// The notifications with the times at which each was sent; none: as they are.
    pub(super) notifications: Option<Value>,
    /// Some are sent again now.
    pub(super) again: bool,
    /// How long until one is due, ms.
    pub(super) next: Option<u64>,
}

/// How often a notification is sent while nobody answers; none: once.
fn every(notification: &Value) -> Option<i64> {
    let every = number(notification.get("notifyEveryMs")?)?;
    // As text it has no fraction; what is larger than all never comes.
    let every = format!("{every:.0}").parse().unwrap_or(i64::MAX);
    (every > 0).then_some(every.max(SHORTEST_MS))
}

/// Looks at a stage that waits.
pub(super) fn look(stage: &Stage, now: i64) -> Look {
    let Some(Value::Array(list)) = stage.context.get("notifications") else {
        return Look::default();
    };
    let mut look = Look::default();
    let mut told = list.clone();
    let mut changed = false;
    let asking = told.iter_mut().take(MOST_OF_STAGE);
    for notification in asking.filter(|notification| wants(notification, AWAITED)) {
        let every = every(notification);
        let last = notification
            .get(LAST_TOLD)
            .and_then(|states| states.get(AWAITED)?.as_i64());
        let due = match (last, every) {
            (None, _) => true,
            (Some(last), Some(every)) => last.saturating_add(every) <= now,
            (Some(_), None) => false,
        };
        look.again |= due && last.is_some();
        let last = if due { now } else { last.unwrap_or(now) };
        if due && let Some(fields) = notification.as_object_mut() {
            changed = true;
            let states = fields.entry(LAST_TOLD).or_insert_with(|| json!({}));
            if !states.is_object() {
                *states = Map::new().into();
            }
            states[AWAITED] = json!(now);
        }
        let left = every.map(|every| last.saturating_add(every).saturating_sub(now));
        let left = left.and_then(|left| u64::try_from(left).ok());
        look.next = look.next.into_iter().chain(left).min();
    }
    look.notifications = changed.then_some(told.into());
    look
}

/// A restart asks anew, and tells anew.
pub(super) fn forget(stage: &mut Stage) {
    let list = stage.context.get_mut("notifications");
    for notification in list.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(fields) = notification.as_object_mut() {
            fields.shift_remove(LAST_TOLD);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(notifications: Value) -> Stage {
        let mut stage = Stage::default();
        stage
            .context
            .insert("notifications".to_owned(), notifications);
        stage
    }

    #[test]
    fn each_is_told_again_after_its_own_time() {
        let told = |last: Value, every: Value| {
            json!({"type": "slack", "address": "#a", "notifyEveryMs": every,
                "lastNotifiedByNotificationState": {"manualJudgment": last}})
        };
        for (notification, again, next) in [
            (told(json!(100_000), json!(50_000)), true, Some(50_000)),
            (told(json!(100_001), json!(50_000)), false, Some(1)),
            (told(json!(100_000), json!("50000")), true, Some(50_000)),
            (told(json!(100_000), json!(-1)), false, None),
            (told(json!(100_000), json!(0)), false, None),
            (told(json!(100_000), Value::Null), false, None),
            // Not in a flood.
            (told(json!(149_500), json!(1)), false, Some(500)),
            // The first notice is sent by whoever began to wait.
            (told(Value::Null, json!(50_000)), false, Some(50_000)),
            // It is told of other states only.
            (
                json!({"type": "slack", "when": ["manualJudgmentStop"], "notifyEveryMs": 1}),
                false,
                None,
            ),
        ] {
            let found = look(&stage(json!([notification])), 150_000);
            assert_eq!((found.again, found.next), (again, next), "{notification}");
            if again {
                let list = found.notifications.unwrap();
                assert_eq!(list[0][LAST_TOLD][AWAITED], 150_000);
            }
        }
    }

    #[test]
    fn the_first_of_several_is_looked_for_and_a_restart_forgets() {
        let every = |ms: i64| json!({"type": "slack", "notifyEveryMs": ms});
        let mut waits = stage(json!([every(9_000), every(5_000), {"type": "slack"}]));
        let first = look(&waits, 100);
        assert_eq!((first.again, first.next), (false, Some(5_000)));
        waits
            .context
            .insert("notifications".to_owned(), first.notifications.unwrap());
        let second = look(&waits, 5_100);
        assert_eq!((second.again, second.next), (true, Some(4_000)));
        let list = second.notifications.unwrap();
        let last = |at: usize| list[at][LAST_TOLD][AWAITED].clone();
        assert_eq!(
            [last(0), last(1), last(2)],
            [json!(100), json!(5_100), json!(100)]
        );
        assert_eq!(look(&waits, 100).notifications, None);
        forget(&mut waits);
        assert_eq!(waits.context["notifications"][1], every(5_000));
    }
}
