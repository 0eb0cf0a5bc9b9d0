//! `cleanupCanaryClusters`: takes baseline and canary out of traffic, and away. Planned by `kayentaCanary`, whatever
//! its end, once it began to deploy. Source: `orca: CleanupCanaryClustersStage`.

use async_trait::async_trait;
use orchestrator_core::{
    Description, NewStage, PlanError, Stage, StageDefinition, StageView, TaskError, TaskPolicy,
    TaskResult,
};
use proto::status::Kind;
use serde_json::{Map, Value, json};

use super::deploy_canary_server_groups::{begun, existing, removal, submitted};
use super::kayenta_canary::deployments::{self, Deployments};
use super::{StageType, schema};
use crate::services::OperationState;
use crate::task::server_group::cluster_of;
use crate::task::{SEQUENCE, Task, TaskContext, failed, submit_operation};

/// The type.
pub(super) static STAGE: CleanupCanaryClusters = CleanupCanaryClusters;
/// What a cancelled canary does instead of this stage.
pub(super) static CLEAN_UP_CANCELED: CleanUpCanceled = CleanUpCanceled;

/// See the module.
#[derive(Debug)]
pub(super) struct CleanupCanaryClusters;

impl StageDefinition for CleanupCanaryClusters {
    fn kind(&self) -> &'static str {
        "cleanupCanaryClusters"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Clean up canary clusters",
            text: "Takes baseline and canary out of traffic, and away.",
            category: "deploy",
        }
    }

    fn before(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        let deployments = deployments::of(stage)
            .unwrap_or_else(|| Err("deployments is missing; say what was deployed".to_owned()))?;
        let mut disable = Vec::new();
        let mut shrink = Vec::new();
        for (n, (_, group)) in deployments.groups().enumerate() {
            let side = if n % 2 == 0 { "control" } else { "experiment" };
            let application = deployments.application_of(group);
            let cluster = cluster_of(group, application);
            // Whatever becomes of one, the other ones are seen to.
            let mut context = context(&deployments, application, &cluster);
            context.insert("remainingEnabledServerGroups".to_owned(), 0.into());
            context.insert(
                "allowSiblingStagesToContinueOnFailure".to_owned(),
                true.into(),
            );
            let name = format!("Disable {side} cluster {cluster}");
            disable.push(NewStage::new("disableCluster", &name, context.clone()));
            context.shift_remove("remainingEnabledServerGroups");
            context.insert("allowDeleteActive".to_owned(), true.into());
            context.insert("shrinkToSize".to_owned(), 0.into());
            let name = format!("Cleanup {side} cluster {cluster}");
            shrink.push(NewStage::new("shrinkCluster", &name, context));
        }
        let mut pause = Map::new();
        pause.insert("waitTime".to_owned(), (deployments.delay_ms / 1_000).into());
        let mut pause = NewStage::new("wait", "Wait before cleanup", pause);
        pause.after = disable.iter().map(|stage| stage.name.clone()).collect();
        for stage in &mut shrink {
            stage.after.push(pause.name.clone());
        }
        disable.push(pause);
        disable.extend(shrink);
        Ok(disable)
    }

    fn schema(&self) -> Value {
        schema(
            &json!({"deployments": {"type": "object"}}),
            &["deployments"],
        )
    }
}

impl StageType for CleanupCanaryClusters {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        static OWN: &[&dyn Task] = &[&CLEAN_UP_CANCELED];
        OWN
    }
}

fn context(deployments: &Deployments, application: &str, cluster: &str) -> Map<String, Value> {
    let context = json!({
        "cloudProvider": deployments.provider(), "credentials": deployments.account, "cluster": cluster,
        "application": application, "regions": [deployments.region],
        "continueIfClusterNotFound": true, "continuePipeline": true,
    });
    context.as_object().cloned().unwrap_or_default()
}

/// Takes away what a cancelled stage deployed. The stage is over, so nobody waits for it: what is submitted is
/// durable and goes on by itself.
#[derive(Debug)]
pub(super) struct CleanUpCanceled;

#[async_trait]
impl Task for CleanUpCanceled {
    fn kind(&self) -> &'static str {
        "cleanUpCanceledCanary"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::PLAIN
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let view = StageView {
            execution: ctx.execution,
            stage: ctx.stage,
        };
        let Some(Ok(deployments)) = deployments::of(view) else {
            return Ok(TaskResult::succeeded());
        };
        let Some(deployment) = begun(view) else {
            return Ok(TaskResult::succeeded());
        };
        if under_way(ctx, deployment).await? {
            // It turns back by itself, and is asked again whether it has.
            return Ok(TaskResult::running());
        }
        let mut removed = Vec::new();
        for (_, group) in deployments.groups() {
            let names = existing(ctx, &deployments, group).await?;
            if names.is_empty() {
                continue;
            }
            remove(ctx, &deployments, &names).await?;
            removed.extend(names);
        }
        if removed.is_empty() {
            return Ok(TaskResult::succeeded());
        }
        Ok(TaskResult::succeeded().with_context("cleanedUpServerGroups", removed))
    }
}

/// Whether the creation of the groups still goes on; it is told to turn back.
async fn under_way(ctx: &TaskContext<'_>, deployment: &Stage) -> Result<bool, TaskError> {
    let Some(id) = submitted(ctx, deployment).await? else {
        return Ok(false);
    };
    let driver = ctx.services.cloud_driver();
    let operation = match driver.operation(&id).await {
        Err(failure) if failure.kind == Kind::NotFound => return Ok(false),
        found => found.map_err(failed)?,
    };
    if operation.state != OperationState::Running {
        return Ok(false);
    }
    let state = driver.cancel(&id).await.map_err(failed)?.state;
    Ok(state == OperationState::Running)
}

/// Submits the end of a cluster's groups.
async fn remove(
    ctx: &TaskContext<'_>,
    deployments: &Deployments,
    names: &[String],
) -> Result<(), TaskError> {
    let parts: Vec<Value> = names
        .iter()
        .flat_map(|name| removal(deployments, name))
        .map(|(kind, input)| json!({ kind: input }))
        .collect();
    let mut all = Map::new();
    all.insert("operations".to_owned(), parts.into());
    submit_operation::submit_as(ctx, &names.join("+"), SEQUENCE, all).await?;
    Ok(())
}
