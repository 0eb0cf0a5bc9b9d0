//! `evaluateArtifacts`: texts with expressions become artifacts that hold them.
//! Source: `orca: EvaluateArtifactsStage`, `EvaluateArtifactsTask`.

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, PlanError, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult, TaskSpec,
};
use serde_json::{Map, Value, json};

use super::{StageType, schema};
use crate::task::{BIND_PRODUCED_ARTIFACTS, Task, TaskContext};

/// The type.
pub(super) static STAGE: EvaluateArtifacts = EvaluateArtifacts;

const CONTENTS: &str = "artifactContents";

/// See the module.
#[derive(Debug)]
pub(super) struct EvaluateArtifacts;

impl StageDefinition for EvaluateArtifacts {
    fn kind(&self) -> &'static str {
        "evaluateArtifacts"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Evaluate artifacts",
            text: "Makes artifacts of texts whose expressions are evaluated.",
            category: "flow",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![
            TaskSpec::new("evaluateArtifacts", Evaluate.kind()),
            TaskSpec::new("bindArtifacts", BIND_PRODUCED_ARTIFACTS.kind()),
        ])
    }

    /// Texts one by one: each may use those before it by their names.
    fn own_expressions(&self) -> &'static [&'static str] {
        &[CONTENTS]
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let list = match context.get(CONTENTS) {
            Some(Value::Array(list)) => list,
            None | Some(Value::Null) => return Vec::new(),
            Some(_) => {
                let message = "it is no list; send [{\"name\": \"…\", \"contents\": \"…\"}]";
                return vec![Fault::new(format!("{path}.{CONTENTS}"), message)];
            }
        };
        let named = |entry: &Value| name(entry).is_some();
        let unnamed = list.iter().enumerate().filter(|(_, entry)| !named(entry));
        unnamed
            .map(|(i, _)| {
                let path = format!("{path}.{CONTENTS}[{i}].name");
                Fault::new(path, "it is missing; every artifact has a name")
            })
            .collect()
    }

    fn schema(&self) -> Value {
        let one = json!({
            "type": "object",
            "properties": {"name": {"type": "string"}, "contents": {"type": "string"}},
            "required": ["name", "contents"],
        });
        schema(
            &json!({CONTENTS: {"type": "array", "title": "Artifacts", "items": one}}),
            &[CONTENTS],
        )
    }
}

impl StageType for EvaluateArtifacts {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Evaluate]
    }
}

fn name(entry: &Value) -> Option<&str> {
    let name = entry.get("name").and_then(Value::as_str);
    name.filter(|name| !name.is_empty())
}

/// The artifact that holds what an entry came to; none of nothing.
fn made(entry: &Value) -> Option<Value> {
    let contents = match entry.get("contents")? {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        // What an expression yielded, as text.
        other => other.to_string(),
    };
    let made = json!({
        "type": "embedded/base64", "artifactAccount": "embedded-artifact",
        "name": name(entry), "reference": STANDARD.encode(&contents),
    });
    (!contents.is_empty()).then_some(made)
}

#[derive(Debug)]
struct Evaluate;

#[async_trait]
impl Task for Evaluate {
    fn kind(&self) -> &'static str {
        "evaluateArtifacts"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::PLAIN
    }

    fn decide(&self, ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        let entries = ctx.own(CONTENTS).and_then(Value::as_array);
        let entries = entries.map_or(&[][..], Vec::as_slice);
        let made: Vec<Value> = entries.iter().filter_map(made).collect();
        Some(Ok(TaskResult::succeeded().with_output("artifacts", made)))
    }
}
