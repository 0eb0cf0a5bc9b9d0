//! Waits for an operation. Its end wakes this task by a message; the slow poll is
//! only the fallback. Source of what it leaves in the context: `orca: MonitorKatoTask`.

use async_trait::async_trait;
use orchestrator_core::{TaskError, TaskPolicy, TaskResult};
use serde_json::{Map, Value, json};

use super::{Task, TaskContext, failed, server_group};
use crate::services::{Operation, OperationState};

/// The task.
pub static MONITOR_OPERATION: MonitorOperation = MonitorOperation;

/// See the module.
#[derive(Debug)]
pub struct MonitorOperation;

#[async_trait]
impl Task for MonitorOperation {
    fn kind(&self) -> &'static str {
        "monitorOperation"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(15_000, 3_600_000)
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let last = ctx.own("kato.last.task.id").and_then(|last| last.get("id"));
        let Some(id) = last.and_then(Value::as_str) else {
            return Ok(TaskResult::succeeded());
        };
        let operation = ctx
            .services
            .cloud_driver()
            .operation(id)
            .await
            .map_err(failed)?;
        answer(ctx, &operation)
    }
}

/// What an operation's state means for the stage that waits for it.
pub(crate) fn answer(
    ctx: &TaskContext<'_>,
    operation: &Operation,
) -> Result<TaskResult, TaskError> {
    let context = tell(ctx, operation);
    match operation.state {
        OperationState::Running => Ok(TaskResult {
            context,
            ..TaskResult::running()
        }),
        OperationState::Succeeded => {
            let mut result = TaskResult {
                context,
                ..TaskResult::succeeded()
            };
            if let Some(groups) = deployed(&operation.result) {
                result = result.with_context("deploy.server.groups", groups);
            }
            Ok(result)
        }
        OperationState::Failed => {
            let message = if operation.error.is_empty() {
                format!("operation {} failed", operation.kind)
            } else {
                operation.error.clone()
            };
            let mut error = TaskError::permanent(message);
            error.details = operation.error_details.clone();
            error.context = context;
            Err(error)
        }
    }
}

/// `kato.task.lastStatus` and `kato.tasks`, the entry of this operation replaced.
fn tell(ctx: &TaskContext<'_>, operation: &Operation) -> Map<String, Value> {
    let (status, failed) = match operation.state {
        OperationState::Running => ("RUNNING", false),
        OperationState::Succeeded => ("SUCCEEDED", false),
        OperationState::Failed => ("TERMINAL", true),
    };
    let history: Vec<Value> = operation
        .history
        .iter()
        .map(|(phase, status)| json!({"phase": phase, "status": status}))
        .collect();
    let mut results: Vec<Value> = Vec::new();
    if operation
        .result
        .as_object()
        .is_some_and(|result| !result.is_empty())
    {
        results.push(operation.result.clone());
    }
    let mut entry = json!({
        "id": operation.id,
        "status": {
            "completed": operation.state != OperationState::Running,
            "failed": failed,
            "retryable": operation.retryable,
        },
        "history": history,
        "outputs": [],
    });
    if failed {
        let exception = json!({
            "type": "EXCEPTION",
            "operation": operation.kind,
            "message": operation.error,
            "details": operation.error_details,
            "retryable": operation.retryable,
        });
        results.push(exception.clone());
        entry["exception"] = exception;
    }
    entry["resultObjects"] = results.into();
    let mut tasks: Vec<Value> = ctx
        .own("kato.tasks")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    match tasks.iter_mut().find(|t| t.get("id") == entry.get("id")) {
        Some(known) => *known = entry,
        None => tasks.push(entry),
    }
    let mut context = Map::new();
    context.insert("kato.task.lastStatus".to_owned(), status.into());
    context.insert("kato.tasks".to_owned(), tasks.into());
    context
}

/// `{region: [name, …]}` of a result's `serverGroupNames`, each `region:name`.
pub(crate) fn deployed(result: &Value) -> Option<Value> {
    let names = result.get("serverGroupNames")?.as_array()?;
    let mut groups: Map<String, Value> = Map::new();
    for name in names.iter().filter_map(Value::as_str) {
        let (region, name) = name
            .split_once(':')
            .unwrap_or((server_group::NO_REGION, name));
        let of_region = groups.entry(region).or_insert_with(|| json!([]));
        if let Some(list) = of_region.as_array_mut() {
            list.push(name.into());
        }
    }
    (!groups.is_empty()).then_some(Value::Object(groups))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_grouped_by_region() {
        let result = json!({"serverGroupNames": ["local:a-v001", "local:b-v000", "c-v002"]});
        let expected = json!({"local": ["a-v001", "b-v000"], "region_missing": ["c-v002"]});
        assert_eq!(deployed(&result), Some(expected));
        assert_eq!(deployed(&json!({})), None);
    }
}
