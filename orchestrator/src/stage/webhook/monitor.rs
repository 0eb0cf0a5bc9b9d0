//! Looks for the end of what a webhook started.

use async_trait::async_trait;
use orchestrator_core::{Status, TaskError, TaskPolicy, TaskResult};
use serde_json::{Map, Value, json};

use super::request::{self, Draft};
use runtime::json_path;

use super::is_retried;
use crate::stage::configured;
use crate::task::{Pool, Task, TaskContext};

/// The task.
pub(super) static TASK: MonitorWebhook = MonitorWebhook;

/// How many former codes are kept.
const MOST_CODES: usize = 50;

#[derive(Debug)]
pub(super) struct MonitorWebhook;

#[async_trait]
impl Task for MonitorWebhook {
    fn kind(&self) -> &'static str {
        "monitorWebhook"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(1_000, 3_600_000)
    }

    fn pool(&self) -> Pool {
        Pool::Http
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        if ctx.flag("monitorOnly") {
            configured::WEBHOOK.permit(ctx).await?;
        }
        let mut webhook = ctx
            .own("webhook")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        let endpoint = webhook
            .get("statusEndpoint")
            .and_then(Value::as_str)
            .or_else(|| ctx.text("statusEndpoint"))
            .map(ToOwned::to_owned)
            .ok_or_else(|| {
                TaskError::user("statusEndpoint is missing; the webhook gave none to look at")
            })?;
        let draft = Draft {
            method: "GET",
            url: &endpoint,
            payload: None,
            step: "status",
        };
        let mut monitor = Map::new();
        let status = match request::send(ctx, &draft).await? {
            Err(error) => {
                monitor.insert("error".to_owned(), error.to_string().into());
                if error.transient {
                    Status::Running
                } else {
                    Status::Terminal
                }
            }
            Ok(answer) => {
                monitor = request::describe(&answer);
                let past = past_codes(&webhook, answer.status);
                let status = if answer.status < 400 {
                    judge(ctx, &mut monitor)
                } else {
                    let message = format!(
                        "an error occurred polling {endpoint}: status code {}",
                        answer.status
                    );
                    monitor.insert("error".to_owned(), message.into());
                    let tried_out = is_tried_out(ctx, answer.status, &past);
                    let again = is_retried(ctx, answer.status, "retryStatusCodes") && !tried_out;
                    if again {
                        Status::Running
                    } else {
                        Status::Terminal
                    }
                };
                monitor.insert("pastStatusCodes".to_owned(), json!(past));
                status
            }
        };
        webhook.insert("monitor".to_owned(), monitor.into());
        let mut result = TaskResult::status(status).with_context("webhook", webhook);
        if status == Status::Running {
            let start = ctx.task().and_then(|t| t.start_time).unwrap_or(ctx.now);
            let fresh = ctx.now - start < 60_000;
            result.backoff_ms = Some(if fresh { 1_000 } else { 15_000 });
        }
        Ok(result)
    }
}

fn past_codes(webhook: &Map<String, Value>, code: u16) -> Vec<Value> {
    let known = webhook
        .get("monitor")
        .and_then(|m| m.get("pastStatusCodes"));
    let mut past = known.and_then(Value::as_array).cloned().unwrap_or_default();
    past.push(code.into());
    let surplus = past.len().saturating_sub(MOST_CODES);
    past.drain(..surplus);
    past
}

/// `retries: {"503": {"maxAttempts": 3}}` counts answers of one code in a row.
fn is_tried_out(ctx: &TaskContext<'_>, code: u16, past: &[Value]) -> bool {
    let limit = ctx
        .own("retries")
        .and_then(|r| r.get(code.to_string()))
        .and_then(|r| r.get("maxAttempts"))
        .and_then(crate::task::server_group::whole);
    let in_a_row = past
        .iter()
        .rev()
        .take_while(|past| **past == json!(code))
        .count();
    limit.is_some_and(|limit| i64::try_from(in_a_row).unwrap_or(i64::MAX) >= limit)
}

/// The status that a good answer stands for.
fn judge(ctx: &TaskContext<'_>, monitor: &mut Map<String, Value>) -> Status {
    let Some(path) = ctx.text("statusJsonPath") else {
        return Status::Succeeded;
    };
    let body = monitor.get("body").cloned().unwrap_or_default();
    let fail = |monitor: &mut Map<String, Value>, reason: String| {
        monitor.insert("error".to_owned(), reason.into());
        Status::Terminal
    };
    let value = match json_path::find(&body, path) {
        Ok(Some(value)) if !value.is_array() && !value.is_object() => value,
        Ok(_) => {
            let reason = format!("The json path '{path}' did not resolve to a single value");
            return fail(monitor, reason);
        }
        Err(reason) => return fail(monitor, reason),
    };
    monitor.insert("resolvedValue".to_owned(), value.clone());
    if let Some(path) = ctx.text("progressJsonPath") {
        match json_path::find(&body, path) {
            Ok(Some(progress @ (Value::String(_) | Value::Number(_)))) => {
                monitor.insert("progressMessage".to_owned(), progress);
            }
            _ => {
                let reason = format!("The json path '{path}' did not resolve to a message");
                return fail(monitor, reason);
            }
        }
    }
    match &value {
        Value::Number(number) => {
            monitor.insert("percentComplete".to_owned(), value.clone());
            let percent = number.as_f64().unwrap_or_default();
            if (100.0..101.0).contains(&percent) {
                Status::Succeeded
            } else {
                Status::Running
            }
        }
        other => {
            let found = other
                .as_str()
                .map_or_else(|| other.to_string(), ToOwned::to_owned);
            let lists = [
                ("successStatuses", Status::Succeeded),
                ("canceledStatuses", Status::Canceled),
                ("terminalStatuses", Status::Terminal),
            ];
            let listed = |key: &str| {
                let list = ctx.text(key).unwrap_or_default();
                list.split(',')
                    .any(|one| one.trim().eq_ignore_ascii_case(found.trim()))
            };
            let hit = lists
                .into_iter()
                .find(|(key, _)| !found.is_empty() && listed(key));
            hit.map_or(Status::Running, |(_, status)| status)
        }
    }
}
