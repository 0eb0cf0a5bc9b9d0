//! What the stages share that ask a service of the operator's about a deployment:
//! which service, what it is told, and what its answer means. Source: `orca:
//! MonitoredDeployBaseTask`, `EvaluateDeploymentHealthTask`.
//!
//! Differs from Spinnaker: the services are asked by way of the egress rules, so that
//! the operator allows their addresses once, for everything (`egress.allow`).

use async_trait::async_trait;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, PlanError, Settings, Stage, StageDefinition, StageView, Status, TaskError,
    TaskPolicy, TaskResult, TaskSpec,
};
use serde_json::{Map, Value, json};

use super::{StageType, configured, schema};
use crate::services::HttpRequest;
use crate::task::server_group::whole;
use crate::task::{Pool, Task, TaskContext};

/// Tries after an answer that is none.
const MOST_RETRIES: i64 = 3;
const RETRIES: &str = "deployMonitorHttpRetryCount";
const REASONS: &str = "deploymentMonitorReasons";
const SKIP_TO: &str = "skipToPercentage";
/// How long one answer may take.
const TIMEOUT_MS: u64 = 20_000;

/// When of a deployment the service is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Before the old group is touched.
    Starting,
    /// After a step.
    Health,
    /// At the end, however it ended.
    Completed,
}

/// A type of stage that asks.
pub(super) struct Asking {
    pub(super) kind: &'static str,
    pub(super) label: &'static str,
    pub(super) text: &'static str,
    pub(super) task: &'static Ask,
    pub(super) tasks: &'static [&'static dyn Task],
}

/// Its task.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) kind: &'static str,
    pub(super) path: &'static str,
    pub(super) moment: Moment,
}

/// The service that a context names, as the operator set it; none where it names none.
///
/// # Errors
/// When there is no such service, naming those there are.
pub(super) fn monitor_of<'a>(
    context: &Map<String, Value>,
    settings: &'a Settings,
) -> Result<Option<&'a Value>, PlanError> {
    let asked = context.get("deploymentMonitor").and_then(|m| m.get("id"));
    let Some(id) = asked.and_then(Value::as_str).filter(|id| !id.is_empty()) else {
        return Ok(None);
    };
    let known = settings.stages.get(configured::MONITOR);
    let known = known
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let is_one = |m: &&Value| m.get("id").and_then(Value::as_str) == Some(id);
    match known.iter().find(is_one) {
        Some(found) => Ok(Some(found)),
        None => {
            let ids: Vec<_> = known.iter().filter_map(|m| m.get("id")?.as_str()).collect();
            let ids = if ids.is_empty() {
                "none is".to_owned()
            } else {
                ids.join(", ")
            };
            Err(format!(
                "deploymentMonitor.id \"{id}\" is not configured by the operator (configured: {ids})"
            ))
        }
    }
}

impl StageDefinition for Asking {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn describe(&self) -> Description {
        Description {
            label: self.label,
            text: self.text,
            category: "deploy",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new(self.kind, self.task.kind)])
    }

    fn prepare_restart(&self, stage: &mut Stage) {
        for key in [RETRIES, REASONS] {
            stage.context.shift_remove(key);
        }
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let id = context.get("deploymentMonitor").and_then(|m| m.get("id"));
        if id.and_then(Value::as_str).is_some_and(|id| !id.is_empty()) {
            return Vec::new();
        }
        let message = "it is missing; name a service that the operator configured";
        vec![Fault::new(format!("{path}.deploymentMonitor.id"), message)]
    }

    fn schema(&self) -> Value {
        let monitor = json!({"type": "object", "properties": {"id": {"type": "string"}}});
        schema(
            &json!({"deploymentMonitor": monitor}),
            &["deploymentMonitor"],
        )
    }
}

impl StageType for Asking {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        self.tasks
    }
}

/// How the rollback beside the stage went.
fn rollback(ctx: &TaskContext<'_>) -> &'static str {
    let beside = |s: &&Stage| {
        s.parent_stage_id.is_some()
            && s.parent_stage_id == ctx.stage.parent_stage_id
            && s.kind == "rollbackCluster"
    };
    match ctx.execution.stages.iter().find(beside).map(|s| s.status) {
        None => "not_performed",
        Some(Status::Succeeded) => "success",
        Some(_) => "failure",
    }
}

impl Ask {
    /// What the service is told.
    fn body(&self, ctx: &TaskContext<'_>) -> Value {
        let own = |key: &str| ctx.own(key).cloned().unwrap_or_default();
        let deployment = ctx.stage.parent_stage_id.as_ref().unwrap_or(&ctx.stage.id);
        let mut body = json!({
            "application": ctx.execution.application, "executionId": ctx.execution.id.to_string(),
            "stageId": ctx.stage.id.to_string(), "deploymentId": deployment.to_string(),
            "cluster": own("cluster"), "newServerGroup": own("newServerGroup"),
            "oldServerGroup": own("oldServerGroup"), "baselineServerGroup": own("oldServerGroup"),
            "account": own("account"), "region": own("region"),
            "cloudProvider": own("cloudProvider"), "parameters": own("parameters"),
        });
        match self.moment {
            Moment::Starting => {}
            Moment::Health => {
                body["currentProgress"] = own("currentProgress");
                body["newInstances"] = json!([]);
            }
            Moment::Completed => {
                let failed = ctx.flag("hasDeploymentFailed");
                body["status"] = if failed { "failure" } else { "success" }.into();
                body["rollback"] = rollback(ctx).into();
            }
        }
        body
    }

    /// The answer as JSON; the error is one sentence.
    async fn ask(&self, ctx: &TaskContext<'_>, monitor: &Value) -> Result<Value, String> {
        let base = monitor.get("baseUrl").and_then(Value::as_str);
        let base = base.unwrap_or_default().trim_end_matches('/');
        // Every look at health is a question of its own.
        let effect = match self.moment {
            Moment::Health => ctx.effect(&ctx.now.to_string()),
            Moment::Starting | Moment::Completed => ctx.effect("0"),
        };
        let json_type = "application/json".to_owned();
        let request = HttpRequest {
            method: "POST".to_owned(),
            url: format!("{base}/deployment/{}", self.path),
            headers: vec![
                ("content-type".to_owned(), json_type.clone()),
                ("accept".to_owned(), json_type),
            ],
            body: self.body(ctx).to_string().into_bytes(),
            effect_id: effect,
            timeout_ms: TIMEOUT_MS,
            follow_redirects: false,
        };
        let answer = ctx.services.http().send(request).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if !(200..300).contains(&answer.status) {
            return Err(format!("it answered with status code {}", answer.status));
        }
        if self.moment == Moment::Completed {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer.body).map_err(|_| "its answer is no JSON".to_owned())
    }

    /// What follows when the service did not judge: the reason, after `what`.
    fn unjudged(
        &self,
        ctx: &TaskContext<'_>,
        monitor: &Value,
        what: &str,
        reason: &str,
    ) -> Result<TaskResult, TaskError> {
        if self.moment == Moment::Completed {
            let summary = format!("{what}, proceeding anyway to avoid unnecessary rollback");
            return Ok(told(Status::FailedContinue, &summary, reason));
        }
        let asked = ctx
            .own("deploymentMonitor")
            .and_then(|m| m.get("failOnErrorOverride"));
        let asked = asked.or_else(|| monitor.get("failOnError"));
        if asked.and_then(Value::as_bool).unwrap_or(true) {
            let summary = format!(
                "{what}, aborting because this deployment monitor is configured to failOnError"
            );
            return Err(aborted(&summary, reason));
        }
        let summary = format!(
            "{what}, proceeding anyway because this deployment monitor is configured to not \
             failOnError"
        );
        Ok(told(Status::FailedContinue, &summary, reason))
    }

    /// What an answer means.
    fn judged(
        &self,
        ctx: &TaskContext<'_>,
        monitor: &Value,
        answer: &Value,
    ) -> Result<TaskResult, TaskError> {
        let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str);
        let reason = text("/statusReason").or_else(|| text("/nextStep/message"));
        let reason = reason.unwrap_or_default();
        let directive = text("/nextStep/directive")
            .unwrap_or_default()
            .to_uppercase();
        match directive.as_str() {
            "CONTINUE" => {
                let summary =
                    "Deployment monitor deemed the instances healthy, proceeding with deploy";
                Ok(told(Status::Succeeded, summary, reason))
            }
            "WAIT" => {
                let summary =
                    "Waiting for deployment monitor to evaluate health of deployed instances";
                Ok(told(Status::Running, summary, reason).with_context(RETRIES, 0))
            }
            "COMPLETE" => {
                let summary = "Deployment monitor deemed the instances healthy and requested to \
                               complete the deployment early";
                Ok(told(Status::Succeeded, summary, reason).with_output(SKIP_TO, 100))
            }
            "ABORT" => Err(aborted(
                "Deployment monitor deemed the deployed instances unhealthy, aborting deployment",
                reason,
            )),
            _ => {
                let what = "Health evaluation results are unknown";
                self.unjudged(ctx, monitor, what, reason)
            }
        }
    }
}

fn reasons(summary: &str, reason: &str) -> Value {
    json!({"summary": summary, "reason": reason})
}

fn told(status: Status, summary: &str, reason: &str) -> TaskResult {
    TaskResult::status(status).with_context(REASONS, reasons(summary, reason))
}

fn aborted(summary: &str, reason: &str) -> TaskError {
    let mut error = TaskError::user(summary);
    if !reason.is_empty() {
        error.details.push(reason.to_owned());
    }
    let reasons = reasons(summary, reason);
    error.context.insert(REASONS.to_owned(), reasons);
    error
}

/// Further than the step that is asked about, as somebody or an earlier answer says.
fn skips_to(ctx: &TaskContext<'_>) -> Option<i64> {
    let parent = ctx.stage.parent_stage_id.as_ref();
    let parent = parent.and_then(|id| ctx.execution.stage(id));
    let asked = ctx.get(SKIP_TO).or_else(|| parent?.context.get(SKIP_TO));
    let progress = ctx.own("currentProgress").and_then(whole).unwrap_or(0);
    asked.and_then(whole).filter(|to| *to > progress)
}

/// How long the service may take, ms.
fn limit(ctx: &TaskContext<'_>, monitor: &Value) -> i64 {
    let asked = ctx
        .own("deploymentMonitor")
        .and_then(|m| m.get("maxAnalysisMinutesOverride"));
    let asked = asked.and_then(whole).filter(|minutes| *minutes > 0);
    let set = || monitor.get("maxAnalysisMinutes").and_then(whole);
    asked.or_else(set).unwrap_or(30).saturating_mul(60_000)
}

#[async_trait]
impl Task for Ask {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn policy(&self) -> TaskPolicy {
        // The service's own limit ends it before.
        TaskPolicy {
            backoff_ms: 60_000,
            timeout_ms: Some(604_800_000),
            overridable: false,
        }
    }

    fn pool(&self) -> Pool {
        Pool::Http
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let found = monitor_of(&ctx.stage.context, ctx.services.settings());
        let monitor = found.map_err(TaskError::user)?.ok_or_else(|| {
            TaskError::user("deploymentMonitor.id is missing; name a configured service")
        })?;
        if self.moment == Moment::Health
            && let Some(percent) = skips_to(ctx)
        {
            let summary = format!(
                "Skipping remaining health evaluation because the user requested to skip to \
                 {percent} percent"
            );
            return Ok(told(Status::Succeeded, &summary, ""));
        }
        let start = ctx.task().and_then(|t| t.start_time).unwrap_or(ctx.now);
        if ctx.now.saturating_sub(start) > limit(ctx, monitor) {
            let what = "Deployment monitor failed to evaluate health in the allotted time";
            return self.unjudged(ctx, monitor, what, "");
        }
        match self.ask(ctx, monitor).await {
            Ok(_) if self.moment == Moment::Completed => Ok(told(
                Status::Succeeded,
                "Deployment monitor was told of the end",
                "",
            )),
            Ok(answer) => self.judged(ctx, monitor, &answer),
            Err(reason) => {
                let tries = ctx.own(RETRIES).and_then(whole).unwrap_or(0);
                if tries < MOST_RETRIES {
                    return Ok(TaskResult::running().with_context(RETRIES, tries + 1));
                }
                let name = monitor.get("name").and_then(Value::as_str);
                let name = name.unwrap_or_default();
                let what = format!("Failed to get a valid response from deployment monitor {name}");
                self.unjudged(ctx, monitor, &what, &reason)
            }
        }
    }
}
