//! Tasks, what they answer, and how often they may.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids::TaskId;
use crate::status::Status;

fn no(flag: &bool) -> bool {
    !flag
}

fn zero(number: &u32) -> bool {
    *number == 0
}

/// A task as stored and served (`orca: TaskExecution`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Task {
    /// `1`, `2`, … within the stage.
    pub id: TaskId,
    /// What people see.
    pub name: String,
    /// The task's type in the catalogue; called as in Orca's JSON.
    pub implementing_class: String,
    /// Where it stands.
    pub status: Status,
    /// First start, ms since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<i64>,
    /// End, ms since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<i64>,
    /// First of its stage.
    pub stage_start: bool,
    /// Last of its stage.
    pub stage_end: bool,
    /// First of a loop.
    pub loop_start: bool,
    /// Last of a loop.
    pub loop_end: bool,
    /// `{exception: …}` once it failed.
    pub task_exception_details: Map<String, Value>,
    /// How often it was handed to a worker. Engine's own, not served.
    #[serde(rename = "_runs", skip_serializing_if = "zero")]
    pub runs: u32,
    /// How often its loop began again. Engine's own, not served.
    #[serde(rename = "_round", skip_serializing_if = "zero")]
    pub round: u32,
    /// A worker has it now, or its answer waits to be recorded. Engine's own, not served.
    #[serde(rename = "_inFlight", skip_serializing_if = "no")]
    pub in_flight: bool,
    /// It was woken while a worker had it: run it again at once. Not served.
    #[serde(rename = "_wake", skip_serializing_if = "no")]
    pub wake: bool,
    /// What only a newer version knows: it is kept when this one writes.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// What a task answered.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TaskResult {
    /// `Running` means: ask again after the backoff, or when woken.
    pub status: Status,
    /// Merged into the stage's context.
    pub context: Map<String, Value>,
    /// Merged into the stage's outputs.
    pub outputs: Map<String, Value>,
    /// When to ask again, in ms, instead of the policy's backoff.
    pub backoff_ms: Option<u64>,
    /// When what it waits for is due, ms since the epoch: told in the stage; none leaves it.
    pub scheduled_time: Option<i64>,
    /// While it waits: people who were told of it are told again.
    pub remind: bool,
}

impl TaskResult {
    /// A result without context or outputs.
    pub fn status(status: Status) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    /// Succeeded.
    pub fn succeeded() -> Self {
        Self::status(Status::Succeeded)
    }

    /// Not yet.
    pub fn running() -> Self {
        Self::status(Status::Running)
    }

    /// Adds to the context.
    #[must_use]
    pub fn with_context(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.context.insert(key.to_owned(), value.into());
        self
    }

    /// Adds to the outputs.
    #[must_use]
    pub fn with_output(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.outputs.insert(key.to_owned(), value.into());
        self
    }
}

/// What may be done about a failed task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The user's input: nothing but a change of it helps.
    User,
    /// Again after the backoff.
    Transient,
    /// It will not work.
    Permanent,
    /// It was asked to stop.
    Cancelled,
}

/// Why a task failed.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskError {
    /// What may be done about it.
    pub class: ErrorClass,
    /// Root cause first, one sentence.
    pub message: String,
    /// Further lines for the user: the last lines of a log, faulty fields.
    pub details: Vec<String>,
    /// What the task learned before it failed, merged into the stage's context.
    pub context: Map<String, Value>,
}

impl TaskError {
    /// An error without further lines.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            details: Vec::new(),
            context: Map::new(),
        }
    }

    /// The user's input is at fault.
    pub fn user(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::User, message)
    }

    /// It may work later.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Transient, message)
    }

    /// It will not work.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Permanent, message)
    }
}

/// How long a type of task may take and how often it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskPolicy {
    /// Pause between two runs, in ms.
    pub backoff_ms: u64,
    /// It fails when it took longer, in ms; none: no limit of its own.
    pub timeout_ms: Option<u64>,
    /// A stage's `stageTimeoutMs` replaces the timeout.
    pub overridable: bool,
}

impl TaskPolicy {
    /// Asked every second, without a limit of its own.
    pub const PLAIN: Self = Self {
        backoff_ms: 1_000,
        timeout_ms: None,
        overridable: false,
    };

    /// A retryable task.
    pub const fn retry(backoff_ms: u64, timeout_ms: u64) -> Self {
        Self {
            backoff_ms,
            timeout_ms: Some(timeout_ms),
            overridable: true,
        }
    }
}

/// A task to plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSpec {
    /// What people see.
    pub name: String,
    /// Its type in the catalogue.
    pub kind: &'static str,
    /// First of a loop.
    pub loop_start: bool,
    /// Last of a loop.
    pub loop_end: bool,
}

impl TaskSpec {
    /// A task outside loops.
    pub fn new(name: &str, kind: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            loop_start: false,
            loop_end: false,
        }
    }
}
