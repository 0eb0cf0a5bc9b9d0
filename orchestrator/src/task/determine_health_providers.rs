//! Which kinds of health count. Source: `orca: DetermineHealthProvidersTask`.
//!
//! The only question is whether the application wants the platform's health
//! alone; what a stage lists itself is kept.

use async_trait::async_trait;
use orchestrator_core::{TaskError, TaskPolicy, TaskResult};

use super::{Task, TaskContext};

/// The task.
pub static DETERMINE_HEALTH_PROVIDERS: DetermineHealthProviders = DetermineHealthProviders;

/// See the module.
#[derive(Debug)]
pub struct DetermineHealthProviders;

#[async_trait]
impl Task for DetermineHealthProviders {
    fn kind(&self) -> &'static str {
        "determineHealthProviders"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(5_000, 300_000)
    }

    /// Differs from Spinnaker: the local provider has one kind of health, so
    /// there is nothing to choose and nobody to ask.
    fn decide(&self, _ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        Some(Ok(TaskResult::succeeded()))
    }
}
