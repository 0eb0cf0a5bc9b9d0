//! Which kinds of health count. Source: `orca: DetermineHealthProvidersTask`.
//!
//! The only question is whether the application wants the platform's health
//! alone; what a stage lists itself is kept.

use async_trait::async_trait;
use orchestrator_core::{TaskError, TaskPolicy, TaskResult};

use serde_json::{Value, json};

use super::{Task, TaskContext};
use crate::provider;

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

    /// Where running is all the platform tells of health, there is nothing to choose.
    fn decide(&self, ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        let listed = ctx.own("interestingHealthProviderNames").is_some();
        let platform = provider::of(&ctx.stage.context).platform_health();
        (listed || platform.is_none()).then(|| Ok(TaskResult::succeeded()))
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let platform = provider::of(&ctx.stage.context).platform_health();
        let (None, Some(platform)) = (self.decide(ctx), platform) else {
            return Ok(TaskResult::succeeded());
        };
        let name = ctx
            .text("application")
            .unwrap_or(&ctx.execution.application);
        let suspended = ctx.own("suspendedProcesses").and_then(Value::as_array);
        if suspended.is_some_and(|list| list.iter().any(|p| p == "AddToLoadBalancer")) {
            // No load balancer will ever see it.
            let only = json!([platform]);
            return Ok(TaskResult::succeeded().with_context("interestingHealthProviderNames", only));
        }
        // What cannot be asked does not stop a deployment, as in Orca.
        let found = ctx.services.definitions().application(name).await;
        let flag = |key: &str| {
            let value = found.as_ref().ok()?.as_ref()?.get(key)?;
            Some(*value == Value::Bool(true) || *value == "true")
        };
        let only = flag("platformHealthOnly") == Some(true)
            && flag("platformHealthOnlyShowOverride") != Some(true);
        let result = TaskResult::succeeded();
        Ok(if only {
            result.with_context("interestingHealthProviderNames", json!([platform]))
        } else {
            result
        })
    }
}
