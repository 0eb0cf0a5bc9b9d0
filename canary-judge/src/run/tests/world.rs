//! A store in memory whose clock stands until it is moved, metric stores that follow a script, and a process that is
//! killed at a step.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use judge::MetricSet;
use judge::run::Plan;
use proto::status::Failure;
use runtime::auth::AuthContext;
use serde_json::{Value, json};
use store::embedded::{Embedded, ManualClock};
use store::{
    Batch, Committed, Delivery, Document, DocumentKey, Epoch, Error, FeedPage, IndexEntry, Info,
    Lease, NamedLease, Order, Refused, Reserve, Reserved, Shard, Shards, Shared, Store, Then,
    Version,
};
use tokio::sync::watch;

use crate::query::Question;
use crate::run::room::ROOM;
use crate::run::{QUEUE, Runs, Start};
use crate::source::{Class, Source, SourceError};
use crate::stores::Stores;

/// Where the clock begins: 2026-01-01T00:00:00Z.
pub(super) const NOW: i64 = 1_767_225_600_000;
/// How long leases last.
const LEASE_MS: i64 = 1_000;

/// When a process dies. It counts every call that leaves it; from the one on at which it dies, nothing gets out.
#[derive(Debug, Default)]
pub(super) struct Fate {
    steps: AtomicUsize,
    /// The step it dies at; 0: none.
    at: AtomicUsize,
    /// Whether that step is still done, and only its answer lost.
    after: AtomicBool,
    dead: AtomicBool,
}

impl Fate {
    pub(super) fn die_at(&self, step: usize, after: bool) {
        self.at.store(step, Ordering::SeqCst);
        self.after.store(after, Ordering::SeqCst);
    }

    pub(super) fn steps(&self) -> usize {
        self.steps.load(Ordering::SeqCst)
    }

    /// Whether the call is made, and whether its answer arrives.
    fn step(&self) -> (bool, bool) {
        if self.dead.load(Ordering::SeqCst) {
            return (false, false);
        }
        let step = self.steps.fetch_add(1, Ordering::SeqCst) + 1;
        if step == self.at.load(Ordering::SeqCst) {
            self.dead.store(true, Ordering::SeqCst);
            return (self.after.load(Ordering::SeqCst), false);
        }
        (true, true)
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    fn again(&self) {
        self.dead.store(false, Ordering::SeqCst);
    }
}

fn gone() -> Error {
    Error::Unavailable("killed".to_owned())
}

/// The store as a process that may die sees it.
#[derive(Debug)]
pub(super) struct Mortal {
    inner: Shared,
    fate: Arc<Fate>,
    /// Bytes of the largest value it takes.
    most: Arc<AtomicUsize>,
}

macro_rules! step {
    ($self:ident, $call:expr) => {{
        let (made, told) = $self.fate.step();
        if !made {
            return Err(gone());
        }
        let outcome = $call.await;
        if told { outcome } else { Err(gone()) }
    }};
}

#[async_trait]
impl Store for Mortal {
    fn shards(&self) -> Shards {
        self.inner.shards()
    }
    async fn commit(&self, batch: Batch) -> Result<Result<Committed, Refused>, Error> {
        step!(self, self.inner.commit(batch))
    }
    async fn load(&self, shard: Shard, key: &DocumentKey) -> Result<Option<Document>, Error> {
        step!(self, self.inner.load(shard, key))
    }
    async fn load_part(
        &self,
        shard: Shard,
        keys: &[DocumentKey],
        part: &str,
    ) -> Result<Vec<Option<(Version, Bytes)>>, Error> {
        self.inner.load_part(shard, keys, part).await
    }
    async fn reserve(&self, shard: Shard, what: Reserve<'_>) -> Result<Reserved, Error> {
        self.inner.reserve(shard, what).await
    }
    async fn extend(&self, leases: &[Lease], lease_ms: u64) -> Result<Vec<bool>, Error> {
        self.inner.extend(leases, lease_ms).await
    }
    async fn release(&self, lease: &Lease, delay_ms: u64) -> Result<bool, Error> {
        self.inner.release(lease, delay_ms).await
    }
    async fn wait(&self, queue: &str, most: Duration) -> Result<Vec<Shard>, Error> {
        self.inner.wait(queue, most).await
    }
    async fn page(
        &self,
        shard: Shard,
        index: &str,
        after: Option<&IndexEntry>,
        order: Order,
        most: usize,
    ) -> Result<Vec<IndexEntry>, Error> {
        self.inner.page(shard, index, after, order, most).await
    }
    async fn cardinality(&self, shard: Shard, index: &str) -> Result<u64, Error> {
        self.inner.cardinality(shard, index).await
    }
    async fn unique(&self, shard: Shard, key: &str) -> Result<Option<String>, Error> {
        step!(self, self.inner.unique(shard, key))
    }
    async fn feed(&self, shard: Shard, after: u64, most: usize) -> Result<FeedPage, Error> {
        self.inner.feed(shard, after, most).await
    }
    fn news(&self) -> watch::Receiver<u64> {
        self.inner.news()
    }
    async fn take(
        &self,
        shard: Shard,
        name: &str,
        holder: &str,
        lease_ms: u64,
    ) -> Result<Option<NamedLease>, Error> {
        self.inner.take(shard, name, holder, lease_ms).await
    }
    async fn put_blob(
        &self,
        shard: Shard,
        owner: &DocumentKey,
        content: Bytes,
    ) -> Result<String, Error> {
        let (actual, limit) = (content.len(), self.most.load(Ordering::SeqCst));
        if actual > limit {
            let what = "a blob".to_owned();
            return Err(Error::Limit {
                what,
                actual,
                limit,
            });
        }
        step!(self, self.inner.put_blob(shard, owner, content))
    }
    async fn get_blob(
        &self,
        shard: Shard,
        owner: &DocumentKey,
        hash: &str,
    ) -> Result<Option<Bytes>, Error> {
        step!(self, self.inner.get_blob(shard, owner, hash))
    }
    async fn dead(&self, shard: Shard, queue: &str) -> Result<Vec<(String, String)>, Error> {
        self.inner.dead(shard, queue).await
    }
    async fn now_ms(&self) -> Result<i64, Error> {
        step!(self, self.inner.now_ms())
    }
    fn epoch(&self) -> watch::Receiver<Epoch> {
        self.inner.epoch()
    }
    fn losses(&self, shard: Shard) -> u64 {
        self.inner.losses(shard)
    }
    async fn info(&self) -> Result<Info, Error> {
        self.inner.info().await
    }
}

/// A metric store: values follow from the time alone; the experiment is bad from a moment on.
#[derive(Debug)]
pub(super) struct Script {
    fate: Arc<Fate>,
    /// Unix ms.
    pub(super) bad_from: AtomicI64,
    /// Values of a metric are doubled so often, to be large.
    pub(super) series: AtomicUsize,
    /// Steps that one question may have.
    pub(super) longest: AtomicU64,
    /// Milliseconds that it remembers; 0: all.
    pub(super) remembered_ms: AtomicU64,
    /// The fewest places for values that were free when it was asked.
    pub(super) least_free: AtomicUsize,
    /// What was asked: scope, start, end.
    asked: Mutex<Vec<(String, i64, i64)>>,
    /// Failures still to come, by metric.
    failures: Mutex<BTreeMap<String, Vec<Class>>>,
}

impl Script {
    pub(super) fn asked(&self) -> Vec<(String, i64, i64)> {
        self.asked.lock().unwrap().clone()
    }

    pub(super) fn fail(&self, metric: &str, class: Class, times: usize) {
        let failures = vec![class; times];
        self.failures().insert(metric.to_owned(), failures);
    }

    fn failures(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Class>>> {
        self.failures.lock().unwrap()
    }

    fn values(&self, question: &Question, series: usize) -> MetricSet {
        let scope = &question.scope;
        let step_ms = i64::try_from(scope.step_s).unwrap() * 1_000;
        let times = (0..).map(|n| scope.start_ms + n * step_ms);
        let timestamps: Vec<i64> = times.take_while(|at| *at < scope.end_ms).collect();
        let bad_from = self.bad_from.load(Ordering::SeqCst);
        let value = |at: &i64| {
            let noise = (at / 1_000 * 7_919 + i64::from(scope.scope == "new") * 31) % 97;
            let bad = scope.scope == "new" && *at >= bad_from;
            let level = if bad { 300.0 } else { 100.0 };
            level + f64::from(i32::try_from(noise).unwrap()) / 10.0
        };
        let mut tags = BTreeMap::new();
        if self.series.load(Ordering::SeqCst) > 1 {
            tags.insert("pod".to_owned(), series.to_string());
        }
        MetricSet {
            name: question.metric.clone(),
            tags,
            start_ms: scope.start_ms,
            end_ms: scope.end_ms,
            step_ms,
            values: timestamps.iter().map(value).collect(),
            timestamps,
            attributes: serde_json::Map::new(),
        }
    }
}

#[async_trait]
impl Source for Script {
    fn kind(&self) -> &'static str {
        "script"
    }
    fn text(&self, question: &Question) -> Result<String, SourceError> {
        Ok(format!("{} of {}", question.metric, question.scope.scope))
    }
    fn longest_ms(&self, step_ms: u64) -> u64 {
        step_ms * self.longest.load(Ordering::SeqCst)
    }
    fn remembered_ms(&self) -> Option<u64> {
        Some(self.remembered_ms.load(Ordering::SeqCst)).filter(|ms| *ms > 0)
    }
    async fn fetch(&self, question: &Question) -> Result<Vec<MetricSet>, SourceError> {
        let (made, told) = self.fate.step();
        if !made || !told {
            return Err(super::error(Class::Transient, "killed"));
        }
        self.least_free.fetch_min(ROOM.free(), Ordering::SeqCst);
        let scope = &question.scope;
        let asked = (scope.scope.clone(), scope.start_ms, scope.end_ms);
        self.asked.lock().unwrap().push(asked);
        let failure = self.failures().get_mut(&question.metric).and_then(Vec::pop);
        if let Some(class) = failure {
            return Err(super::error(class, "the store answers 500"));
        }
        let series = self.series.load(Ordering::SeqCst).max(1);
        Ok((0..series).map(|at| self.values(question, at)).collect())
    }
    async fn metrics(&self, _: &str) -> Result<Vec<String>, SourceError> {
        Ok(vec!["m".to_owned()])
    }
}

#[derive(Debug)]
struct Only(Arc<Script>);

impl Stores for Only {
    fn store(&self, account: &str, kind: &str) -> Result<Arc<dyn Source>, Failure> {
        if kind != "script" {
            let message = format!("Unable to resolve canary scope factory for '{kind}'.");
            return Err(Failure::field("query.type", message));
        }
        self.any(account)
    }
    fn any(&self, _: &str) -> Result<Arc<dyn Source>, Failure> {
        Ok(Arc::<Script>::clone(&self.0))
    }
    fn list(&self, _: &AuthContext) -> Vec<Value> {
        Vec::new()
    }
}

/// Everything there is.
pub(super) struct World {
    pub(super) runs: Runs,
    pub(super) script: Arc<Script>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) fate: Arc<Fate>,
    pub(super) embedded: Arc<Embedded>,
    /// Bytes of the largest value that the store takes.
    pub(super) most: Arc<AtomicUsize>,
    inner: Shared,
    /// A control: messages are acknowledged before what they cause is written.
    pub(super) acknowledges_first: bool,
}

impl World {
    pub(super) fn new() -> Self {
        let clock = Arc::new(ManualClock::at(NOW));
        let embedded = Arc::new(Embedded::in_memory(clock.clone(), Shards::new(4)));
        let inner: Shared = embedded.clone();
        let fate = Arc::new(Fate::default());
        let script = Arc::new(Script {
            fate: Arc::clone(&fate),
            bad_from: AtomicI64::new(i64::MAX),
            series: AtomicUsize::new(1),
            longest: AtomicU64::new(100_000),
            remembered_ms: AtomicU64::new(0),
            least_free: AtomicUsize::new(usize::MAX),
            asked: Mutex::default(),
            failures: Mutex::default(),
        });
        let most = Arc::new(AtomicUsize::new(usize::MAX));
        let runs = Runs {
            store: Arc::new(Mortal {
                inner: inner.clone(),
                fate: Arc::clone(&fate),
                most: Arc::clone(&most),
            }),
            stores: Arc::new(Only(Arc::clone(&script))),
            archive: None,
            remote: None,
            retention: Duration::from_secs(90 * 24 * 3600),
        };
        Self {
            runs,
            script,
            clock,
            fate,
            embedded,
            most,
            inner,
            acknowledges_first: false,
        }
    }

    /// Whoever asks is told the truth, whatever became of the process that judges.
    pub(super) async fn told(&self, id: &str) -> Value {
        let runs = Runs {
            store: self.inner.clone(),
            ..self.runs.clone()
        };
        runs.get(id).await.unwrap().unwrap_or_default()
    }

    /// A new process.
    pub(super) fn revive(&self) {
        self.fate.again();
    }

    /// Lives until every run has ended, at most so many rounds; a process that died is started again.
    pub(super) async fn live(&self, rounds: usize) {
        for _ in 0..rounds {
            let mut next = None::<u64>;
            let mut deliveries = Vec::new();
            for shard in self.inner.shards().all() {
                let what = Reserve {
                    queue: QUEUE,
                    most: 8,
                    lease_ms: LEASE_MS.unsigned_abs(),
                    max_tries: 100,
                };
                let reserved = self.inner.reserve(shard, what).await.unwrap();
                deliveries.extend(reserved.deliveries);
                next = next.into_iter().chain(reserved.next_ms).min();
            }
            if deliveries.is_empty() {
                // What is left is to be forgotten some day.
                match next {
                    Some(next) if next < 24 * 3600 * 1_000 => {
                        self.clock.advance(i64::try_from(next).unwrap().max(1));
                        continue;
                    }
                    _ => return,
                }
            }
            for delivery in deliveries {
                self.handle(&delivery).await;
                if self.fate.is_dead() {
                    // Another process, once the lease of the dead one has ended.
                    self.fate.again();
                    self.clock.advance(LEASE_MS + 1);
                }
            }
        }
    }

    /// What lies in a queue.
    pub(super) async fn messages(&self, queue: &str) -> Vec<Value> {
        let mut found = Vec::new();
        for shard in self.inner.shards().all() {
            let what = Reserve {
                queue,
                most: 8,
                lease_ms: LEASE_MS.unsigned_abs(),
                max_tries: 100,
            };
            let reserved = self.inner.reserve(shard, what).await.unwrap();
            let messages = reserved.deliveries.iter().flat_map(|d| &d.messages);
            found.extend(messages.map(|m| serde_json::from_slice(&m.body).unwrap()));
        }
        found
    }

    async fn handle(&self, delivery: &Delivery) {
        if self.acknowledges_first {
            let batch = Batch::new(delivery.lease.shard, crate::ids::unique());
            let batch = batch.acknowledge(delivery, Then::Release);
            let _ = self.runs.store.commit(batch).await;
        }
        if self.runs.handle(delivery).await.is_err() && !self.fate.is_dead() {
            self.inner.release(&delivery.lease, 100).await.unwrap();
        }
    }
}

/// A config over these metrics, each in a group of its own weight.
pub(super) fn config(judge: &str, metrics: &[&str]) -> Value {
    let metrics: Vec<Value> = metrics
        .iter()
        .map(|name| {
            json!({"name": name, "scopeName": "default", "groups": ["all"],
                   "query": {"type": "script"},
                   "analysisConfigurations": {"canary": {"direction": "increase", "critical": true}}})
        })
        .collect();
    json!({"name": "c", "applications": ["shop"], "judge": {"name": judge}, "metrics": metrics,
           "classifier": {"groupWeights": {"all": 100}}, "unknown": {"kept": 1.50}})
}

/// An execution request without times.
pub(super) fn request(step: u64) -> Value {
    let scope = |name: &str| json!({"scope": name, "location": "here", "step": step});
    json!({"scopes": {"default": {"controlScope": scope("old"), "experimentScope": scope("new")}},
           "thresholds": {"pass": 95, "marginal": 75}})
}

/// A run over `minutes` minutes that has begun so many minutes ago, judged every minute.
pub(super) fn start(judge: &str, minutes: u64, ago: i64) -> Start {
    Start {
        application: "shop".to_owned(),
        config: config(judge, &["m"]),
        request: request(10),
        plan: Some(Plan {
            start_ms: NOW - ago * 60_000,
            lifetime_ms: minutes * 60_000,
            interval_ms: 60_000,
            ..Plan::default()
        }),
        ..Start::default()
    }
}
