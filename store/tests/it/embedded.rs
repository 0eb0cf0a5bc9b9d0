//! The embedded store: file and memory.

use std::sync::Arc;

use store::embedded::{Embedded, FileSettings, ManualClock};
use store::{Batch, DocumentKey, Refused, Shards, Shared, blob, contract};

/// The machine's clock, so that delays pass by themselves.
struct RealClock;

impl store::embedded::Clock for RealClock {
    fn now_ms(&self) -> i64 {
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
        i64::try_from(since.as_millis()).unwrap()
    }
}

#[tokio::test]
async fn memory_keeps_the_contract_with_1_and_16_shards() {
    for count in [1, 16] {
        let store: Shared = Arc::new(Embedded::in_memory(Arc::new(RealClock), Shards::new(count)));
        contract::all(&store, "memory").await;
    }
}

#[tokio::test]
async fn a_file_keeps_the_contract_with_1_and_16_shards() {
    for count in [1, 16] {
        let folder = tempfile::tempdir().unwrap();
        let settings = FileSettings::new(folder.path().join("store.redb"));
        let store: Shared = Arc::new(Embedded::open(settings, Shards::new(count)).unwrap());
        contract::all(&store, "file").await;
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let settings = FileSettings::new(folder.path().join("store.redb"));
    let key = DocumentKey::new("test", "kept");
    let store = Embedded::open(settings.clone(), Shards::default()).unwrap();
    let shared: Shared = Arc::new(store);
    let shard = shared.shards().of_application("a");
    shared
        .commit(Batch::new(shard, "1").document(&key, 0).set("h", "x"))
        .await
        .unwrap()
        .unwrap();
    let second = Embedded::open(settings.clone(), Shards::default())
        .unwrap_err()
        .to_string();
    assert!(second.contains("another process has it open"), "{second}");
    drop(shared);
    let store = eventually_open(&settings);
    assert_eq!(store.load_text(shard, &key).await, Some("x".to_owned()));
    drop(store);
    let other = loop {
        match Embedded::open(settings.clone(), Shards::new(1)) {
            Err(error) if error.to_string().contains("has it open") => {
                tokio::task::yield_now().await
            }
            other => break other,
        }
    };
    assert!(
        other
            .unwrap_err()
            .to_string()
            .contains("made with shards 16, not 1")
    );
}

struct Opened(Shared);

impl Opened {
    async fn load_text(&self, shard: store::Shard, key: &DocumentKey) -> Option<String> {
        self.0
            .load(shard, key)
            .await
            .unwrap()?
            .text("h")
            .map(ToOwned::to_owned)
    }
}

/// The writer thread lets the file go a moment after the last handle.
fn eventually_open(settings: &FileSettings) -> Opened {
    loop {
        if let Ok(store) = Embedded::open(settings.clone(), Shards::default()) {
            return Opened(Arc::new(store));
        }
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn a_full_store_refuses_new_work_and_lets_running_work_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = FileSettings::new(folder.path().join("store.redb"));
    settings.max_bytes = Some(1);
    let store: Shared = Arc::new(Embedded::open(settings, Shards::default()).unwrap());
    let shard = store.shards().of_application("a");
    let key = DocumentKey::new("test", "full");
    let batch = |id: &str| Batch::new(shard, id).document(&key, 0).set("h", "x");
    let refused = store
        .commit(batch("1").new_work())
        .await
        .unwrap()
        .unwrap_err();
    assert!(matches!(refused, Refused::Full(_)), "{refused}");
    store.commit(batch("2")).await.unwrap().unwrap();
}

#[tokio::test]
async fn values_whose_document_never_came_go_after_a_day() {
    let clock = Arc::new(ManualClock::at(1_000));
    let store: Shared = Arc::new(Embedded::in_memory(clock.clone(), Shards::new(1)));
    let shard = store.shards().numbered(0);
    let key = |id: &str| DocumentKey::new("test", id);
    let put = async |id: &str| {
        let content = id.to_owned().into();
        store.put_blob(shard, &key(id), content).await.unwrap()
    };
    let (lost, kept) = (put("lost").await, put("kept").await);
    let found = async |id: &str, hash: &str| {
        let found = store.get_blob(shard, &key(id), hash).await.unwrap();
        found.is_some()
    };
    let batch = Batch::new(shard, "1").document(&key("kept"), 0);
    store.commit(batch.blob(&kept)).await.unwrap().unwrap();
    let day = i64::try_from(blob::UNOWNED.as_millis()).unwrap();
    clock.set(day);
    put("later").await;
    assert!(found("lost", &lost).await && found("kept", &kept).await);
    clock.set(day + 2_000);
    put("last").await;
    assert!(!found("lost", &lost).await && found("kept", &kept).await);
    // Whoever comes that late is told, and puts it again.
    let late = Batch::new(shard, "2").document(&key("lost"), 0).blob(&lost);
    let refused = store.commit(late.clone()).await.unwrap().unwrap_err();
    assert!(matches!(refused, Refused::Missing { .. }), "{refused}");
    put("lost").await;
    store.commit(late).await.unwrap().unwrap();
}
