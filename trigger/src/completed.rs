//! Executions that ended, as events of type `pipeline`. The message is written by
//! the commit that ended the execution, so none is missed and none comes of nothing.

use proto::message::PipelineCompleted;
use proto::status::{Failure, Kind};
use serde_json::{Value, json};
use store::{Batch, Delivery, Refused, Then};

use crate::event::{self, Event};
use crate::intake::{Intake, failed, now_ms};
use crate::proof::Proof;

/// A parent larger than this goes along without its stages' contexts, in bytes.
const MOST: usize = 256 * 1024;

/// Handles the end of one execution.
///
/// # Errors
/// When it has to be tried again.
pub(crate) async fn handle(intake: &Intake, delivery: &Delivery) -> Result<(), Failure> {
    for message in &delivery.messages {
        let Ok(ended) = serde_json::from_slice::<PipelineCompleted>(&message.body) else {
            tracing::error!("the end of an execution cannot be read");
            continue;
        };
        if let Some(event) = event_of(intake, &ended).await? {
            intake.take_in(&event).await?;
        }
    }
    let shard = intake.store.shards().of_id(&delivery.lease.address.subject);
    let batch = Batch::new(shard, format!("completed:{}", intake.unique()));
    let batch = batch.acknowledge(delivery, Then::Release);
    match intake.store.commit(batch).await.map_err(failed)? {
        Ok(_) | Err(Refused::Fenced(_)) => Ok(()),
        Err(other) => Err(Failure::new(Kind::Unavailable, other.to_string())),
    }
}

/// The event, if any trigger waits for that pipeline.
async fn event_of(intake: &Intake, ended: &PipelineCompleted) -> Result<Option<Event>, Failure> {
    let waits = intake
        .peers
        .pipelines("pipeline")
        .await?
        .iter()
        .any(|pipeline| {
            let mut triggers = crate::matcher::triggers(pipeline, "pipeline");
            triggers.any(|t| {
                t.get("pipeline").and_then(Value::as_str) == Some(&ended.pipeline_config_id)
            })
        });
    if !waits {
        return Ok(None);
    }
    let Some(mut parent) = intake.peers.execution(&ended.execution_id).await? else {
        return Ok(None);
    };
    let artifacts = artifacts(&parent);
    if parent.to_string().len() > MOST {
        let stages = parent.get_mut("stages").and_then(Value::as_array_mut);
        for stage in stages
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut)
        {
            stage.insert("context".to_owned(), json!({}));
        }
        if let Some(trigger) = parent.get_mut("trigger").and_then(Value::as_object_mut) {
            trigger.shift_remove("parentExecution");
        }
    }
    let content = json!({
        "pipelineConfigId": ended.pipeline_config_id, "status": ended.status,
        "executionId": ended.execution_id, "parentExecution": parent,
    });
    Ok(Some(Event {
        id: event::id(
            "pipeline",
            &[&ended.execution_id, &ended.ended_at_ms.to_string()],
        ),
        kind: "pipeline".to_owned(),
        via: "execution".to_owned(),
        received_at_ms: now_ms(),
        happened_at_ms: ended.ended_at_ms,
        content: content.as_object().cloned().unwrap_or_default(),
        artifacts,
        proof: Proof::default(),
    }))
}

/// What the parent made, last stage first, then what it was started with.
fn artifacts(parent: &Value) -> Vec<Value> {
    let stages = parent.get("stages").and_then(Value::as_array);
    let of_stages = stages
        .into_iter()
        .flatten()
        .rev()
        .filter_map(|s| s.pointer("/outputs/artifacts")?.as_array())
        .flatten();
    let of_trigger = parent
        .pointer("/trigger/artifacts")
        .and_then(Value::as_array);
    let mut all: Vec<Value> = Vec::new();
    for artifact in of_stages.chain(of_trigger.into_iter().flatten()) {
        if !all.contains(artifact) {
            all.push(artifact.clone());
        }
    }
    all
}
