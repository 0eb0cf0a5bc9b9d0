//! From a request or a trigger's message to an execution: created under a derived
//! id, with its first turn, in one commit.

use orchestrator_core::{
    Execution, ExecutionId, ExecutionType, NOBODYS, Rejected, Subject, Target, application_of,
    new_execution,
};
use proto::message::ExecutionRequested;
use proto::status::{Failure, Kind};
use serde_json::{Map, Value, json};
use store::{Batch, Delivery, IndexChange, Refused, Then, blob};
use tokio::sync::OwnedSemaphorePermit;

use crate::definition::{Object, refused, unavailable};
use crate::engine::{Engine, Extra, Tried};
use crate::ids;
use crate::notification::address;
use crate::stage::strategy::custom;
use crate::template;
use crate::turn::{Loaded, Step};

/// What is asked to be started.
#[derive(Debug, Clone)]
pub struct Start {
    /// Kind.
    pub kind: ExecutionType,
    /// A pipeline with its trigger, or `{application, description, job}`.
    pub body: Value,
    /// What it is the only execution of; empty: every call is its own.
    pub event_id: String,
    /// Who asks.
    pub user: String,
}

fn rejected(rejected: &Rejected) -> Failure {
    let kind = match rejected {
        Rejected::Disabled(_) | Rejected::UnresolvedArtifact(_) | Rejected::NotAnExecution(_) => {
            Kind::Invalid
        }
    };
    Failure::new(kind, rejected.to_string())
}

/// The parameters of a trigger: what was given, else the pipeline's defaults.
fn with_parameters(mut body: Value) -> Value {
    let defaults: Vec<(String, Value)> = body
        .get("parameterConfig")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|p| {
            let default = p.get("default").cloned().unwrap_or_default();
            Some((p.get("name")?.as_str()?.to_owned(), default))
        })
        .collect();
    let Some(fields) = body.as_object_mut() else {
        return body;
    };
    if !fields.get("trigger").is_some_and(Value::is_object) {
        fields.insert("trigger".to_owned(), json!({}));
    }
    let trigger = fields.get_mut("trigger").and_then(Value::as_object_mut);
    if let Some(trigger) = trigger {
        trigger.entry("type").or_insert_with(|| "manual".into());
        let mut parameters = match trigger.get("parameters") {
            Some(Value::Object(given)) => given.clone(),
            _ => Map::new(),
        };
        for (name, default) in defaults {
            parameters.entry(name).or_insert(default);
        }
        trigger.insert("parameters".to_owned(), parameters.into());
    }
    body
}

impl Engine {
    /// Starts an execution, or finds the one of the same event; answers its id.
    ///
    /// # Errors
    /// `Invalid` for a disabled pipeline, an unresolved artifact or a job without an
    /// application, `Exhausted` when the store is full.
    pub async fn start(&self, start: &Start) -> Result<String, Failure> {
        let definitions = self.inner.services.definitions();
        let body = match start.kind {
            ExecutionType::Pipeline => {
                with_parameters(template::expanded(definitions, start.body.clone()).await?)
            }
            ExecutionType::Orchestration => start.body.clone(),
        };
        let application = body
            .as_object()
            .and_then(application_of)
            .unwrap_or_else(|| NOBODYS.to_owned());
        let shards = self.inner.store.shards();
        let shard = shards.of_application(&application);
        let now = self.now();
        let id = ExecutionId::new(shards.mint_id(now, &ids::seed(), shard));
        let claim = (!start.event_id.is_empty()).then(|| IndexChange::Claim {
            key: format!("execution-event:{}", start.event_id),
            value: id.to_string(),
        });
        let mut stage_ids = self.ids(shard);
        let made = new_execution(
            start.kind,
            &body,
            id.clone(),
            &start.user,
            now,
            &mut stage_ids,
        );
        drop(stage_ids);
        let (mut execution, messages) = made.map_err(|r| rejected(&r))?;
        self.join_notifications(&mut execution).await?;
        let (loaded, steps) = begun(execution, messages, self.losses(shard));
        let extra = Extra {
            acknowledge: None,
            index: claim,
        };
        match self.advance(&loaded, shard, &steps, extra).await? {
            Tried::Committed(..) => Ok(id.to_string()),
            // The event started one already.
            Tried::Refused(Refused::Taken { value, .. }) => Ok(value),
            Tried::Refused(other) => Err(refused(&other)),
            Tried::Conflict | Tried::Fenced => {
                Err(Failure::internal(format!("execution {id} exists already")))
            }
        }
    }

    /// A trigger matched: the pipeline is read and its execution created under an id
    /// derived from trigger and event, with the acknowledgement.
    pub(crate) async fn requested(self, delivery: Delivery, place: OwnedSemaphorePermit) {
        let _place = place;
        if let Err(failure) = self.start_requested(&delivery).await {
            tracing::warn!(error = %failure, "a requested execution cannot be started now");
            let _ = self.inner.store.release(&delivery.lease, 1_000).await;
        }
    }

    async fn start_requested(&self, delivery: &Delivery) -> Result<(), Failure> {
        let Some(message) = delivery.messages.first() else {
            return Ok(());
        };
        let body = message.body.clone();
        let body = blob::resolve(self.inner.store.as_ref(), delivery.lease.shard, body).await;
        let asked: ExecutionRequested = match serde_json::from_slice(&body.map_err(unavailable)?) {
            Ok(asked) => asked,
            Err(error) => {
                tracing::error!(error = %error, "a requested execution cannot be read");
                return self.settle(delivery).await;
            }
        };
        let definitions = self.inner.services.definitions();
        let found = definitions
            .pipeline(&asked.pipeline_config_id, &asked.application)
            .await?;
        let Some(Value::Object(mut body)) = found else {
            tracing::warn!(
                pipeline.id = asked.pipeline_config_id,
                "the pipeline of a requested execution does not exist any more"
            );
            return self.settle(delivery).await;
        };
        let mut trigger = asked.trigger.clone();
        custom::without_deployment(&mut trigger);
        body.insert("trigger".to_owned(), trigger);
        let body = with_parameters(template::expanded(definitions, body.into()).await?);
        let (id, shard) = self.requested_id(&asked);
        let user = asked
            .trigger
            .get("user")
            .and_then(Value::as_str)
            .unwrap_or("anonymous");
        let mut stage_ids = self.ids(shard);
        let kind = ExecutionType::Pipeline;
        let made = new_execution(kind, &body, id.clone(), user, self.now(), &mut stage_ids);
        drop(stage_ids);
        let (mut execution, messages) = match made {
            Ok(made) => made,
            Err(reason) => {
                tracing::warn!(
                    pipeline.id = asked.pipeline_config_id,
                    reason = %reason,
                    "a requested execution is refused"
                );
                return self.settle(delivery).await;
            }
        };
        self.join_notifications(&mut execution).await?;
        if message.gives_up().is_some() {
            tracing::error!(execution.id = %id, "the start of an execution is given up");
            let text =
                "starting it was tried again and again, and its worker fell silent each time";
            execution.failure = Some(text.to_owned());
        }
        let (loaded, steps) = begun(execution, messages, self.losses(shard));
        let extra = Extra {
            acknowledge: Some((delivery, Then::Release)),
            index: None,
        };
        match self.advance(&loaded, shard, &steps, extra).await? {
            Tried::Committed(..) | Tried::Fenced => Ok(()),
            // Delivered twice: the first one is there.
            Tried::Conflict => self.settle(delivery).await,
            Tried::Refused(other) => Err(refused(&other)),
        }
    }

    /// Adds what its application asks to be told of.
    async fn join_notifications(&self, execution: &mut Execution) -> Result<(), Failure> {
        if execution.kind == ExecutionType::Pipeline {
            let definitions = self.inner.services.definitions();
            let kind = Object::Notification;
            let name = execution.application.to_lowercase();
            if let Some(document) = definitions.object(kind, &name).await? {
                address::join(execution, &address::of_document(&document));
            }
        }
        Ok(())
    }

    /// The id that belongs to a pipeline, a trigger and an event: a copied pipeline has its triggers' ids too.
    fn requested_id(&self, asked: &ExecutionRequested) -> (ExecutionId, store::Shard) {
        let shards = self.inner.store.shards();
        let shard = shards.of_application(asked.application.trim());
        let parts = [
            &asked.pipeline_config_id,
            &asked.trigger_id,
            &asked.event_id,
        ];
        let seed = parts.map(String::as_str).join("/");
        (
            ExecutionId::new(shards.mint_id(asked.recorded_at_ms, &seed, shard)),
            shard,
        )
    }

    pub(crate) async fn settle(&self, delivery: &Delivery) -> Result<(), Failure> {
        let batch =
            Batch::new(delivery.lease.shard, ids::commit()).acknowledge(delivery, Then::Release);
        let _ = self.inner.store.commit(batch).await.map_err(unavailable)?;
        Ok(())
    }
}

/// A new execution as a turn begins with it. What goes to itself is handled in
/// the same turn; what goes to its gate is sent with it.
fn begun(
    mut execution: Execution,
    messages: Vec<orchestrator_core::Outgoing>,
    losses: u64,
) -> (Loaded, Vec<Step>) {
    execution.losses = losses;
    if let Some(failure) = &execution.failure {
        // Where clients look for the cause (`orca: ExecutionLauncher.handleStartupFailure`).
        execution.cancellation_reason = Some(format!("Failed on startup: {failure}"));
    }
    let mut steps = Vec::new();
    let mut decided = orchestrator_core::Effects::default();
    for outgoing in messages {
        match &outgoing.to {
            Target::Execution(id) if *id == execution.id => {
                steps.push(Step::Message(outgoing.message));
            }
            Target::Execution(_) | Target::Gate(_) => decided.messages.push(outgoing),
        }
    }
    if !decided.messages.is_empty() {
        steps.push(Step::Decided(decided));
    }
    let loaded = Loaded {
        application: execution.application.clone(),
        subject: Subject::Execution(Box::new(execution)),
        version: 0,
        answers: orchestrator_core::Answers::new(),
    };
    (loaded, steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_given_or_defaults() {
        let body = with_parameters(json!({
            "parameterConfig": [{"name": "a", "default": "x"}, {"name": "b", "default": "y"}, {"name": "c"}],
            "trigger": {"parameters": {"b": null, "more": 1}},
        }));
        let expected = json!({"a": "x", "b": null, "c": null, "more": 1});
        assert_eq!(body["trigger"]["parameters"], expected);
        assert_eq!(body["trigger"]["type"], "manual");
        assert_eq!(
            with_parameters(json!({}))["trigger"]["parameters"],
            json!({})
        );
    }
}
