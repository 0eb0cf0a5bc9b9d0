//! `replaceInPlace`: every instance of a server group gives its host to one of the
//! next, drained, one batch at a time. Planned by the strategy `inplacedrain` and
//! by rollbacks.

use async_trait::async_trait;
use orchestrator_core::{
    Description, PlanError, Stage, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult,
    TaskSpec,
};
use serde_json::{Map, Value, json};

use super::create_server_group::{check_quarantine, deploy_input};
use super::{StageType, accounts_of, schema};
use crate::task::{
    CANCEL_OPERATION, DETERMINE_HEALTH_PROVIDERS, MONITOR_OPERATION, Task, TaskContext,
    WAIT_FOR_UP_INSTANCES, server_group, submit_operation,
};

/// The type.
pub(super) static STAGE: ReplaceInPlace = ReplaceInPlace;

static SUBMIT: Replace = Replace;

/// Submits the operation.
#[derive(Debug)]
struct Replace;

#[async_trait]
impl Task for Replace {
    fn kind(&self) -> &'static str {
        "replaceInPlace"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy {
            backoff_ms: 500,
            timeout_ms: Some(600_000),
            overridable: false,
        }
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let input = input(ctx)?;
        // The group that takes the hosts back stands there already.
        if ctx.text("targetServerGroupName").is_none() {
            check_quarantine(ctx, &input).await?;
        }
        submit_operation::submit(ctx, self.kind(), input).await
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct ReplaceInPlace;

impl StageDefinition for ReplaceInPlace {
    fn kind(&self) -> &'static str {
        "replaceInPlace"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Replace in place",
            text: "Replaces a server group host by host, draining each instance first.",
            category: "deploy",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![
            TaskSpec::new(
                "determineHealthProviders",
                DETERMINE_HEALTH_PROVIDERS.kind(),
            ),
            TaskSpec::new("replaceInPlace", SUBMIT.kind()),
            TaskSpec::new("monitorDeploy", MONITOR_OPERATION.kind()),
            TaskSpec::new("waitForUpInstances", WAIT_FOR_UP_INSTANCES.kind()),
        ])
    }

    fn cancel_task(&self, _stage: StageView<'_>) -> Option<&'static str> {
        Some(CANCEL_OPERATION.kind())
    }

    fn prepare_restart(&self, stage: &mut Stage) {
        stage.context.remove("deploy.server.groups");
    }

    fn schema(&self) -> Value {
        schema(
            &json!({
                "account": {"type": "string", "title": "Account"},
                "region": {"type": "string", "title": "Region"},
                "imageId": {"type": "string", "title": "Image"},
                "source": {"type": "object", "title": "Server group to replace"},
                "targetServerGroupName": {"type": "string", "title": "Server group to restore"},
                "floor": {"type": "integer", "title": "Instances that always serve"},
                "allowOutage": {"type": "boolean"},
            }),
            &["account", "region"],
        )
    }
}

impl StageType for ReplaceInPlace {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        static OWN: &[&dyn Task] = &[&SUBMIT];
        OWN
    }

    fn accounts(&self, stage: &Map<String, Value>) -> Vec<(String, String)> {
        accounts_of(stage, "")
    }
}

fn input(ctx: &TaskContext<'_>) -> Result<Map<String, Value>, TaskError> {
    let mut input = deploy_input(ctx)?;
    let region = server_group::region_of(ctx)?;
    input.insert("region".to_owned(), region.into());
    if ctx.text("targetServerGroupName").is_some() {
        // The group that takes the hosts back has an image of its own.
        for key in ["imageId", "image", "amiName"] {
            input.shift_remove(key);
        }
    }
    Ok(input)
}
