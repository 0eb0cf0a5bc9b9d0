//! Redis: one server and a cluster; lost scripts, connections, answers, commits.

use std::sync::Arc;

use store::redis::{Redis, RedisSettings};
use store::{Batch, DocumentKey, Shard, Shards, Shared, contract};

use crate::server::{Cluster, Server, installed};

pub(crate) async fn open(server: &Server, prefix: &str, count: u16) -> Shared {
    let mut settings = RedisSettings::new(server.url());
    settings.prefix = prefix.to_owned();
    Arc::new(Redis::open(settings, Shards::new(count)).await.unwrap())
}

pub(crate) fn write(shard: Shard, key: &DocumentKey, version: u64) -> Batch {
    Batch::new(shard, format!("{key}/{version}"))
        .document(key, version)
        .set("h", format!("{version}"))
        .event(key, format!("{version}"))
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
