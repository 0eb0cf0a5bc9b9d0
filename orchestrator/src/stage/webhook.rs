//! `webhook`: an HTTP request, and if wanted the wait for what it started.
//! Source: `orca: WebhookStage`, `CreateWebhookTask`, `MonitorWebhookTask`.
//!
//! Differs from Spinnaker: without `statusUrlResolution` the same URL is asked again, there the
//! stage fails; a `Location` may be relative; progress may be a number; 100.0 is 100. Redirects are
//! not followed where only some requests are allowed.

mod cancel;
mod create;
mod monitor;
mod request;
mod rules;

use async_trait::async_trait;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, PlanError, Stage, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult,
    TaskSpec,
};
use serde_json::{Map, Value, json};

use super::{StageType, schema};
use crate::task::server_group::whole;
use crate::task::{Task, TaskContext, bind_produced_artifacts};

/// The type.
pub(super) static STAGE: Webhook = Webhook;

/// See the module.
#[derive(Debug)]
pub(super) struct Webhook;

impl StageDefinition for Webhook {
    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Webhook",
            text: "Sends an HTTP request, and may wait for what it started.",
            category: "integration",
        }
    }

    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        let stage = stage.stage;
        let waits = stage.flag("waitForCompletion") == Some(true);
        let monitor_only = stage.flag("monitorOnly") == Some(true);
        if monitor_only && !waits {
            return Err("monitorOnly needs waitForCompletion; set both or none".to_owned());
        }
        let mut tasks = Vec::new();
        if !monitor_only {
            tasks.push(TaskSpec::new("createWebhook", create::TASK.kind()));
        }
        if waits {
            if pause(stage) > 0 {
                tasks.push(TaskSpec::new("waitBeforeMonitorWebhook", Pause.kind()));
            }
            tasks.push(TaskSpec::new("monitorWebhook", monitor::TASK.kind()));
        }
        bind_produced_artifacts::plan(&mut tasks, stage);
        Ok(tasks)
    }

    fn cancel_task(&self, stage: StageView<'_>) -> Option<&'static str> {
        let signals = stage.stage.flag("signalCancellation") == Some(true);
        signals.then(|| cancel::TASK.kind())
    }

    fn prepare_restart(&self, stage: &mut Stage) {
        stage.context.remove("webhook");
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let mut faults = Vec::new();
        let text = |key: &str| context.get(key).and_then(Value::as_str).unwrap_or_default();
        let set = |key: &str| context.get(key) == Some(&Value::Bool(true));
        let needed = if set("monitorOnly") {
            "statusEndpoint"
        } else {
            "url"
        };
        if text(needed).is_empty() {
            let message = "it is missing; write http://host/path";
            faults.push(Fault::new(format!("{path}.{needed}"), message));
        }
        let method = text("method");
        let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
        if !method.is_empty()
            && !method.contains("${")
            && !known.contains(&method.to_uppercase().as_str())
        {
            let message = format!("\"{method}\" is no method; use one of {}", known.join(", "));
            faults.push(Fault::new(format!("{path}.method"), message));
        }
        for key in ["statusUrlJsonPath", "statusJsonPath", "progressJsonPath"] {
            let written = text(key);
            if !written.is_empty()
                && !written.contains("${")
                && let Err(reason) = runtime::json_path::parse(written)
            {
                faults.push(Fault::new(format!("{path}.{key}"), reason));
            }
        }
        faults
    }

    fn schema(&self) -> Value {
        schema(
            &json!({
                "url": {"type": "string", "title": "URL"},
                "method": {"type": "string", "enum": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]},
                "payload": {"title": "Payload", "description": "any JSON"},
                "customHeaders": {"type": "object", "title": "Headers"},
                "waitForCompletion": {"type": "boolean", "title": "Wait for completion"},
                "statusUrlResolution": {
                    "type": "string", "enum": ["getMethod", "locationHeader", "webhookResponse"],
                },
                "statusUrlJsonPath": {"type": "string"},
                "statusJsonPath": {"type": "string"},
                "progressJsonPath": {"type": "string"},
                "successStatuses": {"type": "string"},
                "canceledStatuses": {"type": "string"},
                "terminalStatuses": {"type": "string"},
            }),
            &["url"],
        )
    }
}

impl StageType for Webhook {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        static OWN: &[&dyn Task] = &[&create::TASK, &Pause, &monitor::TASK, &cancel::TASK];
        OWN
    }
}

/// Seconds between request and first look, written as a number or as text.
fn pause(stage: &Stage) -> i64 {
    let written = stage.context.get("waitBeforeMonitor");
    written.and_then(whole).unwrap_or(0)
}

/// `waitBeforeMonitor` seconds between request and first look.
#[derive(Debug)]
struct Pause;

#[async_trait]
impl Task for Pause {
    fn kind(&self) -> &'static str {
        "waitBeforeMonitorWebhook"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::PLAIN
    }

    fn decide(&self, ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        let wanted = pause(ctx.stage).saturating_mul(1000);
        let start = ctx.task().and_then(|t| t.start_time).unwrap_or(ctx.now);
        let left = start.saturating_add(wanted) - ctx.now;
        Some(Ok(match u64::try_from(left) {
            Ok(left) if left > 0 => TaskResult {
                backoff_ms: Some(left),
                ..TaskResult::running()
            },
            _ => TaskResult::succeeded(),
        }))
    }
}

/// A list of codes in the context.
fn codes(ctx: &TaskContext<'_>, key: &str) -> Vec<i64> {
    let listed = ctx.own(key).and_then(Value::as_array);
    listed.into_iter().flatten().filter_map(whole).collect()
}

/// Whether an answer with this code is asked for again.
fn is_retried(ctx: &TaskContext<'_>, status: u16, key: &str) -> bool {
    rules::Rules::of(ctx).retries(status) || codes(ctx, key).contains(&i64::from(status))
}
