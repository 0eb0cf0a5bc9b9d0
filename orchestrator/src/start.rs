//! From a request or a trigger's message to an execution: created under a derived
//! id, with its first turn, in one commit.
//!
//! Differs from Spinnaker: an id that the caller chose (`executionId`) is not taken, since
//! an id says in which shard its execution is; the answer tells the one it has.

mod prepare;

use orchestrator_core::{
    Execution, ExecutionId, ExecutionType, Message, NOBODYS, Outgoing, Rejected, Subject, Target,
    application_of, new_execution,
};
use proto::message::ExecutionRequested;
use proto::status::{Failure, Kind};
use serde_json::Value;
use store::{Batch, Delivery, IndexChange, Refused, Shard, Shards, Then, blob};
use tokio::sync::OwnedSemaphorePermit;

use crate::commit;
use crate::consumers;
use crate::definition::{Object, refused, unavailable};
use crate::engine::{Engine, Extra, TRIES, Tried};
use crate::large::Stored;
use crate::notification::address;
use crate::size;
use crate::stage::strategy::custom;
use crate::turn::{Loaded, Step};

use self::prepare::{Asker, Prepared};

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
    /// A stage asks on their behalf, since this time.
    pub by_stage: Option<i64>,
    /// Why it cannot begin, as whoever asks knows already: it is kept as one that failed.
    pub failure: Option<String>,
}

fn rejected(rejected: &Rejected) -> Failure {
    let kind = match rejected {
        Rejected::Disabled(_) | Rejected::NotAnExecution(_) => Kind::Invalid,
    };
    Failure::new(kind, rejected.to_string())
}

impl Start {
    /// The time in the id of the execution whose stage asks for this one. It and the event, which names the
    /// stage's attempt, give the id: a child whose start is lost with the last commits of the store is the same
    /// one when it is started again, so what it did outside is done once.
    fn time_of_parent(&self, shards: Shards) -> Option<i64> {
        let parent = self.body.pointer("/trigger/parentExecution/id");
        let is_named = self.by_stage.is_some() && !self.event_id.is_empty();
        let parent = parent.and_then(Value::as_str).filter(|_| is_named);
        shards.time_of_id(parent?)
    }
}

/// What was started.
#[derive(Debug, Clone)]
pub struct Started {
    /// Its id.
    pub id: String,
    /// Why it is one that failed before it began, if it is.
    pub refused: Option<Failure>,
}

impl Engine {
    /// Starts an execution, or finds the one of the same event. One that lacks an artifact,
    /// or whose template is at fault, is kept as one that failed.
    ///
    /// # Errors
    /// `Invalid` for a disabled pipeline or a job without an application, `Denied` for a
    /// parent that the asker may not read, `Exhausted` when the store is full.
    pub async fn start(&self, start: &Start) -> Result<Started, Failure> {
        let asker = if start.by_stage.is_some() {
            Asker::Engine
        } else {
            Asker::User(&start.user)
        };
        let mut prepared = match start.kind {
            ExecutionType::Pipeline => self.prepared(start.body.clone(), asker).await?,
            ExecutionType::Orchestration => Prepared {
                body: start.body.clone(),
                ..Prepared::default()
            },
        };
        if start.failure.is_some() {
            // What else is wrong with it is not what it is kept for.
            prepared.failure.clone_from(&start.failure);
        }
        let body = &prepared.body;
        let application = body
            .as_object()
            .and_then(application_of)
            .unwrap_or_else(|| NOBODYS.to_owned());
        let shards = self.inner.store.shards();
        let shard = shards.of_application(&application);
        let now = self.now();
        let derived = start.time_of_parent(shards);
        let (at, seed) = match derived {
            Some(at) => (at, start.event_id.clone()),
            None => (now, self.inner.ground.fresh_id()),
        };
        let id = ExecutionId::new(shards.mint_id(at, &seed, shard));
        let claim = (!start.event_id.is_empty()).then(|| IndexChange::Claim {
            key: format!("{}{}", commit::EVENT, start.event_id),
            value: id.to_string(),
        });
        // They follow from its own, which another one that is begun for the same reason has too.
        let mut stage_ids = self.ids_of(shard, id.to_string(), at);
        let made = new_execution(
            start.kind,
            body,
            id.clone(),
            &start.user,
            now,
            &mut stage_ids,
        );
        drop(stage_ids);
        let (mut execution, mut messages) = made.map_err(|r| rejected(&r))?;
        self.name_those_beside(&execution, &mut messages).await?;
        prepared.complete(&mut execution, now);
        let refusal = refusal(&prepared, &execution);
        self.join_notifications(&mut execution).await?;
        let losses = self.known_losses(shard, start.by_stage).await?;
        let (loaded, steps) = begun(execution, messages, losses);
        for _ in 0..TRIES {
            let extra = Extra {
                index: claim.clone(),
                ..Extra::default()
            };
            let known = match self.advance(&loaded, shard, &steps, extra).await? {
                Tried::Conflict if derived.is_some() => id.to_string(),
                // Nobody else draws the same id: what is there is this start, whose answer was lost, and which
                // somebody has taken further since.
                Tried::Committed(..) | Tried::Conflict => {
                    return Ok(Started {
                        id: id.to_string(),
                        refused: refusal,
                    });
                }
                Tried::Refused(Refused::Taken { key, value })
                    if self.is_left_over(shard, &key, &value).await? =>
                {
                    continue;
                }
                // The event, or what it belongs to, started one already.
                Tried::Refused(Refused::Taken { value, .. }) => value,
                Tried::Refused(other) => return Err(refused(&other)),
                Tried::Fenced => {
                    return Err(Failure::internal(format!("execution {id} exists already")));
                }
            };
            return Ok(Started {
                id: known,
                refused: None,
            });
        }
        let message =
            format!("the event or correlation id of execution {id} is being taken; repeat");
        Err(Failure::new(Kind::Conflict, message))
    }

    /// The pipeline that a start would run, with what can be evaluated before it runs;
    /// nothing is kept of it.
    ///
    /// # Errors
    /// `Invalid` with what keeps it from starting.
    pub(crate) async fn plan(&self, body: Value, user: &str) -> Result<Value, Failure> {
        let prepared = self.prepared(body, Asker::User(user)).await?;
        if let Some(failure) = prepared.failure {
            return Err(Failure::new(Kind::Invalid, failure));
        }
        let Value::Object(pipeline) = prepared.body else {
            let text = "the body is no object; send a pipeline";
            return Err(Failure::new(Kind::Invalid, text));
        };
        let errors = pipeline.get("errors").and_then(Value::as_array);
        let errors = errors.into_iter().flatten().filter_map(Value::as_str);
        let errors: Vec<&str> = errors.collect();
        if !errors.is_empty() {
            let told = format!("Pipeline template is invalid: {}", errors.join("; "));
            return Err(Failure::new(Kind::Invalid, told));
        }
        let evaluated = orchestrator_core::template::evaluated(&pipeline, user, self.now());
        evaluated
            .map(Value::Object)
            .map_err(|faults| Failure::new(Kind::Invalid, faults.join("; ")))
    }

    /// Whether a correlation id is still held by an execution that is over: one that was
    /// begun again; or an event by one that was deleted. It is free then.
    async fn is_left_over(&self, shard: Shard, key: &str, id: &str) -> Result<bool, Failure> {
        let executions = self.executions();
        let holds = if key.starts_with(commit::CORRELATION) {
            executions.is_under_way(id).await?
        } else {
            executions.is_known(id).await?
        };
        if holds {
            return Ok(false);
        }
        // Claimed once more, so that it is freed only if nobody else has it by now.
        let (key, value) = (key.to_owned(), id.to_owned());
        let batch = Batch::new(shard, self.inner.ground.fresh_id())
            .index(IndexChange::Claim {
                key: key.clone(),
                value,
            })
            .index(IndexChange::Free { key });
        let _ = self.inner.store.commit(batch).await.map_err(unavailable)?;
        Ok(true)
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
        let shard = delivery.lease.shard;
        let body = blob::resolve_message(self.inner.store.as_ref(), shard, body).await;
        let asked: ExecutionRequested = match serde_json::from_slice(&body.map_err(unavailable)?) {
            Ok(asked) => asked,
            Err(error) => {
                if self.leave(delivery, consumers::START).await? {
                    return Ok(());
                }
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
        let prepared = self.prepared(body.into(), Asker::Engine).await?;
        let (id, shard) = self.requested_id(&asked);
        let user = asked
            .trigger
            .get("user")
            .and_then(Value::as_str)
            .unwrap_or("anonymous");
        // As its own follows from trigger and event, theirs follow from that: should it be lost with the last
        // commits of the store and begun again, what it does outside goes by the same effect ids.
        let mut stage_ids = self.ids_of(shard, id.to_string(), asked.recorded_at_ms);
        let kind = ExecutionType::Pipeline;
        let (body, now) = (&prepared.body, self.now());
        let made = new_execution(kind, body, id.clone(), user, now, &mut stage_ids);
        drop(stage_ids);
        let (mut execution, mut messages) = match made {
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
        self.name_those_beside(&execution, &mut messages).await?;
        prepared.complete(&mut execution, now);
        self.join_notifications(&mut execution).await?;
        if message.gives_up().is_some() {
            tracing::error!(execution.id = %id, "the start of an execution is given up");
            let text =
                "starting it was tried again and again, and its worker fell silent each time";
            execution.failure = Some(text.to_owned());
        }
        let losses = self.known_losses(shard, Some(asked.recorded_at_ms)).await?;
        let advance = async |execution: Execution, messages: Vec<Outgoing>| {
            let (loaded, steps) = begun(execution, messages, losses);
            let extra = Extra {
                acknowledge: Some((delivery, Then::Release)),
                ..Extra::default()
            };
            self.advance(&loaded, shard, &steps, extra).await
        };
        let tried = match advance(execution.clone(), messages.clone()).await {
            // Nobody is there to be told: what can be kept of it says why.
            Err(failure) if failure.kind == Kind::Invalid => {
                advance(size::refused(&execution, &failure.message), messages).await
            }
            tried => tried,
        };
        match tried? {
            Tried::Committed(..) | Tried::Fenced => Ok(()),
            // Delivered twice: the first one is there.
            Tried::Conflict => self.settle(delivery).await,
            Tried::Refused(Refused::Taken { key, value }) => {
                // Another one for the same reason is under way: this one is not needed.
                match self.is_left_over(shard, &key, &value).await? {
                    true => Err(Failure::new(Kind::Conflict, "its correlation id was held")),
                    false => self.settle(delivery).await,
                }
            }
            Tried::Refused(other) => Err(refused(&other)),
        }
    }

    /// Tells the gate whom it does not know: a limit may be newer than what runs.
    async fn name_those_beside(
        &self,
        execution: &Execution,
        messages: &mut [Outgoing],
    ) -> Result<(), Failure> {
        for outgoing in messages {
            if let (Target::Gate(config), Message::StartExecution { beside, .. }) =
                (&outgoing.to, &mut outgoing.message)
            {
                let executions = self.executions();
                *beside = executions
                    .beside_the_gate(&execution.application, config)
                    .await?;
            }
        }
        Ok(())
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

    /// The losses of the store that a new execution knows of, which it is not told of. Where the reason for it is
    /// older than the last one, it may have begun before, and have been shown: of that it is told.
    async fn known_losses(&self, shard: Shard, reason: Option<i64>) -> Result<u64, Failure> {
        let losses = self.losses(shard);
        let Some(reason) = reason.filter(|_| losses > 0) else {
            return Ok(losses);
        };
        let lost = self.inner.store.lost_at(shard).await.map_err(unavailable)?;
        let is_older = lost.is_some_and(|lost| reason <= lost);
        Ok(losses - u64::from(is_older))
    }

    /// The id that belongs to a pipeline, a trigger and an event: a copied pipeline has its triggers' ids too.
    fn requested_id(&self, asked: &ExecutionRequested) -> (ExecutionId, Shard) {
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
        let batch = Batch::new(delivery.lease.shard, self.inner.ground.fresh_id())
            .acknowledge(delivery, Then::Release);
        let _ = self.inner.store.commit(batch).await.map_err(unavailable)?;
        Ok(())
    }
}

/// What whoever starts a pipeline is told when it is one that failed before it began.
fn refusal(prepared: &Prepared, execution: &Execution) -> Option<Failure> {
    let errors = prepared.body.get("errors").and_then(Value::as_array);
    let is_faulty = errors.is_some_and(|errors| !errors.is_empty());
    if prepared.failure.is_none() && !is_faulty {
        return None;
    }
    let failure = execution.failure.clone().unwrap_or_default();
    Some(Failure::new(Kind::Invalid, failure))
}

/// A new execution as a turn begins with it. What goes to itself is handled in
/// the same turn; what goes to its gate is sent with it.
fn begun(mut execution: Execution, messages: Vec<Outgoing>, losses: u64) -> (Loaded, Vec<Step>) {
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
            // What cannot begin waits for nobody.
            Target::Gate(_) if execution.failure.is_some() => {
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
        digest: None,
        stored: Stored::default(),
    };
    (loaded, steps)
}
