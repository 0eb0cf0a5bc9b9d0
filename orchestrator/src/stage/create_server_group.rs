//! `createServerGroup`: one new server group, and what its strategy adds.
//! Source: `orca: CreateServerGroupStage`, `AbstractDeployStrategyStage`.

use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, NewStage, PlanError, Stage, StageDefinition, StageView, TaskError, TaskSpec,
};
use serde_json::{Map, Value, json};

use super::{StageType, accounts_of, restore_server_group, schema, strategy, targeted};
use crate::task::{
    CANCEL_OPERATION, DETERMINE_HEALTH_PROVIDERS, DETERMINE_SOURCE_SERVER_GROUP, MONITOR_OPERATION,
    Submission, Task, TaskContext, WAIT_FOR_UP_INSTANCES, submit_operation,
};

/// The type.
pub(super) static STAGE: NewServerGroup = NewServerGroup {
    kind: "createServerGroup",
    label: "Create server group",
    submission: &SUBMIT,
    tasks: &[&SUBMIT],
};

static SUBMIT: Submission = Submission {
    kind: "createServerGroup",
    operation: "createServerGroup",
    prepare: deploy_input,
};

/// A type that makes a server group.
pub(super) struct NewServerGroup {
    pub(super) kind: &'static str,
    pub(super) label: &'static str,
    pub(super) submission: &'static Submission,
    pub(super) tasks: &'static [&'static dyn Task],
}

impl StageDefinition for NewServerGroup {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn describe(&self) -> Description {
        let text = "Makes a new server group of a cluster.";
        Description {
            label: self.label,
            text,
            category: "deploy",
        }
    }

    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        let mut tasks = vec![
            TaskSpec::new(
                "determineSourceServerGroup",
                DETERMINE_SOURCE_SERVER_GROUP.kind(),
            ),
            TaskSpec::new(
                "determineHealthProviders",
                DETERMINE_HEALTH_PROVIDERS.kind(),
            ),
        ];
        if !strategy::of(stage)?.replaces_basic_steps() {
            tasks.extend([
                TaskSpec::new(self.kind, self.submission.kind),
                TaskSpec::new("monitorDeploy", MONITOR_OPERATION.kind()),
                TaskSpec::new("waitForUpInstances", WAIT_FOR_UP_INSTANCES.kind()),
            ]);
        }
        Ok(tasks)
    }

    fn before(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        strategy::of(stage)?.before(stage)
    }

    fn after(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        Ok(NewStage::chain(strategy::of(stage)?.after(stage)?))
    }

    fn on_failure(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        let mut planned = Vec::new();
        planned.extend(restore_server_group::planned(stage));
        if wants(stage, "destroyLatest") {
            planned.extend(destroy_latest(stage));
        }
        Ok(planned)
    }

    fn cancel_task(&self, _stage: StageView<'_>) -> Option<&'static str> {
        Some(CANCEL_OPERATION.kind())
    }

    fn prepare_restart(&self, stage: &mut Stage) {
        stage.context.remove("deploy.server.groups");
        // What was found, not what the user wrote.
        if stage.context.shift_remove("sourceServerGroup").is_some() {
            stage.context.shift_remove("source");
        }
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        targeted::place_faults(context, path)
    }

    fn schema(&self) -> Value {
        schema(
            &json!({
                "account": {"type": "string", "title": "Account"},
                "region": {"type": "string", "title": "Region"},
                "application": {"type": "string"},
                "stack": {"type": "string"},
                "freeFormDetails": {"type": "string"},
                "imageId": {"type": "string", "title": "Image"},
                "strategy": {"type": "string", "title": "Strategy"},
                "capacity": {"type": "object"},
                "loadBalancers": {"type": "array", "items": {"type": "string"}},
            }),
            &["account", "region"],
        )
    }
}

impl StageType for NewServerGroup {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        self.tasks
    }

    fn accounts(&self, stage: &Map<String, Value>) -> Vec<(String, String)> {
        accounts_of(stage, "")
    }
}

/// A flag of the stage's `rollback`.
pub(super) fn wants(stage: StageView<'_>, flag: &str) -> bool {
    let value = stage
        .stage
        .context
        .get("rollback")
        .and_then(|r| r.get(flag));
    value.is_some_and(|v| *v == json!(true) || *v == json!("true"))
}

/// The group that was deployed here, if it got so far.
pub(super) fn deployed_here(stage: StageView<'_>) -> Option<(String, String)> {
    let below = stage.execution.descendants(&stage.stage.id);
    let stages =
        std::iter::once(stage.stage).chain(below.iter().filter_map(|id| stage.execution.stage(id)));
    let (region, names) = stages
        .filter_map(|s| {
            s.context
                .get("deploy.server.groups")?
                .as_object()?
                .iter()
                .next()
        })
        .next()?;
    Some((region.clone(), names.get(0)?.as_str()?.to_owned()))
}

fn destroy_latest(stage: StageView<'_>) -> Option<NewStage> {
    let (region, name) = deployed_here(stage)?;
    let mut context = Map::new();
    for key in [
        "account",
        "credentials",
        "cloudProvider",
        "cluster",
        "moniker",
        "application",
    ] {
        if let Some(value) = stage.stage.context.get(key) {
            context.insert(key.to_owned(), value.clone());
        }
    }
    context.insert("serverGroupName".to_owned(), name.clone().into());
    context.insert("region".to_owned(), region.into());
    context.insert("stageTimeoutMs".to_owned(), 300_000.into());
    Some(NewStage::new(
        "destroyServerGroup",
        &format!("Destroy {name}"),
        context,
    ))
}

/// The input of an operation that makes a server group.
pub(super) fn deploy_input(ctx: &TaskContext<'_>) -> Result<Map<String, Value>, TaskError> {
    let mut input = submit_operation::input_of(ctx);
    for key in [
        "serverGroupName",
        "asgName",
        "rollback",
        "sourceServerGroup",
        "type",
        "name",
    ] {
        input.shift_remove(key);
    }
    let written = ["imageId", "image", "amiName", "imageArtifact"];
    if !written
        .iter()
        .any(|key| ctx.own(key).is_some_and(|v| *v != json!("")))
        && let Some(image) = found_image(ctx)
    {
        input.insert("imageId".to_owned(), image.into());
    }
    Ok(input)
}

/// The image that an earlier stage or the trigger found (`orca:
/// ServerGroupCreator.getImage`).
fn found_image(ctx: &TaskContext<'_>) -> Option<String> {
    let details = ctx.get("deploymentDetails").and_then(Value::as_array);
    let from_stage = details.into_iter().flatten().find_map(|d| {
        ["imageId", "imageName", "ami"]
            .iter()
            .find_map(|key| d.get(*key)?.as_str())
    });
    let of_trigger = ctx
        .execution
        .trigger
        .get("artifacts")
        .and_then(Value::as_array);
    let artifacts = ctx
        .get("artifacts")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    from_stage
        .or_else(|| {
            artifacts
                .chain(of_trigger.into_iter().flatten())
                .filter(|a| a.get("type").and_then(Value::as_str) == Some("docker/image"))
                .find_map(|a| a.get("reference")?.as_str())
        })
        .map(ToOwned::to_owned)
}
