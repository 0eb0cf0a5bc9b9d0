//! A process dies at each write of a move, before it and after it: nothing is lost, nothing is
//! there twice, and the next process finishes the move.

use std::collections::BTreeMap;
use std::sync::Arc;

use orchestrator::archive::Given;
use orchestrator::executions::Listing;
use orchestrator::services::fake::Fake;
use serde_json::{Value, json};
use store::Shared;

use super::dying::{Death, DyingObjects, DyingStore};
use super::{listed, look, moving, reader, staying};
use crate::rig::{Rig, eventually, make, memory, pipeline, quick, webhook};

/// Finished executions in a store that nothing is moved from, as they are served.
async fn finished(store: &Shared, count: usize) -> BTreeMap<String, Value> {
    let mut rig = Rig::over(store.clone(), Fake::new(), quick()).await;
    let mut all = BTreeMap::new();
    for number in 0..count {
        let stages = json!([
            webhook("1", &[]),
            make("wait", "2", &["1"], json!({"waitTime": 0}))
        ]);
        let id = rig.start(&pipeline(&format!("p{number}"), stages)).await;
        let execution = rig.ends(&id, "SUCCEEDED").await;
        all.insert(id, execution);
    }
    rig.stop().await;
    all
}

#[tokio::test]
async fn a_move_that_is_cut_off_anywhere_loses_and_doubles_nothing() {
    let mut at = 0;
    loop {
        let mut came = false;
        for after in [false, true] {
            came |= cut_off(at, after).await;
        }
        if !came {
            // Document, object, executions, acknowledgement.
            assert!(at >= 4, "there are more steps to die at: {at}");
            return;
        }
        at += 1;
    }
}

/// Whether the process died at all.
async fn cut_off(at: usize, after: bool) -> bool {
    let store = memory();
    let folder = tempfile::tempdir().unwrap();
    let before = finished(&store, 4).await;
    let config = moving(folder.path());
    let executions = reader(&store, &config);
    let death = Death::new(at, after);
    let objects = config.archive.open().unwrap();
    let dying: Shared = Arc::new(DyingStore(store.clone(), death.clone()));
    let mut dying_config = config.clone();
    let dying_objects = DyingObjects(objects, death.clone());
    dying_config.archive.objects = Given(Some(Arc::new(dying_objects)));
    let mut rig = Rig::over(dying, Fake::new(), dying_config).await;
    look(&store).await;
    let name = format!("dead at write {at}, after it: {after}, or moved");
    eventually(&name, async || {
        let messages = store.now_ms().await.is_ok() && !waits(&store).await;
        death.came() || staying(&store).await == 0 && messages
    })
    .await;
    rig.kill();

    let same = async |when: &str| {
        let ids: Vec<String> = before.keys().rev().cloned().collect();
        let found = listed(&executions, Listing::default()).await;
        assert_eq!(found, ids, "{when}, write {at}, after it: {after}");
        for (id, execution) in &before {
            let got = executions.get(id, None).await.unwrap().to_json();
            assert_eq!(got, *execution, "{when}, write {at}, after it: {after}");
            assert!(!executions.log(id).await.unwrap().is_empty());
        }
    };
    same("after the crash").await;
    let came = death.came();
    let mut rig = Rig::over(store.clone(), Fake::new(), config.clone()).await;
    eventually("all are moved", async || staying(&store).await == 0).await;
    same("after the next process moved them").await;
    for id in before.keys() {
        assert!(
            executions.load(id).await.unwrap().is_none(),
            "{id} is not in the store"
        );
    }
    rig.stop().await;
    came
}

/// Whether a look is asked for.
async fn waits(store: &Shared) -> bool {
    let shard = store.shards().of_application("app");
    let what = store::Reserve {
        queue: orchestrator::commit::RETENTION,
        most: 0,
        lease_ms: 1,
        max_tries: 5,
    };
    let reserved = store.reserve(shard, what).await.unwrap();
    reserved.next_ms.is_some()
}
