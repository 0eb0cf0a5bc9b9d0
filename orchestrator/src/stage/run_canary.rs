//! `runCanary`: one canary run, followed to its end. Planned by `runCanaryIntervals`; also a stage of its own.
//! Source: `orca: RunCanaryPipelineStage`, `RunKayentaCanaryTask`, `MonitorKayentaCanaryTask`.
//!
//! | run | stage | context |
//! |---|---|---|
//! | score up to the marginal threshold | TERMINAL, or FAILED_CONTINUE | `canaryScore`, `canaryScoreMessage` |
//! | higher score, or no threshold | SUCCEEDED | `canaryScore` |
//! | decision PASS, FAIL | SUCCEEDED, TERMINAL, as soon as it is there | `canaryDecision` too |
//! | decision INCONCLUSIVE | TERMINAL; SUCCEEDED with `onInconclusive: pause`, then a person is asked | the same |
//! | halted | TERMINAL | `exception` |
//! | otherwise | RUNNING | `canaryPipelineStatus` |

mod outcome;

use async_trait::async_trait;
use orchestrator_core::{
    Description, ErrorClass, PlanError, Stage, StageDefinition, StageView, Status, TaskError,
    TaskPolicy, TaskResult, TaskSpec, effect_id,
};
use serde_json::{Value, json};

use super::kayenta_canary::settings::text;
use super::kayenta_canary::thresholds::Thresholds;
use super::kayenta_canary::{DECISION, FINDINGS, in_words, link, on_behalf};
use super::resolve_canary_config::{by_name, readable_config};
use super::{StageType, schema};
use crate::services::{CanaryPlan, NewRun};
use crate::task::{Pool, Task, TaskContext, failed, submit_operation};

/// The type.
pub(super) static STAGE: RunCanary = RunCanary;

/// The run's id in the context; named as in Orca.
const RUN: &str = "canaryPipelineExecutionId";
const STATUS: &str = "canaryPipelineStatus";
const SHORTEST_LOOK_MS: u64 = 1_000;

const MADE: [&str; 13] = [
    RUN,
    STATUS,
    "canaryScore",
    "canaryScoreMessage",
    "lastUpdated",
    "lastUpdatedIso",
    "durationString",
    "warnings",
    "canaryIntervals",
    "canaryRunLink",
    DECISION,
    FINDINGS,
    "canaryDecisionReason",
];

/// See the module.
#[derive(Debug)]
pub(super) struct RunCanary;

impl StageDefinition for RunCanary {
    fn kind(&self) -> &'static str {
        "runCanary"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Run canary",
            text: "Has the canary judge compare two scopes.",
            category: "deploy",
        }
    }

    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        let named = |key: &str| stage.stage.context.get(key).and_then(text).is_some();
        let mut tasks = Vec::new();
        if named("canaryConfigName") && !named("canaryConfigId") {
            tasks.push(TaskSpec::new("resolveKayentaConfigId", ResolveId.kind()));
        }
        tasks.push(TaskSpec::new("runCanary", Run.kind()));
        tasks.push(TaskSpec::new("monitorCanary", Monitor.kind()));
        Ok(tasks)
    }

    fn cancel_task(&self, _stage: StageView<'_>) -> Option<&'static str> {
        Some(Cancel.kind())
    }

    fn prepare_restart(&self, stage: &mut Stage) {
        for key in MADE {
            stage.context.shift_remove(key);
        }
    }

    /// What judge and metric store say is no expression.
    fn own_expressions(&self) -> &'static [&'static str] {
        &[
            FINDINGS,
            "warnings",
            "canaryDecisionReason",
            "canaryIntervals",
            "canaryScoreMessage",
        ]
    }

    fn schema(&self) -> Value {
        schema(
            &json!({
                "canaryConfigId": {"type": "string", "title": "Canary config"},
                "canaryConfigName": {"type": "string"},
                "scopes": {"type": "object"},
                "scoreThresholds": {"type": "object"},
            }),
            &["scopes"],
        )
    }
}

impl StageType for RunCanary {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&ResolveId, &Run, &Monitor, &Cancel]
    }
}

/// How the judge is asked: until it can be reached.
const ASKED: TaskPolicy = TaskPolicy {
    backoff_ms: 1_000,
    timeout_ms: Some(600_000),
    overridable: false,
};

#[derive(Debug)]
struct ResolveId;

#[async_trait]
impl Task for ResolveId {
    fn kind(&self) -> &'static str {
        "resolveKayentaConfigId"
    }

    fn policy(&self) -> TaskPolicy {
        ASKED
    }

    fn pool(&self) -> Pool {
        Pool::Http
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let by = on_behalf(ctx).await?;
        let name = ctx.text("canaryConfigName").unwrap_or_default();
        let id = by_name(ctx, &by, name).await?;
        Ok(TaskResult::succeeded().with_context("canaryConfigId", id))
    }
}

#[derive(Debug)]
struct Run;

#[async_trait]
impl Task for Run {
    fn kind(&self) -> &'static str {
        "runCanary"
    }

    fn policy(&self) -> TaskPolicy {
        ASKED
    }

    fn pool(&self) -> Pool {
        Pool::Http
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let Some(config_id) = ctx.text("canaryConfigId") else {
            return Err(TaskError::user(
                "Invalid canaryConfigId. Was the correct configName or configId used?",
            ));
        };
        let account = |key: &str| ctx.text(key).unwrap_or_default().to_owned();
        let thresholds = thresholds(ctx)?;
        let request = json!({
            "scopes": ctx.own("scopes").cloned().unwrap_or_else(|| json!({})),
            "thresholds": thresholds.to_json(),
            "siteLocal": ctx.own("siteLocal").cloned().unwrap_or_else(|| json!({})),
        });
        let plan: Option<CanaryPlan> = match ctx.own("plan") {
            None => None,
            Some(plan) => Some(serde_json::from_value(plan.clone()).map_err(|error| {
                TaskError::user(format!("plan cannot be read: {error}; correct it"))
            })?),
        };
        let run = NewRun {
            effect_id: ctx.effect("0"),
            application: ctx.execution.application.clone(),
            execution_id: ctx.execution.id.to_string(),
            config_id: config_id.to_owned(),
            request,
            metrics_account: account("metricsAccountName"),
            configuration_account: account("configurationAccountName"),
            storage_account: account("storageAccountName"),
            plan,
            waiter: submit_operation::next_task(ctx),
        };
        let by = on_behalf(ctx).await?;
        let judge = ctx.services.canary_judge();
        readable_config(ctx, &by, config_id).await?;
        let id = judge.start(&by, run).await.map_err(failed)?;
        Ok(TaskResult::succeeded()
            .with_context(RUN, id.clone())
            .with_context("canaryRunLink", link(ctx, &id))
            .with_output(RUN, id)
            .with_output("canaryConfigId", config_id))
    }
}

/// The thresholds of the stage; a stage that names none has none.
fn thresholds(ctx: &TaskContext<'_>) -> Result<Thresholds, TaskError> {
    match ctx.own("scoreThresholds") {
        None => Ok(Thresholds::default()),
        Some(given) => Thresholds::of(Some(given))
            .map_err(|(path, why)| TaskError::user(format!("{path}: {why}"))),
    }
}

#[derive(Debug)]
struct Monitor;

#[async_trait]
impl Task for Monitor {
    fn kind(&self) -> &'static str {
        "monitorCanary"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(SHORTEST_LOOK_MS, 43_200_000)
    }

    fn pool(&self) -> Pool {
        Pool::Http
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let Some(id) = ctx.text(RUN) else {
            return Err(TaskError::permanent("no canary run was started"));
        };
        let by = on_behalf(ctx).await?;
        let found = ctx.services.canary_judge().run(&by, id).await;
        let Some(run) = found.map_err(failed)? else {
            return Err(TaskError::permanent(format!(
                "canary run {id} does not exist any more; restart the stage"
            )));
        };
        in_words(outcome::answer(ctx, id, &run))
    }
}

/// A cancelled stage cancels its run.
#[derive(Debug)]
struct Cancel;

#[async_trait]
impl Task for Cancel {
    fn kind(&self) -> &'static str {
        "cancelCanary"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::PLAIN
    }

    fn pool(&self) -> Pool {
        Pool::Http
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let Some(id) = started(ctx).await? else {
            return Ok(TaskResult::succeeded());
        };
        let by = on_behalf(ctx).await?;
        let judge = ctx.services.canary_judge();
        let run = judge.run(&by, &id).await.map_err(failed)?;
        // The id stands in the context, where a user may have written that of another's run.
        let own = Some(ctx.execution.id.as_str());
        let open = run.is_some_and(|run| {
            let parent = run.get("parentPipelineExecutionId").and_then(Value::as_str);
            parent == own && run.get("complete") != Some(&json!(true))
        });
        if !open {
            return Ok(TaskResult::succeeded());
        }
        let reason = ctx
            .execution
            .cancellation_reason
            .as_deref()
            .unwrap_or("its stage ended");
        judge.cancel(&by, &id, reason).await.map_err(failed)?;
        Ok(TaskResult::succeeded().with_context("canceledCanaryRun", id))
    }
}

/// The run that this stage started. Where a cancellation came before the answer it is started once more: under the
/// same effect id, so that this finds it if it was.
async fn started(ctx: &TaskContext<'_>) -> Result<Option<String>, TaskError> {
    let run = ctx.stage.tasks.iter();
    let mut run = run.filter(|task| task.implementing_class == Run.kind());
    let Some(task) = run.find(|task| task.runs > 0) else {
        return Ok(None);
    };
    if task.status != Status::Canceled {
        return Ok(ctx.text(RUN).map(ToOwned::to_owned));
    }
    let effect_id = effect_id(ctx.execution, ctx.stage, task);
    let starting = TaskContext {
        execution: ctx.execution,
        stage: ctx.stage,
        task_id: &task.id,
        now: ctx.now,
        effect_id: &effect_id,
        services: ctx.services,
    };
    match Run.run(&starting).await {
        Ok(result) => {
            let id = result.context.get(RUN).and_then(Value::as_str);
            Ok(id.map(ToOwned::to_owned))
        }
        Err(error) if error.class == ErrorClass::Transient => Err(error),
        // What is refused does not run.
        Err(_) => Ok(None),
    }
}
