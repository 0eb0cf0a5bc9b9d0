//! One life of one service: its store, its peers and its clock, which die, stand still and go
//! wrong with it.

use std::fmt::{Debug, Formatter};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use orchestrator::services::{Http, HttpError, HttpRequest, HttpResponse};
use runtime::Shutdown;
use store::{
    Batch, Committed, Document, DocumentKey, Epoch, Error, FeedPage, IndexEntry, Info, Lease,
    NamedLease, Order, Refused, Reserve, Reserved, Shard, Shards, Store, Version,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::toys::Question;
use super::world::{Fate, World};

pub(super) struct Life {
    pub(super) name: String,
    dead: Shutdown,
    /// Told when it is asked to end.
    pub(super) ends: Shutdown,
    stands_until: Mutex<Instant>,
    /// How far its clock is ahead of the true time, ms.
    pub(super) ahead: AtomicI64,
}

impl Life {
    pub(super) fn new(name: String, ahead: i64) -> Self {
        Self {
            name,
            dead: Shutdown::new(),
            ends: Shutdown::new(),
            stands_until: Mutex::new(Instant::now()),
            ahead: AtomicI64::new(ahead),
        }
    }

    /// As `kill -9` does. What it still waits for never comes, so it does nothing more;
    /// that it is asked to end only stops its timers.
    pub(super) fn die(&self) {
        self.dead.begin();
        self.ends.begin();
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.has_begun()
    }

    /// As SIGSTOP does: nothing of it goes on for a time.
    pub(super) fn stand(&self, time: Duration) {
        *self.stands_until.lock().unwrap() = Instant::now() + time;
    }

    pub(super) fn jump(&self, ms: i64) {
        self.ahead.fetch_add(ms, Ordering::Relaxed);
    }

    async fn goes_on(&self) {
        loop {
            let until = *self.stands_until.lock().unwrap();
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }

    /// Waits as long as this life lasts; after it for ever.
    async fn lives<T>(&self, future: impl Future<Output = T>) -> T {
        match self.dead.or(future).await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

/// What a life sees of the world.
pub(super) struct Door {
    pub(super) world: Arc<World>,
    pub(super) life: Arc<Life>,
}

impl Debug for Door {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "the door of {}", self.life.name)
    }
}

impl Door {
    /// The way to the other side, or back.
    async fn way(&self) {
        let ms = self.world.delay_ms();
        if ms > 0 {
            sleep(Duration::from_millis(ms)).await;
        }
        self.life.goes_on().await;
    }

    /// A call of the store: it may come late, or not at all, and so may its answer.
    async fn call<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let there_and_back = async {
            self.way().await;
            if self.world.goes_wrong(4) {
                return Err(Error::Unavailable("no connection".to_owned()));
            }
            let answer = work.await;
            self.way().await;
            if self.world.goes_wrong(8) {
                return Err(Error::Unavailable("the answer was lost".to_owned()));
            }
            answer
        };
        self.life.lives(there_and_back).await
    }

    async fn die<T>(&self) -> T {
        self.world
            .tell(|| format!("{} dies at a commit", self.life.name));
        self.life.die();
        std::future::pending().await
    }

    async fn commits(&self, batch: Batch) -> Result<Result<Committed, Refused>, Error> {
        self.way().await;
        let fate = self.world.fate();
        match fate {
            Fate::Refused => return Err(Error::Unavailable("no connection".to_owned())),
            Fate::DiesBefore => return self.die().await,
            Fate::Well | Fate::DiesAfter | Fate::Lost | Fate::Repeated => {}
        }
        let mut answer = self.world.commit(&self.life, batch.clone()).await?;
        if fate == Fate::DiesAfter {
            return self.die().await;
        }
        self.way().await;
        if fate == Fate::Lost {
            return Err(Error::Unavailable("the answer was lost".to_owned()));
        }
        if fate == Fate::Repeated {
            // What a store does by itself whose answer was lost.
            answer = self.world.commit(&self.life, batch).await?;
            self.way().await;
        }
        Ok(answer)
    }
}

#[async_trait]
impl Store for Door {
    fn shards(&self) -> Shards {
        self.world.store.shards()
    }

    async fn commit(&self, batch: Batch) -> Result<Result<Committed, Refused>, Error> {
        self.life.lives(self.commits(batch)).await
    }

    async fn load(&self, shard: Shard, key: &DocumentKey) -> Result<Option<Document>, Error> {
        self.call(self.world.store.load(shard, key)).await
    }

    async fn load_part(
        &self,
        shard: Shard,
        keys: &[DocumentKey],
        part: &str,
    ) -> Result<Vec<Option<(Version, Bytes)>>, Error> {
        self.call(self.world.store.load_part(shard, keys, part))
            .await
    }

    async fn reserve(&self, shard: Shard, what: Reserve<'_>) -> Result<Reserved, Error> {
        self.call(self.world.store.reserve(shard, what)).await
    }

    async fn extend(&self, leases: &[Lease], lease_ms: u64) -> Result<Vec<bool>, Error> {
        if self.world.control.renews() {
            self.call(self.world.store.extend(leases, lease_ms)).await
        } else {
            Ok(vec![true; leases.len()])
        }
    }

    async fn release(&self, lease: &Lease, delay_ms: u64) -> Result<bool, Error> {
        self.call(self.world.store.release(lease, delay_ms)).await
    }

    async fn wait(&self, queue: &str, most: Duration) -> Result<Vec<Shard>, Error> {
        self.life.lives(self.world.store.wait(queue, most)).await
    }

    async fn page(
        &self,
        shard: Shard,
        index: &str,
        after: Option<&IndexEntry>,
        order: Order,
        most: usize,
    ) -> Result<Vec<IndexEntry>, Error> {
        self.call(self.world.store.page(shard, index, after, order, most))
            .await
    }

    async fn cardinality(&self, shard: Shard, index: &str) -> Result<u64, Error> {
        self.call(self.world.store.cardinality(shard, index)).await
    }

    async fn unique(&self, shard: Shard, key: &str) -> Result<Option<String>, Error> {
        self.call(self.world.store.unique(shard, key)).await
    }

    async fn feed(&self, shard: Shard, after: u64, most: usize) -> Result<FeedPage, Error> {
        self.call(self.world.store.feed(shard, after, most)).await
    }

    fn news(&self) -> watch::Receiver<u64> {
        self.world.store.news()
    }

    async fn take(
        &self,
        shard: Shard,
        name: &str,
        holder: &str,
        lease_ms: u64,
    ) -> Result<Option<NamedLease>, Error> {
        self.call(self.world.store.take(shard, name, holder, lease_ms))
            .await
    }

    async fn put_blob(
        &self,
        shard: Shard,
        owner: &DocumentKey,
        content: Bytes,
    ) -> Result<String, Error> {
        self.call(self.world.store.put_blob(shard, owner, content))
            .await
    }

    async fn get_blob(
        &self,
        shard: Shard,
        owner: &DocumentKey,
        hash: &str,
    ) -> Result<Option<Bytes>, Error> {
        self.call(self.world.store.get_blob(shard, owner, hash))
            .await
    }

    async fn dead(&self, shard: Shard, queue: &str) -> Result<Vec<(String, String)>, Error> {
        self.call(self.world.store.dead(shard, queue)).await
    }

    async fn now_ms(&self) -> Result<i64, Error> {
        self.call(self.world.store.now_ms()).await
    }

    fn epoch(&self) -> watch::Receiver<Epoch> {
        self.world.store.epoch()
    }

    fn losses(&self, shard: Shard) -> u64 {
        self.world.store.losses(shard)
    }

    async fn info(&self) -> Result<Info, Error> {
        self.call(self.world.store.info()).await
    }
}

fn silent(what: &str) -> HttpError {
    HttpError {
        message: what.to_owned(),
        transient: true,
        unsent: false,
    }
}

#[async_trait]
impl Http for Door {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let there_and_back = async {
            self.way().await;
            if self.world.goes_wrong(1) {
                return Err(silent("the peer refuses"));
            }
            let body = if request.method == "GET" {
                self.world.look_up().map_err(|why| silent(&why))?
            } else {
                let question: Question = serde_json::from_slice(&request.body).unwrap();
                let Some(says) = self.world.ask(&request.effect_id, &question) else {
                    return Err(silent("the world has ended"));
                };
                self.world.tell(|| {
                    let (name, effect) = (&self.life.name, &request.effect_id);
                    format!("{name} called {effect} #{}: {says:?}", question.run)
                });
                serde_json::to_string(&says).unwrap()
            };
            self.way().await;
            if self.world.goes_wrong(1) {
                return Err(silent("timed out"));
            }
            Ok(HttpResponse {
                status: 200,
                headers: std::collections::BTreeMap::new(),
                body: body.into_bytes(),
            })
        };
        self.life.lives(there_and_back).await
    }
}
