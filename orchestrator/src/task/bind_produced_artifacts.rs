//! Binds what a stage promises to what it made, or to what it can see: a stage that did
//! not make what it promised fails. Source: `orca: BindProducedArtifactsTask`.

use async_trait::async_trait;
use orchestrator_core::{Stage, TaskError, TaskPolicy, TaskResult, TaskSpec};
use serde_json::Value;

use super::{Task, TaskContext};

/// The task.
pub static BIND_PRODUCED_ARTIFACTS: BindProducedArtifacts = BindProducedArtifacts;

/// See the module.
#[derive(Debug)]
pub struct BindProducedArtifacts;

/// Puts the task behind those of a stage that promises artifacts.
pub(crate) fn plan(tasks: &mut Vec<TaskSpec>, stage: &Stage) {
    let promised = stage.context.get("expectedArtifacts");
    if promised
        .and_then(Value::as_array)
        .is_some_and(|list| !list.is_empty())
    {
        tasks.push(TaskSpec::new(
            "bindProducedArtifacts",
            BIND_PRODUCED_ARTIFACTS.kind(),
        ));
    }
}

#[async_trait]
impl Task for BindProducedArtifacts {
    fn kind(&self) -> &'static str {
        "bindProducedArtifacts"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::PLAIN
    }

    fn decide(&self, ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        let promised = ctx.own("expectedArtifacts").and_then(Value::as_array);
        let promised = promised.map_or(&[][..], Vec::as_slice);
        if promised.is_empty() {
            return Some(Ok(TaskResult::succeeded()));
        }
        let visible: Vec<Value> = ctx.execution.visible_artifacts(ctx.stage);
        let visible = artifact::distinct(visible.iter().map(artifact::artifact));
        let bound = match artifact::resolve(promised, &visible, &[], false) {
            Ok(bound) => bound,
            Err(unresolved) => return Some(Err(TaskError::user(unresolved.message))),
        };
        let mut result = TaskResult::succeeded();
        for (key, value) in [
            ("artifacts", bound.artifacts),
            ("resolvedExpectedArtifacts", bound.resolved),
        ] {
            result = result
                .with_context(key, value.clone())
                .with_output(key, value);
        }
        Some(Ok(result))
    }
}
