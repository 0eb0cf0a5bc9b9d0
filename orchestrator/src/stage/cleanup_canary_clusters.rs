//! `cleanupCanaryClusters`: takes baseline and canary out of traffic, and away. Planned by `kayentaCanary`, whatever
//! its end, once it began to deploy. Source: `orca: CleanupCanaryClustersStage`.

use async_trait::async_trait;
use orchestrator_core::{
    Description, NewStage, PlanError, Stage, StageDefinition, StageView, TaskError, TaskPolicy,
    TaskResult,
};
use proto::status::Kind;
use serde_json::{Map, Value, json};

use super::deploy_canary_server_groups::{DESTROY, begun, named, submitted};
use super::kayenta_canary::deployments::{self, Deployments};
use super::kayenta_canary::duration::seconds;
use super::{StageType, schema};
use crate::services::{Operation, OperationState};
use crate::task::server_group::{self, cluster_of};
use crate::task::{Task, TaskContext, failed, monitor_operation, submit_operation};

/// The type.
pub(super) static STAGE: CleanupCanaryClusters = CleanupCanaryClusters;
/// What a cancelled canary does instead of this stage.
pub(super) static CLEAN_UP_CANCELED: CleanUpCanceled = CleanUpCanceled;

/// When a group was created, in what is served of it and in the operation that ends it.
const CREATED: &str = "createdTime";

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
        pause.insert("waitTime".to_owned(), seconds(deployments.delay_ms));
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
/// durable and goes on by itself. The next execution may have deployed into the same clusters by then, so what its own
/// operation did not make stays.
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
        let Some(id) = submitted(ctx, deployment).await? else {
            return Ok(TaskResult::succeeded());
        };
        let creation = turned_back(ctx, &id).await?;
        if creation
            .as_ref()
            .is_some_and(|c| c.state == OperationState::Running)
        {
            // It turns back by itself, and is asked again whether it has.
            return Ok(TaskResult::running());
        }
        let mut removed = Vec::new();
        for (region, name) in made(deployment, creation.as_ref(), &deployments) {
            let there = still_there(ctx, &deployments, (&region, &name), creation.as_ref());
            if let Some(group) = there.await? {
                remove(ctx, &deployments, (&region, &name), &group).await?;
                removed.push(name);
            }
        }
        if removed.is_empty() {
            return Ok(TaskResult::succeeded());
        }
        Ok(TaskResult::succeeded().with_context("cleanedUpServerGroups", removed))
    }
}

/// The creation of the groups; one that still goes on is told to turn back. None if it is forgotten.
async fn turned_back(ctx: &TaskContext<'_>, id: &str) -> Result<Option<Operation>, TaskError> {
    let driver = ctx.services.cloud_driver();
    let found = match driver.operation(id).await {
        Ok(operation) if operation.state == OperationState::Running => driver.cancel(id).await,
        found => found,
    };
    match found {
        Err(failure) if failure.kind == Kind::NotFound => Ok(None),
        found => found.map(Some).map_err(failed),
    }
}

/// The groups that the creation made, as (region, name): as its operation says, or, where that is forgotten, as the
/// deployment noted. One that failed has taken back what it made.
fn made(
    deployment: &Stage,
    creation: Option<&Operation>,
    deployments: &Deployments,
) -> Vec<(String, String)> {
    let noted = match creation {
        Some(operation) => monitor_operation::deployed(&operation.result),
        None => deployment.context.get("deploy.server.groups").cloned(),
    };
    let mut made = Vec::new();
    for (region, names) in noted.iter().filter_map(Value::as_object).flatten() {
        let region = match region.as_str() {
            server_group::NO_REGION => &deployments.region,
            region => region,
        };
        let names = names.as_array().into_iter().flatten();
        let names = names.filter_map(Value::as_str);
        made.extend(names.map(|name| (region.to_owned(), name.to_owned())));
    }
    made
}

/// A group, if it is there and is the one that was made. Names come back: in a cluster that was emptied the numbers
/// begin anew, so one that is younger than the end of the creation is another one.
async fn still_there(
    ctx: &TaskContext<'_>,
    deployments: &Deployments,
    (region, name): (&str, &str),
    creation: Option<&Operation>,
) -> Result<Option<Value>, TaskError> {
    let driver = ctx.services.cloud_driver();
    let found = driver.server_group(&deployments.account, region, name);
    let found = found.await.map_err(failed)?;
    let ended = creation.map(|c| c.ended_ms).filter(|ended| *ended > 0);
    Ok(found.filter(|group| {
        let created = created(group).and_then(server_group::whole);
        ended
            .zip(created)
            .is_none_or(|(ended, created)| created <= ended)
    }))
}

fn created(group: &Value) -> Option<&Value> {
    group.get(CREATED)
}

/// Submits the end of a group: of this one, whoever has its name when its turn comes. It may be all that its clusters
/// have.
async fn remove(
    ctx: &TaskContext<'_>,
    deployments: &Deployments,
    (region, name): (&str, &str),
    group: &Value,
) -> Result<(), TaskError> {
    let mut input = named(deployments, region, name);
    input.insert("force".to_owned(), true.into());
    if let Some(created) = created(group) {
        input.insert(CREATED.to_owned(), created.clone());
    }
    submit_operation::submit_as(ctx, name, DESTROY, input).await?;
    Ok(())
}
