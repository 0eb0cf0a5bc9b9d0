//! Executions that stages start and wait for: what they are told, and what they came to. Pure but for the asking.

use authorization::Permission;
use orchestrator_core::flow::{MOST_PARENTS, parent_reference};
use orchestrator_core::{Execution, Stage, Status, TaskError};
use serde_json::{Map, Value, json};

use super::{TaskContext, access, failed};

/// Executions that one stage may wait for.
pub(crate) const MOST: usize = 100;

/// What several executions came to together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sum {
    /// Not all have ended, and the others need not be given up.
    Running,
    /// All succeeded.
    Succeeded,
    /// One at least failed.
    Failed,
    /// None failed, but not all succeeded.
    Canceled,
}

impl Sum {
    /// Of these; a failure counts at once, or when all have ended.
    pub(crate) fn of(children: &[Execution], fail_fast: bool) -> Self {
        let statuses = || children.iter().map(|child| child.status);
        let over = statuses().all(Status::is_complete);
        let failure = |status: Status| status.is_halt() && status != Status::Canceled;
        if statuses().all(|status| status == Status::Succeeded) {
            Self::Succeeded
        } else if statuses().any(failure) && (over || fail_fast) {
            Self::Failed
        } else if over {
            Self::Canceled
        } else {
            Self::Running
        }
    }

    /// The status of whoever waits for them, and what it tells of that.
    pub(crate) fn ends_as(self) -> (Status, Option<Value>) {
        let told = |text: &str| Some(json!({"details": {"errors": [text]}}));
        match self {
            Self::Running => (Status::Running, None),
            Self::Succeeded => (Status::Succeeded, None),
            Self::Failed => (
                Status::Terminal,
                told("At least one monitored pipeline failed, look for errors in failed pipelines"),
            ),
            Self::Canceled => (
                Status::Canceled,
                told("At least one monitored pipeline was cancelled"),
            ),
        }
    }
}

/// Executions by their ids, in that order; the acting user must be allowed to read them.
pub(crate) async fn read(
    ctx: &TaskContext<'_>,
    ids: &[String],
) -> Result<Vec<Execution>, TaskError> {
    if ids.len() > MOST {
        return Err(TaskError::user(format!(
            "{} executions are more than the {MOST} that one stage may wait for",
            ids.len()
        )));
    }
    let mut found = Vec::new();
    for id in ids {
        let child = ctx.services.executions().get(id).await.map_err(failed)?;
        let child = child.ok_or_else(|| {
            TaskError::permanent(format!("execution {id} does not exist any more"))
        })?;
        let child: Execution = serde_json::from_value(child)
            .map_err(|e| TaskError::permanent(format!("execution {id} cannot be read: {e}")))?;
        access::require(ctx, &child.application, Permission::Read).await?;
        found.push(child);
    }
    Ok(found)
}

/// `{<id>: {status, application, exception?}}` of each.
pub(crate) fn statuses(children: &[Execution]) -> Value {
    let one = |child: &Execution| {
        let mut told = json!({"status": child.status, "application": child.application});
        if child.status.is_halt() && child.status != Status::Canceled {
            told["exception"] = exception(child);
        }
        (child.id.to_string(), told)
    };
    Value::Object(children.iter().map(one).collect())
}

/// What an execution's own stages put out, in their order: lists are joined, else the later
/// one counts (`orca: StageContext`).
pub(crate) fn outputs(child: &Execution) -> Map<String, Value> {
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

/// Why an execution did not succeed, and the stage of it that failed first.
pub(crate) fn exception(child: &Execution) -> Value {
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

/// Refuses to start one more execution below this one if too many stand above it.
///
/// # Errors
/// When executions have started one another down to this one.
pub(crate) fn not_too_deep(execution: &Execution) -> Result<(), TaskError> {
    let mut depth = 0;
    let mut at = execution.trigger.get("parentExecution");
    while let Some(parent) = at {
        depth += 1;
        at = parent.pointer("/trigger/parentExecution");
    }
    if depth < MOST_PARENTS {
        return Ok(());
    }
    Err(TaskError::user(format!(
        "{MOST_PARENTS} executions have started one another down to this one; a pipeline must not \
         start itself"
    )))
}

/// Since when a stage's task asks for an execution.
pub(crate) fn since(ctx: &TaskContext<'_>) -> i64 {
    ctx.task()
        .and_then(|task| task.start_time)
        .unwrap_or(ctx.now)
}

/// The trigger that an execution holds which a stage starts under this event.
pub(crate) fn trigger(ctx: &TaskContext<'_>, event: &str, parameters: Value) -> Value {
    let visible = ctx.execution.visible_artifacts(ctx.stage);
    json!({
        "type": "pipeline", "user": ctx.user(), "correlationId": event,
        "parentPipelineId": ctx.execution.id.to_string(),
        "parentPipelineName": ctx.execution.name,
        "parentPipelineApplication": ctx.execution.application,
        "parentPipelineStageId": ctx.stage.id.to_string(),
        "parentExecution": parent_reference(&ctx.execution.to_json()),
        "parentStatus": ctx.execution.status,
        "parameters": parameters,
        "artifacts": visible, "receivedArtifacts": visible,
        "isPipeline": true, "strategy": false,
        "dryRun": ctx.execution.trigger.is_dry_run(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(value: Value) -> Execution {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn several_come_to_what_all_of_them_did() {
        use Sum::{Canceled, Failed, Running, Succeeded};
        for (statuses, together, fast) in [
            (&["SUCCEEDED", "SUCCEEDED"][..], Succeeded, Succeeded),
            (&["SUCCEEDED", "RUNNING"], Running, Running),
            (&["TERMINAL", "RUNNING"], Running, Failed),
            (&["STOPPED", "NOT_STARTED"], Running, Failed),
            (&["TERMINAL", "CANCELED"], Failed, Failed),
            (&["TERMINAL", "SUCCEEDED"], Failed, Failed),
            (&["CANCELED", "RUNNING"], Running, Running),
            (&["CANCELED", "SUCCEEDED"], Canceled, Canceled),
        ] {
            let children: Vec<_> = statuses
                .iter()
                .map(|status| child(json!({ "status": status })))
                .collect();
            assert_eq!(Sum::of(&children, false), together, "{statuses:?}");
            assert_eq!(Sum::of(&children, true), fast, "{statuses:?}");
        }
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
