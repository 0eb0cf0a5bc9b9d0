//! Documents written version after version, and whether each was applied once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use store::{Batch, DocumentKey, FEED_LENGTH, Shard, Shared, contract};

pub(crate) fn write(shard: Shard, key: &DocumentKey, version: u64) -> Batch {
    Batch::new(shard, format!("{key}/{version}"))
        .document(key, version)
        .set("h", format!("{version}"))
        .event(key, format!("{version}"))
}

/// A process that is slow to come back: what runs here stands still between two calls of `block_on`.
pub(crate) fn slow() -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap()
}

/// Whether a process that stood still notices a loss now that it goes on.
pub(crate) fn notices(slow: &tokio::runtime::Runtime, store: &Shared, before: u64) -> bool {
    let noticed = async {
        let mut epoch = store.epoch();
        epoch
            .wait_for(|epoch| epoch.rollbacks > before)
            .await
            .is_ok()
    };
    let most = Duration::from_secs(10);
    slow.block_on(async { tokio::time::timeout(most, noticed).await.is_ok_and(|is| is) })
}

/// So many milliseconds, in which those that stand still do nothing.
pub(crate) async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

pub(crate) fn key(number: usize) -> DocumentKey {
    DocumentKey::new("test", &format!("writer-{number}"))
}

/// Writes versions of a document one after another until told to end; counts what
/// was acknowledged.
async fn writer(store: Shared, number: usize, acknowledged: Arc<AtomicU64>, end: Arc<AtomicBool>) {
    let shard = store.shards().numbered(u16::try_from(number).unwrap());
    while !end.load(Ordering::SeqCst) {
        let version = acknowledged.load(Ordering::SeqCst);
        let committed = store.commit(write(shard, &key(number), version)).await;
        assert_eq!(committed.unwrap().unwrap().versions, [version + 1]);
        acknowledged.store(version + 1, Ordering::SeqCst);
    }
}

pub(crate) struct Writers {
    acknowledged: Vec<Arc<AtomicU64>>,
    end: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Writers {
    pub(crate) fn start(store: &Shared, count: usize) -> Self {
        let acknowledged: Vec<_> = (0..count).map(|_| Arc::new(AtomicU64::new(0))).collect();
        let end = Arc::new(AtomicBool::new(false));
        let tasks = (0..count)
            .map(|n| {
                let writer = writer(store.clone(), n, acknowledged[n].clone(), end.clone());
                tokio::spawn(writer)
            })
            .collect();
        Self {
            acknowledged,
            end,
            tasks,
        }
    }

    pub(crate) fn counts(&self) -> Vec<u64> {
        self.acknowledged
            .iter()
            .map(|count| count.load(Ordering::SeqCst))
            .collect()
    }

    /// Waits until so many more commits were acknowledged in all.
    pub(crate) async fn advance(&self, commits: u64) {
        let wanted = self.counts().iter().sum::<u64>() + commits;
        while self.counts().iter().sum::<u64>() < wanted {
            assert!(!self.tasks.iter().any(|task| task.is_finished()), "all run");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub(crate) async fn finish(self) -> Vec<u64> {
        self.end.store(true, Ordering::SeqCst);
        let counts = self.acknowledged.clone();
        for task in self.tasks {
            task.await.unwrap();
        }
        counts.iter().map(|c| c.load(Ordering::SeqCst)).collect()
    }
}

/// Versions, last contents and events say that each commit was applied once.
pub(crate) async fn applied_once(store: &Shared, number: usize, version: u64) {
    let shard = store.shards().numbered(u16::try_from(number).unwrap());
    let document = store.load(shard, &key(number)).await.unwrap().unwrap();
    assert_eq!(document.version, version);
    assert_eq!(document.text("h"), Some((version - 1).to_string().as_str()));
    // The feed forgets the oldest.
    let events = contract::events(store, shard, &key(number)).await;
    let first = version - events.len() as u64;
    assert!(first == 0 || version > FEED_LENGTH / 2, "{first} are gone");
    for (seen, event) in (first..).zip(events) {
        assert_eq!(event.body, seen.to_string());
    }
}
