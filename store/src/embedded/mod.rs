//! The embedded store: one file on disk (redb, group-committed), or memory on a
//! clock that the caller gives.
//!
//! Both apply the rules of [`crate::kv`]; they differ in where the bytes are and
//! whose clock counts.

mod file;
mod memory;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::kv::commit::Relaxed;
use crate::kv::{Kv, KvRead, commit, keys, lease, read, reserve};
use crate::{
    Batch, Committed, Document, DocumentKey, Epoch, Error, FeedPage, IndexEntry, Info, Lease,
    NamedLease, Order, Presence, Refused, Reserve, Reserved, Shard, Shards, Store, Version, blob,
};

use crate::wakes::Wakes;
pub use file::FileSettings;
pub use memory::{Clock, ManualClock, Map};

/// Work inside one write transaction.
type Work<R> = Box<dyn FnOnce(&mut dyn Kv, i64) -> Result<R, Error> + Send>;

enum Backend {
    File(file::FileBackend),
    Memory(memory::MemoryBackend),
}

/// A store of this process alone.
pub struct Embedded {
    backend: Backend,
    shards: Shards,
    wakes: Arc<Wakes>,
    relaxed: std::sync::Mutex<Relaxed>,
    epoch: watch::Sender<Epoch>,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let backend = match &self.backend {
            Backend::File(file) => file.path.display().to_string(),
            Backend::Memory(_) => "memory".to_owned(),
        };
        f.debug_struct("Embedded")
            .field("backend", &backend)
            .finish()
    }
}

impl Embedded {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// When another process has it open, it cannot be created, or it was made
    /// with another number of shards.
    pub fn open(settings: FileSettings, shards: Shards) -> Result<Self, Error> {
        let backend = file::FileBackend::open(settings, shards)?;
        Ok(Self::over(Backend::File(backend), shards))
    }

    /// What a file holds; it is not changed.
    ///
    /// # Errors
    /// When another process has it open, or it cannot be read.
    pub fn look(path: &std::path::Path) -> Result<Presence, Error> {
        file::look(path)
    }

    /// Says that what was to be restored is there ([`crate::Opening::Restore`]).
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn restored(&self) -> Result<(), Error> {
        match &self.backend {
            Backend::File(file) => file.restored(),
            Backend::Memory(_) => Ok(()),
        }
    }

    /// A store in memory; what is due goes by `clock`.
    pub fn in_memory(clock: Arc<dyn Clock>, shards: Shards) -> Self {
        Self::over(Backend::Memory(memory::MemoryBackend::new(clock)), shards)
    }

    fn over(backend: Backend, shards: Shards) -> Self {
        Self {
            backend,
            shards,
            wakes: Arc::new(Wakes::default()),
            relaxed: std::sync::Mutex::default(),
            epoch: watch::Sender::new(Epoch::default()),
        }
    }

    /// Control switches for tests that must fail without the store's promises:
    /// `fencing` compares neither leases nor versions, `split` writes state and
    /// loses the messages that belong to it, as a crash between two steps does.
    #[cfg(any(test, feature = "controls"))]
    pub fn relax(&self, fencing: bool, split: bool) {
        *self.relaxed() = Relaxed {
            fencing,
            messages: split,
        };
    }

    /// Everything a store in memory holds now; of one on disk, nothing.
    #[cfg(any(test, feature = "controls"))]
    pub fn copy(&self) -> Map {
        match &self.backend {
            Backend::File(_) => Map::default(),
            Backend::Memory(memory) => memory.copy(),
        }
    }

    /// Puts back what a store in memory held, as one does that lost its last commits.
    #[cfg(any(test, feature = "controls"))]
    pub fn put_back(&self, map: Map) {
        if let Backend::Memory(memory) = &self.backend {
            memory.put_back(map);
        }
    }

    fn relaxed(&self) -> std::sync::MutexGuard<'_, Relaxed> {
        self.relaxed
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn write<R: Send + 'static>(&self, durable: bool, work: Work<R>) -> Result<R, Error> {
        match &self.backend {
            Backend::File(file) => file.write(durable, work).await,
            Backend::Memory(memory) => memory.write(work),
        }
    }

    fn read<R>(&self, read: impl FnOnce(&dyn KvRead) -> Result<R, Error>) -> Result<R, Error> {
        match &self.backend {
            Backend::File(file) => file.read(read),
            Backend::Memory(memory) => memory.read(read),
        }
    }
}

#[async_trait]
impl Store for Embedded {
    fn shards(&self) -> Shards {
        self.shards
    }

    async fn commit(&self, batch: Batch) -> Result<Result<Committed, Refused>, Error> {
        batch.check()?;
        if batch.new_work
            && let Backend::File(file) = &self.backend
            && let Some(reason) = file.full()
        {
            return Ok(Err(Refused::Full(reason)));
        }
        let relaxed = *self.relaxed();
        let batch = Arc::new(batch);
        let work = batch.clone();
        let answer = self
            .write(
                true,
                Box::new(move |kv, now| commit::commit(kv, now, &work, relaxed)),
            )
            .await?;
        if answer.is_ok() {
            tracing::debug!(shard = batch.shard.number(), "committed");
            for message in &batch.messages {
                self.wakes.wake(&message.to.queue, batch.shard);
            }
            for acknowledged in &batch.acknowledge {
                self.wakes
                    .wake(&acknowledged.lease.address.queue, batch.shard);
            }
            if !batch.crossings.is_empty() {
                self.wakes.wake(crate::outbox::QUEUE, batch.shard);
            }
            if !batch.events.is_empty() {
                self.wakes.wake_feed();
            }
        }
        Ok(answer)
    }

    async fn load(&self, shard: Shard, key: &DocumentKey) -> Result<Option<Document>, Error> {
        self.read(|kv| read::document(kv, shard, key))
    }

    async fn load_part(
        &self,
        shard: Shard,
        keys: &[DocumentKey],
        part: &str,
    ) -> Result<Vec<Option<(Version, Bytes)>>, Error> {
        self.read(|kv| {
            keys.iter()
                .map(|key| read::part(kv, shard, key, part))
                .collect()
        })
    }

    async fn reserve(&self, shard: Shard, what: Reserve<'_>) -> Result<Reserved, Error> {
        let queue = what.queue.to_owned();
        let Reserve {
            most,
            lease_ms,
            max_tries,
            ..
        } = what;
        self.write(
            false,
            Box::new(move |kv, now| {
                reserve::reserve(
                    kv,
                    now,
                    shard,
                    Reserve {
                        queue: &queue,
                        most,
                        lease_ms,
                        max_tries,
                    },
                )
            }),
        )
        .await
    }

    async fn extend(&self, leases: &[Lease], lease_ms: u64) -> Result<Vec<bool>, Error> {
        let leases = leases.to_vec();
        self.write(
            false,
            Box::new(move |kv, now| {
                leases
                    .iter()
                    .map(|l| lease::extend(kv, now, l, lease_ms))
                    .collect()
            }),
        )
        .await
    }

    async fn release(&self, held: &Lease, delay_ms: u64) -> Result<bool, Error> {
        let (work, shard) = (held.clone(), held.shard);
        let done = self
            .write(
                false,
                Box::new(move |kv, now| lease::release(kv, now, &work, delay_ms)),
            )
            .await?;
        self.wakes.wake(&held.address.queue, shard);
        Ok(done)
    }

    async fn wait(&self, queue: &str, most: Duration) -> Result<Vec<Shard>, Error> {
        Ok(self.wakes.wait(queue, most).await)
    }

    async fn page(
        &self,
        shard: Shard,
        index: &str,
        after: Option<&IndexEntry>,
        order: Order,
        most: usize,
    ) -> Result<Vec<IndexEntry>, Error> {
        self.read(|kv| read::page(kv, shard, index, after, order, most))
    }

    async fn cardinality(&self, shard: Shard, index: &str) -> Result<u64, Error> {
        self.read(|kv| {
            Ok(crate::kv::number(
                kv.get(&keys::cardinality(shard, index))?.as_deref(),
            ))
        })
    }

    async fn unique(&self, shard: Shard, key: &str) -> Result<Option<String>, Error> {
        self.read(|kv| {
            let value = kv.get(&keys::unique(shard, key))?;
            Ok(value.map(|v| String::from_utf8_lossy(&v).into_owned()))
        })
    }

    async fn feed(&self, shard: Shard, after: u64, most: usize) -> Result<FeedPage, Error> {
        self.read(|kv| read::feed(kv, shard, after, most))
    }

    fn news(&self) -> watch::Receiver<u64> {
        self.wakes.news()
    }

    async fn take(
        &self,
        shard: Shard,
        name: &str,
        holder: &str,
        lease_ms: u64,
    ) -> Result<Option<NamedLease>, Error> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        self.write(
            true,
            Box::new(move |kv, now| lease::take(kv, now, shard, &name, &holder, lease_ms)),
        )
        .await
    }

    async fn put_blob(
        &self,
        shard: Shard,
        owner: &DocumentKey,
        content: Bytes,
    ) -> Result<String, Error> {
        let hash = blob::hash(&content)?;
        let (owner, name) = (owner.clone(), hash.clone());
        self.write(
            true,
            Box::new(move |kv, now| crate::kv::blob::put(kv, now, shard, &owner, &name, &content)),
        )
        .await?;
        Ok(hash)
    }

    async fn get_blob(
        &self,
        shard: Shard,
        owner: &DocumentKey,
        hash: &str,
    ) -> Result<Option<Bytes>, Error> {
        self.read(|kv| {
            let found = crate::kv::blob::get(kv, shard, owner, hash)?;
            Ok(found.map(Bytes::from))
        })
    }

    async fn dead(&self, shard: Shard, queue: &str) -> Result<Vec<(String, String)>, Error> {
        self.read(|kv| read::dead(kv, shard, queue))
    }

    async fn now_ms(&self) -> Result<i64, Error> {
        Ok(match &self.backend {
            Backend::File(_) => file::system_ms(),
            Backend::Memory(memory) => memory.now(),
        })
    }

    fn epoch(&self) -> watch::Receiver<Epoch> {
        self.epoch.subscribe()
    }

    fn losses(&self, _shard: Shard) -> u64 {
        // Every commit is on the disk before it is acknowledged.
        0
    }

    async fn info(&self) -> Result<Info, Error> {
        Ok(match &self.backend {
            Backend::File(file) => Info {
                backend: "embedded",
                durability: "every commit is on disk before it is acknowledged: kill -9 and power \
                             loss lose nothing acknowledged"
                    .to_owned(),
                warnings: file.full().into_iter().collect(),
            },
            Backend::Memory(_) => Info {
                backend: "memory",
                durability: "none: everything ends with the process".to_owned(),
                warnings: Vec::new(),
            },
        })
    }
}
