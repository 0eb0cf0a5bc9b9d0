//! The last decisions about each pipeline's triggers: why it started, why not.
//!
//! Owns the documents `decisions:<pipeline id>`. They follow from the events:
//! listing one twice changes nothing.

use proto::status::{Failure, Kind};
use serde_json::{Map, Value, json};
use store::{Batch, DocumentKey, Refused};

use crate::event::Event;
use crate::intake::{Intake, failed};
use crate::matcher::Decision;

/// Decisions kept for each pipeline.
const KEPT: usize = 100;
/// The largest field of an event that is listed with a decision, in bytes of JSON.
const MAX_FIELD: usize = 2 * 1024;
/// Attempts when others write the same list.
const TRIES: usize = 50;

/// One decision, for people.
pub(crate) fn tell(decision: &Decision) -> Map<String, Value> {
    let told = json!({
        "application": decision.application,
        "outcome": if decision.outcome.is_ok() { "started" } else { "rejected" },
        "pipeline": decision.pipeline_name,
        "pipelineId": decision.pipeline_id,
        "reason": null,
        "triggerId": decision.trigger_id,
    });
    let mut told = told.as_object().cloned().unwrap_or_default();
    if !decision.artifacts.is_empty() {
        let report = decision.artifacts.iter().map(artifact::Finding::to_json);
        told.insert("artifacts".to_owned(), report.collect());
    }
    if let Err(refusal) = &decision.outcome {
        refusal.tell(&mut told);
    }
    told
}

/// Decisions as they are kept with their event.
pub(crate) fn write(decisions: &[Decision]) -> Vec<u8> {
    let all: Value = decisions
        .iter()
        .map(|decision| Value::Object(tell(decision)))
        .collect();
    all.to_string().into_bytes()
}

/// Lists an event's decisions with the pipelines they are about.
pub(crate) async fn list(intake: &Intake, event: &Event, decided: &str) -> Result<(), Failure> {
    let decided: Vec<Value> = serde_json::from_str(decided)
        .map_err(|e| Failure::internal(format!("decisions of event {}: {e}", event.id)))?;
    let content: Map<String, Value> = event
        .content
        .iter()
        .map(|(key, value)| (key.clone(), short(value)))
        .collect();
    for mut decision in decided {
        let id = decision.get("pipelineId").and_then(Value::as_str);
        let id = id.unwrap_or_default().to_owned();
        for (key, value) in [
            ("eventId", json!(event.id)),
            ("source", json!(event.via)),
            ("time", json!(event.received_at_ms)),
            ("type", json!(event.kind)),
            ("event", json!(content)),
        ] {
            decision[key] = value;
        }
        append(intake, &id, decision).await?;
    }
    Ok(())
}

async fn append(intake: &Intake, pipeline_id: &str, decision: Value) -> Result<(), Failure> {
    let shard = intake.store.shards().of_name(pipeline_id);
    let key = DocumentKey::new("decisions", pipeline_id);
    for _ in 0..TRIES {
        let document = intake.store.load(shard, &key).await.map_err(failed)?;
        let version = document.as_ref().map_or(0, |d| d.version);
        let mut listed = read(document.as_ref());
        let same = |known: &Value| {
            known["eventId"] == decision["eventId"] && known["triggerId"] == decision["triggerId"]
        };
        if listed.iter().any(same) {
            return Ok(());
        }
        listed.insert(0, decision.clone());
        listed.truncate(KEPT);
        let text = fitting(&mut listed);
        let batch = Batch::new(shard, format!("decision:{pipeline_id}:{}", intake.unique()))
            .document(&key, version)
            .set("list", text);
        match intake.store.commit(batch).await.map_err(failed)? {
            Ok(_) => return Ok(()),
            Err(Refused::Conflict { .. }) => {}
            Err(other) => return Err(Failure::new(Kind::Unavailable, other.to_string())),
        }
    }
    Err(Failure::new(
        Kind::Unavailable,
        format!("the decisions of pipeline {pipeline_id} are written by too many at once"),
    ))
}

/// A field of an event, or how large it was.
fn short(value: &Value) -> Value {
    let size = value.to_string().len();
    if size <= MAX_FIELD {
        return value.clone();
    }
    format!("({size} bytes, more than the {MAX_FIELD} that are kept here)").into()
}

/// The list as text, without the oldest that a part cannot hold.
fn fitting(listed: &mut Vec<Value>) -> String {
    loop {
        let text = json!(listed).to_string();
        if text.len() <= store::MAX_PART || listed.is_empty() {
            return text;
        }
        listed.truncate(listed.len() * 3 / 4);
    }
}

fn read(document: Option<&store::Document>) -> Vec<Value> {
    document
        .and_then(|d| serde_json::from_str(d.text("list")?).ok())
        .unwrap_or_default()
}

/// The decisions about a pipeline, newest first.
pub(crate) async fn of_pipeline(
    store: &store::Shared,
    pipeline_id: &str,
) -> Result<Vec<Value>, Failure> {
    let shard = store.shards().of_name(pipeline_id);
    let key = DocumentKey::new("decisions", pipeline_id);
    let document = store.load(shard, &key).await.map_err(failed)?;
    Ok(read(document.as_ref()))
}
