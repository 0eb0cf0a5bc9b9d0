//! `createServerGroup`: one new server group, and what its strategy adds.
//! Source: `orca: CreateServerGroupStage`, `AbstractDeployStrategyStage`.

use async_trait::async_trait;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, NewStage, PlanError, Settings, Stage, StageDefinition, StageView, TaskError,
    TaskPolicy, TaskResult, TaskSpec,
};
use serde_json::{Map, Value, json};

use super::{StageType, accounts_of, restore_server_group, schema, strategy, targeted, unbuilt};
use crate::provider;
use crate::task::quarantine;
use crate::task::snapshot_source_server_group::SNAPSHOT;
use crate::task::{
    CANCEL_OPERATION, DETERMINE_HEALTH_PROVIDERS, DETERMINE_SOURCE_SERVER_GROUP, GET_COMMITS,
    MONITOR_OPERATION, SNAPSHOT_SOURCE_SERVER_GROUP, Task, TaskContext, WAIT_FOR_UP_INSTANCES,
    server_group, submit_operation,
};

/// The type.
pub(super) static STAGE: NewServerGroup = NewServerGroup {
    kind: "createServerGroup",
    label: "Create server group",
    task: &SUBMIT,
    tasks: &[&SUBMIT],
};

static SUBMIT: CreateTask = CreateTask("createServerGroup");

/// A type that makes a server group.
pub(super) struct NewServerGroup {
    pub(super) kind: &'static str,
    pub(super) label: &'static str,
    pub(super) task: &'static CreateTask,
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

    fn prepare(
        &self,
        stage: StageView<'_>,
        settings: &Settings,
    ) -> Result<Map<String, Value>, PlanError> {
        let context = &stage.stage.context;
        match strategy::of(stage)?.unset(context, settings) {
            Some(message) => Err(message),
            None => Ok(Map::new()),
        }
    }

    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        unbuilt::require_provider(stage.stage)?;
        let strategy = strategy::of(stage)?;
        let provider = provider::of(&stage.stage.context);
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
        if pins(stage)? {
            tasks.push(TaskSpec::new(
                "snapshotSourceServerGroup",
                SNAPSHOT_SOURCE_SERVER_GROUP.kind(),
            ));
        }
        if !strategy.replaces_basic_steps() {
            tasks.extend([
                TaskSpec::new(self.kind, self.task.kind()),
                TaskSpec::new("monitorDeploy", MONITOR_OPERATION.kind()),
                TaskSpec::new("waitForUpInstances", WAIT_FOR_UP_INSTANCES.kind()),
            ]);
            if provider.lists_commits() {
                tasks.push(TaskSpec::new("getCommits", GET_COMMITS.kind()));
            }
        }
        Ok(tasks)
    }

    fn before(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        let strategy = strategy::of(stage)?;
        // Here nothing is made yet; found by the stages after it, the new group would be there and in traffic.
        if let Some((field, message)) = strategy.faults(&stage.stage.context).into_iter().next() {
            return Err(format!("{field}: {message}"));
        }
        strategy.before(stage)
    }

    fn after(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        let mut planned = strategy::of(stage)?.after(stage)?;
        if pins(stage)? {
            let name = "restoreMinCapacityFromSnapshot";
            let kind = "applySourceServerGroupCapacity";
            planned.push(NewStage::new(kind, name, strategy::base(stage)));
        }
        Ok(NewStage::chain(planned))
    }

    fn on_failure(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        let strategy = strategy::of(stage)?;
        let mut planned = Vec::new();
        if wants(stage, "onFailure") {
            planned.extend(rollback(stage, strategy));
            if wants(stage, "destroyLatest") {
                planned.extend(destroy_latest(stage));
            }
        }
        planned.extend(strategy.on_failure(stage)?);
        Ok(planned)
    }

    fn cancel_task(&self, _stage: StageView<'_>) -> Option<&'static str> {
        Some(CANCEL_OPERATION.kind())
    }

    fn prepare_restart(&self, stage: &mut Stage) {
        stage.context.remove("deploy.server.groups");
        // The size it was made with in between.
        if let Some(saved) = stage.context.shift_remove("savedCapacity") {
            stage.context.insert("capacity".to_owned(), saved);
        }
        // What was found, not what the user wrote.
        stage.context.shift_remove(SNAPSHOT);
        if stage.context.shift_remove("sourceServerGroup").is_some() {
            stage.context.shift_remove("source");
        }
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let mut faults = targeted::place_faults(context, path);
        faults.extend(strategy::faults(context, path));
        faults
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

/// Whether the new group is kept as large as the one before it while both run.
fn pins(stage: StageView<'_>) -> Result<bool, PlanError> {
    let pins = provider::of(&stage.stage.context).pins_new_group();
    Ok(pins && !strategy::of(stage)?.is_rolling())
}

/// How the group before serves again, if there is anything to undo.
///
/// Differs from Spinnaker: where old groups may already be out of traffic and the
/// new one is to be destroyed, they serve again first.
fn rollback(stage: StageView<'_>, strategy: &dyn strategy::Strategy) -> Option<NewStage> {
    let restored = match strategy.key() {
        "none" | "inplacedrain" if provider::of(&stage.stage.context).restores() => {
            restore_server_group::planned(stage)
        }
        _ => None,
    };
    if restored.is_some() {
        return restored;
    }
    let (region, deployed) = deployed_here(stage)?;
    let mut asked = strategy.rollback(stage);
    let taken = strategy.may_have_disabled(stage);
    if taken && asked.is_none() && wants(stage, "destroyLatest") {
        asked = Some(json!({"enableAndDisableOnly": true}));
    }
    let asked = asked?;
    let mut context = strategy::base(stage);
    let cluster = context.shift_remove("cluster");
    let name = cluster.as_ref().and_then(Value::as_str).unwrap_or_default();
    let name = format!("Rollback {name}");
    context.shift_remove("region");
    context.insert("regions".to_owned(), json!([region]));
    context.insert("serverGroup".to_owned(), deployed.into());
    if asked.get("onlyEnabledServerGroups").is_none()
        && let Some(source) = stage.stage.context.get("source")
    {
        let source = source.get("serverGroupName").cloned().unwrap_or_default();
        context.insert("originalServerGroup".to_owned(), source);
    }
    context.insert("additionalRollbackContext".to_owned(), asked);
    context.insert("stageTimeoutMs".to_owned(), 1_800_000.into());
    Some(NewStage::new("rollbackCluster", &name, context))
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
    let mut context = strategy::base(stage);
    context.insert("serverGroupName".to_owned(), name.clone().into());
    context.insert("region".to_owned(), region.into());
    context.insert("stageTimeoutMs".to_owned(), 300_000.into());
    let name = format!("Destroy {name}");
    Some(NewStage::new("destroyServerGroup", &name, context))
}

/// The task that has a group made, with what the provider wants done before, in
/// one request.
#[derive(Debug)]
pub(super) struct CreateTask(pub(super) &'static str);

#[async_trait]
impl Task for CreateTask {
    fn kind(&self) -> &'static str {
        self.0
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy {
            backoff_ms: 500,
            timeout_ms: Some(600_000),
            overridable: false,
        }
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let mut input = deploy_input(ctx)?;
        check_quarantine(ctx, &input).await?;
        let own = provider::of(&ctx.stage.context);
        let mut parts = own.before_creation(&mut input);
        parts.push((self.0.to_owned(), input));
        submit_operation::submit_all(ctx, parts).await
    }
}

/// The input of an operation that makes a server group.
pub(super) fn deploy_input(ctx: &TaskContext<'_>) -> Result<Map<String, Value>, TaskError> {
    let mut input = submit_operation::input_of(ctx);
    let account = server_group::account(ctx)?;
    input.insert("account".to_owned(), account.into());
    input.insert("credentials".to_owned(), account.into());
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
    if let Some(found) = ctx.artifact("imageArtifactId", "imageArtifact")? {
        input.insert("imageArtifact".to_owned(), found);
    } else if let Some(id) = ctx.text("imageArtifactId") {
        return Err(TaskError::user(format!(
            "imageArtifactId: nothing is bound to expected artifact {id}; name one that the \
             trigger or an earlier stage brings, or that has a default"
        )));
    }
    let written = [
        "imageId",
        "image",
        "amiName",
        "imageArtifact",
        "imageArtifactId",
    ];
    if !written
        .iter()
        .any(|key| ctx.own(key).is_some_and(|v| *v != json!("")))
        && let Some(image) = found_image(ctx)
    {
        input.insert("imageId".to_owned(), image.into());
    }
    let named = written.iter().any(|key| input.contains_key(*key));
    if !named && ctx.stage.kind == "createServerGroup" {
        return Err(TaskError::user(
            "imageId is missing, and no earlier stage found or baked an image; name an image, \
             or put a findImage stage before this one",
        ));
    }
    Ok(input)
}

/// Refuses an image that was rolled back in this cluster, where nobody asked for it.
pub(super) async fn check_quarantine(
    ctx: &TaskContext<'_>,
    input: &Map<String, Value>,
) -> Result<(), TaskError> {
    let image = ["imageId", "image", "amiName"]
        .iter()
        .find_map(|key| input.get(*key)?.as_str());
    let Some(image) = image else { return Ok(()) };
    let cluster = server_group::cluster_of(&ctx.stage.context, &ctx.execution.application);
    quarantine::check(ctx, server_group::account(ctx)?, &cluster, image).await
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
