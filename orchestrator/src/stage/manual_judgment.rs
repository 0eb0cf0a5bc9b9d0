//! `manualJudgment`: a person decides whether the pipeline goes on.
//! Source: `orca: ManualJudgmentStage`.

use async_trait::async_trait;
use orchestrator_core::{
    Description, PlanError, Stage, StageDefinition, StageView, Status, TaskError, TaskPolicy,
    TaskResult, TaskSpec, timing,
};
use serde_json::{Value, json};

use super::{StageType, schema};
use crate::task::{Task, TaskContext};

/// The type.
pub(super) static STAGE: ManualJudgment = ManualJudgment;

const TASK: &str = "waitForJudgment";
/// Three days.
const TIMEOUT_MS: u64 = 259_200_000;
/// A decision wakes the task, so this only finds the end of the time.
const LOOK_MS: u64 = 3_600_000;
const SHORTEST_LOOK_MS: u64 = 100;

/// See the module.
#[derive(Debug)]
pub(super) struct ManualJudgment;

impl StageDefinition for ManualJudgment {
    fn kind(&self) -> &'static str {
        "manualJudgment"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Manual judgment",
            text: "Waits for a person to decide whether the pipeline goes on.",
            category: "flow",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new("waitForJudgment", TASK)])
    }

    fn prepare_restart(&self, stage: &mut Stage) {
        for key in ["judgmentStatus", "judgmentInput", "lastModifiedBy"] {
            stage.context.remove(key);
        }
    }

    fn schema(&self) -> Value {
        let choice = json!({"type": "object", "properties": {"value": {"type": "string"}}});
        schema(
            &json!({
                "instructions": {"type": "string", "title": "Instructions"},
                "judgmentInputs": {"type": "array", "title": "Choices", "items": choice},
                "sendNotifications": {"type": "boolean", "title": "Send notifications"},
            }),
            &[],
        )
    }
}

impl StageType for ManualJudgment {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&WaitForJudgment]
    }
}

#[derive(Debug)]
struct WaitForJudgment;

#[async_trait]
impl Task for WaitForJudgment {
    fn kind(&self) -> &'static str {
        TASK
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(1_000, TIMEOUT_MS)
    }

    fn decide(&self, ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        let judgment = ctx
            .text("judgmentStatus")
            .unwrap_or_default()
            .to_lowercase();
        Some(Ok(match judgment.as_str() {
            "continue" => TaskResult::succeeded(),
            "stop" => TaskResult::status(Status::Terminal),
            _ => TaskResult {
                backoff_ms: Some(next_look(ctx)),
                ..TaskResult::running()
            },
        }))
    }
}

/// In an hour, or right after the time is over.
fn next_look(ctx: &TaskContext<'_>) -> u64 {
    let left = ctx.task().and_then(|task| {
        let policy = WaitForJudgment.policy();
        timing::time_left(ctx.execution, ctx.stage, task, policy, ctx.now)
    });
    let left = left.and_then(|ms| u64::try_from(ms).ok());
    left.unwrap_or(LOOK_MS).clamp(SHORTEST_LOOK_MS, LOOK_MS)
}
