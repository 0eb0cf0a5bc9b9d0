//! `evaluateVariables`: names for the values of expressions.
//! Source: `orca: EvaluateVariablesStage`, `EvaluateVariablesTask`.

use async_trait::async_trait;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, PlanError, Stage, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult,
    TaskSpec, context,
};
use serde_json::{Map, Value, json};

use super::{StageType, schema};
use crate::task::{Task, TaskContext};

/// The type.
pub(super) static STAGE: EvaluateVariables = EvaluateVariables;

const TASK: &str = "evaluateVariables";

/// See the module.
#[derive(Debug)]
pub(super) struct EvaluateVariables;

impl StageDefinition for EvaluateVariables {
    fn kind(&self) -> &'static str {
        "evaluateVariables"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Evaluate variables",
            text: "Evaluates expressions and keeps their values under names.",
            category: "flow",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new("evaluateVariables", TASK)])
    }

    fn own_expressions(&self) -> &'static [&'static str] {
        &["variables"]
    }

    /// Differs from Spinnaker: a text with a literal brace is kept whole beside its
    /// `sourceValue`, so that the brace survives a restart.
    fn prepare_restart(&self, stage: &mut Stage) {
        let Some(Value::Array(variables)) = stage.context.get_mut("variables") else {
            return;
        };
        for variable in variables.iter_mut().filter_map(Value::as_object_mut) {
            context::restore_source(variable);
        }
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let variables = match context.get("variables") {
            Some(Value::Array(list)) => list,
            None | Some(Value::Null) => return Vec::new(),
            Some(_) => {
                let message = "it is no list; send [{\"key\": \"…\", \"value\": \"…\"}]";
                return vec![Fault::new(format!("{path}.variables"), message)];
            }
        };
        let named = |v: &Value| {
            v.get("key")
                .and_then(Value::as_str)
                .is_some_and(|k| !k.is_empty())
        };
        variables
            .iter()
            .enumerate()
            .filter(|(_, v)| !named(v))
            .map(|(i, _)| {
                let path = format!("{path}.variables[{i}].key");
                Fault::new(path, "it is missing; every variable has a name")
            })
            .collect()
    }

    fn schema(&self) -> Value {
        let variable = json!({
            "type": "object",
            "properties": {"key": {"type": "string"}, "value": {"type": "string"}},
            "required": ["key"],
        });
        schema(
            &json!({"variables": {"type": "array", "title": "Variables", "items": variable}}),
            &["variables"],
        )
    }
}

impl StageType for EvaluateVariables {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&EvaluateVariablesTask]
    }
}

#[derive(Debug)]
struct EvaluateVariablesTask;

#[async_trait]
impl Task for EvaluateVariablesTask {
    fn kind(&self) -> &'static str {
        TASK
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::PLAIN
    }

    fn decide(&self, ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        let mut result = TaskResult::succeeded();
        let variables = ctx.own("variables").and_then(Value::as_array);
        for variable in variables.into_iter().flatten().filter_map(Value::as_object) {
            let key = variable.get("key").and_then(Value::as_str);
            if let Some(key) = key.filter(|key| !key.is_empty()) {
                let value = variable.get("value").cloned().unwrap_or_default();
                result.outputs.insert(key.to_owned(), value);
            }
        }
        Some(Ok(result))
    }
}
