//! The workers: mailboxes drained in order, task runs done apart, operations that
//! ended, starts that were asked for.
//!
//! Each consumes one queue of the store and blocks while it is empty.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use orchestrator_core::{
    ErrorClass, Execution, ExecutionId, Message, StageId, TaskError, TaskId, TaskResult, TaskRun,
    task_type,
};
use proto::message::OperationFinished;
use proto::status::{Failure, Kind};
use runtime::Shutdown;
use runtime::retry::Backoff;
use store::{Batch, Consumer, ConsumerSettings, Delivery, Then};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::consumers;
use crate::definition::unavailable;
use crate::engine::{Engine, Extra, TRIES, Tried};
use crate::foreign::Sifted;
use crate::place::Place;
use crate::record;
use crate::task::TaskContext;
use crate::turn::{Loaded, Step};

/// Deliveries taken at once.
const MOST: usize = 16;
/// A subject that cannot be served now is served again after this time, ms.
const AGAIN_MS: u64 = 1_000;
/// The same for what was given up and cannot even fail its owner.
const HOPELESS_MS: u64 = 60_000;

impl Engine {
    /// Consumes a queue until the shutdown begins: each delivery in a task of its
    /// own, as many at a time as there are places.
    pub(crate) async fn consume<F, A>(
        self,
        queue: &'static str,
        places: Arc<Semaphore>,
        shutdown: Shutdown,
        handle: F,
    ) -> Result<(), store::Error>
    where
        F: Fn(Self, Delivery, OwnedSemaphorePermit) -> A,
        A: Future<Output = ()> + Send + 'static,
    {
        let settings = ConsumerSettings {
            queue: queue.to_owned(),
            lease_ms: self.inner.config.lease_ms(),
            max_tries: self.inner.config.max_tries,
        };
        let mut consumer = Consumer::new(self.inner.store.clone(), settings);
        if shutdown.or(self.inner.consumers.said()).await.is_none() {
            return Ok(());
        }
        let mut failures = 0;
        loop {
            let Some(Ok(first)) = shutdown.or(Arc::clone(&places).acquire_owned()).await else {
                return Ok(());
            };
            let most = (1 + places.available_permits()).min(MOST);
            let deliveries = match shutdown.or(consumer.next(most)).await {
                None => return Ok(()),
                Some(Ok(deliveries)) => deliveries,
                Some(Err(error)) => {
                    failures += 1;
                    tracing::warn!(queue, error = %error, "the store cannot be read now");
                    if !shutdown.sleep(Backoff::PEERS.pause(failures, 0.5)).await {
                        return Ok(());
                    }
                    continue;
                }
            };
            failures = 0;
            let mut first = Some(first);
            for delivery in deliveries {
                let place = match first.take() {
                    Some(place) => place,
                    None => match Arc::clone(&places).acquire_owned().await {
                        Ok(place) => place,
                        Err(_) => return Ok(()),
                    },
                };
                tokio::spawn(handle(self.clone(), delivery, place));
            }
        }
    }

    /// Drains a mailbox: turn after turn with one lease, as long as something is due.
    pub(crate) async fn mailbox(self, delivery: Delivery, place: OwnedSemaphorePermit) {
        let mut place = Place::of(place);
        let subject = delivery.lease.address.subject.clone();
        let _held = self.inner.leases.hold(&delivery);
        let mut known: Option<Arc<Loaded>> = None;
        let mut open = Some(delivery);
        while let Some(mut delivery) = open.take() {
            // What nobody here can read holds up nothing else: it comes back behind the others.
            if delivery.messages.iter().any(|m| read(m).is_ok()) {
                delivery.messages.retain(|m| read(m).is_ok());
            }
            let mut served = self.serve(&delivery, known.take(), None, &mut place).await;
            if served.as_ref().is_err_and(lasts) && delivery.messages.len() > 1 {
                // One after the other shows which of them cannot be done, and does the others.
                delivery.messages.truncate(1);
                served = self.serve(&delivery, None, None, &mut place).await;
            }
            if let Err(failure) = &served
                && self.gives_up_on(failure, &delivery)
            {
                tracing::error!(subject, error = %failure, "a message is given up");
                let what = match failure.kind {
                    Kind::Invalid => "stored",
                    _ => "done",
                };
                let reason = format!("what comes next cannot be {what}: {failure}");
                served = self.serve(&delivery, None, Some(&reason), &mut place).await;
            }
            match served {
                Ok(Some((loaded, next))) => {
                    known = Some(loaded);
                    open = next;
                }
                Ok(None) => {}
                Err(failure) => {
                    tracing::warn!(subject, error = %failure, "a mailbox cannot be served now");
                    self.again(&delivery, &failure).await;
                }
            }
        }
    }

    /// Whether waiting any longer for a failure to pass makes no sense.
    fn gives_up_on(&self, failure: &Failure, delivery: &Delivery) -> bool {
        match failure.kind {
            Kind::Invalid => true,
            _ => lasts(failure) && delivery.tries >= self.inner.config.max_tries,
        }
    }

    /// Leaves a delivery to be made again later. A try counts only if its failure will not pass by itself:
    /// who cannot reach the store or a peer did not try.
    async fn again(&self, delivery: &Delivery, failure: &Failure) {
        let lease = &delivery.lease;
        // Whatever fails here, the lease ends by itself.
        if failure.kind == Kind::Unimplemented {
            // Only a newer version can read it, whether one is there or not.
            let pause = self.inner.consumers.pause_ms(&lease.address.subject);
            let _ = self.inner.store.release(lease, pause).await;
        } else if lasts(failure) {
            let hopeless = delivery.tries > self.inner.config.max_tries;
            let pause = if hopeless { HOPELESS_MS } else { AGAIN_MS };
            let _ = self
                .inner
                .store
                .extend(std::slice::from_ref(lease), pause)
                .await;
        } else {
            let _ = self.inner.store.release(lease, AGAIN_MS).await;
        }
    }

    /// One turn. What a message leads to may be more than one commit can hold; then it is
    /// given up, which fails its owner.
    async fn serve(
        &self,
        delivery: &Delivery,
        known: Option<Arc<Loaded>>,
        give_up: Option<&str>,
        place: &mut Place,
    ) -> Result<Option<(Arc<Loaded>, Option<Delivery>)>, Failure> {
        let lease = &delivery.lease;
        let mut known = known;
        for _ in 0..TRIES {
            let loaded = match known.take() {
                Some(loaded) => loaded,
                None => {
                    let executions = &self.inner.executions;
                    let address = &lease.address;
                    match executions
                        .subject(lease.shard, &address.subject, &address.group)
                        .await?
                    {
                        Some(loaded) => Arc::new(loaded),
                        // It was deleted: there is nothing to do any more.
                        None => return self.drop_messages(delivery).await.map(|()| None),
                    }
                }
            };
            if give_up.is_none() {
                match self.sift(delivery, &loaded).await? {
                    Sifted::Ours => {}
                    Sifted::PutOff(rest) => return Ok(Some((loaded, rest))),
                    Sifted::Fenced => return Ok(None),
                }
            }
            let messages = delivery.messages.iter();
            let steps: Vec<Step> = messages
                .map(|message| decode(message, &loaded, give_up))
                .collect::<Result<_, Failure>>()?;
            let then = Then::Continue(self.inner.config.lease_ms());
            let extra = Extra {
                acknowledge: Some((delivery, then)),
                ..Extra::default()
            };
            match self
                .advance_at(&loaded, lease.shard, &steps, extra, Some(&mut *place))
                .await?
            {
                Tried::Committed(loaded, next) => return Ok(Some((loaded, next))),
                Tried::Conflict => {}
                Tried::Fenced => return Ok(None),
                Tried::Refused(refused) => return Err(crate::definition::refused(&refused)),
            }
        }
        Err(Failure::new(
            Kind::Conflict,
            "the subject was changed by others every time",
        ))
    }

    pub(crate) async fn drop_messages(&self, delivery: &Delivery) -> Result<(), Failure> {
        let batch = Batch::new(delivery.lease.shard, self.inner.ground.fresh_id())
            .acknowledge(delivery, Then::Release);
        // Refused only if it was taken over, and then its new holder drops them.
        let _ = self.inner.store.commit(batch).await.map_err(unavailable)?;
        Ok(())
    }

    /// Does a run in a task of its own and commits what follows.
    pub(crate) fn spawn_run(
        &self,
        run: TaskRun,
        delivery: Delivery,
        known: Option<Arc<Loaded>>,
        place: OwnedSemaphorePermit,
    ) {
        let engine = self.clone();
        tokio::spawn(async move {
            let _place = place;
            let _held = engine.inner.leases.hold(&delivery);
            if let Err(failure) = engine.do_run(&run, &delivery, known).await {
                tracing::warn!(
                    execution.id = run.execution_id.as_str(),
                    task.type = run.task_type,
                    error = %failure,
                    "a task run cannot be ended now"
                );
                engine.again(&delivery, &failure).await;
            }
        });
    }

    /// A run that was left to any worker, or whose worker fell silent.
    pub(crate) async fn found_run(self, delivery: Delivery, place: OwnedSemaphorePermit) {
        let Some(message) = delivery.messages.first() else {
            return;
        };
        let read = serde_json::from_slice::<TaskRun>(&message.body);
        let unknown = match &read {
            Ok(run) if (self.inner.ground.task)(&run.task_type).is_none() => {
                Some(task_type(&run.task_type))
            }
            Ok(_) => None,
            Err(_) => Some(consumers::RUN.to_owned()),
        };
        if let Some(what) = unknown {
            match self.leave(&delivery, &what).await {
                Ok(false) => {}
                Ok(true) => return,
                Err(failure) => return self.again(&delivery, &failure).await,
            }
        }
        match read {
            Ok(run) => self.spawn_run(run, delivery, None, place),
            Err(error) => {
                let _place = place;
                let _held = self.inner.leases.hold(&delivery);
                let failure =
                    Failure::internal(format!("a run of its task cannot be read: {error}"));
                tracing::error!(error = %failure, "a task run cannot be read");
                let given_up = message.gives_up().is_some();
                let ended = if given_up || self.gives_up_on(&failure, &delivery) {
                    self.abort(&delivery, &failure.message).await
                } else {
                    // A process of a newer version may come.
                    Err(failure)
                };
                if let Err(failure) = ended {
                    self.again(&delivery, &failure).await;
                }
            }
        }
    }

    /// Fails the stage of a run that nobody can read: where it waits says whose it is.
    async fn abort(&self, delivery: &Delivery, reason: &str) -> Result<(), Failure> {
        let subject = &delivery.lease.address.subject;
        let mut parts = subject.split('/');
        let (Some(id), Some(stage), Some(attempt)) = (parts.next(), parts.next(), parts.next())
        else {
            return self.drop_messages(delivery).await;
        };
        let stage_id = StageId::new(stage);
        let steps = [Step::Message(Message::AbortStage {
            stage_id: stage_id.clone(),
            reason: reason.to_owned(),
        })];
        self.hand_to(delivery, &ExecutionId::new(id), &steps, |execution| {
            // A restart took the place of what the run was for.
            let there = execution.stage(&stage_id);
            there.is_some_and(|stage| attempt.parse() == Ok(stage.attempt))
        })
        .await
    }

    async fn do_run(
        &self,
        run: &TaskRun,
        delivery: &Delivery,
        known: Option<Arc<Loaded>>,
    ) -> Result<(), Failure> {
        let given_up = delivery
            .messages
            .first()
            .is_some_and(|m| m.gives_up().is_some());
        let ours = known.is_some();
        let loaded = match known {
            Some(known) => known,
            None => match self
                .inner
                .executions
                .load(run.execution_id.as_str())
                .await?
            {
                Some(loaded) => Arc::new(loaded),
                None => return self.drop_messages(delivery).await,
            },
        };
        if let Some(execution) = loaded.execution()
            && in_flight(execution) > 1
            && !ours
        {
            self.inner.results.mark_shared(&execution.id);
        }
        let result = if given_up {
            let text = "its worker fell silent again and again; the task was given up";
            Err(TaskError::permanent(text))
        } else {
            match self.execute(run, &loaded).await {
                Some(result) => result,
                None => return self.drop_messages(delivery).await,
            }
        };
        let ended = self
            .end_run(run, delivery, Arc::clone(&loaded), result)
            .await;
        match ended {
            Err(failure) if self.gives_up_on(&failure, delivery) => {
                let text = format!("the task's result cannot be stored: {failure}");
                let result = Err(TaskError::permanent(text));
                self.end_run(run, delivery, loaded, result).await
            }
            ended => ended,
        }
    }

    /// Runs the task; none if the run was superseded.
    async fn execute(
        &self,
        run: &TaskRun,
        loaded: &Arc<Loaded>,
    ) -> Option<Result<TaskResult, TaskError>> {
        let execution = loaded.execution()?;
        execution.stage(&run.stage_id)?;
        if run.run == orchestrator_core::RunKind::Run {
            let task = execution.stage(&run.stage_id)?.task(&run.task_id)?;
            if !task.in_flight || task.runs != run.number {
                return None;
            }
        }
        let Some(found) = (self.inner.ground.task)(&run.task_type) else {
            let text = format!("there is no task of type \"{}\"", run.task_type);
            return Some(Err(TaskError::permanent(text)));
        };
        self.inner.metrics.ran();
        let (run, loaded) = (run.clone(), Arc::clone(loaded));
        let (services, now) = (Arc::clone(&self.inner.services), self.now());
        let limit = self.inner.config.task_limit.0;
        // In a task of its own, so that a panic ends this run and no more.
        let work = tokio::spawn(async move {
            let execution = loaded.execution()?;
            let ctx = TaskContext {
                execution,
                stage: execution.stage(&run.stage_id)?,
                task_id: &run.task_id,
                now,
                effect_id: &run.effect_id,
                services: &*services,
            };
            Some(tokio::time::timeout(limit, found.run(&ctx)).await)
        });
        match work.await {
            Ok(Some(Ok(result))) => Some(result),
            Ok(Some(Err(_))) => {
                let text = format!("no answer within {} s", limit.as_secs());
                Some(Err(TaskError::new(ErrorClass::Transient, text)))
            }
            Ok(None) => None,
            Err(_) => Some(Err(TaskError::permanent(
                "the task panicked; this is a fault of ours",
            ))),
        }
    }

    /// An operation ended: the task that waits for it looks now.
    pub(crate) async fn operation_finished(self, delivery: Delivery, place: OwnedSemaphorePermit) {
        let _place = place;
        if let Err(failure) = self.wake(&delivery).await {
            tracing::warn!(error = %failure, "the end of an operation cannot be told now");
            if self.gives_up_on(&failure, &delivery) {
                // Who waits for it looks by itself, only later.
                let _ = self.drop_messages(&delivery).await;
            } else {
                self.again(&delivery, &failure).await;
            }
        }
    }

    async fn wake(&self, delivery: &Delivery) -> Result<(), Failure> {
        let Some(message) = delivery.messages.first() else {
            return Ok(());
        };
        let ended: OperationFinished = match serde_json::from_slice(&message.body) {
            Ok(ended) => ended,
            Err(error) => {
                if self.leave(delivery, consumers::OPERATION).await? {
                    return Ok(());
                }
                tracing::error!(error = %error, "the end of an operation cannot be read");
                return self.drop_messages(delivery).await;
            }
        };
        let steps = [Step::Message(Message::RunTask {
            stage_id: StageId::new(ended.stage_id),
            task_id: TaskId::new(ended.task_id),
        })];
        let id = ExecutionId::new(ended.execution_id);
        self.hand_to(delivery, &id, &steps, |_| true).await
    }

    /// Has an execution handle these, with the acknowledgement; drops it if there is no such, or
    /// it is not `wanted` any more.
    async fn hand_to(
        &self,
        delivery: &Delivery,
        id: &ExecutionId,
        steps: &[Step],
        wanted: impl Fn(&Execution) -> bool,
    ) -> Result<(), Failure> {
        for _ in 0..TRIES {
            let loaded = self.inner.executions.load(id.as_str()).await?;
            let Some(loaded) = loaded.filter(|l| l.execution().is_some_and(&wanted)) else {
                return self.drop_messages(delivery).await;
            };
            let extra = Extra {
                acknowledge: Some((delivery, Then::Release)),
                ..Extra::default()
            };
            match self
                .advance(&loaded, delivery.lease.shard, steps, extra)
                .await?
            {
                Tried::Committed(..) | Tried::Fenced => return Ok(()),
                Tried::Conflict => {}
                Tried::Refused(refused) => return Err(crate::definition::refused(&refused)),
            }
        }
        Err(Failure::new(
            Kind::Conflict,
            format!("execution {id} was changed by others every time"),
        ))
    }

    /// Waits for what is under way, then hands back what has not ended.
    pub(crate) async fn drain(&self, turns: &Arc<Semaphore>, grace: Duration) {
        let all = u32::try_from(self.inner.config.places()).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(grace, turns.acquire_many(all)).await;
        let runs = async {
            for (pool, places) in &self.inner.pools {
                let all = self.inner.config.pool_size(*pool);
                let _ = places
                    .acquire_many(u32::try_from(all).unwrap_or(u32::MAX))
                    .await;
            }
        };
        let _ = tokio::time::timeout(grace, runs).await;
        self.inner.leases.release_all().await;
    }
}

/// How many tasks of an execution are with workers.
fn in_flight(execution: &Execution) -> usize {
    let tasks = execution.stages.iter().flat_map(|stage| &stage.tasks);
    tasks.filter(|task| task.in_flight).count()
}

/// Whether a failure will not pass by itself: ours, or the input's.
pub(crate) fn lasts(failure: &Failure) -> bool {
    matches!(failure.kind, Kind::Internal | Kind::Invalid)
}

/// What a mailbox's message asks for.
pub(crate) fn read(message: &store::Message) -> Result<Step, Failure> {
    let unread = match serde_json::from_slice(&message.body) {
        Ok(message) => return Ok(Step::Message(message)),
        Err(error) => error,
    };
    let value: serde_json::Value = serde_json::from_slice(&message.body).unwrap_or_default();
    if let Ok((run, result)) = record::read_finished(&value) {
        return Ok(Step::Finished(run, result));
    }
    let print = message.gives_up().unwrap_or(&message.fingerprint);
    let kind = print.split('/').next().unwrap_or_default();
    Err(Failure::internal(format!(
        "message {kind} cannot be read: {unread}"
    )))
}

/// A mailbox's message; one that is given up fails its owner. One that nobody here can read may be a newer
/// version's: it is none until it is given up.
fn decode(
    message: &store::Message,
    loaded: &Loaded,
    give_up: Option<&str>,
) -> Result<Step, Failure> {
    let notice = message.gives_up().is_some();
    let read = match read(message) {
        Ok(read) => read,
        Err(failure) => {
            let reason = give_up.or_else(|| notice.then_some(&failure.message));
            let owner = reason.map(|reason| of_owner(message, loaded, reason));
            return owner.map(Step::Message).ok_or(failure);
        }
    };
    Ok(match read {
        Step::Message(read) => Step::Message(match give_up {
            Some(reason) => read.given_up_because(reason),
            None if notice => read.given_up(),
            None => read,
        }),
        Step::Finished(run, _) if notice || give_up.is_some() => {
            let reason = give_up.unwrap_or("it failed again and again");
            let text = format!("the task's result cannot be stored: {reason}");
            Step::Finished(run, Err(TaskError::permanent(text)))
        }
        read => read,
    })
}

/// What fails the owner of a message that nobody can read: its fingerprint names the stage, if it is for one.
fn of_owner(message: &store::Message, loaded: &Loaded, reason: &str) -> Message {
    let print = message.gives_up().unwrap_or(&message.fingerprint);
    let ids = print.split('/').skip(1).map(StageId::new);
    let execution = loaded.execution();
    let stage = ids
        .into_iter()
        .find(|id| execution.is_some_and(|e| e.stage(id).is_some()));
    let reason = reason.to_owned();
    match stage {
        Some(stage_id) => Message::AbortStage { stage_id, reason },
        None => Message::CancelExecution {
            user: "gennaker".to_owned(),
            reason: Some(reason),
        },
    }
}

/// The queue and handler of mailboxes.
pub(crate) const MAILBOX: &str = store::MAILBOX;
