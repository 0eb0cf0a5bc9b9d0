//! What is kept of a run, and for how long.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::room::PLACES;
use super::super::{Start, Wanted, key, record};
use super::ACA;
use super::world::{World, config, request, start};

#[tokio::test]
async fn a_run_is_forgotten_with_everything_of_it_when_its_time_is_over() {
    let world = World::new();
    let run = Start {
        effect_id: "e".to_owned(),
        ..start(ACA, 1, 5)
    };
    let id = world.runs.start(run.clone()).await.unwrap();
    world.live(20).await;
    assert!(world.runs.get(&id).await.unwrap().is_some());
    world.clock.advance(91 * 24 * 3600 * 1_000);
    world.live(20).await;
    assert!(world.runs.get(&id).await.unwrap().is_none());
    let wanted = Wanted {
        application: "shop".to_owned(),
        ..Wanted::default()
    };
    assert!(world.runs.list(&wanted).await.unwrap().is_empty());
    assert_ne!(world.runs.start(run).await.unwrap(), id);
}

#[tokio::test]
async fn a_run_that_has_ended_is_archived_and_told_from_there_when_it_was_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new();
    world.runs.archive = Some(Arc::new(store::archive::Folder::new(folder.path())));
    let mut slides = start(ACA, 2, 5);
    slides.plan.as_mut().unwrap().lookback_ms = 60_000;
    let id = world.runs.start(slides).await.unwrap();
    let ended = world.runs.start(start(ACA, 60, 0)).await.unwrap();
    world.runs.cancel(&ended, "enough").await.unwrap();
    // The archive cannot be written for a while: nothing is forgotten, it is tried again.
    std::fs::write(folder.path().join("canaries"), "in the way").unwrap();
    world.live(60).await;
    std::fs::remove_file(folder.path().join("canaries")).unwrap();
    world.live(60).await;
    let told = world.told(&id).await;
    let list = told["metricSetPairListId"].as_str().unwrap().to_owned();
    let pairs = world.runs.pairs_of_list(&list).await.unwrap().unwrap();
    let first = record::list_id(&id, 1);
    let of_first = world.runs.pairs_of_list(&first).await.unwrap();
    assert!(of_first.is_some_and(|other| other != pairs));
    let canceled = world.told(&ended).await;
    world.clock.advance(91 * 24 * 3600 * 1_000);
    world.live(20).await;
    assert!(world.runs.load(&id).await.unwrap().is_none());
    assert_eq!(world.told(&id).await, told);
    assert_eq!(world.told(&ended).await, canceled);
    for id in [&list, &id] {
        let told = world.runs.pairs_of_list(id).await.unwrap();
        assert_eq!(told.as_ref(), Some(&pairs));
    }
    // Only the last are archived: no other list is answered with them.
    for other in [first, format!("{id}-3"), format!("{id}-x")] {
        assert_eq!(world.runs.pairs_of_list(&other).await.unwrap(), None);
    }
    assert!(world.runs.pairs_of_list(&ended).await.unwrap().is_none());
    let none = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    assert!(world.runs.get(none).await.unwrap().is_none());
}

#[tokio::test]
async fn pairs_too_large_to_be_kept_are_judged_and_the_run_says_so() {
    let world = World::new();
    world.script.series.store(300, Ordering::SeqCst);
    let mut large = start(ACA, 60, 60);
    large.request = request(1);
    large.plan.as_mut().unwrap().interval_ms = 0;
    let id = world.runs.start(large).await.unwrap();
    world.live(20).await;
    let told = world.told(&id).await;
    assert_eq!(told["status"], "succeeded");
    assert!(told.get("metricSetPairListId").is_none());
    assert!(
        told["warnings"]
            .to_string()
            .contains("more than the 10485760 of a list"),
        "{}",
        told["warnings"]
    );
    let results = told["result"]["judgeResult"]["results"].as_array().unwrap();
    assert_eq!(results.len(), 300);
}

/// Other judgements at the same time leave fewer places, never more.
#[tokio::test]
async fn series_that_nobody_expected_take_room_while_the_others_are_asked_for() {
    let world = World::new();
    world.script.series.store(400, Ordering::SeqCst);
    let mut many = start(ACA, 1, 5);
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    many.config = config(ACA, &names);
    world.runs.start(many).await.unwrap();
    world.live(20).await;
    // 24 questions of 6 values each are expected; all but the last eight are answered when the last is asked.
    let held = PLACES - world.script.least_free.load(Ordering::SeqCst);
    assert!(held >= 16 * 400 * 6, "{held}");
}

/// The intervals whose pairs are told of, each with the number of its values.
async fn kept(world: &World, id: &str) -> Vec<(u64, usize)> {
    let told = world.told(id).await;
    let mut kept = Vec::new();
    for interval in told["intervals"].as_array().unwrap() {
        let Some(list) = interval["metricSetPairListId"].as_str() else {
            continue;
        };
        let pairs = world.runs.pairs_of_list(list).await.unwrap().unwrap();
        let values = pairs[0]["values"]["control"].as_array().unwrap().len();
        kept.push((interval["number"].as_u64().unwrap(), values));
    }
    kept
}

#[tokio::test]
async fn pairs_of_a_growing_window_replace_those_that_they_contain() {
    for series in [1, 60] {
        let world = World::new();
        world.script.series.store(series, Ordering::SeqCst);
        let id = world.runs.start(start(ACA, 3, 0)).await.unwrap();
        for number in 1..=3_u64 {
            world.clock.advance(60_000);
            world.live(1).await;
            let expected = (number, 6 * usize::try_from(number).unwrap());
            assert_eq!(kept(&world, &id).await, [expected]);
            let list = record::list_id(&id, number - 1);
            assert_eq!(world.runs.pairs_of_list(&list).await.unwrap(), None);
        }
        let told = world.told(&id).await;
        assert_eq!(told["metricSetPairListId"], format!("{id}-3"));
    }
    let world = World::new();
    let mut slides = start(ACA, 3, 5);
    slides.plan.as_mut().unwrap().lookback_ms = 60_000;
    let id = world.runs.start(slides).await.unwrap();
    world.live(20).await;
    assert_eq!(kept(&world, &id).await, [(1, 6), (2, 6), (3, 6)]);
}

#[tokio::test]
async fn the_deciding_judgement_has_room_for_its_pairs_whatever_the_others_took() {
    let world = World::new();
    let id = world.runs.start(start(ACA, 3, 0)).await.unwrap();
    let loaded = world.runs.load(&id).await.unwrap().unwrap();
    let full = record::Record {
        kept_bytes: record::MOST_BYTES - store::blob::MAX_BLOB,
        ..loaded.record.clone()
    };
    let batch = store::Batch::new(loaded.shard, "full")
        .document(&key(&id), loaded.version)
        .set(record::STATE, full.to_bytes().unwrap());
    world.runs.store.commit(batch).await.unwrap().unwrap();
    world.clock.advance(60_000);
    world.live(1).await;
    let told = world.told(&id).await;
    assert!(
        told["warnings"]
            .to_string()
            .contains("is for the last judgement's"),
        "{told}"
    );
    // While there is no result, no list is told as if it were its.
    assert!(told.get("metricSetPairListId").is_none());
    world.live(20).await;
    assert_eq!(kept(&world, &id).await, [(3, 18)]);
}

#[tokio::test]
async fn a_judgement_too_large_for_the_store_ends_its_run_and_says_so() {
    let world = World::new();
    world.script.series.store(300, Ordering::SeqCst);
    world.most.store(10_000, Ordering::SeqCst);
    let id = world.runs.start(start(ACA, 2, 5)).await.unwrap();
    world.live(20).await;
    let told = world.told(&id).await;
    assert_eq!(told["status"], "terminal");
    let error = told["exception"]["details"]["errors"][0].as_str().unwrap();
    assert!(
        error.contains("a blob has") && error.contains("judge fewer metrics"),
        "{error}"
    );
}
