//! An execution whose store lost acknowledged commits says so.
//!
//! A store may promise less than every acknowledged commit (Redis with AOF `everysec`). What it lost are
//! whole commits, the last ones; the messages in them came back with the state, so the work is done again
//! under the same effect ids. What somebody saw of it may be undone for a moment, and that is told.

use serde_json::json;

use crate::change::Change;
use crate::execution::Execution;
use crate::outcome::{Effects, Outcome};

/// What an execution's `systemNotifications` call it.
const GROUP: &str = "store";
const MESSAGE: &str = "The store lost its last acknowledged commits. This execution went on from what is \
    left; steps that had been taken since are taken again under the same effect ids, so nothing outside is \
    done twice.";

/// A notice for an execution that began, or was last told, when the store had lost less often; none if
/// there is nothing new, or the execution is over and was not touched.
pub fn note_losses(execution: &Execution, losses: u64, now: i64) -> Option<Effects> {
    if losses <= execution.losses || execution.status.is_complete() {
        return None;
    }
    let mut change = Change::of(execution);
    let header = change.header();
    header.losses = losses;
    header.system_notifications.push(json!({
        "createdAt": now, "group": GROUP, "message": MESSAGE, "closed": false,
    }));
    match change.done() {
        Outcome::Done(effects) => Some(*effects),
        Outcome::Needs(_) | Outcome::Ignored(_) => None,
    }
}
