//! What happens next in an execution: a total pure function from (message,
//! subject, environment) to effects as data.
//!
//! It never waits, sends, reads a clock or makes a random number; whoever calls
//! it does, and commits everything it answers in one batch. The truth about an
//! execution is its document; the truth about behaviour is Orca's, where it is not
//! marked `Differs from Spinnaker:`.
//!
//! A map: [`Message`] is what comes in, [`Outcome`] all that can come out,
//! [`Execution`] what it is about, [`StageCatalog`] what stages are. `handler/`
//! has a file per message, [`command`] what people ask, [`new_execution`] how one
//! begins, [`task_finished`] what a worker's answer leads to.

#![deny(
    clippy::wildcard_enum_match_arm,
    clippy::float_cmp,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing
)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used))]

mod catalog;
mod change;
pub mod command;
pub mod context;
mod env;
mod execution;
mod finish;
pub mod flow;
pub mod gate;
pub mod graph;
mod handle;
mod handler;
pub mod hydrate;
mod ids;
mod losses;
mod message;
mod outcome;
mod plan;
mod stage;
mod stages;
mod start;
mod status;
mod subject;
mod task;
pub mod template;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod timing;
mod trigger;

pub use catalog::{
    Description, NewStage, PlanError, StageCatalog, StageDefinition, StageView, foreign_type,
    stage_type, task_type,
};
pub use env::{Answers, Env, IdSource, Settings};
pub use execution::{Execution, ExecutionType, Pause};
pub use finish::{dry_run_result, task_finished};
pub use gate::PipelineGate;
pub use handle::handle;
pub use handler::run_task::effect_id;
pub use ids::{ExecutionId, PipelineConfigId, RefId, StageId, TaskId};
pub use losses::{note, note_losses};
pub use message::Message;
pub use outcome::{
    Effects, Event, Lookup, LookupRequest, Mode, Outcome, Outgoing, Reason, RunKind, Subject,
    Target, TaskRun, Write,
};
pub use plan::{DRY_RUN_TASK, WINDOW};
pub use stage::{Owner, Stage};
pub use stages::Stages;
pub use start::{MOST_STAGES, NOBODYS, Rejected, application_of, kind_of, new_execution};
pub use status::Status;
pub use task::{ErrorClass, Task, TaskError, TaskPolicy, TaskResult, TaskSpec};
pub use trigger::Trigger;
