//! `savePipelinesFromArtifact`: stores the pipelines that an artifact lists, and tells which were
//! created, updated and refused. Source: `orca: SavePipelinesFromArtifactStage`,
//! `GetPipelinesFromArtifactTask`, `CheckPipelineResultsTask`, `SavePipelinesCompleteTask`.
//!
//! Differs from Spinnaker: one task saves them all instead of a loop of four, since a save
//! answers what was stored and there is nothing to wait for; a plain list is read too.

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, ErrorClass, PlanError, Stage, StageDefinition, StageView, Status, TaskError,
    TaskPolicy, TaskResult, TaskSpec,
};
use proto::status::{Failure, Kind};
use serde_json::{Map, Value, json};

use super::{StageType, schema};
use crate::definition::secret::masked;
use crate::task::{Pool, Task, TaskContext, access, failed};

/// The type.
pub(super) static STAGE: SavePipelinesFromArtifact = SavePipelinesFromArtifact;

/// The one type of artifact that holds its content.
const EMBEDDED: &str = "embedded/base64";
/// Pipelines of one artifact.
const MOST_PIPELINES: usize = 200;
/// What came of them, by list.
const RESULTS: [&str; 3] = [
    "pipelinesCreated",
    "pipelinesUpdated",
    "pipelinesFailedToSave",
];

/// See the module.
#[derive(Debug)]
pub(super) struct SavePipelinesFromArtifact;

impl StageDefinition for SavePipelinesFromArtifact {
    fn kind(&self) -> &'static str {
        "savePipelinesFromArtifact"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Save pipelines",
            text: "Stores the pipelines that an artifact lists.",
            category: "definitions",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![
            TaskSpec::new("savePipelinesFromArtifact", Save.kind()),
            TaskSpec::new("savePipelinesCompleteTask", Complete.kind()),
        ])
    }

    fn prepare_restart(&self, stage: &mut Stage) {
        for key in RESULTS {
            stage.context.shift_remove(key);
        }
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let named = ["pipelinesArtifactId", "pipelinesArtifact"];
        if named
            .iter()
            .any(|key| context.get(*key).is_some_and(|v| !v.is_null() && v != ""))
        {
            return Vec::new();
        }
        let message = "it is missing; set the id of an expected artifact, or pipelinesArtifact";
        vec![Fault::new(format!("{path}.pipelinesArtifactId"), message)]
    }

    fn schema(&self) -> Value {
        schema(
            &json!({
                "pipelinesArtifactId": {"type": "string", "title": "Expected artifact"},
                "pipelinesArtifact": {"type": "object", "title": "Artifact written here"},
            }),
            &[],
        )
    }
}

impl StageType for SavePipelinesFromArtifact {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Save, &Complete]
    }
}

/// The artifact a stage names: one that was bound, else written in the stage.
fn artifact(ctx: &TaskContext<'_>) -> Result<Value, TaskError> {
    if let Some(found) = ctx.artifact("pipelinesArtifactId", "pipelinesArtifact")? {
        return Ok(found);
    }
    Err(TaskError::user(match ctx.text("pipelinesArtifactId") {
        None => "pipelinesArtifactId is missing; set the id of an expected artifact, or \
                 pipelinesArtifact"
            .to_owned(),
        Some(id) => format!(
            "pipelinesArtifactId: nothing is bound to expected artifact {id}; name one that the \
             trigger or an earlier stage brings, or that has a default"
        ),
    }))
}

/// The pipelines of an artifact: `{application: [pipeline, …]}`, or a list.
fn pipelines(artifact: &Value) -> Result<Vec<Map<String, Value>>, TaskError> {
    let kind = artifact["type"].as_str().unwrap_or_default();
    if kind != EMBEDDED {
        return Err(TaskError::user(format!(
            "the artifact is of type \"{kind}\"; use one of type embedded/base64, with the list in \
             its reference"
        )));
    }
    let fault = |what: String| TaskError::user(format!("reference of the artifact: {what}"));
    let text = artifact["reference"].as_str().unwrap_or_default().trim();
    let bytes = STANDARD
        .decode(text)
        .map_err(|e| fault(format!("it is no base64: {e}")))?;
    let content =
        serde_json::from_slice(&bytes).map_err(|e| fault(format!("it is no JSON: {e}")))?;
    let mut found = Vec::new();
    let mut take = |application: Option<&str>, list: Value| -> Result<(), TaskError> {
        let Value::Array(list) = list else {
            return Err(fault(
                "it holds no list of pipelines; send {application: [pipeline, …]}".to_owned(),
            ));
        };
        for pipeline in list {
            let Value::Object(mut pipeline) = pipeline else {
                return Err(fault(format!(
                    "entry {} is no pipeline; send an object",
                    found.len()
                )));
            };
            if let Some(application) = application {
                pipeline.insert("application".to_owned(), application.into());
            }
            found.push(pipeline);
        }
        Ok(())
    };
    match content {
        Value::Object(by_application) => {
            for (application, list) in by_application {
                take(Some(&application), list)?;
            }
        }
        list => take(None, list)?,
    }
    if found.len() > MOST_PIPELINES {
        let many = found.len();
        return Err(fault(format!(
            "{many} pipelines are more than the {MOST_PIPELINES} allowed; split it"
        )));
    }
    Ok(found)
}

#[derive(Debug)]
struct Save;

#[async_trait]
impl Task for Save {
    fn kind(&self) -> &'static str {
        "savePipelinesFromArtifact"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(5_000, 300_000)
    }

    fn pool(&self) -> Pool {
        Pool::Definitions
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let definitions = ctx.services.definitions();
        let mut results: [Vec<Value>; 3] = Default::default();
        let mut kept = Vec::new();
        for (n, mut pipeline) in pipelines(&artifact(ctx)?)?.into_iter().enumerate() {
            let text = |key: &str| {
                pipeline
                    .get(key)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            let (application, name) = (text("application"), text("name"));
            let known = definitions
                .pipeline_by_name(&application, &name)
                .await
                .map_err(failed)?;
            // Derived from the effect, so that a second run knows what the first one made.
            let own = crate::ids::uuid_of(&ctx.effect(&n.to_string()));
            let id = known.and_then(|k| Some(k.get("id")?.as_str()?.to_owned()));
            let id = id.unwrap_or_else(|| own.clone());
            let created = id == own;
            pipeline.insert("id".to_owned(), id.clone().into());
            if created {
                pipeline.insert("regenerateCronTriggerIds".to_owned(), true.into());
            }
            let mut told = json!({"application": application, "name": name, "id": id});
            let pipeline = Value::Object(pipeline);
            kept.push(masked(pipeline.clone()));
            let done = match access::require_saving(ctx, &pipeline).await {
                Ok(()) => definitions.save_pipeline(pipeline, ctx.user(), false).await,
                Err(error) if error.class == ErrorClass::Transient => return Err(error),
                Err(error) => Err(Failure::new(Kind::Denied, error.message)),
            };
            match done {
                Ok(_) if created => results[0].push(told),
                Ok(_) => results[1].push(told),
                // It may pass: all are saved again, which changes nothing where it is done.
                Err(failure) if matches!(failure.kind, Kind::Unavailable | Kind::Exhausted) => {
                    return Err(failed(failure));
                }
                Err(failure) => {
                    told["errorMsg"] = failure.message.into();
                    results[2].push(told);
                }
            }
        }
        let mut result = TaskResult::succeeded();
        if ctx.own("pipelinesArtifact").is_some() {
            // The stage goes on without the secrets; saved again, they stay as they are stored.
            let reference = STANDARD.encode(Value::from(kept).to_string());
            let artifact = json!({"type": EMBEDDED, "reference": reference});
            result = result.with_context("pipelinesArtifact", artifact);
        }
        for (key, list) in RESULTS.into_iter().zip(results) {
            result = result
                .with_context(key, list.clone())
                .with_output(key, list);
        }
        Ok(result)
    }
}

/// Fails the stage if a pipeline was refused.
#[derive(Debug)]
struct Complete;

#[async_trait]
impl Task for Complete {
    fn kind(&self) -> &'static str {
        "savePipelinesCompleteTask"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::PLAIN
    }

    fn decide(&self, ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        let refused = ctx.own("pipelinesFailedToSave").and_then(Value::as_array);
        let refused = refused.filter(|list| !list.is_empty());
        let Some(refused) = refused else {
            return Some(Ok(TaskResult::status(Status::Succeeded)));
        };
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let line = |r: &Value| {
            format!(
                "{} of {}: {}",
                text(&r["name"]),
                text(&r["application"]),
                text(&r["errorMsg"])
            )
        };
        let mut lines = refused.iter().map(line);
        let first = lines.next().unwrap_or_default();
        let mut error = TaskError::user(format!(
            "{} of the pipelines cannot be saved: {first}",
            refused.len()
        ));
        error.details = lines.collect();
        Some(Err(error))
    }
}
