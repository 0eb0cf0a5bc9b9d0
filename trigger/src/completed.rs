//! Executions that ended, as events of type `pipeline`. The message is written by
//! the commit that ended the execution, so none is missed and none comes of nothing.

use proto::message::PipelineCompleted;
use proto::status::{Failure, Kind};
use serde_json::{Map, Value, json};
use store::{Batch, Delivery, Refused, Then};

use crate::event::{self, Event};
use crate::intake::{Intake, failed, now_ms};
use crate::proof::Proof;

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
    let Some(parent) = intake.peers.execution(&ended.execution_id).await? else {
        return Ok(None);
    };
    let parent = named(&parent);
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
        artifacts: Vec::new(),
        proof: Proof::default(),
    }))
}

/// Who the parent is and how it was started. What else is asked of it is read when the
/// child starts.
fn named(parent: &Value) -> Value {
    let mut kept = Map::new();
    for key in [
        "type",
        "id",
        "application",
        "name",
        "status",
        "pipelineConfigId",
        "startTime",
    ] {
        if let Some(value) = parent.get(key) {
            kept.insert(key.to_owned(), value.clone());
        }
    }
    let trigger = parent.get("trigger");
    let field = |key: &str| trigger.and_then(|t| t.get(key)).cloned();
    let trigger: Map<String, Value> = ["type", "user", "dryRun", "strategy"]
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), field(key)?)))
        .collect();
    kept.insert("trigger".to_owned(), trigger.into());
    kept.into()
}
