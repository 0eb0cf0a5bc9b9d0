//! The complete list of what the engine can cause.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::execution::Execution;
use crate::gate::PipelineGate;
use crate::ids::{ExecutionId, PipelineConfigId, StageId, TaskId};
use crate::message::Message;
use crate::stage::Stage;

/// What a mailbox belongs to.
#[derive(Debug, Clone, PartialEq)]
pub enum Subject {
    /// One execution.
    Execution(Box<Execution>),
    /// The concurrency limit and waiting list of one pipeline.
    PipelineGate(PipelineGate),
}

/// What a handler answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Do this, all at once.
    Done(Box<Effects>),
    /// Fetch these, record the answers, and ask again.
    Needs(Vec<Lookup>),
    /// Nothing to do, for this reason; counted, never silent.
    Ignored(Reason),
}

/// Why a message had nothing to do. Labels of a metric, so a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// What it asks for was done already.
    AlreadyDone,
    /// The execution is over.
    ExecutionComplete,
    /// Something else goes first and will send this again.
    NotYet,
    /// A restart or another run took its place.
    Superseded,
    /// Its stage or task does not exist any more.
    Gone,
    /// It is for another kind of subject.
    WrongSubject,
}

impl Reason {
    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AlreadyDone => "already-done",
            Self::ExecutionComplete => "execution-complete",
            Self::NotYet => "not-yet",
            Self::Superseded => "superseded",
            Self::Gone => "gone",
            Self::WrongSubject => "wrong-subject",
        }
    }
}

/// Writes, messages and events that become durable in one commit, and at most one
/// task to run after it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Effects {
    /// Changed parts of the subject.
    pub writes: Vec<Write>,
    /// Messages, in order.
    pub messages: Vec<Outgoing>,
    /// What happened, for feed, notifications and metrics.
    pub events: Vec<Event>,
    /// A task to hand to a worker.
    pub run: Option<TaskRun>,
}

/// A changed part of the subject.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// The execution's header (its `stages` are empty) with the order of stages.
    Header(Box<Execution>, Vec<StageId>),
    /// A stage, new or changed.
    Stage(Arc<Stage>),
    /// A stage that is no more.
    RemoveStage(StageId),
    /// The whole gate.
    Gate(PipelineGate),
}

/// Whose mailbox a message goes to. All of them are in the application's shard.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// The execution's.
    Execution(ExecutionId),
    /// The gate's.
    Gate(PipelineConfigId),
}

/// How a message relates to an equal one that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// Takes its place.
    Push,
    /// Leaves it alone.
    Ensure,
    /// Only changes its time; without one, nothing.
    Reschedule,
    /// Takes it away.
    Remove,
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outgoing {
    /// Mailbox.
    pub to: Target,
    /// What to do.
    pub message: Message,
    /// Relation to an equal one.
    pub mode: Mode,
    /// Not before this time, in ms from the commit on.
    pub delay_ms: u64,
}

/// Something that happened. `kind` is `execution:started`, `stage:complete`, …
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// What.
    #[serde(rename = "type")]
    pub kind: String,
    /// The details: ids, names, status, times.
    pub detail: Value,
}

/// What a worker is to do with a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RunKind {
    /// Run it; its result goes to [`crate::task_finished`].
    Run,
    /// Undo what its stage does outside; the result only adds to the context.
    Cancel,
}

/// A task handed to a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskRun {
    /// Its execution.
    pub execution_id: ExecutionId,
    /// Its application.
    pub application: String,
    /// Its stage.
    pub stage_id: StageId,
    /// The task; for `Cancel` the stage's last.
    pub task_id: TaskId,
    /// Type in the catalogue of what to run.
    pub task_type: String,
    /// Run or cancel.
    pub run: RunKind,
    /// Which run of this task it is.
    pub number: u32,
    /// `<execution>/<stage>/<attempt>/<task>`: the same for every run of one
    /// attempt, so that what is done outside under it is done once.
    pub effect_id: String,
}

/// Something an expression asks for that is not in the state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lookup {
    /// Where the answer belongs: stage, attempt and position of the expression.
    pub key: String,
    /// What to fetch.
    pub request: LookupRequest,
}

/// What can be fetched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LookupRequest {
    /// The text behind a URL, through the egress guard.
    Url(String),
    /// The execution of this id, as clients see it.
    Execution(String),
}
