//! What people, and stages of other executions, tell an execution to do.

use orchestrator_core::command::{self, Refusal};
use orchestrator_core::{Effects, Execution, ExecutionType};
use proto::status::{Failure, Kind};

use crate::definition::refused;
use crate::engine::{Engine, Extra, TRIES, Tried};
use crate::executions::missing;
use crate::turn::Step;

impl Engine {
    /// Cancels an execution; one that is over stays as it is.
    pub(crate) async fn cancel(&self, id: &str, user: &str, reason: &str) -> Result<(), Failure> {
        self.command(None, id, |execution, _| {
            or_nothing(command::cancel(execution, user, Some(reason)))
        })
        .await
        .map(|_| ())
    }

    /// Decides about an execution as it is now and commits that, again if somebody
    /// else was faster.
    pub(crate) async fn command(
        &self,
        kind: Option<ExecutionType>,
        id: &str,
        decide: impl Fn(&Execution, i64) -> Result<Effects, Refusal>,
    ) -> Result<Execution, Failure> {
        for _ in 0..TRIES {
            let executions = self.executions();
            let Some(loaded) = executions.load(id).await? else {
                return Err(missing(id));
            };
            let Some(execution) = loaded.execution() else {
                return Err(missing(id));
            };
            if kind.is_some_and(|kind| execution.kind != kind) {
                return Err(missing(id));
            }
            let effects = decide(execution, self.now()).map_err(|r| refusal(&r))?;
            if effects == Effects::default() {
                return Ok(execution.clone());
            }
            let steps = [Step::Decided(effects)];
            let shard = executions.shard(id);
            match self
                .advance(&loaded, shard, &steps, Extra::default())
                .await?
            {
                Tried::Committed(loaded, _) => {
                    return loaded.execution().cloned().ok_or_else(|| missing(id));
                }
                Tried::Conflict | Tried::Fenced => {}
                Tried::Refused(other) => return Err(refused(&other)),
            }
        }
        Err(Failure::new(
            Kind::Conflict,
            format!("execution {id} is being changed; repeat"),
        ))
    }
}

/// What comes too late is accepted and does nothing, as Orca answers it: who cancels an execution
/// that just ended has what they want.
pub(crate) fn or_nothing(decided: Result<Effects, Refusal>) -> Result<Effects, Refusal> {
    match decided {
        Err(Refusal::State { .. }) => Ok(Effects::default()),
        decided => decided,
    }
}

fn refusal(refusal: &Refusal) -> Failure {
    let kind = match refusal {
        Refusal::NoStage { .. } => Kind::NotFound,
        Refusal::State { .. } | Refusal::NotSkippable(_) => Kind::Conflict,
    };
    Failure::new(kind, refusal.to_string())
}
