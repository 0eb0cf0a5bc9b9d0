//! What people, and stages of other executions, tell an execution to do.

use authorization::{Permission, Permissions, Subject};
use orchestrator_core::command::{self, Refusal};
use orchestrator_core::flow::MOST_PARENTS;
use orchestrator_core::{Effects, Execution, ExecutionType, StageId};
use proto::status::{Failure, Kind};
use runtime::auth::AuthContext;
use serde_json::{Map, Value};

use crate::definition::refused;
use crate::engine::{Engine, Extra, TRIES, Tried};
use crate::executions::missing;
use crate::services::permissions_of;
use crate::stage::manual_judgment::{Voter, is_judgment, vote};
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

    /// Merges what a person sends into a stage's context; for a judgment, counts their answer.
    pub(crate) async fn update_stage(
        &self,
        kind: Option<ExecutionType>,
        id: &str,
        stage: &StageId,
        asked: Map<String, Value>,
        subject: &Subject,
    ) -> Result<Execution, Failure> {
        let found = self.executions().get(id, kind).await?;
        if found.stage(stage).is_some_and(is_judgment) {
            // Where nobody has to authenticate, permissions bind nobody; what the stage asks does.
            let open = self.inner.config.authorization.is_none() && subject.name.is_none();
            let permissions = if open {
                Permissions::default()
            } else {
                self.permissions(&found.application).await?
            };
            let voter = Voter {
                subject,
                policy: self.policy(),
                permissions: &permissions,
            };
            let decide = |execution: &Execution, now| vote(execution, stage, &asked, voter, now);
            return self.change(kind, id, decide).await;
        }
        let user = subject.name.as_deref().unwrap_or(AuthContext::ANONYMOUS);
        self.command(kind, id, |execution, now| {
            let mut context = asked.clone();
            context.insert("lastModifiedBy".to_owned(), user.into());
            command::update_stage(
                execution,
                stage,
                context,
                user,
                now,
                self.inner.ground.stages,
            )
        })
        .await
    }

    /// Runs a stage and what follows it again; where another execution waited for this one
    /// to its end, that one's stage waits again for the same child, and so on upwards.
    ///
    /// Each step is a commit of its own: who repeats a restart that broke off goes on with
    /// what is left of it.
    ///
    /// Differs from Spinnaker: the one above is left alone if whoever restarts may not run
    /// its application.
    pub(crate) async fn restart_stage(
        &self,
        kind: Option<ExecutionType>,
        id: &str,
        stage: &StageId,
        user: &str,
        definition: &Map<String, Value>,
    ) -> Result<Execution, Failure> {
        let decide = |execution: &Execution, _| {
            or_nothing(command::restart_stage_as(
                execution, stage, user, definition,
            ))
        };
        let restarted = self.command(kind, id, decide).await?;
        let mut child = restarted.clone();
        for _ in 0..MOST_PARENTS {
            if child.status.is_complete() {
                // It was not begun again: what waited for it has its answer.
                break;
            }
            let field = |key: &str| child.trigger.text(key).map(ToOwned::to_owned);
            let (Some(parent), Some(stage)) =
                (field("parentPipelineId"), field("parentPipelineStageId"))
            else {
                break;
            };
            let above = match self.executions().get(&parent, None).await {
                Ok(above) => above,
                Err(failure) if failure.kind == Kind::NotFound => break,
                Err(failure) => return Err(failure),
            };
            let access = self.inner.services.access();
            let may = access.application(user, &above.application, Permission::Execute);
            match may.await {
                Ok(()) => {}
                Err(failure) if failure.kind == Kind::Denied => break,
                Err(failure) => return Err(failure),
            }
            let (stage, name) = (StageId::new(stage), child.id.to_string());
            let again = |execution: &Execution, _| {
                Ok(command::restart_for_child(execution, &stage, &name, user))
            };
            child = self.command(None, &parent, again).await?;
        }
        Ok(restarted)
    }

    /// What is stored about who may do what with an application. One that nobody declared
    /// restricts nobody: whether such may be touched at all is decided at the edge.
    async fn permissions(&self, application: &str) -> Result<Permissions, Failure> {
        let stored = self.inner.services.definitions().application(application);
        let stored = stored.await?;
        stored
            .as_ref()
            .map_or_else(|| Ok(Permissions::default()), permissions_of)
    }

    /// Decides about an execution as it is now and commits that, again if somebody
    /// else was faster.
    pub(crate) async fn command(
        &self,
        kind: Option<ExecutionType>,
        id: &str,
        decide: impl Fn(&Execution, i64) -> Result<Effects, Refusal>,
    ) -> Result<Execution, Failure> {
        self.change(kind, id, |execution, now| {
            decide(execution, now).map_err(|r| refusal(&r))
        })
        .await
    }

    /// The same for who refuses in other words.
    async fn change(
        &self,
        kind: Option<ExecutionType>,
        id: &str,
        decide: impl Fn(&Execution, i64) -> Result<Effects, Failure>,
    ) -> Result<Execution, Failure> {
        for _ in 0..TRIES {
            let executions = self.executions();
            let (loaded, is_live) = match executions.load(id).await? {
                Some(loaded) => (loaded, true),
                None => (
                    executions.kept(id).await?.ok_or_else(|| missing(id))?,
                    false,
                ),
            };
            let Some(execution) = loaded.execution() else {
                return Err(missing(id));
            };
            if kind.is_some_and(|kind| execution.kind != kind) {
                return Err(missing(id));
            }
            let effects = decide(execution, self.now())?;
            if effects == Effects::default() {
                return Ok(execution.clone());
            }
            if !is_live {
                // What is written is in the store.
                let again_ms = self.inner.config.stay_ms();
                executions.put_back(id, again_ms).await?;
                continue;
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
