//! Tasks: what a stage does to the world, one step each.
//!
//! A task sees its stage, the clock and the door ([`Services`]); nothing else.
//! It may be run twice at any moment, so what it does outside carries its effect
//! id. What follows from its answer, only the engine decides.

pub(crate) mod access;
pub(crate) mod bind_produced_artifacts;
mod cancel_operation;
mod check_if_application_exists;
pub(crate) mod child;
pub(crate) mod cluster;
mod determine_health_providers;
mod determine_source_server_group;
pub(crate) mod environment;
mod get_commits;
pub(crate) mod monitor_operation;
pub(crate) mod quarantine;
pub(crate) mod server_group;
pub(crate) mod snapshot_source_server_group;
pub(crate) mod submit_operation;
pub(crate) mod traffic_guard;
mod wait_for_capacity_match;
mod wait_for_destroyed_server_group;
mod wait_for_down_instances;
mod wait_for_server_group_disabled;
mod wait_for_up_instances;

use async_trait::async_trait;
use orchestrator_core::{
    Answers, Env, Execution, IdSource, Lookup, Stage, Task as TaskExecution, TaskError, TaskId,
    TaskPolicy, TaskResult, context,
};
use proto::status::{Failure, Kind};
use serde_json::Value;

pub use bind_produced_artifacts::BIND_PRODUCED_ARTIFACTS;
pub use cancel_operation::CANCEL_OPERATION;
pub use check_if_application_exists::CHECK_IF_APPLICATION_EXISTS;
pub use determine_health_providers::DETERMINE_HEALTH_PROVIDERS;
pub use determine_source_server_group::DETERMINE_SOURCE_SERVER_GROUP;
pub use get_commits::GET_COMMITS;
pub use monitor_operation::MONITOR_OPERATION;
pub use snapshot_source_server_group::SNAPSHOT_SOURCE_SERVER_GROUP;
pub use submit_operation::{SEQUENCE, Submission};
pub use wait_for_capacity_match::WAIT_FOR_CAPACITY_MATCH;
pub use wait_for_destroyed_server_group::WAIT_FOR_DESTROYED_SERVER_GROUP;
pub use wait_for_down_instances::WAIT_FOR_DOWN_INSTANCES;
pub use wait_for_server_group_disabled::WAIT_FOR_SERVER_GROUP_DISABLED;
pub use wait_for_up_instances::WAIT_FOR_UP_INSTANCES;

use crate::lookup;
use crate::services::Services;
use crate::stage;

/// The tasks that several stages use. A stage's own are listed by the stage.
pub static TASKS: &[&dyn Task] = &[
    &BIND_PRODUCED_ARTIFACTS,
    &CANCEL_OPERATION,
    &CHECK_IF_APPLICATION_EXISTS,
    &DETERMINE_HEALTH_PROVIDERS,
    &DETERMINE_SOURCE_SERVER_GROUP,
    &GET_COMMITS,
    &MONITOR_OPERATION,
    &SNAPSHOT_SOURCE_SERVER_GROUP,
    &WAIT_FOR_CAPACITY_MATCH,
    &WAIT_FOR_DESTROYED_SERVER_GROUP,
    &WAIT_FOR_DOWN_INSTANCES,
    &WAIT_FOR_SERVER_GROUP_DISABLED,
    &WAIT_FOR_UP_INSTANCES,
];

/// Which pool of workers runs a task: one per peer, so that a slow peer holds up
/// nobody but those who wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pool {
    /// This service's own definitions.
    Definitions,
    /// cloud-driver.
    CloudDriver,
    /// Addresses that users chose.
    Http,
}

impl Pool {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Definitions, Self::CloudDriver, Self::Http];

    /// The store's queue that holds its runs.
    pub fn queue(self) -> &'static str {
        match self {
            Self::Definitions => "task-runs-definitions",
            Self::CloudDriver => "task-runs-cloud-driver",
            Self::Http => "task-runs-http",
        }
    }
}

/// One type of task.
#[async_trait]
pub trait Task: Send + Sync {
    /// Its type, unique, as in an execution's JSON (`implementingClass`).
    fn kind(&self) -> &'static str;

    /// How often and how long.
    fn policy(&self) -> TaskPolicy;

    /// Where it is run.
    fn pool(&self) -> Pool {
        Pool::CloudDriver
    }

    /// The answer of a task that asks nobody outside: it is then part of the
    /// commit of the message that started it. None for every other task.
    fn decide(&self, _ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        None
    }

    /// Runs it. Only called when [`Task::decide`] has no answer.
    ///
    /// # Errors
    /// By class, which decides what follows.
    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        self.decide(ctx)
            .unwrap_or_else(|| Err(TaskError::permanent("this task has nothing to run")))
    }
}

/// A task by type; none if there is none.
pub fn find(kind: &str) -> Option<&'static dyn Task> {
    let own = stage::STAGES.iter().flat_map(|s| s.own_tasks());
    TASKS.iter().chain(own).copied().find(|t| t.kind() == kind)
}

/// What a task may know.
pub struct TaskContext<'a> {
    /// The execution.
    pub execution: &'a Execution,
    /// The stage, its context evaluated.
    pub stage: &'a Stage,
    /// Which of the stage's tasks it is.
    pub task_id: &'a TaskId,
    /// Now, ms since the epoch.
    pub now: i64,
    /// `<execution>/<stage>/<attempt>/<task>`.
    pub effect_id: &'a str,
    /// The door.
    pub services: &'a dyn Services,
}

struct NoIds;

impl IdSource for NoIds {
    fn next_id(&mut self) -> String {
        String::new()
    }

    fn derived_id(&mut self, _at: i64, _purpose: &str) -> String {
        self.next_id()
    }
}

impl<'a> TaskContext<'a> {
    /// A key as the stage sees it: own value, else the nearest ancestor's output.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.execution.lookup(self.stage, key)
    }

    /// A key of the stage's own context.
    pub fn own(&self, key: &str) -> Option<&'a Value> {
        self.stage.context.get(key).filter(|v| !v.is_null())
    }

    /// Text of the stage's own context; empty counts as absent.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.own(key)?
            .as_str()
            .map(str::trim)
            .filter(|t| !t.is_empty())
    }

    /// A flag of the stage's own context; absent is false.
    pub fn flag(&self, key: &str) -> bool {
        self.stage.flag(key) == Some(true)
    }

    /// A number of the stage's own context, written as such or as text.
    pub fn number(&self, key: &str) -> Option<f64> {
        number(self.own(key)?)
    }

    /// On whose behalf it acts: who answered the nearest judgment before it that says so, else
    /// who started the execution (`orca: AuthenticationAware`).
    pub fn user(&self) -> &'a str {
        let judge = stage::manual_judgment::acting(self.execution, self.stage);
        judge.unwrap_or_else(|| self.execution.user())
    }

    /// Itself, as the execution holds it.
    pub fn task(&self) -> Option<&'a TaskExecution> {
        self.stage.task(self.task_id)
    }

    /// The id of one of its effects.
    pub fn effect(&self, step: &str) -> String {
        format!("{}/{step}", self.effect_id)
    }

    /// The artifact that the stage names: by the id of an expected one, else written in the
    /// stage; its expressions evaluated. None if it names none that is bound.
    ///
    /// # Errors
    /// What failed in its expressions.
    pub fn artifact(&self, id_key: &str, key: &str) -> Result<Option<Value>, TaskError> {
        let found = match self.text(id_key) {
            Some(id) => self.execution.bound_artifact(self.stage, id),
            None => self.own(key).filter(|written| written.is_object()).cloned(),
        };
        let Some(found) = found else {
            return Ok(None);
        };
        let evaluated = self.evaluate(&found).unwrap_or_else(|| {
            Err("its expressions fetch something; do that in a stage before".to_owned())
        });
        evaluated
            .map(Some)
            .map_err(|why| TaskError::user(format!("{key}: {why}")))
    }

    /// Evaluates a template against the stage: its value, or what failed in words. None
    /// if something must be looked up first, which [`Self::evaluate_fetching`] does.
    pub fn evaluate(&self, template: &Value) -> Option<Result<Value, String>> {
        self.evaluate_knowing(template, &Answers::new()).ok()
    }

    /// The same, looking up what it asks for.
    ///
    /// # Errors
    /// What failed, in words.
    pub async fn evaluate_fetching(&self, template: &Value) -> Result<Value, String> {
        let mut answers = Answers::new();
        for _ in 0..ROUNDS {
            match self.evaluate_knowing(template, &answers) {
                Ok(evaluated) => return evaluated,
                Err(mut lookups) => {
                    lookups.truncate(lookup::MOST);
                    answers.extend(lookup::fetch(self.services, &lookups, self.user()).await);
                }
            }
        }
        Err(format!(
            "the expression fetches something for the {ROUNDS}th time; split it"
        ))
    }

    fn evaluate_knowing(
        &self,
        template: &Value,
        answers: &Answers,
    ) -> Result<Result<Value, String>, Vec<Lookup>> {
        let env = Env {
            now: self.now,
            ids: &mut NoIds,
            answers,
            stages: &stage::Catalog,
            settings: self.services.settings(),
        };
        let evaluated = context::evaluate(self.execution, Some(self.stage), template, &env)?;
        Ok(match evaluated.failures.first() {
            Some(failure) => Err(failure.description.clone()),
            None => Ok(evaluated.value),
        })
    }
}

/// How often an expression of a task may ask for something more.
const ROUNDS: usize = 4;

/// A number written as such or as text.
pub(crate) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.to_string().parse().ok(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A peer's failure as a task's: what may pass is tried again.
pub(crate) fn failed(failure: Failure) -> TaskError {
    match failure.kind {
        Kind::Unavailable | Kind::Exhausted => TaskError::transient(failure.message),
        Kind::Invalid | Kind::NotFound | Kind::Denied | Kind::Unauthenticated => {
            let mut error = TaskError::user(failure.message);
            error.details = failure
                .fields
                .iter()
                .map(|f| format!("{}: {}", f.path, f.message))
                .collect();
            error
        }
        Kind::Conflict | Kind::Unimplemented | Kind::Internal => {
            TaskError::permanent(failure.message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_has_its_own_type() {
        let own = stage::STAGES.iter().flat_map(|s| s.own_tasks());
        let mut kinds: Vec<_> = TASKS.iter().chain(own).map(|t| t.kind()).collect();
        let all = kinds.len();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds.len(), all);
    }
}
