//! `joinGate`: somebody waits for the end of an execution that did not pass its gate,
//! because its pipeline had no limit when it began.
//!
//! | execution | messages |
//! |---|---|
//! | over | `startWaitingExecutions` to the gate |
//! | otherwise | none; the same when it ends |

use crate::change::{Change, ignored};
use crate::execution::Execution;
use crate::handler::complete_execution::release;
use crate::outcome::{Outcome, Reason};

pub(crate) fn handle(execution: &Execution) -> Outcome {
    let is_over = execution.status.is_complete();
    if execution.joined && !is_over {
        return ignored(Reason::AlreadyDone);
    }
    let mut change = Change::of(execution);
    change.header().joined = true;
    if is_over {
        release(&mut change);
    }
    change.done()
}
