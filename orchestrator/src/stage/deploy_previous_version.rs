//! `deployPreviousVersion`: in an environment, or in one cluster, the version before serves
//! again; what it replaces is in quarantine. Spinnaker has `rollbackCluster`, which brings back
//! the server group before, even if that has the same image.

use async_trait::async_trait;
use orchestrator_core::{
    Description, NewStage, PlanError, StageDefinition, StageView, TaskError, TaskPolicy,
    TaskResult, TaskSpec,
};
use serde_json::{Map, Value, json};

use super::{StageType, accounts_of, schema};
use crate::task::environment::{self, PLANNED, Place};
use crate::task::{Task, TaskContext, quarantine, server_group};

/// The type.
pub(super) static STAGE: DeployPreviousVersion = DeployPreviousVersion;

/// See the module.
#[derive(Debug)]
pub(super) struct DeployPreviousVersion;

impl StageDefinition for DeployPreviousVersion {
    fn kind(&self) -> &'static str {
        "deployPreviousVersion"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Deploy previous version",
            text: "Makes the version before serve again, in an environment or a cluster.",
            category: "deploy",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new(
            "determinePreviousVersion",
            Determine.kind(),
        )])
    }

    fn after(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        Ok(environment::planned(stage))
    }

    fn schema(&self) -> Value {
        schema(
            &json!({
                "environment": {"type": "string", "title": "Environment"},
                "account": {"type": "string", "title": "Account, instead of an environment"},
                "cluster": {"type": "string", "title": "Only this cluster"},
            }),
            &[],
        )
    }
}

impl StageType for DeployPreviousVersion {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Determine]
    }

    fn accounts(&self, stage: &Map<String, Value>) -> Vec<(String, String)> {
        accounts_of(stage, "")
    }
}

/// Where a stage that names an environment, or an account with a cluster, is about.
pub(super) async fn places(ctx: &TaskContext<'_>) -> Result<Vec<Place>, TaskError> {
    let application = environment::application(ctx)?;
    let account = ctx.text("account").or_else(|| ctx.text("credentials"));
    let (found, place) = match (ctx.text("environment"), account, ctx.text("cluster")) {
        (Some(name), _, _) => {
            let accounts = environment::accounts(ctx, "environment").await?;
            let found = environment::places(ctx, application, &accounts).await?;
            (found, format!("environment {name}"))
        }
        (None, Some(account), Some(cluster)) => {
            environment::belongs(application, cluster)?;
            let found = environment::of_cluster(ctx, application, account, cluster).await?;
            (found, format!("cluster {cluster} of {account}"))
        }
        (None, _, _) => {
            return Err(TaskError::user(
                "environment is missing; name an environment, or an account and a cluster",
            ));
        }
    };
    let serving = found.into_iter().filter(|place| place.serving().is_some());
    let serving: Vec<Place> = serving.collect();
    if serving.is_empty() {
        return Err(TaskError::user(format!(
            "nothing of application {application} runs in {place}; deploy there first"
        )));
    }
    Ok(serving)
}

/// The stages that make the version before serve at each of these places.
pub(super) async fn rollbacks(
    ctx: &TaskContext<'_>,
    places: &[Place],
) -> Result<Vec<Value>, TaskError> {
    let mut planned = Vec::new();
    for place in places {
        let held = quarantine::of_cluster(ctx, &place.account, &place.cluster).await?;
        if let Some(current) = place.serving() {
            let before = place.before(current, &held)?;
            planned.push(place.rollback(ctx, server_group::name(current), before));
        }
    }
    Ok(planned)
}

#[derive(Debug)]
struct Determine;

#[async_trait]
impl Task for Determine {
    fn kind(&self) -> &'static str {
        "determinePreviousVersion"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(2_000, 300_000)
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        if ctx.own(PLANNED).is_some() {
            return Ok(TaskResult::succeeded());
        }
        let planned = rollbacks(ctx, &places(ctx).await?).await?;
        Ok(TaskResult::succeeded().with_context(PLANNED, planned))
    }
}
