//! `dependsOnExecution`: waits for the end of another execution.
//! Source: `orca: DependsOnExecutionStage`, `DependsOnExecutionTask`.

use async_trait::async_trait;
use authorization::Permission;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, PlanError, StageDefinition, StageView, Status, TaskError, TaskPolicy, TaskResult,
    TaskSpec,
};
use serde_json::{Map, Value, json};

use super::{StageType, schema};
use crate::task::{Pool, Task, TaskContext, access, failed};

/// The type.
pub(super) static STAGE: DependsOnExecution = DependsOnExecution;

const TASK: &str = "dependsOnExecution";
const TYPE: &str = "executionType";
const ID: &str = "executionId";
const TYPES: [&str; 2] = ["PIPELINE", "ORCHESTRATION"];

/// See the module.
#[derive(Debug)]
pub(super) struct DependsOnExecution;

/// The type of execution that a text names.
fn kind_of(written: &str) -> Result<&'static str, String> {
    let mut known = TYPES.into_iter();
    let found = known.find(|kind| kind.eq_ignore_ascii_case(written.trim()));
    found.ok_or_else(|| format!("\"{written}\" is none; use {}", TYPES.join(" or ")))
}

impl StageDefinition for DependsOnExecution {
    fn kind(&self) -> &'static str {
        "dependsOnExecution"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Depends on execution",
            text: "Waits until another execution has ended.",
            category: "flow",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new(TASK, TASK)])
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, message: String| {
            faults.push(Fault::new(format!("{path}.{key}"), message));
        };
        let text = |key: &str| {
            let text = context.get(key).and_then(Value::as_str);
            text.filter(|text| !text.trim().is_empty())
        };
        match text(TYPE) {
            None => fault(TYPE, format!("it is missing; use {}", TYPES.join(" or "))),
            Some(written) if written.contains("${") => {}
            Some(written) => {
                if let Err(message) = kind_of(written) {
                    fault(TYPE, message);
                }
            }
        }
        if text(ID).is_none() {
            let message = "it is missing; set the id of the execution to wait for";
            fault(ID, message.to_owned());
        }
        faults
    }

    fn schema(&self) -> Value {
        schema(
            &json!({
                TYPE: {"type": "string", "title": "Type", "enum": TYPES},
                ID: {"type": "string", "title": "Execution id"},
            }),
            &[TYPE, ID],
        )
    }
}

impl StageType for DependsOnExecution {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&DependsOnExecutionTask]
    }
}

#[derive(Debug)]
struct DependsOnExecutionTask;

#[async_trait]
impl Task for DependsOnExecutionTask {
    fn kind(&self) -> &'static str {
        TASK
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(10_000, 7_200_000)
    }

    fn pool(&self) -> Pool {
        Pool::Definitions
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let missing = |key: &str| TaskError::user(format!("{key} is missing; set it"));
        let written = ctx.text(TYPE).ok_or_else(|| missing(TYPE))?;
        let kind = kind_of(written).map_err(|fault| TaskError::user(format!("{TYPE}: {fault}")))?;
        let id = ctx.text(ID).ok_or_else(|| missing(ID))?;
        let found = ctx.services.executions().get(id).await.map_err(failed)?;
        let text = |value: &Value, key: &str| value.get(key)?.as_str().map(ToOwned::to_owned);
        let of_type = |found: &Value| text(found, "type").as_deref() == Some(kind);
        let Some(found) = found.filter(of_type) else {
            let message = format!("Execution ({kind}) {id} not found.");
            let mut error = TaskError::user(message.clone());
            error.context.insert("error".to_owned(), message.into());
            return Err(error);
        };
        let application = text(&found, "application").unwrap_or_default();
        access::require(ctx, &application, Permission::Read).await?;
        let status = text(&found, "status").and_then(|status| Status::parse(&status));
        let status = status.unwrap_or(Status::Running);
        Ok(match status {
            Status::Succeeded | Status::Stopped | Status::Skipped => TaskResult::succeeded(),
            status if status.is_complete() => {
                let reason = format!("Depended-on execution completed with status {status}");
                TaskResult::status(Status::Canceled).with_context("reason", reason)
            }
            _ => TaskResult::running(),
        })
    }
}
