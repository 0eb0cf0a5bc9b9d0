//! Redis: one server and a cluster; lost scripts, connections, answers, commits.

use std::sync::Arc;

use store::redis::{Redis, RedisSettings};
use store::{Batch, DocumentKey, Shards, Shared, blob, contract};

use crate::server::{Cluster, Server, VALKEY, has, installed};
use crate::writers::{Writers, applied_once, write};

pub(crate) async fn open(server: &Server, prefix: &str, count: u16) -> Shared {
    let mut settings = RedisSettings::new(server.url());
    settings.prefix = prefix.to_owned();
    let store: Shared = Arc::new(Redis::open(settings, Shards::new(count)).await.unwrap());
    let info = store.info().await.unwrap();
    println!("{}: {}", info.backend, info.durability);
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn valkey_keeps_the_contract() {
    if !has(VALKEY) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_as(VALKEY, folder.path(), &["--appendfsync", "everysec"]).await;
    contract::all(&open(&server, "gn", 16).await, "valkey").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_keeps_the_contract_with_1_and_16_shards() {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--appendfsync", "everysec"]).await;
    for (prefix, count) in [("one", 1), ("many", 16)] {
        let store = open(&server, prefix, count).await;
        contract::all(&store, "redis").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_three_keeps_the_contract_and_each_has_a_share() {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(folder.path()).await;
    for (prefix, count) in [("one", 1), ("many", 16)] {
        let store = open(&cluster.masters[1], prefix, count).await;
        assert_eq!(store.info().await.unwrap().backend, "redis-cluster");
        contract::all(&store, "cluster").await;
        if count == 16 {
            for shard in store.shards().all() {
                let key = DocumentKey::new("test", "spread");
                store.commit(write(shard, &key, 0)).await.unwrap().unwrap();
            }
        }
    }
    for master in &cluster.masters {
        let keys = master.command(&["KEYS", "many:{*}:d:test:spread"]).await;
        let keys: Vec<String> = ::redis::from_redis_value(keys).unwrap();
        assert!((5..=6).contains(&keys.len()), "{keys:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_whose_document_never_comes_go_by_themselves() {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--appendfsync", "everysec"]).await;
    let store = open(&server, "gn", 1).await;
    let (shard, key) = (store.shards().numbered(0), DocumentKey::new("test", "1"));
    let lives = async || -> i64 {
        let left = server
            .command(&["PTTL", &format!("gn:{{{}}}:blobs:test:1", shard.tag())])
            .await;
        ::redis::from_redis_value(left).unwrap()
    };
    let hash = store.put_blob(shard, &key, "x".into()).await.unwrap();
    let day = i64::try_from(blob::UNOWNED.as_millis()).unwrap();
    assert!((day - 60_000..=day).contains(&lives().await));
    let batch = Batch::new(shard, "1").document(&key, 0).blob(&hash);
    store.commit(batch).await.unwrap().unwrap();
    assert_eq!(lives().await, -1, "it is there for as long as the document");
    store.put_blob(shard, &key, "y".into()).await.unwrap();
    assert_eq!(lives().await, -1);
    let end = Batch::new(shard, "2").document(&key, 1).delete();
    store.commit(end).await.unwrap().unwrap();
    assert_eq!(lives().await, -2, "and not longer");
    // What lay in the shard before values had owners is found.
    let shared = format!("gn:{{{}}}:blob:{hash}", shard.tag());
    server.command(&["SET", &shared, "x"]).await;
    let found = store.get_blob(shard, &key, &hash).await.unwrap();
    assert_eq!(found.as_deref(), Some(&b"x"[..]));
}

/// Moves a slot with its keys from one master to another, as operators do.
async fn reshard(cluster: &Cluster, slot: &str, from: usize, to: usize) {
    let (source, target) = (&cluster.masters[from], &cluster.masters[to]);
    let id = async |server: &Server| -> String {
        let told = server.command(&["CLUSTER", "MYID"]).await;
        ::redis::from_redis_value(told).unwrap()
    };
    let (source_id, target_id) = (id(source).await, id(target).await);
    let importing = ["CLUSTER", "SETSLOT", slot, "IMPORTING", &source_id];
    target.command(&importing).await;
    let migrating = ["CLUSTER", "SETSLOT", slot, "MIGRATING", &target_id];
    source.command(&migrating).await;
    let port = target.port.to_string();
    loop {
        // One key at a time, so that a batch meets some here and some there.
        let found = source
            .command(&["CLUSTER", "GETKEYSINSLOT", slot, "1"])
            .await;
        let keys: Vec<String> = ::redis::from_redis_value(found).unwrap();
        let Some(key) = keys.first() else { break };
        source
            .command(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"])
            .await;
    }
    for master in [target, source] {
        master
            .command(&["CLUSTER", "SETSLOT", slot, "NODE", &target_id])
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_moves_to_another_master_loses_nothing() {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(folder.path()).await;
    let store = open(&cluster.masters[0], "gn", 16).await;
    let writers = Writers::start(&store, 4);
    writers.advance(100).await;
    // Slots of the first two shards; each lies with the first master.
    for (shard, to) in [(0, 1), (1, 2)] {
        let tag = format!("{{{}}}", store.shards().numbered(shard).tag());
        let slot = cluster.masters[0]
            .command(&["CLUSTER", "KEYSLOT", &tag])
            .await;
        let slot: u16 = ::redis::from_redis_value(slot).unwrap();
        assert!(slot <= 5460, "{slot}");
        reshard(&cluster, &slot.to_string(), 0, to).await;
        let keys = ["KEYS", &format!("gn:{tag}:*")];
        let moved = cluster.masters[to].command(&keys).await;
        let moved: Vec<String> = ::redis::from_redis_value(moved).unwrap();
        assert!(!moved.is_empty(), "the shard lies with another master");
        writers.advance(100).await;
    }
    for (number, version) in writers.finish().await.into_iter().enumerate() {
        applied_once(&store, number, version).await;
    }
}
