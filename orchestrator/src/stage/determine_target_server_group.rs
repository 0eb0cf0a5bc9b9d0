//! `determineTargetServerGroup`: which group a target such as
//! `current_asg_dynamic` names now. Planned by other stages. Source: `orca:
//! DetermineTargetServerGroupStage`.

use async_trait::async_trait;
use orchestrator_core::{
    Description, PlanError, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult, TaskSpec,
};
use serde_json::{Map, Value, json};

use super::{StageType, accounts_of};
use crate::services::Target;
use crate::task::{Task, TaskContext, failed, server_group};

/// The type.
pub(super) static STAGE: DetermineTargetServerGroup = DetermineTargetServerGroup;

/// See the module.
#[derive(Debug)]
pub(super) struct DetermineTargetServerGroup;

impl StageDefinition for DetermineTargetServerGroup {
    fn kind(&self) -> &'static str {
        "determineTargetServerGroup"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Determine target server group",
            text: "Finds the server group that a target names.",
            category: "internal",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new(
            "determineTargetServerGroup",
            Determine.kind(),
        )])
    }
}

impl StageType for DetermineTargetServerGroup {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Determine]
    }

    fn accounts(&self, stage: &Map<String, Value>) -> Vec<(String, String)> {
        accounts_of(stage, "")
    }
}

#[derive(Debug)]
struct Determine;

#[async_trait]
impl Task for Determine {
    fn kind(&self) -> &'static str {
        "determineTargetServerGroup"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy {
            backoff_ms: 500,
            timeout_ms: Some(300_000),
            overridable: false,
        }
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let account = server_group::account(ctx)?;
        let cluster = server_group::cluster_of(&ctx.stage.context, &ctx.execution.application);
        let target = ctx.text("target").unwrap_or("current_asg_dynamic");
        let mut references = Vec::new();
        for region in server_group::regions_of(&ctx.stage.context) {
            let wanted = Target {
                account: account.to_owned(),
                region: region.clone(),
                cluster: cluster.clone(),
                target: target.to_owned(),
                cloud_provider: server_group::provider(ctx).to_owned(),
            };
            let found = ctx
                .services
                .cloud_driver()
                .target(&wanted)
                .await
                .map_err(failed)?;
            let group = found.ok_or_else(|| {
                TaskError::user(format!(
                    "Could not resolve {target} of cluster {cluster} in {account}/{region}"
                ))
            })?;
            references.push(json!({
                "region": region,
                "cluster": cluster,
                "cloudProvider": server_group::provider(ctx),
                "target": target,
                "asg": {
                    "name": server_group::name(&group),
                    "region": region,
                    "capacity": server_group::capacity(&group).to_json(),
                },
            }));
        }
        Ok(TaskResult::succeeded().with_context("targetReferences", references))
    }
}
