//! The task that submits one operation: every kind of it is a value of [`Submission`].

use async_trait::async_trait;
use authorization::Permission;
use orchestrator_core::{TaskError, TaskPolicy, TaskResult};
use serde_json::{Map, Value, json};

use super::{Task, TaskContext, access, failed, server_group, traffic_guard};
use crate::provider::Part;
use crate::services::{NewOperation, Waiter};

/// How a stage's context becomes an operation's input.
pub(crate) type Prepare = fn(&TaskContext<'_>) -> Result<Map<String, Value>, TaskError>;

/// Submits an operation under its effect id; the task after it waits for the end.
pub struct Submission {
    /// Type of the task, and of the operation unless `operation` says another.
    pub kind: &'static str,
    /// Kind of the operation.
    pub operation: &'static str,
    /// Its input.
    pub prepare: Prepare,
    /// It takes capacity away: asked of the traffic guards first, under this name.
    pub guarded: Option<&'static str>,
}

/// How operations are submitted: repeated until cloud-driver can be reached; the limit is
/// generous, because a control plane that was killed must find its deployment going on.
pub(crate) const SUBMISSION: TaskPolicy = TaskPolicy {
    backoff_ms: 500,
    timeout_ms: Some(600_000),
    overridable: false,
};

#[async_trait]
impl Task for Submission {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn policy(&self) -> TaskPolicy {
        SUBMISSION
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        if let Some(what) = self.guarded {
            traffic_guard::check_own(ctx, what).await?;
        }
        submit(ctx, self.operation, (self.prepare)(ctx)?).await
    }
}

/// Submits several as one request, performed in order, and says where to wait;
/// without any it is done. The kind that the stage shows is that of the last.
pub(crate) async fn submit_all(
    ctx: &TaskContext<'_>,
    mut parts: Vec<Part>,
) -> Result<TaskResult, TaskError> {
    let Some((kind, input)) = parts.pop() else {
        return Ok(TaskResult::succeeded());
    };
    if parts.is_empty() {
        return submit(ctx, &kind, input).await;
    }
    let account = account_of(&input);
    parts.push((kind.clone(), input));
    let parts: Vec<Value> = parts.into_iter().map(|(k, i)| json!({ k: i })).collect();
    let mut all = Map::new();
    all.insert("operations".to_owned(), parts.into());
    Ok(submit(ctx, SEQUENCE, all)
        .await?
        .with_context("notification.type", kind.to_lowercase())
        .with_context("deploy.account.name", account.unwrap_or_default()))
}

/// Several operations as one: `{operations: [{kind: input}, …]}`.
pub const SEQUENCE: &str = "operations";

fn account_of(input: &Map<String, Value>) -> Option<Value> {
    let account = input.get("account").or_else(|| input.get("credentials"));
    account.cloned()
}

/// The task after this one, which waits for what this one begins; none if this is the last.
pub(crate) fn next_task(ctx: &TaskContext<'_>) -> Option<Waiter> {
    ctx.stage.task_after(ctx.task_id).map(|next| Waiter {
        execution_id: ctx.execution.id.to_string(),
        stage_id: ctx.stage.id.to_string(),
        task_id: next.id.to_string(),
    })
}

/// Submits and says where to wait.
pub(crate) async fn submit(
    ctx: &TaskContext<'_>,
    kind: &str,
    input: Map<String, Value>,
) -> Result<TaskResult, TaskError> {
    submit_as(ctx, "0", kind, input).await
}

/// The same for a task with several effects: this is the one of the step.
pub(crate) async fn submit_as(
    ctx: &TaskContext<'_>,
    step: &str,
    kind: &str,
    input: Map<String, Value>,
) -> Result<TaskResult, TaskError> {
    let waiter = next_task(ctx);
    let account = account_of(&input);
    let user = ctx.user();
    let applications = access::applications(&ctx.execution.application, &input);
    for application in &applications {
        access::require(ctx, application, Permission::Write).await?;
    }
    let roles = ctx.services.access().roles(user).await.map_err(failed)?;
    let operation = NewOperation {
        effect_id: ctx.effect(step),
        kind: kind.to_owned(),
        input: Value::Object(input),
        user: user.to_owned(),
        roles,
        applications: applications.into_iter().collect(),
        waiter,
    };
    let accepted = ctx
        .services
        .cloud_driver()
        .submit(operation)
        .await
        .map_err(failed)?;
    Ok(TaskResult::succeeded()
        .with_context("notification.type", kind.to_lowercase())
        .with_context("deploy.account.name", account.unwrap_or_default())
        .with_context("kato.last.task.id", json!({"id": accepted.id})))
}

/// Keys of a context that are about the engine, not about the operation.
const OURS: &[&str] = &[
    "kato.",
    "deploy.server.groups",
    "notification.type",
    "deploy.account.name",
    "exception",
    "expressionEvaluationSummary",
    "restartDetails",
    "failPipeline",
    "continuePipeline",
    "completeOtherBranchesThenFail",
    "previousCapacity",
    "_",
];

/// The stage's context as an operation takes it: without what is about the engine.
pub(crate) fn input_of(ctx: &TaskContext<'_>) -> Map<String, Value> {
    let mut input: Map<String, Value> = ctx
        .stage
        .context
        .iter()
        .filter(|(key, value)| !value.is_null() && !OURS.iter().any(|o| key.starts_with(o)))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    input
        .entry("application")
        .or_insert_with(|| ctx.execution.application.clone().into());
    input
}

/// An operation on one server group.
pub(crate) fn on_group(ctx: &TaskContext<'_>) -> Result<Map<String, Value>, TaskError> {
    let mut input = input_of(ctx);
    let name = server_group::target_name(ctx)?;
    input.insert("serverGroupName".to_owned(), name.clone().into());
    input.insert("asgName".to_owned(), name.into());
    input.insert("region".to_owned(), server_group::region_of(ctx)?.into());
    let account = server_group::account(ctx)?;
    input.insert("account".to_owned(), account.into());
    input.insert("credentials".to_owned(), account.into());
    input.shift_remove("source");
    Ok(input)
}
