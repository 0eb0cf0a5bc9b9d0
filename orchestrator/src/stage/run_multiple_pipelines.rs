//! `runMultiplePipelines`: runs pipelines of an application as a written list says, those
//! that wait for none first, each level after the one before it.
//! Source: `orca: RunMultiplePipelinesStage`.
//!
//! Each child is the execution of one event, named after the stage's attempt and the child's
//! name in the list, so a start that is repeated finds it.
//!
//! Differs from Spinnaker: a list with a circle or an unknown name is refused in a sentence,
//! what it says stays in the stage so that a restart can read it again, and who cancels the
//! stage cancels the children it waits for.

mod level;
mod list;

use async_trait::async_trait;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, PlanError, Stage, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult,
    TaskSpec,
};
use serde_json::{Map, Value, json};

use super::{StageType, schema};
use crate::task::{Pool, Task, TaskContext, failed};
use level::{Monitor, Run};

/// The type.
pub(super) static STAGE: RunMultiplePipelines = RunMultiplePipelines;

const CONFIG: &str = "yamlConfig";
/// The levels, as parsed.
const ORDER: &str = "orderOfExecutions";
/// How many there are.
const SIZE: &str = "orderOfExecutionsSize";
/// The one that runs.
const LEVEL: &str = "levelNumber";
/// Its children, in the order of its entries.
const CHILDREN: &str = "executionIds";
/// What the children so far came to.
const RESULTS: &str = "runMultiplePipelinesOutputs";
/// The same, for whoever comes after.
const LIST: &str = "executionsList";
const IGNORE: &str = "ignoreUncompleted";

/// See the module.
#[derive(Debug)]
pub(super) struct RunMultiplePipelines;

impl StageDefinition for RunMultiplePipelines {
    fn kind(&self) -> &'static str {
        "runMultiplePipelines"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Run multiple pipelines",
            text: "Runs several pipelines in the order in which they depend on each other.",
            category: "flow",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        let plain = |kind: &'static str| TaskSpec::new(kind, kind);
        Ok(vec![
            plain(Parse.kind()),
            TaskSpec {
                loop_start: true,
                ..plain(Run.kind())
            },
            TaskSpec {
                loop_end: true,
                ..plain(Monitor.kind())
            },
            plain(Save.kind()),
        ])
    }

    fn cancel_task(&self, _stage: StageView<'_>) -> Option<&'static str> {
        Some(Cancel.kind())
    }

    fn prepare_restart(&self, stage: &mut Stage) {
        for key in [ORDER, SIZE, LEVEL, CHILDREN, RESULTS] {
            stage.context.shift_remove(key);
        }
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let written = context.get(CONFIG).unwrap_or(&Value::Null);
        if orchestrator_core::context::has_template(written) {
            return Vec::new();
        }
        let check = context.get("checkDuplicated") != Some(&Value::Bool(false));
        let fault = list::levels(written, check).err();
        fault
            .into_iter()
            .map(|message| Fault::new(format!("{path}.{CONFIG}"), message))
            .collect()
    }

    fn schema(&self) -> Value {
        schema(
            &json!({
                CONFIG: {"type": "array", "title": "Pipelines",
                    "description": "[{bundle_web: {<name>: {child_pipeline, arguments, depends_on}}}]"},
                "pipelineApplication": {"type": "string", "title": "Application"},
                "checkDuplicated": {"type": "boolean", "default": true},
                IGNORE: {"type": "boolean", "default": false},
            }),
            &[CONFIG],
        )
    }
}

impl StageType for RunMultiplePipelines {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Parse, &Run, &Monitor, &Save, &Cancel]
    }
}

/// Reads the list.
#[derive(Debug)]
struct Parse;

#[async_trait]
impl Task for Parse {
    fn kind(&self) -> &'static str {
        "parsePipelinesYamlTask"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::PLAIN
    }

    fn decide(&self, ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        let check = ctx.stage.flag("checkDuplicated") != Some(false);
        let levels = list::levels(ctx.own(CONFIG).unwrap_or(&Value::Null), check);
        Some(match levels {
            Ok(levels) => Ok(TaskResult::succeeded()
                .with_context(SIZE, levels.len())
                .with_context(ORDER, list::to_json(&levels))
                .with_context(LEVEL, 0)
                .with_context(RESULTS, Vec::<Value>::new())
                .with_context(IGNORE, ctx.flag(IGNORE))),
            Err(fault) => Err(TaskError::user(fault)),
        })
    }
}

/// Leaves what the children came to.
#[derive(Debug)]
struct Save;

#[async_trait]
impl Task for Save {
    fn kind(&self) -> &'static str {
        "saveOutputsForDetailsTask"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::PLAIN
    }

    fn decide(&self, ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        let results = ctx.own(RESULTS).cloned().unwrap_or_else(|| json!([]));
        Some(Ok(TaskResult::succeeded()
            .with_output(LIST, results)
            .with_context(ORDER, Value::Null)
            .with_context(RESULTS, Value::Null)))
    }
}

/// A cancelled stage cancels the children it waits for.
#[derive(Debug)]
struct Cancel;

#[async_trait]
impl Task for Cancel {
    fn kind(&self) -> &'static str {
        "cancelMultiplePipelines"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::PLAIN
    }

    fn pool(&self) -> Pool {
        Pool::Definitions
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let reason = format!(
            "stage {} of {} was canceled",
            ctx.stage.name, ctx.execution.id
        );
        let executions = ctx.services.executions();
        for id in level::children(ctx) {
            let canceled = executions.cancel(&id, "parent pipeline", &reason).await;
            canceled.map_err(failed)?;
        }
        Ok(TaskResult::succeeded())
    }
}
