//! The shell around the engine: takes a turn, commits it, hands out its task runs.
//!
//! Owns the order of these three and nothing else: what follows from a message is
//! `orchestrator-core`'s, how it is written is [`crate::commit`]'s. Nothing is
//! done outside before the commit that says so.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use authorization::Policy;
use orchestrator_core::{
    Answers, Execution, IdSource, Lookup, Settings, TaskError, TaskResult, TaskRun, dry_run_result,
    note_losses,
};
use proto::status::{Failure, Kind};
use store::{Delivery, IndexChange, Refused, Shard, Shards, Shared, Then};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::commit::{self, Acknowledge, Writing};
use crate::config::Config;
use crate::consumers::Consumers;
use crate::definition::unavailable;
use crate::executions::Executions;
use crate::ground::Ground;
use crate::leases::Leases;
use crate::lookup;
use crate::metrics::Metrics;
use crate::place::Place;
use crate::record;
use crate::results::Results;
use crate::services::Services;
use crate::size;
use crate::task::{Pool, TaskContext};
use crate::turn::{self, Around, Limits, Loaded, Step, Turn};

/// A turn goes no further after this time.
const TURN: Duration = Duration::from_millis(5);
/// Look-ups of one turn are fetched in so many rounds at the most.
const ROUNDS: usize = 10;
/// How often large values that went before their commit came are put again.
const PUTS: usize = 5;
/// How often a turn that met another writer is taken again.
pub(crate) const TRIES: usize = 50;

/// The engine of one process. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Shared,
    pub(crate) executions: Executions,
    pub(crate) services: Arc<dyn Services>,
    pub(crate) config: Config,
    pub(crate) settings: Settings,
    /// How the log names this engine.
    pub(crate) name: String,
    pub(crate) pools: BTreeMap<Pool, Arc<Semaphore>>,
    /// Turns that wait for look-ups.
    pub(crate) lookups: Semaphore,
    pub(crate) leases: Leases,
    /// Results that wait for their commit.
    pub(crate) results: Results,
    pub(crate) consumers: Consumers,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) ground: Ground,
}

/// What came of one try.
#[derive(Debug)]
pub(crate) enum Tried {
    /// It is durable: the subject afterwards, and what else its mailbox holds.
    Committed(Arc<Loaded>, Option<Delivery>),
    /// Another writer was faster: load again.
    Conflict,
    /// The lease was taken over: drop the work.
    Fenced,
    /// Refused for a reason that loading again does not end.
    Refused(Refused),
}

/// What a try is made of beside subject and steps.
#[derive(Debug, Default)]
pub(crate) struct Extra<'a> {
    /// What is acknowledged with it.
    pub(crate) acknowledge: Option<(&'a Delivery, Then)>,
    /// What else is acknowledged and let go.
    pub(crate) released: &'a [&'a Delivery],
    /// A change of an index that belongs to it.
    pub(crate) index: Option<IndexChange>,
}

struct Minted {
    shards: Shards,
    shard: Shard,
    seed: String,
    now: i64,
    count: u32,
}

impl IdSource for Minted {
    fn next_id(&mut self) -> String {
        self.count += 1;
        self.shards.mint_id(
            self.now,
            &format!("{}/{}", self.seed, self.count),
            self.shard,
        )
    }

    fn derived_id(&mut self, at: i64, purpose: &str) -> String {
        self.shards.mint_id(at, purpose, self.shard)
    }
}

impl Engine {
    /// An engine over a store and the doors to peers.
    pub fn new(store: Shared, services: Arc<dyn Services>, config: Config, ground: Ground) -> Self {
        let pools = Pool::ALL
            .into_iter()
            .map(|pool| (pool, Arc::new(Semaphore::new(config.pool_size(pool)))))
            .collect();
        let settings = services.settings().clone();
        Self {
            inner: Arc::new(Inner {
                executions: Executions::with_archive(store.clone(), config.archive.open())
                    .keeping(config.execution_limit),
                leases: Leases::new(store.clone(), config.lease_ms()),
                consumers: Consumers::new(store.clone()),
                store,
                results: Results::default(),
                services,
                lookups: Semaphore::new(config.pool_size(Pool::Http)),
                config,
                name: record::engine(&settings),
                settings,
                pools,
                metrics: Arc::new(Metrics::default()),
                ground,
            }),
        }
    }

    /// The executions it works on.
    pub fn executions(&self) -> &Executions {
        &self.inner.executions
    }

    /// What it counts.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.inner.metrics)
    }

    /// The operator's settings about who may do what.
    pub(crate) fn policy(&self) -> &Policy {
        static OPEN: LazyLock<Policy> = LazyLock::new(Policy::default);
        let own = self.inner.config.authorization.as_deref();
        own.unwrap_or(&OPEN)
    }

    /// The settings of every handler.
    pub(crate) fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// Fetches what an expression asks for, as much as one turn may and this user.
    pub(crate) async fn look_up(&self, mut lookups: Vec<Lookup>, user: &str) -> Answers {
        lookups.truncate(lookup::MOST);
        lookup::fetch(self.inner.services.as_ref(), &lookups, user).await
    }

    pub(crate) fn now(&self) -> i64 {
        (self.inner.ground.now)()
    }

    /// Source of the ids of one turn.
    pub(crate) fn ids(&self, shard: Shard) -> impl IdSource {
        self.ids_of(shard, self.inner.ground.fresh_id(), self.now())
    }

    /// A source that gives the same ids for the same seed and time.
    pub(crate) fn ids_of(&self, shard: Shard, seed: String, now: i64) -> impl IdSource {
        Minted {
            shards: self.inner.store.shards(),
            shard,
            seed,
            now,
            count: 0,
        }
    }

    /// How often the store lost commits of a shard.
    pub(crate) fn losses(&self, shard: Shard) -> u64 {
        self.inner.store.losses(shard)
    }

    /// Takes a turn, commits it, and has its task runs done.
    pub(crate) async fn advance(
        &self,
        loaded: &Loaded,
        shard: Shard,
        steps: &[Step],
        extra: Extra<'_>,
    ) -> Result<Tried, Failure> {
        self.advance_at(loaded, shard, steps, extra, None).await
    }

    /// The same for who holds a place among the turns.
    pub(crate) async fn advance_at(
        &self,
        loaded: &Loaded,
        shard: Shard,
        steps: &[Step],
        extra: Extra<'_>,
        place: Option<&mut Place>,
    ) -> Result<Tried, Failure> {
        let (turn, answers) = self.turn(loaded, shard, steps, place).await?;
        let mut permits: Vec<Option<OwnedSemaphorePermit>> =
            turn.runs.iter().map(|run| self.place(run)).collect();
        let lease_ms = self.inner.config.lease_ms();
        let mut puts = 0;
        loop {
            let writing = Writing {
                shard,
                id: self.inner.ground.fresh_id(),
                now: self.now(),
                acknowledge: extra
                    .acknowledge
                    .map(|(delivery, then)| Acknowledge { delivery, then }),
                leases: permits
                    .iter()
                    .map(|p| p.as_ref().map(|_| lease_ms))
                    .collect(),
                answers: &answers,
                keep_ms: self.inner.config.stay_ms(),
                engine: &self.inner.name,
                limit: self.inner.config.execution_limit,
            };
            let mut prepared = commit::prepare(loaded, &turn, &writing);
            let digest = prepared.digest.or(loaded.digest);
            if let Some(too_large) = prepared.too_large
                && !size::only_ends(steps)
            {
                return Err(Failure::new(Kind::Invalid, too_large.to_string()));
            }
            if let Some(execution) = loaded.execution() {
                let blobs = std::mem::take(&mut prepared.blobs);
                let executions = &self.inner.executions;
                executions
                    .put_aside(shard, execution.id.as_str(), blobs)
                    .await?;
            }
            for delivery in extra.released {
                prepared.batch = prepared.batch.acknowledge(delivery, Then::Release);
            }
            if let Some(index) = extra.index.clone() {
                for change in commit::claimed(index, self.now()) {
                    prepared.batch = prepared.batch.index(change);
                }
            }
            let committed = self
                .inner
                .store
                .commit(prepared.batch)
                .await
                .map_err(unavailable)?;
            let committed = match committed {
                Ok(committed) => committed,
                // The only guard is the version of a subject that is not written.
                Err(Refused::Conflict { .. } | Refused::Guard(_)) => {
                    self.inner.metrics.conflicted();
                    return Ok(Tried::Conflict);
                }
                Err(Refused::Fenced(_)) => return Ok(Tried::Fenced),
                Err(Refused::Missing { .. }) if puts < PUTS => {
                    // The store lost them between the two: a value put is not a commit yet.
                    puts += 1;
                    continue;
                }
                Err(Refused::Busy(_)) if permits.iter().any(Option::is_some) => {
                    // Somebody has such a run already: leave them to whoever takes them.
                    permits.iter_mut().for_each(|permit| *permit = None);
                    continue;
                }
                Err(other) => return Ok(Tried::Refused(other)),
            };
            self.inner.executions.keep(&turn.subject, prepared.texts);
            self.tell(&turn);
            let changed = turn.changes() || loaded.version == 0 || !answers.is_empty();
            let mut after = Loaded {
                version: loaded.version + u64::from(changed),
                subject: turn.subject,
                answers: loaded.answers.clone(),
                application: loaded.application.clone(),
                digest,
                stored: prepared.stored,
            };
            after.answers.extend(answers);
            let after = Arc::new(after);
            if turn.runs.len() > 1
                && permits.iter().any(Option::is_none)
                && let Some(execution) = after.execution()
            {
                // There are more than this process has places for.
                self.inner.results.mark_shared(&execution.id);
            }
            let mut leased = committed.leased.into_iter();
            for (run, permit) in turn.runs.into_iter().zip(permits) {
                if let Some(permit) = permit
                    && let Some(delivery) = leased.next()
                {
                    self.spawn_run(run, delivery, Some(Arc::clone(&after)), permit);
                }
            }
            let next = committed.next.into_iter().next();
            return Ok(Tried::Committed(after, next));
        }
    }

    async fn turn(
        &self,
        loaded: &Loaded,
        shard: Shard,
        steps: &[Step],
        mut place: Option<&mut Place>,
    ) -> Result<(Turn, Answers), Failure> {
        let mut known = Cow::Borrowed(loaded);
        let mut added = Answers::new();
        // A new one was not there to lose anything.
        let told = loaded.execution().filter(|_| loaded.version > 0);
        let notice = told.and_then(|e| note_losses(e, self.losses(shard), self.now()));
        let steps: Vec<Step> = notice
            .into_iter()
            .map(Step::Decided)
            .chain(steps.iter().cloned())
            .collect();
        // What follows from the steps asks too much: then it follows from messages of its own, which fail alone.
        let alone = Limits {
            steps: 0,
            ..Limits::default()
        };
        let wide = std::iter::repeat_n(Limits::default(), ROUNDS);
        for limits in wide.chain([alone]) {
            let found = {
                let begun = Instant::now();
                let mut ids = self.ids(shard);
                let mut around = Around {
                    now: self.now(),
                    ids: &mut ids,
                    stages: self.inner.ground.stages,
                    settings: &self.inner.settings,
                    decide: &|run, execution| self.decide(run, execution),
                    limits,
                    in_time: &|| begun.elapsed() < TURN,
                };
                turn::take(&known, steps.clone(), &mut around)
            };
            match found {
                Ok(turn) => return Ok((turn, added)),
                Err(_) if limits == alone => break,
                Err(mut lookups) => {
                    lookups.truncate(lookup::MOST);
                    let user = known.execution().map_or("", Execution::user);
                    let answers = self.ask(&lookups, user, place.as_deref_mut()).await;
                    known.to_mut().answers.extend(answers.clone());
                    added.extend(answers);
                }
            }
        }
        // More rounds than an expression can need: answer what it still asks for.
        Err(Failure::internal(
            "an expression keeps asking for further look-ups",
        ))
    }

    /// Fetches look-ups. Slow hosts hold one another up, not the turns that ask nobody.
    async fn ask(&self, lookups: &[Lookup], user: &str, place: Option<&mut Place>) -> Answers {
        let asking = self.inner.lookups.acquire().await;
        let Some(place) = place else {
            return lookup::fetch(self.inner.services.as_ref(), lookups, user).await;
        };
        place.leave();
        let answers = lookup::fetch(self.inner.services.as_ref(), lookups, user).await;
        drop(asking);
        place.back().await;
        answers
    }

    /// The answer of a task that asks nobody outside.
    fn decide(
        &self,
        run: &TaskRun,
        execution: &Execution,
    ) -> Option<Result<TaskResult, TaskError>> {
        if let Some(result) = dry_run_result(&run.task_type) {
            return Some(Ok(result));
        }
        if !self.inner.config.fold_tasks {
            return None;
        }
        let stage = execution.stage(&run.stage_id)?;
        let task = (self.inner.ground.task)(&run.task_type)?;
        task.decide(&TaskContext {
            execution,
            stage,
            task_id: &run.task_id,
            now: self.now(),
            effect_id: &run.effect_id,
            services: &*self.inner.services,
        })
    }

    /// A place in the pool of a run's peer, if one is free.
    fn place(&self, run: &TaskRun) -> Option<OwnedSemaphorePermit> {
        let pool = (self.inner.ground.task)(&run.task_type)?.pool();
        Arc::clone(self.inner.pools.get(&pool)?)
            .try_acquire_owned()
            .ok()
    }

    /// Logs and counts what a turn did, after it is durable.
    fn tell(&self, turn: &Turn) {
        self.inner.metrics.committed(turn.inputs.len());
        for (message, reason) in &turn.ignored {
            self.inner.metrics.ignored(message, *reason);
            tracing::debug!(message.type = message, reason = reason.as_str(), "ignored");
        }
        for event in &turn.events {
            let text = |key: &str| event.detail.get(key).and_then(|v| v.as_str());
            if event.kind.starts_with("task:") {
                continue;
            }
            tracing::info!(
                event = event.kind,
                execution.id = text("executionId"),
                application = text("application"),
                stage.id = text("stageId"),
                stage.type = text("stageType"),
                status = text("status"),
                "execution event"
            );
        }
    }
}
