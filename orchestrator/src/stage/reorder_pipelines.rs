//! `reorderPipelines`: the order in which an application's pipelines, or its strategies,
//! are shown. Source: `orca: ReorderPipelinesStage`, `ReorderPipelinesTask`.

use async_trait::async_trait;
use authorization::Permission;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use orchestrator_core::{
    Description, PlanError, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult, TaskSpec,
};
use proto::status::Kind;
use serde_json::{Map, Value, json};

use super::{StageType, schema};
use crate::task::{Pool, Task, TaskContext, access, failed};

/// The type.
pub(super) static STAGE: ReorderPipelines = ReorderPipelines;

const TASK: &str = "reorderPipelines";
/// Pipelines in one request.
const MOST: usize = 500;

/// See the module.
#[derive(Debug)]
pub(super) struct ReorderPipelines;

impl StageDefinition for ReorderPipelines {
    fn kind(&self) -> &'static str {
        "reorderPipelines"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Reorder pipelines",
            text: "Changes the order in which pipelines are shown.",
            category: "definitions",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new(TASK, TASK)])
    }

    fn schema(&self) -> Value {
        schema(
            &json!({
                "application": {"type": "string", "title": "Application"},
                "idsToIndices": {"type": "object", "title": "Place of each id",
                    "additionalProperties": {"type": "integer", "minimum": 0}},
                "isStrategy": {"type": "boolean", "title": "Strategies"},
            }),
            &["application", "idsToIndices"],
        )
    }
}

impl StageType for ReorderPipelines {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&ReorderPipelinesTask]
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Order {
    application: String,
    strategies: bool,
    places: Vec<(String, u64)>,
}

/// A value that is given as base64 of its JSON, or plainly.
fn given(context: &Map<String, Value>, key: &str) -> Result<Value, String> {
    match context.get(key).filter(|value| !value.is_null()) {
        None => Err(format!("`{key}` context key must be provided")),
        Some(Value::String(text)) => {
            let decoded = STANDARD.decode(text.trim()).ok();
            decoded
                .and_then(|bytes| serde_json::from_slice(&bytes).ok())
                .ok_or_else(|| {
                    format!(
                        "`{key}` context key must be a base64-encoded string: Ensure you're on \
                         the most recent version of gate"
                    )
                })
        }
        Some(other) => Ok(other.clone()),
    }
}

impl Order {
    fn of(context: &Map<String, Value>) -> Result<Self, String> {
        let indices = given(context, "idsToIndices")?;
        let application = match (given(context, "application"), context.get("application")) {
            (Ok(Value::String(name)), _) => name,
            // Who writes a pipeline by hand names it as it is called.
            (_, Some(Value::String(name))) if !name.trim().is_empty() => name.clone(),
            (Err(fault), _) => return Err(fault),
            (Ok(other), _) => return Err(format!("application: {other} is no name")),
        };
        let strategies = match context.get("isStrategy") {
            None | Some(Value::Null) => false,
            Some(_) => match given(context, "isStrategy")? {
                Value::Bool(flag) => flag,
                other => return Err(format!("isStrategy: {other} is neither true nor false")),
            },
        };
        let Value::Object(indices) = indices else {
            return Err(format!(
                "idsToIndices: {indices} is no object; send the place of each id"
            ));
        };
        if indices.len() > MOST {
            return Err(format!("idsToIndices names more than {MOST}"));
        }
        let mut places = Vec::new();
        for (id, place) in indices {
            let place = place.as_u64().ok_or_else(|| {
                format!("idsToIndices.{id}: {place} is no place; send a number from 0 on")
            })?;
            places.push((id, place));
        }
        Ok(Self {
            application: application.trim().to_lowercase(),
            strategies,
            places,
        })
    }
}

#[derive(Debug)]
struct ReorderPipelinesTask;

#[async_trait]
impl Task for ReorderPipelinesTask {
    fn kind(&self) -> &'static str {
        TASK
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(1_000, 30_000)
    }

    fn pool(&self) -> Pool {
        Pool::Definitions
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let order = Order::of(&ctx.stage.context).map_err(TaskError::user)?;
        let application = &order.application;
        access::require(ctx, application, Permission::Write).await?;
        let definitions = ctx.services.definitions();
        // All are looked up before the first is saved.
        let mut moved = Vec::new();
        for (id, place) in &order.places {
            let found = definitions.pipeline(id, application).await;
            let text = |value: &Value, key: &str| {
                let text = value.get(key).and_then(Value::as_str);
                text.unwrap_or_default().to_lowercase()
            };
            let belongs = |found: &Value| {
                text(found, "application") == *application
                    && (text(found, "type") == "strategy") == order.strategies
            };
            let Some(mut found) = found.map_err(failed)?.filter(belongs) else {
                let what = if order.strategies {
                    "strategy"
                } else {
                    "pipeline"
                };
                return Err(TaskError::user(format!(
                    "idsToIndices: application {application} has no {what} {id}"
                )));
            };
            if found.get("index") != Some(&json!(place)) {
                found["index"] = json!(place);
                moved.push(found);
            }
        }
        for pipeline in moved {
            let saved = definitions.save_pipeline(pipeline, ctx.user(), true).await;
            // Somebody saved it in between: look again, so that nothing of theirs is lost.
            saved.map_err(|failure| match failure.kind {
                Kind::Conflict => TaskError::transient(failure.message),
                _ => failed(failure),
            })?;
        }
        Ok(TaskResult::succeeded()
            .with_context("notification.type", "reorderpipelines")
            .with_context("application", application.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(context: Value) -> Result<Order, String> {
        Order::of(context.as_object().unwrap())
    }

    fn encoded(value: Value) -> String {
        STANDARD.encode(value.to_string())
    }

    #[test]
    fn what_is_asked_for_is_read_encoded_and_plain() {
        let expected = Order {
            application: "shop".to_owned(),
            strategies: true,
            places: vec![("a".to_owned(), 1), ("b".to_owned(), 0)],
        };
        let places = json!({"a": 1, "b": 0});
        for (indices, application, strategies) in [
            (
                json!(encoded(places.clone())),
                json!(encoded(json!("Shop"))),
                json!(encoded(json!(true))),
            ),
            (places, json!("shop"), json!(true)),
        ] {
            let asked = json!({"idsToIndices": indices, "application": application,
                "isStrategy": strategies});
            assert_eq!(order(asked), Ok(expected.clone()));
        }
    }

    #[test]
    fn what_is_missing_or_no_order_is_named() {
        let place = json!({"a": 0});
        for (asked, expected) in [
            (
                json!({"application": "a"}),
                "`idsToIndices` context key must be provided",
            ),
            (
                json!({"idsToIndices": place}),
                "`application` context key must be provided",
            ),
            (
                json!({"idsToIndices": "{}", "application": "a"}),
                "`idsToIndices` context key must be a base64-encoded string: Ensure you're on",
            ),
            (
                json!({"idsToIndices": {"a": -1}, "application": "a"}),
                "idsToIndices.a: -1 is no place",
            ),
            (
                json!({"idsToIndices": [], "application": "a"}),
                "idsToIndices: [] is no object",
            ),
            (
                json!({"idsToIndices": place, "application": "a", "isStrategy": 1}),
                "isStrategy: 1 is neither",
            ),
        ] {
            let fault = order(asked.clone()).unwrap_err();
            assert!(fault.starts_with(expected), "{asked}: {fault}");
        }
    }
}
