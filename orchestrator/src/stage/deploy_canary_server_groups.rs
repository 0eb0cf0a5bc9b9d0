//! `deployCanaryServerGroups`: a baseline of the version that serves and a canary, created in one operation.
//! Planned by `kayentaCanary`. Source: `orca: DeployCanaryServerGroupsStage`, `PropagateDeployedServerGroupScopes`.
//!
//! Differs from Spinnaker: there the two are deployed by stages of their own, and whoever comes first is older and
//! warmer. Here one operation brings both up, and they get their requests at the same moment.

use async_trait::async_trait;
use orchestrator_core::{
    Description, ErrorClass, NewStage, Owner, PlanError, Stage, StageDefinition, StageView, Status,
    Task as TaskExecution, TaskError, TaskPolicy, TaskResult, TaskSpec, effect_id,
};
use serde_json::{Map, Value, json};

use super::create_server_group::{check_quarantine, deploy_input};
use super::kayenta_canary::deployments::{self, Deployments};
use super::{StageType, schema};
use crate::provider::Part;
use crate::task::server_group::{self, cluster_of};
use crate::task::{
    CANCEL_OPERATION, MONITOR_OPERATION, Task, TaskContext, WAIT_FOR_UP_INSTANCES, failed,
    submit_operation,
};

/// The type.
pub(super) static STAGE: DeployCanaryServerGroups = DeployCanaryServerGroups;

/// Name of the task that submits the creation.
const CREATION: &str = "createCanaryServerGroups";
const BASELINE: &str = "Find baseline image";
/// The operation that ends a group.
pub(super) const DESTROY: &str = "destroyServerGroup";
/// What names an image in the context of a deployment.
const IMAGE: [&str; 5] = [
    "imageId",
    "image",
    "amiName",
    "imageArtifact",
    "imageArtifactId",
];

/// See the module.
#[derive(Debug)]
pub(super) struct DeployCanaryServerGroups;

impl StageDefinition for DeployCanaryServerGroups {
    fn kind(&self) -> &'static str {
        "deployCanaryServerGroups"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Deploy canary server groups",
            text: "Brings up a baseline and a canary together.",
            category: "deploy",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![
            TaskSpec::new(CREATION, Create.kind()),
            TaskSpec::new("monitorDeploy", MONITOR_OPERATION.kind()),
            TaskSpec::new("waitForUpInstances", WAIT_FOR_UP_INSTANCES.kind()),
            TaskSpec::new("propagateDeployedServerGroupScopes", Propagate.kind()),
        ])
    }

    fn before(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        let deployments = of(stage)?;
        let mut context = Map::new();
        for key in ["application", "account", "cluster"] {
            let value = deployments.baseline.get(key).cloned().unwrap_or_default();
            context.insert(key.to_owned(), value);
        }
        let provider = deployments.baseline.get("cloudProvider").cloned();
        let provider = provider.unwrap_or_else(|| deployments.provider().into());
        context.insert("cloudProvider".to_owned(), provider);
        context.insert("regions".to_owned(), json!([deployments.region]));
        Ok(vec![NewStage::new("findImage", BASELINE, context)])
    }

    fn cancel_task(&self, _stage: StageView<'_>) -> Option<&'static str> {
        Some(CANCEL_OPERATION.kind())
    }

    fn prepare_restart(&self, stage: &mut Stage) {
        stage.context.shift_remove("deploy.server.groups");
    }

    fn schema(&self) -> Value {
        schema(
            &json!({"deployments": {"type": "object"}}),
            &["deployments"],
        )
    }
}

impl StageType for DeployCanaryServerGroups {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Create, &Propagate]
    }
}

/// What is to be deployed.
fn of(stage: StageView<'_>) -> Result<Deployments, String> {
    let found = deployments::of(stage);
    found.unwrap_or_else(|| {
        Err("deployments is missing; say what to deploy for the comparison".to_owned())
    })
}

/// The deployment that a canary stage planned, once its creation has begun. Before that the clusters are no business
/// of the stage's: what is in them is somebody else's.
pub(super) fn begun(stage: StageView<'_>) -> Option<&Stage> {
    let mut before = stage
        .execution
        .synthetics(&stage.stage.id, Some(Owner::StageBefore));
    let deployment = before.find(|s| s.kind == STAGE.kind())?;
    (creation(deployment)?.runs > 0).then_some(deployment)
}

fn creation(deployment: &Stage) -> Option<&TaskExecution> {
    deployment.tasks.iter().find(|task| task.name == CREATION)
}

/// The id of the operation that a deployment submitted. Where a cancellation came before the answer it is submitted
/// once more: under the same effect id, so that this finds it if it was. If it was not, the clusters may be another
/// execution's by now, so this one takes nothing out of them.
pub(super) async fn submitted(
    ctx: &TaskContext<'_>,
    deployment: &Stage,
) -> Result<Option<String>, TaskError> {
    let id = |context: &Map<String, Value>| {
        let id = context.get("kato.last.task.id")?.get("id")?.as_str();
        id.map(ToOwned::to_owned)
    };
    if let Some(id) = id(&deployment.context) {
        return Ok(Some(id));
    }
    let Some(task) = creation(deployment).filter(|task| task.status == Status::Canceled) else {
        return Ok(None);
    };
    let effect_id = effect_id(ctx.execution, deployment, task);
    let creating = TaskContext {
        execution: ctx.execution,
        stage: deployment,
        task_id: &task.id,
        now: ctx.now,
        effect_id: &effect_id,
        services: ctx.services,
    };
    let deployments = of_task(&creating)?;
    match create(&creating, &deployments, &[]).await {
        Ok(result) => Ok(id(&result.context)),
        Err(error) if error.class == ErrorClass::Transient => Err(error),
        // What is refused is not under way.
        Err(_) => Ok(None),
    }
}

fn of_task(ctx: &TaskContext<'_>) -> Result<Deployments, TaskError> {
    let view = StageView {
        execution: ctx.execution,
        stage: ctx.stage,
    };
    of(view).map_err(TaskError::user)
}

/// Submits the end of what an earlier canary left behind, and the creation of all of them.
#[derive(Debug)]
struct Create;

#[async_trait]
impl Task for Create {
    fn kind(&self) -> &'static str {
        "createCanaryServerGroups"
    }

    fn policy(&self) -> TaskPolicy {
        submit_operation::SUBMISSION
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let deployments = of_task(ctx)?;
        let left = left_behind(ctx, &deployments).await?;
        create(ctx, &deployments, &left).await
    }
}

/// Submits the end of the groups in `left`, and the creation.
async fn create(
    ctx: &TaskContext<'_>,
    deployments: &Deployments,
    left: &[String],
) -> Result<TaskResult, TaskError> {
    let mut groups = Vec::new();
    for (n, (_, group)) in deployments.groups().enumerate() {
        let mut context = group.clone();
        let is_control = n % 2 == 0;
        if is_control {
            for key in IMAGE {
                context.shift_remove(key);
            }
            context.insert("imageId".to_owned(), baseline_image(ctx)?.into());
        }
        let input = input_of(ctx, context, !is_control).await?;
        groups.push(Value::Object(input));
    }
    let mut together = Map::new();
    let provider = deployments.provider();
    for (key, value) in [
        ("account", json!(deployments.account)),
        ("region", json!(deployments.region)),
        ("cloudProvider", json!(provider)),
        ("application", json!(deployments.application)),
        ("serverGroups", groups.into()),
    ] {
        together.insert(key.to_owned(), value);
    }
    // First, for a host holds one instance of a cluster.
    let mut parts: Vec<Part> = left
        .iter()
        .flat_map(|name| removal(deployments, name))
        .collect();
    parts.push(("createServerGroups".to_owned(), together));
    let result = submit_operation::submit_all(ctx, parts).await?;
    Ok(result
        .with_context("account", deployments.account.clone())
        .with_context("cloudProvider", provider)
        .with_context("region", deployments.region.clone()))
}

/// The input of one creation, as a deployment stage would send it.
async fn input_of(
    ctx: &TaskContext<'_>,
    context: Map<String, Value>,
    is_new: bool,
) -> Result<Map<String, Value>, TaskError> {
    let stage = Stage {
        kind: "createServerGroup".to_owned(),
        context,
        ..ctx.stage.clone()
    };
    let inner = TaskContext {
        stage: &stage,
        execution: ctx.execution,
        task_id: ctx.task_id,
        now: ctx.now,
        effect_id: ctx.effect_id,
        services: ctx.services,
    };
    let mut input = deploy_input(&inner)?;
    input.insert("region".to_owned(), server_group::region_of(&inner)?.into());
    input.shift_remove("strategy");
    if is_new {
        check_quarantine(&inner, &input).await?;
    }
    Ok(input)
}

/// The image of the cluster that serves, as the stage before found it.
fn baseline_image(ctx: &TaskContext<'_>) -> Result<String, TaskError> {
    let mut before = ctx
        .execution
        .synthetics(&ctx.stage.id, Some(Owner::StageBefore));
    let found = before.find(|s| s.name == BASELINE);
    let image = found
        .and_then(|s| s.outputs.get("deploymentDetails")?.get(0)?.get("imageId"))
        .and_then(Value::as_str);
    image.map(ToOwned::to_owned).ok_or_else(|| {
        TaskError::user(
            "the cluster of deployments.baseline runs no image; deploy a version there first",
        )
    })
}

/// Groups of an earlier canary in the clusters of this one (`orca: highlander`).
async fn left_behind(
    ctx: &TaskContext<'_>,
    deployments: &Deployments,
) -> Result<Vec<String>, TaskError> {
    let mut names = Vec::new();
    for (_, group) in deployments.groups() {
        names.extend(existing(ctx, deployments, group).await?);
    }
    Ok(names)
}

/// The server groups that a canary's cluster has.
async fn existing(
    ctx: &TaskContext<'_>,
    deployments: &Deployments,
    group: &Map<String, Value>,
) -> Result<Vec<String>, TaskError> {
    let application = deployments.application_of(group);
    let cluster = cluster_of(group, application);
    let driver = ctx.services.cloud_driver();
    let found = driver
        .cluster(
            application,
            &deployments.account,
            &cluster,
            deployments.provider(),
        )
        .await
        .map_err(failed)?
        .unwrap_or_default();
    let groups = server_group::of_cluster(&found, &deployments.region);
    Ok(groups.map(|g| server_group::name(g).to_owned()).collect())
}

/// Out of traffic, then away.
fn removal(deployments: &Deployments, name: &str) -> [Part; 2] {
    let input = named(deployments, &deployments.region, name);
    [
        ("disableServerGroup".to_owned(), input.clone()),
        (DESTROY.to_owned(), input),
    ]
}

/// The input of an operation on a group.
pub(super) fn named(deployments: &Deployments, region: &str, name: &str) -> Map<String, Value> {
    let input = json!({
        "account": deployments.account, "credentials": deployments.account,
        "region": region, "cloudProvider": deployments.provider(),
        "serverGroupName": name, "asgName": name,
    });
    input.as_object().cloned().unwrap_or_default()
}

/// Tells what was deployed where, for the scopes of the judgements.
#[derive(Debug)]
struct Propagate;

#[async_trait]
impl Task for Propagate {
    fn kind(&self) -> &'static str {
        "propagateDeployedServerGroupScopes"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::PLAIN
    }

    fn decide(&self, ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        Some(propagate(ctx))
    }
}

fn propagate(ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
    let deployed = server_group::deployed(ctx);
    // In the order in which they were asked for: the control of a pair, then its experiment.
    let pairs: Vec<Value> = deployed
        .chunks_exact(2)
        .filter_map(|pair| {
            let [(control_at, control), (experiment_at, experiment)] = pair else {
                return None;
            };
            Some(json!({
                "controlLocation": control_at, "controlScope": control,
                "experimentLocation": experiment_at, "experimentScope": experiment,
            }))
        })
        .collect();
    if pairs.is_empty() {
        return Err(TaskError::permanent(
            "the operation that creates baseline and canary does not say what it made",
        ));
    }
    Ok(TaskResult::succeeded().with_output("deployedServerGroups", pairs))
}
