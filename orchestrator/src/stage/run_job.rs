//! `runJob`: a process that must exit with 0, with its log and what it found out.
//! Source: `orca: RunJobStage`, `orca: WaitOnJobCompletion`.
//!
//! Differs from Spinnaker: the failure's first line is the exit code with the job's last line,
//! and a cancelled or late stage ends its job by the operation it belongs to.

use async_trait::async_trait;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, PlanError, Stage, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult,
    TaskSpec,
};
use serde_json::{Map, Value, json};

use super::{StageType, accounts_of, configured, schema, targeted, unbuilt};
use crate::services::{Operation, OperationState};
use crate::task::{
    CANCEL_OPERATION, Task, TaskContext, bind_produced_artifacts, failed, monitor_operation,
    server_group, submit_operation,
};

/// The type.
pub(super) static STAGE: RunJob = RunJob;

/// What a job left in the context, which its restart sets aside.
const LEFT: [&str; 4] = [
    "jobStatus",
    "completionDetails",
    "propertyFileContents",
    "deploy.jobs",
];

/// See the module.
#[derive(Debug)]
pub(super) struct RunJob;

impl StageDefinition for RunJob {
    fn kind(&self) -> &'static str {
        "runJob"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Run job",
            text: "Runs a process of an image to its end, which must be exit code 0.",
            category: "deploy",
        }
    }

    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        if let Some(manifest) = manifest_job(&stage.stage.kind, &stage.stage.context) {
            return manifest.tasks(stage);
        }
        unbuilt::require_provider(stage.stage)?;
        let mut tasks = vec![TaskSpec::new("runJob", Submit.kind())];
        if stage.stage.flag("waitForCompletion") != Some(false) {
            tasks.push(TaskSpec::new("waitOnJobCompletion", Wait.kind()));
            bind_produced_artifacts::plan(&mut tasks, stage.stage);
        }
        Ok(tasks)
    }

    fn cancel_task(&self, _stage: StageView<'_>) -> Option<&'static str> {
        Some(CANCEL_OPERATION.kind())
    }

    fn prepare_restart(&self, stage: &mut Stage) {
        for key in LEFT {
            stage.keep_for_restart(key, key);
        }
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let kind = context.get("type").and_then(Value::as_str);
        if let Some(manifest) = manifest_job(kind.unwrap_or_default(), context) {
            return manifest.validate(context, path);
        }
        let fields = flattened(context.clone());
        let mut faults = targeted::place_faults(&fields, path);
        let named = |key: &&str| {
            let text = fields.get(*key).and_then(Value::as_str);
            text.is_some_and(|text| !text.is_empty())
        };
        if !["imageId", "image"].iter().any(named) {
            let text = "it is missing; name an image such as registry/repository:tag";
            faults.push(Fault::new(format!("{path}.imageId"), text));
        }
        let limit = fields.get("jobRuntimeLimit").and_then(Value::as_str);
        if let Some(Err(text)) = limit.filter(|text| !text.contains("${")).map(seconds) {
            faults.push(Fault::new(format!("{path}.jobRuntimeLimit"), text));
        }
        faults
    }

    fn schema(&self) -> Value {
        let words = json!({"type": "array", "items": {"type": "string"}});
        schema(
            &json!({
                "account": {"type": "string", "title": "Account"},
                "region": {"type": "string", "title": "Region"},
                "imageId": {"type": "string", "title": "Image"},
                "command": {"title": "Command instead of the image's", "anyOf": [{"type": "string"}, words]},
                "args": {"title": "Arguments instead of the image's", "anyOf": [{"type": "string"}, words]},
                "env": {"type": "object", "title": "Variables"},
                "jobRuntimeLimit": {"type": "string", "title": "Limit of its time", "default": "PT2H"},
                "maxOutputBytes": {"type": "integer", "minimum": 4096, "title": "Bytes of its log that are kept"},
                "propertyFile": {"type": "string", "title": "Take properties from the log"},
                "waitForCompletion": {"type": "boolean", "default": true},
            }),
            &["account", "region", "imageId"],
        )
    }
}

impl StageType for RunJob {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        static OWN: &[&dyn Task] = &[&Submit, &Wait];
        OWN
    }

    fn accounts(&self, stage: &Map<String, Value>) -> Vec<(String, String)> {
        let kind = stage.get("type").and_then(Value::as_str);
        match manifest_job(kind.unwrap_or_default(), stage) {
            // Its accounts are of a provider that is not there.
            Some(_) => Vec::new(),
            None => accounts_of(stage, ""),
        }
    }
}

/// A job that a manifest describes: forms send it under this stage's type as its alias, or with
/// the provider that takes manifests.
fn manifest_job(kind: &str, context: &Map<String, Value>) -> Option<&'static unbuilt::Unbuilt> {
    const MANIFEST: &str = "runJobManifest";
    let is_one = kind == MANIFEST || unbuilt::missing_provider(context) == Some("kubernetes");
    is_one.then(|| unbuilt::find(MANIFEST)).flatten()
}

/// The fields, those of `cluster` among them as some write it; the stage's own win.
fn flattened(mut fields: Map<String, Value>) -> Map<String, Value> {
    if let Some(Value::Object(cluster)) = fields.shift_remove("cluster") {
        for (key, value) in cluster {
            fields.entry(key).or_insert(value);
        }
    }
    fields
}

/// The seconds of an ISO-8601 duration such as `PT1H30M`.
fn seconds(text: &str) -> Result<u64, String> {
    let span: Option<jiff::SignedDuration> = text.parse().ok();
    let seconds = span.and_then(|span| u64::try_from(span.as_secs()).ok());
    seconds.filter(|seconds| *seconds > 0).ok_or_else(|| {
        let text: String = text.chars().take(64).collect();
        format!("\"{text}\" is no duration; write it like PT1H30M")
    })
}

/// What the operation takes.
fn input(ctx: &TaskContext<'_>) -> Result<Map<String, Value>, TaskError> {
    let mut input = flattened(submit_operation::input_of(ctx));
    if !input.contains_key("region") {
        input.insert("region".to_owned(), server_group::region_of(ctx)?.into());
    }
    if let Some(limit) = input.shift_remove("jobRuntimeLimit") {
        let limit = seconds(limit.as_str().unwrap_or_default());
        let limit = limit.map_err(|e| TaskError::user(format!("jobRuntimeLimit {e}")))?;
        input.insert("timeLimitSeconds".to_owned(), limit.into());
    }
    for key in LEFT {
        input.shift_remove(key);
    }
    Ok(input)
}

/// Submits the job, and says under which name it is found.
#[derive(Debug)]
struct Submit;

#[async_trait]
impl Task for Submit {
    fn kind(&self) -> &'static str {
        "runJob"
    }

    fn policy(&self) -> TaskPolicy {
        submit_operation::SUBMISSION
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        configured::JOB.permit(ctx).await?;
        let input = input(ctx)?;
        let region = input.get("region").and_then(Value::as_str);
        let region = region.unwrap_or(server_group::NO_REGION).to_owned();
        let submitted = submit_operation::submit(ctx, "runJob", input).await?;
        let id = submitted.context.get("kato.last.task.id");
        let id = id.and_then(|last| last.get("id")).cloned();
        let jobs = json!({ region: [id] });
        Ok(submitted.with_context("deploy.jobs", jobs))
    }
}

/// Waits for the job's end, which wakes it; its own limit is the job's or the stage's.
#[derive(Debug)]
struct Wait;

#[async_trait]
impl Task for Wait {
    fn kind(&self) -> &'static str {
        "waitOnJobCompletion"
    }

    fn policy(&self) -> TaskPolicy {
        // A day is the longest that a job may run; the image is fetched before.
        TaskPolicy::retry(10_000, 90_000_000)
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let last = ctx.own("kato.last.task.id").and_then(|last| last.get("id"));
        let Some(id) = last.and_then(Value::as_str) else {
            return Err(TaskError::permanent("the stage has started no job"));
        };
        let found = ctx.services.cloud_driver().operation(id).await;
        let mut operation = found.map_err(failed)?;
        let told = told(&operation);
        // The log is in the context once.
        operation.result = Value::Null;
        let result = match monitor_operation::answer(ctx, &operation) {
            Err(mut error) => {
                error.context.extend(told);
                return Err(error);
            }
            Ok(result) => result,
        };
        if operation.state != OperationState::Succeeded {
            return Ok(result);
        }
        let nothing = !told.contains_key("propertyFileContents");
        if let Some(file) = ctx.text("propertyFile").filter(|_| nothing) {
            let mut error = TaskError::user(format!(
                "Expected properties file {file} but it was either missing, empty or contained \
                 invalid syntax"
            ));
            error.context.extend(told);
            return Err(error);
        }
        let wanted = ctx.text("propertyFile").is_some();
        let properties = told.get("propertyFileContents").and_then(Value::as_object);
        let properties = properties.filter(|_| wanted).cloned().unwrap_or_default();
        let told = told
            .into_iter()
            .filter(|(key, _)| wanted || key != "propertyFileContents");
        Ok(properties
            .into_iter()
            .chain(told)
            .fold(result, |result, (key, value)| {
                result
                    .with_context(&key, value.clone())
                    .with_output(&key, value)
            }))
    }
}

/// What an operation's result says of the job.
fn told(operation: &Operation) -> Map<String, Value> {
    let mut told = Map::new();
    for (to, from) in [
        ("jobStatus", "/jobStatus"),
        ("completionDetails", "/jobStatus/completionDetails"),
        ("propertyFileContents", "/properties"),
        ("deploy.jobs", "/deployedNamesByLocation"),
    ] {
        if let Some(value) = operation.result.pointer(from) {
            told.insert(to.to_owned(), value.clone());
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_iso_8601() {
        assert_eq!(seconds("PT1H30M"), Ok(5_400));
        assert_eq!(seconds("PT45S"), Ok(45));
        assert!(seconds("90").is_err() && seconds("PT0S").is_err() && seconds("-PT1H").is_err());
    }

    #[test]
    fn a_job_without_place_or_image_is_refused_and_a_cluster_may_hold_them() {
        let faults = |stage: Value| {
            let Value::Object(stage) = stage else {
                unreachable!()
            };
            let faults = STAGE.validate(&stage, "s");
            faults.into_iter().map(|f| f.path).collect::<Vec<_>>()
        };
        let empty = faults(json!({"jobRuntimeLimit": "soon"}));
        assert_eq!(
            empty,
            ["s.account", "s.region", "s.imageId", "s.jobRuntimeLimit"]
        );
        let cluster = json!({"region": "local", "imageId": "r/smoke:1"});
        let whole = json!({"account": "prod", "cluster": cluster, "jobRuntimeLimit": "${limit}"});
        assert!(faults(whole).is_empty());
    }
}
