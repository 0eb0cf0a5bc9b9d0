//! `jenkins`: starts a build, follows it, and takes over what it made.
//! Source: `orca: JenkinsStage` and its tasks.

use async_trait::async_trait;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, ErrorClass, NewStage, PlanError, Stage, StageDefinition, StageView, Status,
    TaskError, TaskPolicy, TaskResult, TaskSpec,
};
use proto::status::Kind;
use serde_json::{Map, Value, json};

use super::{StageType, schema};
use crate::services::BuildOf;
use crate::task::{Pool, Task, TaskContext, bind_produced_artifacts, failed};

/// The type.
pub(super) static STAGE: Jenkins = Jenkins;

/// The task that reads a property file.
pub(super) const PROPERTIES: &str = "getBuildProperties";
/// The task that waits for a build to leave the queue.
pub(super) const WAIT_FOR_START: &str = "waitForJenkinsJobStart";
/// The task that follows a build.
pub(super) const MONITOR: &str = "monitorJenkinsJob";
/// The task that stops a build.
pub(super) const STOP: &str = "stopJenkinsJob";

/// Errors in a row after which a property file is given up.
const MOST_ERRORS: u64 = 5;
const ERRORS: &str = "consecutiveErrors";

/// See the module.
#[derive(Debug)]
pub(super) struct Jenkins;

impl StageDefinition for Jenkins {
    fn kind(&self) -> &'static str {
        "jenkins"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Jenkins",
            text: "Runs a job of a Jenkins master.",
            category: "integration",
        }
    }

    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        let mut tasks = vec![
            TaskSpec::new("startJenkinsJob", Start.kind()),
            TaskSpec::new("waitForJenkinsJobStart", WaitForStart.kind()),
        ];
        if stage.stage.flag("waitForCompletion") != Some(false) {
            tasks.extend([
                TaskSpec::new("monitorJenkinsJob", Monitor.kind()),
                TaskSpec::new("getBuildProperties", Properties.kind()),
                TaskSpec::new("getBuildArtifacts", Artifacts.kind()),
            ]);
            bind_produced_artifacts::plan(&mut tasks, stage.stage);
        }
        Ok(tasks)
    }

    fn on_failure(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        Ok(properties_anyway(stage))
    }

    fn cancel_task(&self, _stage: StageView<'_>) -> Option<&'static str> {
        Some(Stop.kind())
    }

    fn prepare_restart(&self, stage: &mut Stage) {
        stage.keep_for_restart("buildInfo", "previousBuildInfo");
        for key in ["queuedBuild", "buildNumber", ERRORS] {
            stage.context.shift_remove(key);
        }
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let missing = |key: &&str| {
            let text = context.get(*key).and_then(Value::as_str);
            text.is_none_or(str::is_empty)
        };
        let fault = |key: &str| Fault::new(format!("{path}.{key}"), "it is missing; name it");
        ["master", "job"]
            .iter()
            .filter(|k| missing(k))
            .map(|k| fault(k))
            .collect()
    }

    fn schema(&self) -> Value {
        schema(
            &json!({
                "master": {"type": "string", "title": "Master"},
                "job": {"type": "string", "title": "Job"},
                "parameters": {"type": "object", "title": "Parameters"},
                "propertyFile": {"type": "string", "title": "Property file"},
                "waitForCompletion": {"type": "boolean", "default": true},
                "markUnstableAsSuccessful": {"type": "boolean"},
            }),
            &["master", "job"],
        )
    }
}

impl StageType for Jenkins {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[
            &Start,
            &WaitForStart,
            &Monitor,
            &Properties,
            &Artifacts,
            &Stop,
        ]
    }
}

/// A build that failed may have left its properties all the same.
fn properties_anyway(stage: StageView<'_>) -> Vec<NewStage> {
    let own = &stage.stage.context;
    let file = own.get("propertyFile").and_then(Value::as_str);
    if file.is_none_or(str::is_empty) {
        return Vec::new();
    }
    let keys = ["master", "job", "propertyFile", "buildNumber"];
    let context = keys.iter().filter_map(|key| {
        let value = own.get(*key)?.clone();
        Some(((*key).to_owned(), value))
    });
    let name = "Try to get properties file";
    vec![NewStage::new("getProperties", name, context.collect())]
}

/// The build a stage is about, as far as it is known.
pub(super) async fn build_of(ctx: &TaskContext<'_>) -> Result<BuildOf, TaskError> {
    let text = |key: &str| {
        let found = ctx.text(key);
        found.ok_or_else(|| TaskError::user(format!("{key} is missing; name it")))
    };
    let number = ctx.own("buildNumber").and_then(Value::as_u64);
    let roles = ctx.services.access().roles(ctx.user()).await;
    Ok(BuildOf {
        user: ctx.user().to_owned(),
        roles: roles.map_err(failed)?,
        master: text("master")?.to_owned(),
        job: text("job")?.to_owned(),
        number: number.unwrap_or(0),
        item: ctx.text("queuedBuild").unwrap_or_default().to_owned(),
    })
}

#[derive(Debug)]
struct Start;

#[async_trait]
impl Task for Start {
    fn kind(&self) -> &'static str {
        "startJenkinsJob"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy {
            backoff_ms: 5_000,
            timeout_ms: Some(900_000),
            overridable: false,
        }
    }

    fn pool(&self) -> Pool {
        Pool::Http
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let parameters = ctx.own("parameters").and_then(Value::as_object);
        let parameters = parameters.cloned().unwrap_or_default();
        let builds = ctx.services.builds();
        let started = builds
            .start(&build_of(ctx).await?, &parameters, &ctx.effect("0"))
            .await;
        let item = started.map_err(failed)?;
        Ok(TaskResult::succeeded().with_context("queuedBuild", item))
    }
}

#[derive(Debug)]
struct WaitForStart;

#[async_trait]
impl Task for WaitForStart {
    fn kind(&self) -> &'static str {
        WAIT_FOR_START
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(2_000, 7_200_000)
    }

    fn pool(&self) -> Pool {
        Pool::Http
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let queued = ctx.services.builds().queued(&build_of(ctx).await?).await;
        Ok(match queued.map_err(failed)? {
            Some(number) => TaskResult::succeeded().with_context("buildNumber", number),
            None => TaskResult::running(),
        })
    }
}

#[derive(Debug)]
struct Monitor;

#[async_trait]
impl Task for Monitor {
    fn kind(&self) -> &'static str {
        MONITOR
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(5_000, 7_200_000)
    }

    fn pool(&self) -> Pool {
        Pool::Http
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let found = ctx.services.builds().build(&build_of(ctx).await?).await;
        let Some(build) = found.map_err(failed)? else {
            return Ok(TaskResult::running());
        };
        let result = build
            .get("result")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let unstable_is_good = ctx.flag("markUnstableAsSuccessful");
        let status = match result {
            "SUCCESS" => Status::Succeeded,
            "UNSTABLE" if unstable_is_good => Status::Succeeded,
            "ABORTED" => Status::Canceled,
            "FAILURE" | "UNSTABLE" | "NOT_BUILT" => Status::Terminal,
            _ => Status::Running,
        };
        if status == Status::Terminal {
            let link = build.get("url").and_then(Value::as_str).unwrap_or_default();
            let text = if result == "UNSTABLE" {
                "Job is unstable"
            } else {
                "Job failed"
            };
            let mut error = TaskError::permanent(format!("{text} (see Jenkins {link})"));
            error.context.insert("buildInfo".to_owned(), build);
            return Err(error);
        }
        Ok(TaskResult::status(status)
            .with_context("buildInfo", build.clone())
            .with_output("buildInfo", build))
    }
}

#[derive(Debug)]
struct Properties;

#[async_trait]
impl Task for Properties {
    fn kind(&self) -> &'static str {
        PROPERTIES
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(5_000, 60_000)
    }

    fn pool(&self) -> Pool {
        Pool::Http
    }

    fn decide(&self, ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        let named = ctx.text("propertyFile").or_else(|| ctx.text("property"));
        named.is_none().then(|| Ok(TaskResult::succeeded()))
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let named = ctx.text("propertyFile").or_else(|| ctx.text("property"));
        let Some(file) = named else {
            return Ok(TaskResult::succeeded());
        };
        let found = match read(ctx, file).await {
            Err(error) if error.class == ErrorClass::Transient => return counted(ctx, error),
            found => found?,
        };
        let Some(Value::Object(properties)) = found.filter(|p| *p != json!({})) else {
            return Err(TaskError::user(format!(
                "Expected properties file {file} but it was either missing, empty or contained \
                 invalid syntax"
            )));
        };
        let mut result = TaskResult::succeeded()
            .with_context(ERRORS, 0)
            .with_context("propertyFileContents", properties.clone())
            .with_output("propertyFileContents", properties.clone());
        for (key, value) in properties {
            result = result
                .with_context(&key, value.clone())
                .with_output(&key, value);
        }
        Ok(result)
    }
}

/// The properties in a file of the stage's build; none where it is no such file.
async fn read(ctx: &TaskContext<'_>, file: &str) -> Result<Option<Value>, TaskError> {
    if ctx.own("buildNumber").is_none() {
        return Err(TaskError::user(
            "buildNumber is missing; there is no build whose properties could be read",
        ));
    }
    let build = build_of(ctx).await?;
    match ctx.services.builds().properties(&build, file).await {
        Err(failure) if failure.kind == Kind::Invalid => Ok(None),
        found => found.map_err(failed),
    }
}

/// An error that may pass is one of a few in a row, whatever time is left.
fn counted(ctx: &TaskContext<'_>, mut error: TaskError) -> Result<TaskResult, TaskError> {
    let before = ctx.own(ERRORS).and_then(Value::as_u64).unwrap_or(0);
    if before + 1 >= MOST_ERRORS {
        error.class = ErrorClass::Permanent;
        return Err(error);
    }
    Ok(TaskResult::running().with_context(ERRORS, before + 1))
}

/// What the build keeps, as artifacts for the stages after it.
#[derive(Debug)]
struct Artifacts;

#[async_trait]
impl Task for Artifacts {
    fn kind(&self) -> &'static str {
        "getBuildArtifacts"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(5_000, 60_000)
    }

    fn decide(&self, ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        let artifacts = ctx
            .own("buildInfo")
            .and_then(|b| b.get("artifacts"))
            .cloned();
        let artifacts = artifacts.unwrap_or_else(|| json!([]));
        Some(Ok(
            TaskResult::succeeded().with_output("artifacts", artifacts)
        ))
    }
}

/// A cancelled stage stops its build, or takes it out of the queue.
#[derive(Debug)]
struct Stop;

#[async_trait]
impl Task for Stop {
    fn kind(&self) -> &'static str {
        STOP
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::PLAIN
    }

    fn pool(&self) -> Pool {
        Pool::Http
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let info = ctx.own("buildInfo").and_then(|b| b.get("result")?.as_str());
        let ended = info.is_some_and(|result| result != "BUILDING");
        if ctx.text("queuedBuild").is_none() || ended {
            return Ok(TaskResult::succeeded());
        }
        match ctx.services.builds().stop(&build_of(ctx).await?).await {
            Err(failure) if failure.kind == Kind::NotFound => Ok(TaskResult::succeeded()),
            stopped => stopped.map(|()| TaskResult::succeeded()).map_err(failed),
        }
    }
}
