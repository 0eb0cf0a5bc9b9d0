//! `script`: a script that a job of a build server runs. Which server and which job,
//! the operator set; the rest is as with `jenkins`. Source: `orca: ScriptStage`,
//! `StartScriptTask`.

use async_trait::async_trait;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, PlanError, Settings, Stage, StageDefinition, StageView, TaskError, TaskPolicy,
    TaskResult, TaskSpec,
};
use serde_json::{Map, Value, json};

use super::{StageType, jenkins, schema};
use crate::task::{Pool, Task, TaskContext, failed};

/// The type.
pub(super) static STAGE: Script = Script;

/// See the module.
#[derive(Debug)]
pub(super) struct Script;

fn text<'a>(context: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    let text = context.get(key)?.as_str()?.trim();
    (!text.is_empty()).then_some(text)
}

impl StageDefinition for Script {
    fn kind(&self) -> &'static str {
        "script"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Script",
            text: "Runs a script by a job of a build server.",
            category: "integration",
        }
    }

    fn prepare(
        &self,
        stage: StageView<'_>,
        settings: &Settings,
    ) -> Result<Map<String, Value>, PlanError> {
        let set = settings.stages.get("script").and_then(Value::as_object);
        let set = |key: &str| set.and_then(|s| text(s, key));
        let Some(master) = set("master") else {
            return Err(
                "no build server is configured for scripts; the operator sets script.master"
                    .to_owned(),
            );
        };
        let own = text(&stage.stage.context, "job");
        let Some(job) = own.or_else(|| set("job")) else {
            return Err(
                "job is missing, and the operator has set no script.job; name a job".to_owned(),
            );
        };
        let changes = json!({"master": master, "job": job});
        Ok(changes.as_object().cloned().unwrap_or_default())
    }

    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        let mut tasks = vec![
            TaskSpec::new("startScript", Start.kind()),
            TaskSpec::new("waitForScriptStart", jenkins::WAIT_FOR_START),
        ];
        if stage.stage.flag("waitForCompletion") != Some(false) {
            tasks.extend([
                TaskSpec::new("monitorScript", jenkins::MONITOR),
                TaskSpec::new("getBuildProperties", jenkins::PROPERTIES),
            ]);
        }
        Ok(tasks)
    }

    fn cancel_task(&self, _stage: StageView<'_>) -> Option<&'static str> {
        Some(jenkins::STOP)
    }

    fn prepare_restart(&self, stage: &mut Stage) {
        jenkins::STAGE.prepare_restart(stage);
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        if ["command", "scriptPath"]
            .iter()
            .any(|key| text(context, key).is_some())
        {
            return Vec::new();
        }
        let message = "neither command nor scriptPath is set; say what to run";
        vec![Fault::new(format!("{path}.command"), message)]
    }

    fn schema(&self) -> Value {
        schema(
            &json!({
                "command": {"type": "string", "title": "Command"},
                "scriptPath": {"type": "string", "title": "Path of the script"},
                "repoUrl": {"type": "string", "title": "Repository"},
                "repoBranch": {"type": "string", "title": "Branch"},
                "image": {"type": "string", "title": "Image"},
                "account": {"type": "string", "title": "Account"},
                "region": {"type": "string", "title": "Region"},
                "cluster": {"type": "string", "title": "Cluster"},
                "cmc": {"type": "string", "title": "CMC"},
                "job": {"type": "string", "title": "Job instead of the operator's"},
                "propertyFile": {"type": "string", "title": "Property file"},
                "waitForCompletion": {"type": "boolean", "default": true},
            }),
            &["command"],
        )
    }
}

impl StageType for Script {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Start]
    }
}

/// What the job is told; in a strategy, what is deployed where, unless the stage says it.
fn parameters(ctx: &TaskContext<'_>) -> Map<String, Value> {
    let trigger = &ctx.execution.trigger;
    let is_strategy = trigger.get("strategy") == Some(&Value::Bool(true));
    let deployed = trigger.get("parameters").filter(|_| is_strategy);
    let told = |key: &str, instead: &[&str]| {
        let own = ctx.text(key).map(ToOwned::to_owned);
        let other = || {
            let found = instead.iter().find_map(|k| deployed?.get(*k)?.as_str());
            found.map(ToOwned::to_owned)
        };
        own.or_else(other).map_or(Value::Null, Value::String)
    };
    let mut all = json!({
        "SCRIPT_PATH": told("scriptPath", &[]),
        "COMMAND": told("command", &[]),
        "IMAGE_ID": told("image", &["amiName", "imageId"]),
        "REGION_PARAM": told("region", &["region", "zone"]),
        "ENV_PARAM": told("account", &["credentials"]),
        "CLUSTER_PARAM": told("cluster", &["cluster"]),
        "CMC": told("cmc", &[]),
    });
    for (parameter, key) in [("REPO_URL", "repoUrl"), ("REPO_BRANCH", "repoBranch")] {
        if let Some(given) = ctx.text(key) {
            all[parameter] = given.into();
        }
    }
    let mut all = all.as_object().cloned().unwrap_or_default();
    all.retain(|_, value| !value.is_null());
    all
}

#[derive(Debug)]
struct Start;

#[async_trait]
impl Task for Start {
    fn kind(&self) -> &'static str {
        "startScript"
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
        let build = jenkins::build_of(ctx).await?;
        let (parameters, effect) = (parameters(ctx), ctx.effect("0"));
        let builds = ctx.services.builds();
        let item = builds
            .start(&build, &parameters, &effect)
            .await
            .map_err(failed)?;
        Ok(TaskResult::succeeded()
            .with_context("master", build.master)
            .with_context("job", build.job)
            .with_context("queuedBuild", item)
            .with_context("REPO_URL", ctx.text("repoUrl").unwrap_or("default")))
    }
}
