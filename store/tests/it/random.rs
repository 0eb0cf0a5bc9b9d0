//! Random calls on every backend, answered as a small model answers them.

use std::sync::Arc;

use store::embedded::{Embedded, FileSettings, ManualClock};
use store::{Shards, Shared, contract};

use crate::redis::open;
use crate::server::{Server, installed};

#[tokio::test]
async fn memory_answers_as_the_model_while_its_clock_moves() {
    for seed in 0..40 {
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        let store: Shared = Arc::new(Embedded::in_memory(clock.clone(), Shards::default()));
        contract::random(&store, "model", seed, 400, Some(&clock)).await;
    }
}

#[tokio::test]
async fn a_file_answers_as_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let settings = FileSettings::new(folder.path().join("store.redb"));
    let store: Shared = Arc::new(Embedded::open(settings, Shards::default()).unwrap());
    for seed in 0..5 {
        contract::random(&store, "model", seed, 300, None).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_answers_as_the_model() {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--appendfsync", "everysec"]).await;
    let store = open(&server, "gn", 16).await;
    for seed in 0..20 {
        contract::random(&store, "model", seed, 400, None).await;
    }
}

/// A store that breaks a promise must not pass: does any seed notice?
async fn noticed(fencing: bool, split: bool) -> bool {
    for seed in 0..20 {
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        let store = Embedded::in_memory(clock.clone(), Shards::default());
        store.relax(fencing, split);
        let store: Shared = Arc::new(store);
        let run = async move { contract::random(&store, "relaxed", seed, 400, Some(&clock)).await };
        if tokio::spawn(run).await.is_err() {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn a_store_without_fencing_or_with_split_commits_does_not_pass() {
    assert!(noticed(true, false).await, "fencing off");
    assert!(noticed(false, true).await, "messages lost after the state");
    assert!(!noticed(false, false).await, "as it should be");
}
