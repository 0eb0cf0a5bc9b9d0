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

/// Any other notice for people in an execution's `systemNotifications`, complete or not.
pub fn note(execution: &Execution, group: &str, message: &str, now: i64) -> Outcome {
    let mut change = Change::of(execution);
    change.header().system_notifications.push(json!({
        "createdAt": now, "group": group, "message": message, "closed": false,
    }));
    change.done()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Subject;
    use crate::status::Status;

    fn told(execution: &Execution, losses: u64) -> Option<Execution> {
        let effects = note_losses(execution, losses, 7)?;
        let mut subject = Subject::Execution(Box::new(execution.clone()));
        subject.apply(&effects);
        match subject {
            Subject::Execution(execution) => Some(*execution),
            Subject::PipelineGate(_) => None,
        }
    }

    #[test]
    fn each_loss_is_told_once_while_it_runs() {
        let begun = Execution {
            status: Status::Running,
            losses: 2,
            ..Execution::default()
        };
        assert_eq!(told(&begun, 2), None);
        let once = told(&begun, 3).unwrap();
        assert_eq!((once.losses, once.system_notifications.len()), (3, 1));
        assert_eq!(once.system_notifications[0]["group"], GROUP);
        assert_eq!(told(&once, 3), None);
        let over = Execution {
            status: Status::Succeeded,
            ..begun
        };
        assert_eq!(told(&over, 3), None);
    }
}
