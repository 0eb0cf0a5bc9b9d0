//! `savePipeline`: stores one pipeline or several. Source: `orca:
//! SavePipelineStage`, `SavePipelineTask`. `updatePipeline` is its sibling.

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use orchestrator_core::{
    Description, PlanError, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult, TaskSpec,
};
use proto::status::{Failure, Kind};
use serde_json::{Value, json};

use super::StageType;
use crate::definition::secret::masked;
use crate::task::{Pool, Task, TaskContext, access, failed};

/// The type.
pub(super) static STAGE: SavePipeline = SavePipeline {
    kind: "savePipeline",
    label: "Save pipeline",
    tasks: &[&SavePipelineTask("savePipeline"), &WaitForSave],
    waits: true,
};

/// A type that saves pipelines.
pub(super) struct SavePipeline {
    pub(super) kind: &'static str,
    pub(super) label: &'static str,
    pub(super) tasks: &'static [&'static dyn Task],
    pub(super) waits: bool,
}

impl StageDefinition for SavePipeline {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn describe(&self) -> Description {
        let text = "Stores pipeline definitions.";
        Description {
            label: self.label,
            text,
            category: "definitions",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        let mut tasks = vec![TaskSpec::new(self.kind, self.kind)];
        if self.waits {
            tasks.push(TaskSpec::new("waitForPipelineSave", WaitForSave.kind()));
        }
        Ok(tasks)
    }
}

impl StageType for SavePipeline {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        self.tasks
    }
}

/// JSON as an object, or as base64 of its text.
pub(super) fn decode(ctx: &TaskContext<'_>, key: &str) -> Result<Value, TaskError> {
    match ctx.own(key) {
        Some(Value::String(encoded)) => {
            let fault = |reason: String| TaskError::user(format!("{key} is faulty: {reason}"));
            let bytes = STANDARD
                .decode(encoded.trim())
                .map_err(|e| fault(e.to_string()))?;
            serde_json::from_slice(&bytes).map_err(|e| fault(e.to_string()))
        }
        Some(other) => Ok(other.clone()),
        None => Err(TaskError::user(format!(
            "{key} is missing; send it as base64 of its JSON"
        ))),
    }
}

/// Saves under the name of its stage.
#[derive(Debug)]
pub(super) struct SavePipelineTask(pub(super) &'static str);

#[async_trait]
impl Task for SavePipelineTask {
    fn kind(&self) -> &'static str {
        self.0
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(1_000, 30_000)
    }

    fn pool(&self) -> Pool {
        Pool::Definitions
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let user = ctx.text("user").unwrap_or_else(|| ctx.user());
        let stale_check = ctx.flag("staleCheck");
        let result = TaskResult::succeeded().with_context("notification.type", "savepipeline");
        if ctx.flag("isBulkSavingPipelines") {
            return bulk(ctx, user, stale_check, result).await;
        }
        let mut pipeline = decode(ctx, "pipeline")?;
        let named = ctx.text("pipeline.id");
        if let (Some(fields), Some(id)) = (pipeline.as_object_mut(), named) {
            fields.entry("id").or_insert_with(|| id.into());
        }
        let fields = pipeline.as_object_mut();
        let identified = fields.is_some_and(|fields| {
            let known = fields
                .get("id")
                .and_then(Value::as_str)
                .is_some_and(|id| !id.is_empty());
            if !known {
                // Derived from the effect, so that a second run finds the first one's pipeline.
                fields.insert("id".to_owned(), crate::ids::uuid_of(ctx.effect_id).into());
                fields.insert("regenerateCronTriggerIds".to_owned(), true.into());
            }
            true
        });
        if !identified {
            return Err(TaskError::user("pipeline is not a JSON object; send one"));
        }
        access::require_saving(ctx, &pipeline).await?;
        let saved = ctx
            .services
            .definitions()
            .save_pipeline(pipeline, user, stale_check)
            .await
            .map_err(failed)?;
        let field = |key: &str| saved.get(key).cloned().unwrap_or_default();
        // The stage goes on without the secrets; saved again, they stay as they are stored.
        let kept = match ctx.own("pipeline") {
            Some(Value::String(_)) => STANDARD
                .encode(masked(decode(ctx, "pipeline")?).to_string())
                .into(),
            other => masked(other.cloned().unwrap_or_default()),
        };
        Ok(result
            .with_context("pipeline", kept)
            .with_context("application", field("application"))
            .with_context("pipeline.name", field("name"))
            .with_context("pipeline.id", field("id")))
    }
}

/// Saves each; what fails is told and does not hold up the others.
async fn bulk(
    ctx: &TaskContext<'_>,
    user: &str,
    stale_check: bool,
    result: TaskResult,
) -> Result<TaskResult, TaskError> {
    let Value::Array(pipelines) = decode(ctx, "pipelines")? else {
        return Err(TaskError::user("pipelines is not a list; send one"));
    };
    let (mut saved, mut refused) = (Vec::new(), Vec::new());
    for (i, mut pipeline) in pipelines.into_iter().enumerate() {
        if let Some(fields) = pipeline.as_object_mut()
            && fields.get("id").is_none_or(Value::is_null)
        {
            fields.insert(
                "id".to_owned(),
                crate::ids::uuid_of(&ctx.effect(&i.to_string())).into(),
            );
        }
        let mut kept = masked(pipeline.clone());
        let permitted = access::require_saving(ctx, &pipeline).await;
        let definitions = ctx.services.definitions();
        let done = match permitted {
            Ok(()) => definitions.save_pipeline(pipeline, user, stale_check).await,
            Err(refused) => Err(Failure::new(Kind::Denied, refused.message)),
        };
        match done {
            Ok(pipeline) => saved.push(pipeline.get("name").cloned().unwrap_or_default()),
            Err(failure) => {
                if let Some(fields) = kept.as_object_mut() {
                    fields.insert("errorMsg".to_owned(), failure.message.into());
                }
                refused.push(kept);
            }
        }
    }
    let answer = json!({
        "successful_pipelines_count": saved.len(), "successful_pipelines": saved,
        "failed_pipelines_count": refused.len(), "failed_pipelines": refused,
    });
    Ok(result.with_context("bulksave", answer))
}

/// The store answers what was written, so there is nothing to wait for.
#[derive(Debug)]
struct WaitForSave;

#[async_trait]
impl Task for WaitForSave {
    fn kind(&self) -> &'static str {
        "waitForPipelineSave"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(5_000, 90_000)
    }

    fn decide(&self, _ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        Some(Ok(TaskResult::succeeded()))
    }
}
