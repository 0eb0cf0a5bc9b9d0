//! A store that was lost is not taken for a new one, and who still knows it does not write to what is
//! there instead.

use std::sync::Arc;

use store::embedded::{Embedded, FileSettings};
use store::redis::{Redis, RedisSettings, look};
use store::{Batch, DocumentKey, Opening, Presence, Shards, Shared};

use crate::server::{Cluster, Server, installed};
use crate::writers::{key, write};

async fn opened(url: &str, opening: Opening) -> Result<Arc<Redis>, store::Error> {
    let mut settings = RedisSettings::new(url);
    settings.opening = opening;
    Redis::open(settings, Shards::default()).await.map(Arc::new)
}

async fn found(url: &str) -> Presence {
    let settings = RedisSettings::new(url);
    look(&settings, Shards::default()).await.unwrap().0
}

/// Every call is refused.
async fn is_refused(store: &Shared) {
    let shard = store.shards().numbered(3);
    let told = [
        store
            .commit(write(shard, &key(1), 0))
            .await
            .map(|_| ())
            .unwrap_err(),
        store.now_ms().await.map(|_| ()).unwrap_err(),
        store.load(shard, &key(1)).await.map(|_| ()).unwrap_err(),
        store
            .take(shard, "n", "h", 1_000)
            .await
            .map(|_| ())
            .unwrap_err(),
    ];
    for error in told {
        let told = error.to_string();
        assert!(told.contains("the store was emptied"), "{told}");
        assert!(
            told.contains("gennaker restore") && told.contains("--accept-empty"),
            "{told}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_knew_a_server_before_it_was_emptied_writes_nothing_to_it() {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--appendfsync", "everysec"]).await;
    let url = server.url();
    assert_eq!(found(&url).await, Presence::Absent);
    let refused = opened(&url, Opening::Find).await.unwrap_err().to_string();
    assert!(refused.contains("no store"), "{refused}");
    let first: Shared = opened(&url, Opening::Make).await.unwrap();
    let shard = first.shards().numbered(3);
    first
        .commit(write(shard, &key(0), 0))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found(&url).await, Presence::Whole);
    opened(&url, Opening::Find).await.unwrap();

    server.command(&["FLUSHALL"]).await;
    assert_eq!(found(&url).await, Presence::Absent);
    is_refused(&first).await;
    let keys: Vec<String> =
        ::redis::from_redis_value(server.command(&["KEYS", "*"]).await).unwrap();
    assert_eq!(keys, Vec::<String>::new(), "something was written");

    // Another store there does not make it right again, while it is filled and afterwards.
    let second = opened(&url, Opening::Restore).await.unwrap();
    assert_eq!(found(&url).await, Presence::Unfinished);
    for opening in [Opening::Find, Opening::Make] {
        let refused = opened(&url, opening).await.unwrap_err().to_string();
        assert!(refused.contains("has not ended"), "{refused}");
    }
    opened(&url, Opening::Restore).await.unwrap();
    second.restored().await.unwrap();
    assert_eq!(found(&url).await, Presence::Whole);
    let second: Shared = second;
    second
        .commit(write(shard, &key(0), 0))
        .await
        .unwrap()
        .unwrap();
    is_refused(&first).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_make_a_store_at_the_same_time_make_one() {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--appendfsync", "everysec"]).await;
    let url = server.url();
    for _ in 0..10 {
        let makers = (0..8).map(|_| opened(&url, Opening::Make));
        let stores = futures_util::future::join_all(makers).await;
        for (number, store) in stores.into_iter().enumerate() {
            let store: Shared = store.unwrap();
            let shard = store.shards().numbered(3);
            let batch = write(shard, &key(number), 0);
            store.commit(batch).await.unwrap().unwrap();
        }
        server.command(&["FLUSHALL"]).await;
    }
    // One who began to fill a store, and died at once.
    server
        .command(&["HSET", "gn:layout", "restoring", "1"])
        .await;
    assert_eq!(found(&url).await, Presence::Unfinished);
    opened(&url, Opening::Make).await.unwrap_err();
    let store = opened(&url, Opening::Restore).await.unwrap();
    store.restored().await.unwrap();
    assert_eq!(found(&url).await, Presence::Whole);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_which_one_master_was_emptied_is_no_store() {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(folder.path()).await;
    let url = cluster.masters[0].url();
    let first: Shared = opened(&url, Opening::Make).await.unwrap();
    assert_eq!(found(&url).await, Presence::Whole);
    // Not the one with the layout.
    let layout = ["EXISTS", "gn:layout"];
    let mut emptied = false;
    for master in &cluster.masters {
        let holds = master.try_command(&layout).await;
        if !emptied && !holds.is_ok_and(|there| there == ::redis::Value::Int(1)) {
            master.command(&["FLUSHALL"]).await;
            emptied = true;
        }
    }
    assert!(emptied);
    assert_eq!(found(&url).await, Presence::Absent);
    let mut refused = 0;
    for shard in first.shards().all() {
        refused += usize::from(first.commit(write(shard, &key(0), 0)).await.is_err());
    }
    assert!(refused >= 5, "{refused}");
    let second: Shared = opened(&url, Opening::Make).await.unwrap();
    for shard in second.shards().all() {
        second
            .commit(write(shard, &key(1), 0))
            .await
            .unwrap()
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_a_version_that_knew_no_marks_gets_them() {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--appendfsync", "everysec"]).await;
    server
        .command(&["HSET", "gn:layout", "format", "1", "shards", "16"])
        .await;
    assert_eq!(found(&server.url()).await, Presence::Whole);
    let store: Shared = opened(&server.url(), Opening::Find).await.unwrap();
    let shard = store.shards().numbered(9);
    store
        .commit(write(shard, &key(0), 0))
        .await
        .unwrap()
        .unwrap();
    server.command(&["FLUSHALL"]).await;
    is_refused(&store).await;
}

#[tokio::test]
async fn a_file_that_is_not_there_is_made_only_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let open = |opening| {
        let mut settings = FileSettings::new(&path);
        settings.opening = opening;
        // The writer thread lets the file go a moment after the last handle.
        loop {
            match Embedded::open(settings.clone(), Shards::default()) {
                Err(error) if error.to_string().contains("has it open") => std::thread::yield_now(),
                opened => return opened,
            }
        }
    };
    let found = || loop {
        match Embedded::look(&path) {
            Err(error) if error.to_string().contains("has it open") => std::thread::yield_now(),
            found => return found.unwrap(),
        }
    };
    assert_eq!(found(), Presence::Absent);
    let refused = open(Opening::Find).unwrap_err().to_string();
    assert!(refused.contains("no store") && !path.exists(), "{refused}");
    std::fs::write(&path, "").unwrap();
    assert_eq!(found(), Presence::Absent, "its making was cut off");
    drop(open(Opening::Restore).unwrap());
    assert_eq!(found(), Presence::Unfinished);
    for opening in [Opening::Find, Opening::Make] {
        let refused = open(opening).unwrap_err().to_string();
        assert!(refused.contains("has not ended"), "{refused}");
    }
    let store = open(Opening::Restore).unwrap();
    let shard = store::Store::shards(&store).numbered(0);
    let document = DocumentKey::new("test", "kept");
    let batch = Batch::new(shard, "1").document(&document, 0).set("h", "x");
    store::Store::commit(&store, batch).await.unwrap().unwrap();
    store.restored().unwrap();
    drop(store);
    assert_eq!(found(), Presence::Whole);
    let store = open(Opening::Find).unwrap();
    assert!(
        store::Store::load(&store, shard, &document)
            .await
            .unwrap()
            .is_some()
    );
}

/// What a named lease fences lies outside of the store: the balancer, for one, goes on serving.
#[tokio::test]
async fn a_named_lease_of_a_new_store_is_above_those_of_the_one_that_was_lost() {
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let settings = FileSettings::new(folder.path().join("store.redb"));
        let store: Shared = Arc::new(Embedded::open(settings, Shards::default()).unwrap());
        let shard = store.shards().numbered(0);
        for holder in ["first", "second"] {
            let taken = store.take(shard, "balancer/a", holder, 0).await.unwrap();
            tokens.push(taken.unwrap().token);
        }
    }
    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
}
