//! From a request to an execution (`orca: ExecutionLauncher`, `OperationsController`).
//!
//! A malformed pipeline still becomes an execution: one that ends TERMINAL with
//! the cause. Refused are only those that must not run at all.

use serde_json::{Map, Value, json};

use crate::context::at_submission;
use crate::env::IdSource;
use crate::execution::{Execution, ExecutionType};
use crate::gate::{gate_of, limit};
use crate::graph::{self, ref_text};
use crate::ids::{ExecutionId, PipelineConfigId, RefId, StageId};
use crate::message::Message;
use crate::outcome::{Mode, Outgoing, Target};
use crate::stage::Stage;
use crate::stages::Stages;
use crate::trigger::Trigger;

/// Why nothing was started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Somebody switched it off.
    #[error("pipeline \"{0}\" is disabled; enable it to start it")]
    Disabled(String),
    /// It is not even an object with an application.
    #[error("{0}")]
    NotAnExecution(String),
}

fn text(map: &Map<String, Value>, key: &str) -> Option<String> {
    match map.get(key)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    }
}

fn flag(map: &Map<String, Value>, key: &str) -> bool {
    match map.get(key) {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        Some(Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_)) | None => false,
    }
}

fn object(map: &Map<String, Value>, key: &str) -> Map<String, Value> {
    map.get(key)
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}

fn list(map: &Map<String, Value>, key: &str) -> Vec<Value> {
    map.get(key)
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

fn millis(map: &Map<String, Value>, key: &str) -> Option<i64> {
    let value = map.get(key)?;
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// The application of pipelines that name none.
pub const NOBODYS: &str = "unknown";
/// Stages of one execution as it is started; planned ones come beside them.
pub const MOST_STAGES: usize = 400;

/// The application a pipeline belongs to, if it names one.
pub fn application_of(body: &Map<String, Value>) -> Option<String> {
    let named = text(body, "application")?;
    let named = named.trim();
    (!named.is_empty()).then(|| named.to_owned())
}

/// Makes an execution and the message that begins it.
///
/// `body` is a whole pipeline with its `trigger`, or `{application, name, job: […]}`.
/// The same arguments give the same execution, stage ids included.
///
/// # Errors
/// When the pipeline is disabled, or a job names no application; a pipeline that names
/// none is an execution that fails.
pub fn new_execution(
    kind: ExecutionType,
    body: &Value,
    id: ExecutionId,
    user: &str,
    now: i64,
    ids: &mut dyn IdSource,
) -> Result<(Execution, Vec<Outgoing>), Rejected> {
    let Value::Object(body) = body else {
        return Err(Rejected::NotAnExecution(
            "the body is not a JSON object".to_owned(),
        ));
    };
    let nameless = "application is missing; name the application this belongs to";
    let named = application_of(body);
    if named.is_none() && kind == ExecutionType::Orchestration {
        return Err(Rejected::NotAnExecution(nameless.to_owned()));
    }
    let application = named.clone().unwrap_or_else(|| NOBODYS.to_owned());
    let name = text(body, "name");
    if flag(body, "disabled") {
        return Err(Rejected::Disabled(name.unwrap_or_default()));
    }
    let body = &match kind {
        ExecutionType::Pipeline => at_submission(body, user, now),
        ExecutionType::Orchestration => body.clone(),
    };
    let name = text(body, "name");
    let mut trigger = object(body, "trigger");
    for (key, default) in [("type", json!("manual")), ("expectedArtifacts", json!([]))] {
        trigger.entry(key).or_insert(default);
    }
    let trigger = Trigger::new(trigger);
    let acting = match trigger.text("user").map(ToOwned::to_owned) {
        Some(by) if by != "[anonymous]" => by,
        _ => user.to_owned(),
    };
    let parent = trigger.get("parentExecution").and_then(Value::as_object);
    let root = parent.and_then(|parent| text(parent, "rootId").or_else(|| text(parent, "id")));
    let mut execution = Execution {
        kind,
        root_id: Some(root.map_or_else(|| id.clone(), ExecutionId::new)),
        id,
        application,
        build_time: now,
        start_time_expiry: millis(body, "startTimeExpiry"),
        limit_concurrent: flag(body, "limitConcurrent"),
        max_concurrent_executions: millis(body, "maxConcurrentExecutions").unwrap_or(0),
        keep_waiting_pipelines: flag(body, "keepWaitingPipelines"),
        origin: Some(text(body, "origin").unwrap_or_else(|| "unknown".to_owned())),
        notifications: list(body, "notifications"),
        spel_evaluator: text(body, "spelEvaluator"),
        template_variables: object(body, "templateVariables"),
        initial_config: object(body, "initialConfig"),
        source: body.get("source").filter(|s| s.is_object()).cloned(),
        trigger,
        schema: Execution::SCHEMA,
        ..Execution::default()
    };
    execution
        .authentication
        .insert("user".to_owned(), acting.into());
    execution
        .authentication
        .insert("allowedAccounts".to_owned(), json!([]));
    let stages = match kind {
        ExecutionType::Pipeline => {
            execution.name = name;
            execution.pipeline_config_id = text(body, "id").map(PipelineConfigId::new);
            list(body, "stages")
        }
        ExecutionType::Orchestration => {
            execution.description = text(body, "description").or(name);
            list(body, "job")
        }
    };
    (execution.stages, execution.failure) = build_stages(&stages, ids);
    if named.is_none() {
        execution.failure = Some(nameless.to_owned());
    }
    let errors = list(body, "errors");
    if !errors.is_empty() {
        let told: Vec<&str> = errors.iter().filter_map(Value::as_str).collect();
        execution.failure = Some(format!("Pipeline template is invalid: {}", told.join("; ")));
    }
    let message = Message::StartExecution {
        execution_id: execution.id.clone(),
        application: execution.application.clone(),
        limit: limit(&execution),
        beside: Vec::new(),
        life: Some(0),
    };
    let to = match gate_of(&execution) {
        Some(gate) => Target::Gate(gate),
        None => Target::Execution(execution.id.clone()),
    };
    Ok((
        execution,
        vec![Outgoing {
            to,
            message,
            mode: Mode::Push,
            delay_ms: 0,
        }],
    ))
}

/// Stages from their JSON, and why they cannot be run, if they cannot: those that
/// can be shown are there all the same.
///
/// Differs from Spinnaker: Orca starts a pipeline whose stages wait for each other
/// or for a stage that does not exist, and it stays RUNNING for ever.
fn build_stages(stages: &[Value], ids: &mut dyn IdSource) -> (Stages, Option<String>) {
    if stages.len() > MOST_STAGES {
        let count = stages.len();
        let failure = format!("{count} stages are more than the {MOST_STAGES} allowed");
        return (Stages::default(), Some(failure));
    }
    let mut failure = None;
    let mut maps = Vec::new();
    for (position, stage) in stages.iter().enumerate() {
        match stage {
            Value::Object(map) => maps.push(map.clone()),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => {
                failure.get_or_insert_with(|| format!("stages[{position}] is not an object"));
            }
        }
    }
    if stages.is_empty() {
        return (
            Stages::default(),
            Some("there are no stages; add one".to_owned()),
        );
    }
    graph::number_stages(&mut maps);
    if failure.is_none()
        && let Some(fault) = graph::check_runnable(&maps).into_iter().next()
    {
        failure = Some(format!("{}: {}", fault.path, fault.message));
    }
    let mut built = Vec::new();
    for (position, map) in maps.into_iter().enumerate() {
        let stage = build_stage(map, ids);
        if stage.kind.is_empty() {
            failure.get_or_insert_with(|| {
                format!("stages[{position}].type is missing; every stage has a type")
            });
        }
        built.push(stage);
    }
    // Served in order of refIds compared as text, as Orca does ("10" before "2").
    built.sort_by(|a, b| a.ref_id.cmp(&b.ref_id));
    (built.into(), failure)
}

/// The type a stage runs as: its `type`, and behind it the provider it is meant for.
pub fn kind_of(stage: &Map<String, Value>) -> String {
    let kind = text(stage, "type").unwrap_or_default();
    match text(stage, "providerType") {
        Some(provider) if !matches!(provider.as_str(), "aws" | "titus") => {
            format!("{kind}_{provider}")
        }
        Some(_) | None => kind,
    }
}

/// A stage from its JSON: what has no field of its own is its context.
fn build_stage(mut map: Map<String, Value>, ids: &mut dyn IdSource) -> Stage {
    let kind = kind_of(&map);
    let name = text(&map, "name").unwrap_or_else(|| kind.clone());
    let ref_id = map.get("refId").and_then(ref_text).unwrap_or_default();
    let requisites = list(&map, "requisiteStageRefIds");
    let start_time_expiry = millis(&map, "startTimeExpiry");
    for key in [
        "type",
        "name",
        "refId",
        "requisiteStageRefIds",
        "startTimeExpiry",
    ] {
        map.shift_remove(key);
    }
    Stage {
        id: StageId::new(ids.next_id()),
        ref_id: RefId::new(ref_id),
        kind,
        name,
        start_time_expiry,
        context: map,
        requisite_stage_ref_ids: requisites
            .iter()
            .filter_map(ref_text)
            .map(RefId::new)
            .collect(),
        ..Stage::default()
    }
}
