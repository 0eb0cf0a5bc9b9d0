//! Durable messages that one service leaves in the store for another.
//!
//! They are written in the same commit as the state they follow from, so
//! neither can exist without the other. Fields are only ever added, never
//! renamed or removed: a reader must understand the messages of the release
//! before its own. They are kept as JSON.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The store's queue that holds [`ExecutionRequested`], in the application's shard.
pub const EXECUTION_REQUESTS: &str = "execution-requests";

/// The store's queue that holds [`OperationFinished`], in the execution's shard.
pub const OPERATION_FINISHED: &str = "operation-finished";

/// The store's queue that holds [`PipelineCompleted`], in the execution's shard.
pub const PIPELINE_COMPLETED: &str = "pipeline-completed";

/// An execution of a stored pipeline ended: others may wait for that. `orchestrator` →
/// `trigger`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PipelineCompleted {
    /// The execution.
    pub execution_id: String,
    /// Id of its pipeline definition.
    pub pipeline_config_id: String,
    /// Its final status, such as `SUCCEEDED`.
    pub status: String,
    /// When it ended, milliseconds since the epoch: a restart ends it again.
    pub ended_at_ms: i64,
}

/// A trigger matched: start this pipeline. `trigger` → `orchestrator`.
///
/// The execution's id is derived from `trigger_id` and `event_id`, so a second
/// delivery finds the first execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionRequested {
    /// The pipeline's application.
    pub application: String,
    /// Id of the pipeline definition, read when the message is handled.
    pub pipeline_config_id: String,
    /// Which of the pipeline's triggers: its `id`.
    pub trigger_id: String,
    /// The event that fired, the same for a notification and a poll of one push.
    pub event_id: String,
    /// When the event was recorded, milliseconds since the epoch.
    pub recorded_at_ms: i64,
    /// The trigger as the execution will hold it: type, tag, artifacts, user, …
    pub trigger: Value,
}

/// An operation or a canary run ended: the stage that waits for it may go on. `cloud-driver`, `canary-judge` →
/// `orchestrator`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationFinished {
    /// The operation, or the canary run.
    pub operation_id: String,
    /// Whether it reached its goal; a run whether it was judged, whatever the verdict.
    pub succeeded: bool,
    /// The execution that waits.
    pub execution_id: String,
    /// The stage that waits.
    pub stage_id: String,
    /// The task that waits.
    pub task_id: String,
}
