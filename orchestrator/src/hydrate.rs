//! Messages of an execution that were lost, put again at an administrator's wish.
//!
//! State, messages and acknowledgement are one commit, so nothing here loses one; a store that was put back to an
//! older state, or written by hand, may have. What is missing is read off the state
//! ([`orchestrator_core::hydrate`]), and put over the version that was read: if somebody else was faster, it is read
//! again.

use orchestrator_core::hydrate::Hydration;
use proto::status::{Failure, Kind};
use serde_json::{Map, Value, json};

use crate::definition::refused;
use crate::engine::{Engine, Extra, TRIES, Tried};
use crate::executions::missing;
use crate::turn::Step;

/// What is told of an execution: nothing of one that does not run.
fn told(dry_run: bool, executions: Map<String, Value>) -> Value {
    json!({"dryRun": dry_run, "executions": executions})
}

impl Engine {
    /// Puts the messages an execution waits for that do not wait already, or only tells of them; all of them or
    /// none.
    ///
    /// Differs from Spinnaker: an execution that is not there is said to be missing instead of answered with nothing.
    pub(crate) async fn hydrate(&self, id: &str, dry_run: bool) -> Result<Value, Failure> {
        let executions = self.executions();
        for _ in 0..TRIES {
            let Some(loaded) = executions.load(id).await? else {
                // One in the archive is over.
                executions.get(id, None).await?;
                return Ok(told(dry_run, Map::new()));
            };
            let execution = loaded.execution().ok_or_else(|| missing(id))?;
            let Some(found) = Hydration::of(execution, self.inner.ground.stages) else {
                return Ok(told(dry_run, Map::new()));
            };
            let report = Map::from_iter([(id.to_owned(), found.to_json(execution))]);
            if dry_run || !found.can_apply() {
                return Ok(told(dry_run, report));
            }
            let steps = [Step::Decided(found.effects(execution))];
            let tried = self.advance(&loaded, executions.shard(id), &steps, Extra::default());
            match tried.await? {
                Tried::Committed(..) => {
                    tracing::info!(execution.id = id, "an execution was hydrated");
                    return Ok(told(dry_run, report));
                }
                Tried::Conflict | Tried::Fenced => {}
                Tried::Refused(other) => return Err(refused(&other)),
            }
        }
        let message = format!("execution {id} is being changed; repeat");
        Err(Failure::new(Kind::Conflict, message))
    }
}
