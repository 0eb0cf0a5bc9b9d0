//! The worker: takes operations from the queue and performs them step by step.
//!
//! Owns the order commit → effect → observation. It must never cause anything
//! that was not committed before, and never decides what comes next: the kind
//! plans phases, the rollout machine plans moves. A `kill -9` anywhere loses
//! nothing: the state is read again and every effect may be repeated.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rollout::{Outcome, Restored};
use runtime::Shutdown;
use store::{
    Batch, Committed, Consumer, ConsumerSettings, Delivery, Lease, Message, Refused, Then,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::ledger::{self, Ledger, Operation, State};
use super::{Changes, Kind, Planning, Refused as Refusal, kind};
use crate::config::Config;
use crate::provider::local::{self, Local, job::Order, journal, run::Run};

/// How long a lease lasts without a heartbeat: what a successor waits after a
/// `kill -9`.
const LEASE_MS: u64 = 1_500;

/// How often a lease is lengthened.
const HEARTBEAT: Duration = Duration::from_millis(400);

/// Deliveries without a single step in between before an operation is given up.
const MAX_TRIES: u32 = 100;

/// Operations performed at the same time, of each queue.
const MAX_RUNNING: usize = 64;

/// Why the performance of an operation stopped before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped {
    /// Somebody else performs it now, or the process is to end.
    #[error("handed over")]
    HandedOver,
    /// The journal failed; the operation is delivered again.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// The ledger failed, likewise.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// The provider failed in a way that may pass.
    #[error(transparent)]
    Local(#[from] local::Error),
    /// The store refused a step.
    #[error("a step was refused: {0}")]
    Refused(String),
}

impl From<store::Error> for Stopped {
    fn from(error: store::Error) -> Self {
        Self::Journal(error.into())
    }
}

/// The consumer of the queue.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Settings.
    pub config: Arc<Config>,
    /// The provider.
    pub local: Arc<Local>,
    /// The ledger.
    pub ledger: Ledger,
    /// The queue it takes them from.
    pub queue: &'static str,
}

/// The right to perform one operation, passed to every commit.
#[derive(Debug, Clone)]
pub(crate) struct Right {
    pub(crate) lease: Lease,
    pub(crate) lost: CancellationToken,
}

impl Worker {
    /// Performs operations until the shutdown begins.
    ///
    /// # Errors
    /// Never; store failures are waited out.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), store::Error> {
        let store = self.local.journal().store().clone();
        let settings = ConsumerSettings {
            queue: self.queue.to_owned(),
            lease_ms: LEASE_MS,
            max_tries: MAX_TRIES,
        };
        let mut consumer = Consumer::new(store.clone(), settings);
        let mut running = JoinSet::new();
        loop {
            while running.len() >= MAX_RUNNING {
                running.join_next().await;
            }
            while running.try_join_next().is_some() {}
            let Some(deliveries) = shutdown.or(consumer.next(8)).await else {
                break;
            };
            match deliveries {
                Ok(deliveries) => {
                    for delivery in deliveries {
                        let (worker, shutdown) = (self.clone(), shutdown.clone());
                        running.spawn(async move { worker.subject(delivery, shutdown).await });
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "operations cannot be read; will retry");
                    if !shutdown.sleep(Duration::from_millis(500)).await {
                        break;
                    }
                }
            }
        }
        // Each stops at its next safe point and gives its lease back.
        while running.join_next().await.is_some() {}
        Ok(())
    }

    /// Performs the operations of one subject, one after another.
    async fn subject(&self, delivery: Delivery, shutdown: Shutdown) {
        let lost = CancellationToken::new();
        let right = Right {
            lease: delivery.lease.clone(),
            lost: lost.clone(),
        };
        let beats = tokio::spawn(heartbeat(self.local.clone(), right.clone(), shutdown));
        let mut delivery = Some(delivery);
        while let Some(present) = delivery.take() {
            let Some(message) = present.messages.first() else {
                break;
            };
            match self.message(message, &right).await {
                Ok(next) => delivery = next,
                Err(Stopped::HandedOver) => {
                    self.release(&right.lease, 0).await;
                    break;
                }
                Err(error) => {
                    let subject = &right.lease.address.subject;
                    tracing::warn!(%error, subject, "operation is interrupted; will retry");
                    self.release(&right.lease, 500).await;
                    break;
                }
            }
        }
        lost.cancel();
        beats.abort();
    }

    async fn release(&self, lease: &Lease, delay_ms: u64) {
        if let Err(error) = self.local.journal().store().release(lease, delay_ms).await {
            // It ends by itself.
            tracing::debug!(%error, "lease was not released");
        }
    }

    async fn message(&self, message: &Message, right: &Right) -> Result<Option<Delivery>, Stopped> {
        let id = String::from_utf8_lossy(&message.body).into_owned();
        let mut operation = match self.ledger.load(&id).await {
            Ok(operation) => operation,
            // Cleared away since: there is nothing left to do.
            Err(ledger::Error::Unknown(_)) => return self.acknowledge(message, right, &id).await,
            Err(error) => return Err(error.into()),
        };
        if operation.head.state != State::Running {
            return self.acknowledge(message, right, &id).await;
        }
        tracing::info!(
            operation.id = id,
            operation.kind = operation.head.kind,
            "operation begins or resumes"
        );
        if message.gives_up().is_some() {
            let text = format!("given up after {MAX_TRIES} attempts without a step");
            fail(&mut operation, text, Vec::new(), true);
            return self
                .finish(operation, Changes::default(), message, right)
                .await;
        }
        let Some(kind) = kind(&operation.head.kind) else {
            let text = format!("kind {} is not known here", operation.head.kind);
            fail(&mut operation, text, Vec::new(), false);
            return self
                .finish(operation, Changes::default(), message, right)
                .await;
        };
        match kind.job(&operation.input) {
            None => self.perform(kind, operation, message, right).await,
            Some(Ok(order)) => self.job(operation, &order, message, right).await,
            Some(Err(fault)) => {
                let text = Refusal::from(fault).to_string();
                fail(&mut operation, text, Vec::new(), false);
                self.finish(operation, Changes::default(), message, right)
                    .await
            }
        }
    }

    /// Runs a job to its end.
    async fn job(
        &self,
        mut operation: Operation,
        order: &Order,
        message: &Message,
        right: &Right,
    ) -> Result<Option<Delivery>, Stopped> {
        let run = self
            .local
            .run_job(&self.ledger, &mut operation, order, right);
        let end = run.await?;
        operation.result = end.result;
        match end.error {
            None => operation.head.state = State::Succeeded,
            Some(error) => fail(&mut operation, error, end.details, end.retryable),
        }
        let id = operation.head.id.clone();
        let next = self
            .finish(operation, Changes::default(), message, right)
            .await?;
        self.local.bury_job(&id).await;
        Ok(next)
    }

    async fn perform(
        &self,
        kind: &'static dyn Kind,
        mut operation: Operation,
        message: &Message,
        right: &Right,
    ) -> Result<Option<Delivery>, Stopped> {
        loop {
            if operation.work.rollout.is_none() {
                if let Some(reason) = operation.head.cancel.clone() {
                    fail(
                        &mut operation,
                        format!("canceled: {reason}"),
                        Vec::new(),
                        false,
                    );
                    return self.abandon(kind, operation, message, right).await;
                }
                let facts = self.facts().await?;
                let planned = {
                    let planning = facts.planning(&operation, &self.config);
                    kind.phase(operation.work.phase, &planning)
                };
                match planned {
                    Err(refused) => {
                        fail(&mut operation, refused.to_string(), Vec::new(), false);
                        return self.abandon(kind, operation, message, right).await;
                    }
                    Ok(None) => return self.complete(kind, operation, message, right).await,
                    Ok(Some(phase)) => {
                        operation.work.memory = phase.memory;
                        operation.work.rollout = phase.rollout;
                        if operation.work.rollout.is_none() {
                            operation.work.phase += 1;
                        }
                        let text =
                            format!("Planned phase {} of {}", operation.work.phase, kind.name());
                        operation.note("ORCHESTRATION", text, local::now_ms());
                        let asked = listeners(&phase.changes);
                        let batch = self.batch(&operation, right);
                        let batch = write(batch, &phase.changes);
                        operation = self.step(operation, batch, right).await?;
                        if operation.work.rollout.is_none() {
                            self.local.routers().apply(self.local.journal()).await?;
                            if let Some(why) = self.unheard(&asked) {
                                fail(&mut operation, why, Vec::new(), true);
                                return self.abandon(kind, operation, message, right).await;
                            }
                            continue;
                        }
                    }
                }
            }
            let mut run = Run::begin(&self.local, &self.ledger, operation, right.clone()).await?;
            let outcome = run.drive().await?;
            operation = run.into_operation();
            match outcome {
                Outcome::Succeeded => {
                    operation.work.rollout = None;
                    operation.work.phase += 1;
                }
                Outcome::Failed { failure, restored } => {
                    let text = explain(&failure, &restored);
                    let details = std::mem::take(&mut operation.head.details);
                    fail(&mut operation, text, details, failure.retryable());
                    return if restored == Restored::Whole {
                        self.abandon(kind, operation, message, right).await
                    } else {
                        self.finish(operation, Changes::default(), message, right)
                            .await
                    };
                }
            }
        }
    }

    /// Why the balancer does not listen where it was just asked to; it is asked again with each
    /// configuration, as what was written stays.
    fn unheard(&self, asked: &[String]) -> Option<String> {
        let all = self.local.routers().balancer().unheard();
        let found: Vec<_> = all
            .iter()
            .filter(|one| asked.contains(&one.address))
            .map(|one| format!("listener {}: {}", one.address, one.why))
            .collect();
        (!found.is_empty()).then(|| found.join("; "))
    }

    async fn complete(
        &self,
        kind: &dyn Kind,
        mut operation: Operation,
        message: &Message,
        right: &Right,
    ) -> Result<Option<Delivery>, Stopped> {
        let facts = self.facts().await?;
        let completion = kind.complete(&facts.planning(&operation, &self.config));
        operation.result = completion.result;
        operation.head.state = State::Succeeded;
        self.finish(operation, completion.changes, message, right)
            .await
    }

    async fn abandon(
        &self,
        kind: &dyn Kind,
        operation: Operation,
        message: &Message,
        right: &Right,
    ) -> Result<Option<Delivery>, Stopped> {
        let facts = self.facts().await?;
        let changes = kind.abandon(&facts.planning(&operation, &self.config));
        self.finish(operation, changes, message, right).await
    }

    /// Writes the end of an operation: state, result, what remains of the
    /// documents, the word to who waits, and the acknowledgement, all at once.
    async fn finish(
        &self,
        mut operation: Operation,
        changes: Changes,
        message: &Message,
        right: &Right,
    ) -> Result<Option<Delivery>, Stopped> {
        let now = local::now_ms();
        operation.head.finished_ms = now;
        operation.work.rollout = None;
        let text = match &operation.head.error {
            None => format!("{} succeeded", operation.head.kind),
            Some(error) => format!("{} failed: {error}", operation.head.kind),
        };
        operation.note("ORCHESTRATION", text, now);
        loop {
            let batch = write(self.batch(&operation, right), &changes);
            let batch = self.ledger.finish(&operation, batch).await?;
            let batch = batch.acknowledge(&handled(message, right), Then::Continue(LEASE_MS));
            match self.local.journal().store().commit(batch).await? {
                Ok(committed) => {
                    tracing::info!(
                        operation.id = operation.head.id,
                        operation.kind = operation.head.kind,
                        succeeded = operation.head.state == State::Succeeded,
                        error = operation.head.error,
                        "operation ended"
                    );
                    if !changes.gone.is_empty() || !changes.groups.is_empty() {
                        // Routes of groups that are gone; nothing waits for it.
                        if let Err(error) = self.local.routers().apply(self.local.journal()).await {
                            tracing::warn!(%error, "load balancer was not told at once");
                        }
                    }
                    if operation.head.state == State::Succeeded {
                        self.prune_images().await;
                    }
                    return Ok(continued(committed));
                }
                // Somebody asked for a cancellation: too late. A version that went back means that the
                // store lost commits: what is in memory is not to be built on then.
                Err(Refused::Conflict { key, actual })
                    if key.as_str().starts_with("operation:") && actual > operation.version =>
                {
                    operation.version = actual;
                }
                Err(Refused::Fenced(_)) => return Err(Stopped::HandedOver),
                Err(other) => return Err(Stopped::Refused(other.to_string())),
            }
        }
    }

    /// Gives back the space of images that no server group means any more, meanwhile.
    async fn prune_images(&self) {
        let Ok(everything) = self.local.journal().everything().await else {
            return;
        };
        let digests = everything
            .groups
            .iter()
            .filter_map(|g| g.image.digest.clone());
        let in_use: BTreeSet<String> = digests.collect();
        let images = self.local.images().clone();
        drop(tokio::task::spawn_blocking(move || images.prune(&in_use)));
    }

    async fn acknowledge(
        &self,
        message: &Message,
        right: &Right,
        id: &str,
    ) -> Result<Option<Delivery>, Stopped> {
        let token = right.lease.token;
        let batch = Batch::new(
            self.local.journal().shard(),
            format!("operation:{id}:ack:{token}"),
        )
        .acknowledge(&handled(message, right), Then::Continue(LEASE_MS));
        match self.local.journal().store().commit(batch).await? {
            Ok(committed) => Ok(continued(committed)),
            Err(Refused::Fenced(_)) => Err(Stopped::HandedOver),
            Err(other) => Err(Stopped::Refused(other.to_string())),
        }
    }

    /// Commits one step of an operation.
    async fn step(
        &self,
        mut operation: Operation,
        batch: Batch,
        right: &Right,
    ) -> Result<Operation, Stopped> {
        let batch = batch.fenced_by(&right.lease, Then::Continue(LEASE_MS));
        match self.local.journal().store().commit(batch).await? {
            Ok(committed) => {
                operation.version = committed.versions.first().copied().unwrap_or_default();
                Ok(operation)
            }
            Err(Refused::Fenced(_)) => Err(Stopped::HandedOver),
            Err(other) => Err(Stopped::Refused(other.to_string())),
        }
    }

    fn batch(&self, operation: &Operation, right: &Right) -> Batch {
        step_batch(self.local.journal().shard(), operation, right)
    }

    /// What a kind decides on.
    async fn facts(&self) -> Result<Facts, Stopped> {
        let everything = self.local.journal().everything().await?;
        let mut dead = BTreeSet::new();
        for instance in &everything.instances {
            if self.local.shims().has_exited(instance).await {
                dead.insert(instance.id.clone());
            }
        }
        let serving = self.local.routers().serving();
        Ok(Facts {
            everything,
            dead,
            serving,
        })
    }
}

struct Facts {
    everything: journal::Everything,
    dead: BTreeSet<String>,
    serving: BTreeSet<String>,
}

impl Facts {
    fn planning<'a>(&'a self, operation: &'a Operation, config: &'a Config) -> Planning<'a> {
        Planning {
            operation: &operation.head.id,
            input: &operation.input,
            config,
            everything: &self.everything,
            dead: &self.dead,
            serving: &self.serving,
            memory: &operation.work.memory,
            now_ms: local::now_ms(),
        }
    }
}

/// A batch that begins with the operation's own document.
///
/// Its name holds the lease's token: what a predecessor may still have under way
/// at this version is another commit, and fenced.
pub(crate) fn step_batch(shard: store::Shard, operation: &Operation, right: &Right) -> Batch {
    let (id, version, token) = (&operation.head.id, operation.version, right.lease.token);
    let id = format!("operation:{id}:{version}:{token}");
    operation.write(Batch::new(shard, id))
}

/// Addresses that changes ask to listen on.
fn listeners(changes: &Changes) -> Vec<String> {
    let all = changes.balancers.iter().flat_map(|b| &b.listeners);
    all.map(|listener| listener.address.clone()).collect()
}

/// How long a step keeps the lease.
pub(crate) fn keep() -> Then {
    Then::Continue(LEASE_MS)
}

fn write(mut batch: Batch, changes: &Changes) -> Batch {
    for group in &changes.groups {
        batch = journal::put_group(batch, group);
    }
    for group in &changes.gone {
        batch = journal::drop_group(batch, group);
    }
    for balancer in &changes.balancers {
        batch = journal::put_balancer(batch, balancer);
    }
    batch
}

fn handled(message: &Message, right: &Right) -> Delivery {
    Delivery {
        lease: right.lease.clone(),
        tries: 0,
        messages: vec![message.clone()],
    }
}

fn continued(committed: Committed) -> Option<Delivery> {
    committed.next.into_iter().next()
}

fn fail(operation: &mut Operation, error: String, details: Vec<String>, retryable: bool) {
    operation.head.state = State::Failed;
    operation.head.error = Some(error);
    operation.head.details = details;
    operation.head.retryable = retryable;
}

fn explain(failure: &rollout::Failure, restored: &Restored) -> String {
    match restored {
        Restored::Whole => format!("{failure}; everything is as it was before"),
        Restored::Partly { failure: second } => format!(
            "{failure}; the way back failed too: {second}; look at the cluster's server groups"
        ),
        Restored::Impossible => {
            format!("{failure}; instances were stopped already, so it stays as it is")
        }
    }
}

/// Keeps a lease; cancels the work when it was taken over or the shutdown began.
async fn heartbeat(local: Arc<Local>, right: Right, shutdown: Shutdown) {
    loop {
        if !shutdown.sleep(HEARTBEAT).await {
            right.lost.cancel();
            return;
        }
        let leases = [right.lease.clone()];
        match local.journal().store().extend(&leases, LEASE_MS).await {
            Ok(kept) if kept.first() == Some(&false) => {
                right.lost.cancel();
                return;
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "lease was not lengthened"),
        }
    }
}
