//! `undoDeployment`: what an execution deployed, or what was deployed last in an environment, is
//! taken back: what ran before it serves again. Spinnaker has no such verb.

use async_trait::async_trait;
use orchestrator_core::{
    Description, NewStage, PlanError, StageDefinition, StageView, TaskError, TaskPolicy,
    TaskResult, TaskSpec,
};
use proto::moniker::Moniker;
use serde_json::{Value, json};

use super::deploy_previous_version::{places, rollbacks};
use super::{StageType, schema};
use crate::task::environment::{self, PLANNED};
use crate::task::{Task, TaskContext, failed, quarantine, server_group};

/// The type.
pub(super) static STAGE: UndoDeployment = UndoDeployment;

/// Types of the stages that make server groups.
const MAKERS: [&str; 3] = ["createServerGroup", "cloneServerGroup", "replaceInPlace"];

/// See the module.
#[derive(Debug)]
pub(super) struct UndoDeployment;

impl StageDefinition for UndoDeployment {
    fn kind(&self) -> &'static str {
        "undoDeployment"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Undo deployment",
            text: "Takes back what an execution deployed: what ran before serves again.",
            category: "deploy",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new("determineUndo", Determine.kind())])
    }

    fn after(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        Ok(environment::planned(stage))
    }

    fn schema(&self) -> Value {
        schema(
            &json!({
                "executionId": {"type": "string", "title": "Execution or task to undo"},
                "environment": {"type": "string", "title": "Environment, instead of an execution"},
            }),
            &[],
        )
    }
}

impl StageType for UndoDeployment {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Determine]
    }
}

/// A server group that an execution made, and what it was made from.
struct Made {
    account: String,
    region: String,
    name: String,
    source: Option<String>,
}

/// What an execution deployed, as its stages tell, each group once.
fn made(execution: &Value) -> Vec<Made> {
    let stages = execution["stages"].as_array().into_iter().flatten();
    let makers = stages.filter(|s| s["type"].as_str().is_some_and(|t| MAKERS.contains(&t)));
    let mut found: Vec<Made> = Vec::new();
    for context in makers.map(|stage| &stage["context"]) {
        let account = context["account"]
            .as_str()
            .or_else(|| context["credentials"].as_str());
        let source = context["source"]["serverGroupName"].as_str();
        let groups = context["deploy.server.groups"].as_object();
        for (region, names) in groups.into_iter().flatten() {
            for name in names
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                let account = account.unwrap_or_default();
                if !found
                    .iter()
                    .any(|m| (&*m.account, &**region, name) == (account, &*m.region, &m.name))
                {
                    found.push(Made {
                        account: account.to_owned(),
                        region: region.clone(),
                        name: name.to_owned(),
                        source: source.map(ToOwned::to_owned),
                    });
                }
            }
        }
    }
    found
}

#[derive(Debug)]
struct Determine;

#[async_trait]
impl Task for Determine {
    fn kind(&self) -> &'static str {
        "determineUndo"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(2_000, 300_000)
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        if ctx.own(PLANNED).is_some() {
            return Ok(TaskResult::succeeded());
        }
        let planned = match ctx.text("executionId") {
            Some(id) => undone(ctx, id).await?,
            None if ctx.text("environment").is_some() => {
                rollbacks(ctx, &places(ctx).await?).await?
            }
            None => {
                return Err(TaskError::user(
                    "executionId is missing; name the execution or task to undo, or an environment",
                ));
            }
        };
        Ok(TaskResult::succeeded().with_context(PLANNED, planned))
    }
}

/// The stages that take back what an execution deployed and what still serves.
async fn undone(ctx: &TaskContext<'_>, id: &str) -> Result<Vec<Value>, TaskError> {
    let application = environment::application(ctx)?;
    let found = ctx.services.executions().get(id).await.map_err(failed)?;
    let own = |e: &Value| {
        e["application"]
            .as_str()
            .is_some_and(|a| a.eq_ignore_ascii_case(application))
    };
    // One of another application is none: what was permitted is this one.
    let execution = found.filter(own).ok_or_else(|| {
        TaskError::user(format!(
            "executionId: application {application} has no execution {id}; correct it, or name an \
             environment"
        ))
    })?;
    let made = made(&execution);
    if made.is_empty() {
        return Err(TaskError::user(format!(
            "execution {id} deployed no server group; there is nothing to undo"
        )));
    }
    let mut planned = Vec::new();
    for group in &made {
        let cluster = Moniker::parse(&group.name).cluster.unwrap_or_default();
        environment::belongs(application, &cluster)?;
        let places = environment::of_cluster(ctx, application, &group.account, &cluster).await?;
        let Some(place) = places.into_iter().find(|p| p.region == group.region) else {
            continue;
        };
        // What was replaced or undone since is left alone, and not put into quarantine again.
        let Some(current) = place
            .serving()
            .filter(|g| server_group::name(g) == group.name)
        else {
            continue;
        };
        let held = quarantine::of_cluster(ctx, &place.account, &place.cluster).await?;
        let source = place
            .groups
            .iter()
            .find(|g| Some(server_group::name(g)) == group.source.as_deref());
        let free = |g: &&Value| {
            let image = server_group::image(g);
            image != server_group::image(current) && !quarantine::holds(&held, image)
        };
        let before = match source.filter(free) {
            Some(source) => source,
            None => place.before(current, &held)?,
        };
        planned.push(place.rollback(ctx, &group.name, before));
    }
    if planned.is_empty() {
        let names: Vec<&str> = made.iter().map(|m| m.name.as_str()).collect();
        return Err(TaskError::user(format!(
            "nothing that execution {id} deployed serves any more ({}); it was replaced or undone \
             already",
            names.join(", ")
        )));
    }
    Ok(planned)
}
