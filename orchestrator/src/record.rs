//! A turn as the log keeps it: what it was given, as JSON and back, and what it changed, part by part.
//!
//! | field of an entry | content |
//! |---|---|
//! | `seq` | which entry it is, from 1: the version of the execution that it made |
//! | `at` | the turn's clock, ms since the epoch |
//! | `engine` | which engine decided by which settings, see [`engine`] |
//! | `inputs` | what was handled, in order; `folded`: a task's answer that was decided in the same turn |
//! | `given` | how many of the inputs the turn began with; the others followed from them |
//! | `ids` | fresh ids that were used, in order |
//! | `answers` | answers to look-ups that were recorded with it |
//! | `begun` | in the first entry: what leads back from its end to the execution it began with |
//! | `writes` | differences of the parts it changed, null for a part that went |
//! | `hash` | [`Digest`](crate::digest::Digest) of the state afterwards |
//! | `check` | of the entry itself, without this |
//!
//! Pure; the form is kept for as long as executions are.

use std::sync::Arc;

use orchestrator_core::{
    Effects, ErrorClass, Event, Execution, Message, Outgoing, Settings, Stage, StageId, Subject,
    TaskError, TaskResult, TaskRun, Write,
};
use serde_json::{Map, Value, json};

use crate::commit::{ANSWERS, HEADER};
use crate::difference;
use crate::digest::Digest;
use crate::fields::Fields;
use crate::turn::Step;

/// Which engine this is: a log that names it can be run again by this build.
pub const ENGINE: &str = env!("GENNAKER_ENGINE");

/// How a log names this engine when it goes by these settings: they decide too.
pub fn engine(settings: &Settings) -> String {
    let told = object(json!({
        "pageUrl": settings.page_url, "stages": settings.stages, "longestExpression": settings.longest_expression,
    }));
    let digest = Digest::default().with("settings", &told).to_string();
    format!("{ENGINE}.{}", digest.get(..8).unwrap_or_default())
}

/// The kind of an input that a person's command decided.
const COMMAND: &str = "command";
/// The kind of an input that is a task's answer.
pub(crate) const FINISHED: &str = "taskFinished";

/// A stage as stored: what serde makes of it, with its values where they lie.
pub(crate) fn stage(stage: &Stage) -> Fields<'_> {
    // Every field by name: a new one has to come here too.
    let Stage {
        id,
        ref_id,
        kind,
        name,
        status,
        start_time,
        end_time,
        start_time_expiry,
        scheduled_time,
        context,
        outputs,
        tasks,
        synthetic_stage_owner,
        parent_stage_id,
        requisite_stage_ref_ids,
        last_modified,
        attempt,
        undone,
        more,
    } = stage;
    let mut fields = Fields::default();
    fields.lend("id", id.as_str());
    fields.lend("refId", ref_id.as_str());
    fields.lend("type", kind.as_str());
    fields.lend("name", name.as_str());
    fields.lend("status", status.as_str());
    fields.own_some("startTime", *start_time);
    fields.own_some("endTime", *end_time);
    fields.own_some("startTimeExpiry", *start_time_expiry);
    fields.own_some("scheduledTime", *scheduled_time);
    fields.lend("context", context);
    fields.lend("outputs", outputs);
    fields.own("tasks", json!(tasks));
    fields.own_some(
        "syntheticStageOwner",
        synthetic_stage_owner.map(|o| json!(o)),
    );
    if let Some(parent) = parent_stage_id {
        fields.lend("parentStageId", parent.as_str());
    }
    fields.own("requisiteStageRefIds", json!(requisite_stage_ref_ids));
    if let Some(modified) = last_modified {
        fields.lend("lastModified", modified);
    }
    if *attempt > 0 {
        fields.own("_attempt", *attempt);
    }
    if *undone {
        fields.own("_undone", true);
    }
    fields.lend_all(more);
    fields
}

/// The same as a map.
pub(crate) fn stage_map(stage: &Stage) -> Map<String, Value> {
    object(serde_json::to_value(stage).unwrap_or_default())
}

/// A header as stored.
pub(crate) fn header(execution: &Execution) -> Fields<'_> {
    header_map(execution).into()
}

/// A header as stored, as a map.
pub(crate) fn header_map(execution: &Execution) -> Map<String, Value> {
    object(execution.header_json())
}

/// Answers as stored.
pub(crate) fn answers_map(answers: &orchestrator_core::Answers) -> Map<String, Value> {
    object(json!(answers))
}

/// These are objects of plain fields, so there is no other case.
pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The parts of a whole state, by name.
pub(crate) fn parts(
    execution: &Execution,
    answers: &orchestrator_core::Answers,
) -> Vec<(String, Map<String, Value>)> {
    let mut parts = vec![(HEADER.to_owned(), header_map(execution))];
    let stages = execution.stages.iter();
    parts.extend(stages.map(|stage| (Execution::part(&stage.id), stage_map(stage))));
    if !answers.is_empty() {
        parts.push((ANSWERS.to_owned(), answers_map(answers)));
    }
    parts
}

/// A step as the log keeps it, in a turn that began with `subject`.
pub(crate) fn input(step: &Step, subject: &Subject) -> Value {
    match step {
        Step::Message(message) => serde_json::to_value(message).unwrap_or_default(),
        Step::Decided(effects) => decided(effects, subject),
        Step::Finished(run, result) => finished(run, result),
    }
}

/// A task's answer.
pub(crate) fn finished(run: &TaskRun, result: &Result<TaskResult, TaskError>) -> Value {
    let mut value = json!({"kind": FINISHED, "run": run});
    match result {
        Ok(result) => {
            value["status"] = json!(result.status);
            value["context"] = json!(result.context);
            value["outputs"] = json!(result.outputs);
            value["backoffMs"] = json!(result.backoff_ms);
            if let Some(at) = result.scheduled_time {
                value["scheduledTime"] = json!(at);
            }
            if result.remind {
                value["remind"] = json!(true);
            }
        }
        Err(error) => {
            value["error"] = json!({
                "class": format!("{:?}", error.class), "message": error.message,
                "details": error.details, "context": error.context,
            });
        }
    }
    value
}

/// What a command decided, in full: what it changed as differences from where the turn began.
fn decided(effects: &Effects, subject: &Subject) -> Value {
    let mut value = json!({"kind": COMMAND});
    if let Subject::Execution(execution) = subject {
        let mut writes = Map::new();
        for write in &effects.writes {
            let (part, old, new) = match write {
                Write::Header(header, order) => {
                    let mut new = header_map(header);
                    new.insert("_order".to_owned(), json!(order));
                    (HEADER.to_owned(), header_map(execution), new)
                }
                Write::Stage(stage) => {
                    let old = execution.stage(&stage.id).map(stage_map);
                    let part = Execution::part(&stage.id);
                    (part, old.unwrap_or_default(), stage_map(stage))
                }
                Write::RemoveStage(id) => {
                    writes.insert(Execution::part(id), Value::Null);
                    continue;
                }
                Write::Gate(_) => continue,
            };
            let difference = difference::between(&old, &new);
            writes.insert(part, difference.unwrap_or_else(|| json!({})));
        }
        if !writes.is_empty() {
            value["writes"] = writes.into();
        }
    }
    if !effects.messages.is_empty() {
        value["messages"] = json!(effects.messages);
    }
    if !effects.events.is_empty() {
        value["events"] = json!(effects.events);
    }
    if let Some(run) = &effects.run {
        value["run"] = json!(run);
    }
    value
}

/// Whether an input is a task's answer that was decided in the same turn.
pub(crate) fn is_folded(input: &Value) -> bool {
    input.get("folded") == Some(&Value::Bool(true))
}

/// Reads an input back, in a turn that began with `execution`.
///
/// # Errors
/// What cannot be read.
pub(crate) fn step(input: &Value, execution: &Execution) -> Result<Step, String> {
    match input.get("kind").and_then(Value::as_str) {
        Some(COMMAND) => read_decided(input, execution).map(Step::Decided),
        Some(FINISHED) => read_finished(input).map(|(run, result)| Step::Finished(run, result)),
        _ => {
            let message: Message = read(input, "message")?;
            Ok(Step::Message(message))
        }
    }
}

/// Reads a task's answer back.
///
/// # Errors
/// What cannot be read.
pub(crate) fn read_finished(
    input: &Value,
) -> Result<(TaskRun, Result<TaskResult, TaskError>), String> {
    let field = |value: &Value, key: &str| value.get(key).cloned().unwrap_or_default();
    let run: TaskRun = read(&field(input, "run"), "run")?;
    let Some(error) = input.get("error") else {
        let result = TaskResult {
            status: read(&field(input, "status"), "status")?,
            context: read(&field(input, "context"), "context")?,
            outputs: read(&field(input, "outputs"), "outputs")?,
            backoff_ms: read(&field(input, "backoffMs"), "backoffMs")?,
            scheduled_time: read(&field(input, "scheduledTime"), "scheduledTime")?,
            remind: input.get("remind") == Some(&json!(true)),
        };
        return Ok((run, Ok(result)));
    };
    let class = match error.get("class").and_then(Value::as_str) {
        Some("User") => ErrorClass::User,
        Some("Transient") => ErrorClass::Transient,
        Some("Permanent") => ErrorClass::Permanent,
        Some("Cancelled") => ErrorClass::Cancelled,
        other => return Err(format!("an error of class {other:?} is none of ours")),
    };
    let error = TaskError {
        class,
        message: read(&field(error, "message"), "message")?,
        details: read(&field(error, "details"), "details")?,
        context: read(&field(error, "context"), "context")?,
    };
    Ok((run, Err(error)))
}

fn read_decided(input: &Value, execution: &Execution) -> Result<Effects, String> {
    let mut effects = Effects::default();
    let writes = input.get("writes").and_then(Value::as_object);
    for (part, difference) in writes.into_iter().flatten() {
        let id = part.strip_prefix("s:").map(StageId::new);
        let write = match id {
            Some(id) if difference.is_null() => Write::RemoveStage(id),
            Some(id) => {
                let mut stage = execution.stage(&id).map(stage_map).unwrap_or_default();
                difference::apply(&mut stage, difference);
                Write::Stage(Arc::new(read(&stage.into(), part)?))
            }
            None => {
                let mut header = header_map(execution);
                difference::apply(&mut header, difference);
                let mut header: Execution = read(&header.into(), part)?;
                let order = std::mem::take(&mut header.order);
                Write::Header(Box::new(header), order)
            }
        };
        effects.writes.push(write);
    }
    let list = |key: &str| input.get(key).cloned().unwrap_or_else(|| json!([]));
    effects.messages = read::<Vec<Outgoing>>(&list("messages"), "messages")?;
    effects.events = read::<Vec<Event>>(&list("events"), "events")?;
    effects.run = match input.get("run") {
        Some(run) => Some(read(run, "run")?),
        None => None,
    };
    Ok(effects)
}

fn read<T: serde::de::DeserializeOwned>(value: &Value, what: &str) -> Result<T, String> {
    serde_json::from_value(value.clone()).map_err(|e| format!("{what}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use orchestrator_core::command;
    use orchestrator_core::testing;

    #[test]
    fn what_a_command_decided_is_read_back_whole() {
        let stages = json!([{"type": "wait", "refId": "1", "name": "w", "waitTime": 5}]);
        let (mut execution, _) = testing::execution(&stages);
        execution.status = orchestrator_core::Status::Running;
        let mut stored = execution.clone();
        // A stored one knows its schema.
        stored.schema = Execution::SCHEMA;
        let asked = Map::from_iter([("skipRemainingWait".to_owned(), Value::Bool(true))]);
        let stage = execution.stages[0].id.clone();
        for effects in [
            command::pause(&stored, "ann", 2_000).unwrap(),
            command::cancel(&stored, "ann", Some("why")).unwrap(),
            command::update_stage(&stored, &stage, asked, "ann", 2_000, &crate::stage::Catalog)
                .unwrap(),
        ] {
            let subject = Subject::Execution(Box::new(stored.clone()));
            let given = Step::Decided(effects);
            let kept = input(&given, &subject);
            assert_eq!(step(&kept, &stored), Ok(given), "{kept}");
        }
    }

    #[test]
    fn what_a_task_answered_is_read_back_whole() {
        let run = TaskRun {
            execution_id: orchestrator_core::ExecutionId::new("E"),
            application: "a".to_owned(),
            stage_id: StageId::new("S"),
            task_id: orchestrator_core::TaskId::new("1"),
            task_type: "t".to_owned(),
            run: orchestrator_core::RunKind::Run,
            number: 2,
            effect_id: "E/S/0/1".to_owned(),
        };
        let subject = Subject::Execution(Box::default());
        let mut error = TaskError::user("no");
        error.details.push("field".to_owned());
        let good = TaskResult {
            backoff_ms: Some(7),
            ..TaskResult::running().with_output("x", 1)
        };
        for result in [Ok(good), Err(error)] {
            let given = Step::Finished(run.clone(), result);
            let kept = input(&given, &subject);
            assert_eq!(step(&kept, &Execution::default()), Ok(given), "{kept}");
        }
        assert!(step(&json!({"kind": "later"}), &Execution::default()).is_err());
    }

    #[test]
    fn a_stage_is_stored_as_serde_writes_it() {
        let full = json!({
            "id": "01", "refId": "1", "type": "wait", "name": "Wait", "status": "FAILED_CONTINUE", "startTime": 5,
            "endTime": 6, "startTimeExpiry": 7, "scheduledTime": 8,
            "context": {"b": {"x": [1.50, null]}, "a": "y"}, "outputs": {"o": [{}]},
            "tasks": [{"id": "1", "name": "wait", "implementingClass": "wait", "_runs": 2}],
            "syntheticStageOwner": "STAGE_AFTER", "parentStageId": "02", "requisiteStageRefIds": ["0", "9"],
            "lastModified": {"user": "ann"}, "_attempt": 3, "_undone": true, "_newer": {"kept": 1},
        });
        for value in [full, json!({})] {
            let written: Stage = serde_json::from_value(value).unwrap();
            let text = serde_json::to_string(&stage(&written)).unwrap();
            assert_eq!(text, serde_json::to_string(&written).unwrap());
        }
    }
}
