//! Waits for the child, and takes over what it put out or why it failed.

use async_trait::async_trait;
use orchestrator_core::{Execution, Stage, Status, TaskError, TaskPolicy, TaskResult};
use serde_json::{Map, Value, json};

use crate::task::{Pool, Task, TaskContext, failed};

/// The task.
#[derive(Debug)]
pub(super) struct Monitor;

#[async_trait]
impl Task for Monitor {
    fn kind(&self) -> &'static str {
        "monitorPipeline"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(1_000, 43_200_000)
    }

    fn pool(&self) -> Pool {
        Pool::Definitions
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let id = ctx
            .text("executionId")
            .ok_or_else(|| TaskError::permanent("no execution was started"))?;
        let child = ctx.services.executions().get(id).await.map_err(failed)?;
        let child = child.ok_or_else(|| {
            TaskError::permanent(format!("execution {id} does not exist any more"))
        })?;
        let child: Execution = serde_json::from_value(child)
            .map_err(|e| TaskError::permanent(format!("execution {id} cannot be read: {e}")))?;
        let status = child.status;
        let ends_as = match status {
            Status::Succeeded | Status::Canceled => status,
            status if status.is_halt() => Status::Terminal,
            _ => Status::Running,
        };
        let mut result = TaskResult::status(ends_as).with_context("status", status.as_str());
        if ends_as == Status::Terminal {
            result = result.with_context("exception", exception(&child));
        }
        if ends_as != Status::Running && !ctx.flag("skipDownstreamOutput") {
            result.outputs = outputs(&child);
        }
        Ok(result)
    }
}

/// What the child's own stages put out, in their order: lists are joined, else the later
/// one counts (`orca: StageContext`).
fn outputs(child: &Execution) -> Map<String, Value> {
    let mut merged = Map::new();
    let stages = child.in_order().into_iter().filter(|s| !s.is_synthetic());
    for (key, value) in stages.flat_map(|stage| &stage.outputs) {
        match (merged.get_mut(key), value) {
            (Some(Value::Array(known)), Value::Array(more)) => {
                for item in more {
                    if !known.contains(item) {
                        known.push(item.clone());
                    }
                }
            }
            _ => {
                merged.insert(key.clone(), value.clone());
            }
        }
    }
    merged
}

fn texts(list: Option<&Value>) -> Vec<String> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str)
        .map(ToOwned::to_owned)
        .collect()
}

/// What a failed stage says, from the nearest place that says anything.
fn errors(stage: &Stage) -> Vec<String> {
    let details = stage
        .context
        .get("exception")
        .and_then(|e| e.get("details"));
    let listed = texts(details.and_then(|d| d.get("errors")));
    if !listed.is_empty() {
        return listed;
    }
    let error = details.and_then(|d| d.get("error")?.as_str());
    if let Some(error) = error {
        return vec![error.to_owned()];
    }
    let operations = stage.context.get("kato.tasks").and_then(Value::as_array);
    let failed = operations
        .into_iter()
        .flatten()
        .filter(|operation| operation.pointer("/status/failed") == Some(&Value::Bool(true)));
    failed
        .filter_map(|operation| {
            let said = operation.pointer("/exception/message").or_else(|| {
                let history = operation.get("history")?.as_array()?;
                history.last()?.get("status")
            });
            said?.as_str().map(ToOwned::to_owned)
        })
        .collect()
}

/// Why the child did not succeed, and the stage of it that failed first.
fn exception(child: &Execution) -> Value {
    let name = child.name.as_deref().unwrap_or_default();
    let failed = child.stages.iter().enumerate();
    let failed = failed.filter(|(_, stage)| stage.status == Status::Terminal);
    let mut lines = Vec::new();
    let mut source = None;
    for (index, stage) in failed {
        source.get_or_insert_with(|| {
            json!({
                "executionId": child.id, "stageId": stage.id, "stageName": stage.name,
                "stageIndex": index,
            })
        });
        for error in errors(stage) {
            lines.push(format!(
                "Exception in child pipeline stage ({name}: {}): {error}",
                stage.name
            ));
        }
    }
    if source.is_none() {
        // It never came to a stage.
        let why = child
            .cancellation_reason
            .as_deref()
            .or(child.failure.as_deref());
        let why = why.map_or_else(
            || format!("it ended with {}", child.status),
            ToOwned::to_owned,
        );
        lines.push(format!("Exception in child pipeline ({name}): {why}"));
    }
    let mut exception = json!({"details": {"errors": lines}});
    if let Some(source) = source {
        exception["source"] = source;
    }
    exception
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(value: Value) -> Execution {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn outputs_are_of_its_own_stages_in_order_and_lists_are_joined() {
        let child = child(json!({"stages": [
            {"id": "c", "refId": "10", "requisiteStageRefIds": ["2"],
             "outputs": {"a": "late", "list": [2, 3]}},
            {"id": "b", "refId": "2<1", "parentStageId": "a", "syntheticStageOwner": "STAGE_BEFORE",
             "outputs": {"hidden": true}},
            {"id": "a", "refId": "2", "outputs": {"a": "early", "list": [1, 2]}},
        ]}));
        let expected = json!({"a": "late", "list": [1, 2, 3]});
        assert_eq!(Value::Object(outputs(&child)), expected);
    }

    #[test]
    fn every_failed_stage_says_why_and_the_first_is_the_source() {
        let child = child(
            json!({"id": "E", "name": "child", "status": "TERMINAL", "stages": [
                {"id": "a", "name": "fine", "refId": "1", "status": "SUCCEEDED"},
                {"id": "b", "name": "one", "refId": "2", "status": "TERMINAL",
                 "context": {"exception": {"details": {"errors": ["x", "y"]}}}},
                {"id": "c", "name": "two", "refId": "3", "status": "TERMINAL",
                 "context": {"exception": {"details": {"error": "z"}}}},
                {"id": "d", "name": "three", "refId": "4", "status": "TERMINAL", "context": {"kato.tasks": [
                    {"status": {"failed": true}, "history": [{"status": "no room"}]}]}},
            ]}),
        );
        let told = exception(&child);
        assert_eq!(
            told["details"]["errors"],
            json!([
                "Exception in child pipeline stage (child: one): x",
                "Exception in child pipeline stage (child: one): y",
                "Exception in child pipeline stage (child: two): z",
                "Exception in child pipeline stage (child: three): no room",
            ])
        );
        let source =
            json!({"executionId": "E", "stageId": "b", "stageName": "one", "stageIndex": 1});
        assert_eq!(told["source"], source);
    }

    #[test]
    fn one_that_never_began_says_why() {
        let child = child(json!({"name": "child", "status": "TERMINAL", "stages": [],
            "cancellationReason": "Failed on startup: no artifact"}));
        let told = exception(&child);
        assert_eq!(
            told["details"]["errors"][0],
            "Exception in child pipeline (child): Failed on startup: no artifact"
        );
    }
}
