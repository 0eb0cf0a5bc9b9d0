//! The request itself.

use async_trait::async_trait;
use orchestrator_core::{Status, TaskError, TaskPolicy, TaskResult};
use serde_json::{Map, Value, json};

use super::request::{self, Draft};
use runtime::json_path;

use super::rules::Rules;
use super::{codes, is_retried};
use crate::services::HttpResponse;
use crate::stage::configured;
use crate::task::{Pool, Task, TaskContext};

/// The task.
pub(super) static TASK: CreateWebhook = CreateWebhook;

#[derive(Debug)]
pub(super) struct CreateWebhook;

#[async_trait]
impl Task for CreateWebhook {
    fn kind(&self) -> &'static str {
        "createWebhook"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy {
            backoff_ms: 10_000,
            timeout_ms: Some(300_000),
            overridable: false,
        }
    }

    fn pool(&self) -> Pool {
        Pool::Http
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let method = ctx.text("method").unwrap_or("POST").to_uppercase();
        let url = ctx.text("url").unwrap_or_default();
        let payload = ctx.stage.context.get("payload");
        let draft = Draft {
            method: &method,
            url,
            payload,
            step: "0",
        };
        let execution = &ctx.execution.id;
        configured::WEBHOOK.permit(ctx).await?;
        let failed = |status, error: String, mut webhook: Map<String, Value>| {
            webhook.insert("error".to_owned(), error.into());
            Ok(TaskResult::status(status).with_context("webhook", webhook))
        };
        let answer = match request::send(ctx, &draft).await? {
            Ok(answer) => answer,
            Err(error) => {
                // Only what cannot have been acted on is sent again.
                let again = error.transient
                    && (error.unsent
                        || method == "GET"
                        || Rules::of(ctx).is_safe_to_retry(&method, url));
                let status = if again {
                    Status::Running
                } else {
                    Status::Terminal
                };
                let message = format!(
                    "An exception occurred for pipeline {execution} performing a request to {url}. \
                     {error}"
                );
                return failed(status, message, Map::new());
            }
        };
        let webhook = request::describe(&answer);
        let code = answer.status;
        let mut fail_fast = codes(ctx, "failFastStatusCodes");
        if ctx.own("failFastStatusCodes").is_none() {
            fail_fast.push(504);
        }
        if code < 400 {
            return accepted(ctx, url, &answer, webhook);
        }
        let message = format!(
            "Error submitting webhook for pipeline {execution} to {url} with status code {code}"
        );
        if fail_fast.contains(&i64::from(code)) {
            return failed(
                Status::Terminal,
                format!("{message}, configured to fail fast."),
                webhook,
            );
        }
        if is_retried(ctx, code, "webhookRetryStatusCodes") {
            return failed(Status::Running, format!("{message}, will retry."), webhook);
        }
        failed(Status::Terminal, format!("{message}."), webhook)
    }
}

/// What follows from a good answer: where to look for the end.
fn accepted(
    ctx: &TaskContext<'_>,
    url: &str,
    answer: &HttpResponse,
    mut webhook: Map<String, Value>,
) -> Result<TaskResult, TaskError> {
    let waits = ctx.flag("waitForCompletion");
    let mut result = TaskResult::succeeded();
    let body = webhook.get("body").cloned().unwrap_or_default();
    if waits {
        let status_url = match ctx.text("statusUrlResolution") {
            Some("locationHeader") => answer
                .headers
                .get("location")
                .map(|location| absolute(url, location))
                .ok_or_else(|| "the answer has no Location header".to_owned()),
            Some("webhookResponse") => {
                let path = ctx.text("statusUrlJsonPath").unwrap_or_default();
                match json_path::find(&body, path) {
                    Ok(Some(Value::String(found))) => Ok(absolute(url, &found)),
                    Ok(found) => Err(format!(
                        "statusUrlJsonPath {path} yields {} and not one string",
                        found.map_or_else(|| "nothing".to_owned(), |v| v.to_string())
                    )),
                    Err(reason) => Err(reason),
                }
            }
            _ => Ok(url.to_owned()),
        };
        match status_url {
            Ok(found) => {
                webhook.insert("statusEndpoint".to_owned(), found.clone().into());
                result = result.with_context("statusEndpoint", found);
            }
            Err(reason) => {
                webhook.insert("error".to_owned(), reason.into());
                return Ok(TaskResult::status(Status::Terminal).with_context("webhook", webhook));
            }
        }
    } else if ctx
        .own("expectedArtifacts")
        .and_then(Value::as_array)
        .is_some_and(|l| !l.is_empty())
        && let Some(artifacts) = body.get("artifacts")
    {
        result = result
            .with_context("artifacts", artifacts.clone())
            .with_output("artifacts", artifacts.clone());
    }
    Ok(result.with_context("webhook", json!(webhook)))
}

/// A location may be relative to what was asked.
fn absolute(url: &str, location: &str) -> String {
    let joined = url::Url::parse(url).and_then(|base| base.join(location));
    joined.map_or_else(|_| location.to_owned(), Into::into)
}
