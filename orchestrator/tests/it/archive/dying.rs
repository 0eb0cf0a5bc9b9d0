//! A store and an archive of a process that dies at a chosen step: before a write or after it,
//! and from then on it reaches neither.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use store::archive::Objects;
use store::{
    Batch, Committed, Document, DocumentKey, Epoch, Error, FeedPage, IndexEntry, Info, Lease,
    NamedLease, Order, Refused, Reserve, Reserved, Shard, Shards, Shared, Store, Version,
};
use tokio::sync::watch;

/// When the process dies.
#[derive(Debug)]
pub(crate) struct Death {
    /// The write at which it dies.
    pub(crate) at: usize,
    /// The write is done, and nobody hears of it.
    pub(crate) after: bool,
    /// So many large values are lost after they were put.
    pub(crate) loses: AtomicUsize,
    writes: AtomicUsize,
    dead: AtomicBool,
}

impl Death {
    pub(crate) fn new(at: usize, after: bool) -> Arc<Self> {
        Arc::new(Self {
            at,
            after,
            loses: AtomicUsize::new(0),
            writes: AtomicUsize::new(0),
            dead: AtomicBool::new(false),
        })
    }

    pub(crate) fn came(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    fn alive(&self) -> Result<(), Error> {
        if self.came() {
            return Err(Error::Unavailable("the process is dead".to_owned()));
        }
        Ok(())
    }

    async fn write<T>(&self, write: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.alive()?;
        let dies = self.writes.fetch_add(1, Ordering::SeqCst) == self.at;
        if dies && !self.after {
            self.dead.store(true, Ordering::SeqCst);
        }
        self.alive()?;
        let done = write.await;
        if dies {
            self.dead.store(true, Ordering::SeqCst);
        }
        self.alive()?;
        done
    }
}

/// The archive as the process sees it.
#[derive(Debug)]
pub(crate) struct DyingObjects(pub(crate) store::archive::Shared, pub(crate) Arc<Death>);

#[async_trait]
impl Objects for DyingObjects {
    async fn put(&self, name: &str, content: Bytes) -> Result<(), Error> {
        self.1.write(self.0.put(name, content)).await
    }
    async fn read(&self, name: &str, from: u64, length: u64) -> Result<Option<Bytes>, Error> {
        self.1.alive()?;
        self.0.read(name, from, length).await
    }
    async fn size(&self, name: &str) -> Result<Option<u64>, Error> {
        self.1.alive()?;
        self.0.size(name).await
    }
    async fn delete(&self, name: &str) -> Result<(), Error> {
        self.1.write(self.0.delete(name)).await
    }
    async fn list(&self, folder: &str) -> Result<Vec<String>, Error> {
        self.1.alive()?;
        self.0.list(folder).await
    }
    fn place(&self) -> String {
        self.0.place()
    }
}

/// The store as the process sees it.
#[derive(Debug)]
pub(crate) struct DyingStore(pub(crate) Shared, pub(crate) Arc<Death>);

#[async_trait]
impl Store for DyingStore {
    fn shards(&self) -> Shards {
        self.0.shards()
    }
    async fn commit(&self, batch: Batch) -> Result<Result<Committed, Refused>, Error> {
        self.1.write(self.0.commit(batch)).await
    }
    async fn load(&self, shard: Shard, key: &DocumentKey) -> Result<Option<Document>, Error> {
        self.1.alive()?;
        self.0.load(shard, key).await
    }
    async fn load_part(
        &self,
        shard: Shard,
        keys: &[DocumentKey],
        part: &str,
    ) -> Result<Vec<Option<(Version, Bytes)>>, Error> {
        self.1.alive()?;
        self.0.load_part(shard, keys, part).await
    }
    async fn reserve(&self, shard: Shard, what: Reserve<'_>) -> Result<Reserved, Error> {
        self.1.alive()?;
        self.0.reserve(shard, what).await
    }
    async fn extend(&self, leases: &[Lease], lease_ms: u64) -> Result<Vec<bool>, Error> {
        self.1.alive()?;
        self.0.extend(leases, lease_ms).await
    }
    async fn release(&self, lease: &Lease, delay_ms: u64) -> Result<bool, Error> {
        self.1.alive()?;
        self.0.release(lease, delay_ms).await
    }
    async fn wait(&self, queue: &str, most: Duration) -> Result<Vec<Shard>, Error> {
        self.1.alive()?;
        self.0.wait(queue, most).await
    }
    async fn page(
        &self,
        shard: Shard,
        index: &str,
        after: Option<&IndexEntry>,
        order: Order,
        most: usize,
    ) -> Result<Vec<IndexEntry>, Error> {
        self.1.alive()?;
        self.0.page(shard, index, after, order, most).await
    }
    async fn cardinality(&self, shard: Shard, index: &str) -> Result<u64, Error> {
        self.1.alive()?;
        self.0.cardinality(shard, index).await
    }
    async fn unique(&self, shard: Shard, key: &str) -> Result<Option<String>, Error> {
        self.1.alive()?;
        self.0.unique(shard, key).await
    }
    async fn feed(&self, shard: Shard, after: u64, most: usize) -> Result<FeedPage, Error> {
        self.1.alive()?;
        self.0.feed(shard, after, most).await
    }
    fn news(&self) -> watch::Receiver<u64> {
        self.0.news()
    }
    async fn take(
        &self,
        shard: Shard,
        name: &str,
        holder: &str,
        lease_ms: u64,
    ) -> Result<Option<NamedLease>, Error> {
        self.1.alive()?;
        self.0.take(shard, name, holder, lease_ms).await
    }
    async fn put_blob(
        &self,
        shard: Shard,
        owner: &DocumentKey,
        content: Bytes,
    ) -> Result<String, Error> {
        let lose = |left: usize| left.checked_sub(1);
        let (order, loses) = (Ordering::SeqCst, &self.1.loses);
        if loses.fetch_update(order, order, lose).is_ok() {
            return store::blob::hash(&content);
        }
        self.1.write(self.0.put_blob(shard, owner, content)).await
    }
    async fn get_blob(
        &self,
        shard: Shard,
        owner: &DocumentKey,
        hash: &str,
    ) -> Result<Option<Bytes>, Error> {
        self.1.alive()?;
        self.0.get_blob(shard, owner, hash).await
    }
    async fn dead(&self, shard: Shard, queue: &str) -> Result<Vec<(String, String)>, Error> {
        self.1.alive()?;
        self.0.dead(shard, queue).await
    }
    async fn now_ms(&self) -> Result<i64, Error> {
        self.1.alive()?;
        self.0.now_ms().await
    }
    fn epoch(&self) -> watch::Receiver<Epoch> {
        self.0.epoch()
    }
    fn losses(&self, shard: Shard) -> u64 {
        self.0.losses(shard)
    }
    async fn info(&self) -> Result<Info, Error> {
        self.1.alive()?;
        self.0.info().await
    }
}
