//! Runs that cannot be begun, and why.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::super::Start;
use super::world::{World, config, request, start};
use super::{ACA, SEQUENTIAL};

#[tokio::test]
async fn a_run_that_cannot_be_begun_says_why() {
    let world = World::new();
    let told = async |start: Start| world.runs.start(start).await.unwrap_err().message;
    let base = || start(ACA, 1, 0);
    let judge = told(start("HAL-9000", 1, 0)).await;
    assert_eq!(judge, "Unable to resolve canary judge 'HAL-9000'.");
    let mut odd = base();
    odd.config["metrics"][0]["query"]["type"] = json!("abacus");
    assert!(
        told(odd)
            .await
            .contains("Unable to resolve canary scope factory for 'abacus'.")
    );
    let mut endless = base();
    endless.plan.as_mut().unwrap().interval_ms = 1;
    assert!(told(endless).await.contains("60000 judgements"));
    let mut none = base();
    none.plan.as_mut().unwrap().lifetime_ms = 0;
    assert!(told(none).await.contains("plan.lifetimeMs"));
    let timeless = Start {
        plan: None,
        ..base()
    };
    assert!(
        told(timeless)
            .await
            .contains("controlScope.start: it is missing")
    );
}

#[tokio::test]
async fn a_plan_longer_than_its_store_can_serve_is_refused_at_the_start() {
    let world = World::new();
    world.script.longest.store(100, Ordering::SeqCst);
    let told = async |start: Start| world.runs.start(start).await.unwrap_err().message;
    // 100 steps of 10 s.
    world.runs.start(start(ACA, 16, 0)).await.unwrap();
    let long = told(start(ACA, 17, 0)).await;
    for part in [
        "plan.lifetimeMs",
        "script, for metric 'm', would be asked for PT17M at once",
        "serves at most PT16M40S with a step of 10 s",
        "a longer step, a shorter lifetime or a look-back",
    ] {
        assert!(long.contains(part), "{long}");
    }
    let mut slides = start(ACA, 600, 0);
    slides.plan.as_mut().unwrap().lookback_ms = 60_000;
    world.runs.start(slides.clone()).await.unwrap();
    slides.plan.as_mut().unwrap().lookback_ms = 6_000_000;
    assert!(told(slides).await.contains("plan.lookbackMs"));
    let mut once = start(ACA, 1, 0);
    once.plan = None;
    for side in ["controlScope", "experimentScope"] {
        once.request["scopes"]["default"][side]["start"] = json!("2025-12-31T20:00:00Z");
        once.request["scopes"]["default"][side]["end"] = json!("2025-12-31T22:00:00Z");
    }
    let dry = world.runs.try_out(once.clone()).await.unwrap_err();
    let once = told(once).await;
    assert!(once.contains("scopes.default.controlScope.start"), "{once}");
    assert_eq!(dry.message, once);
}

#[tokio::test]
async fn a_plan_whose_beginning_its_store_has_forgotten_when_it_is_judged_is_refused() {
    let world = World::new();
    world
        .script
        .remembered_ms
        .store(3_600_000, Ordering::SeqCst);
    let told = async |start: Start| world.runs.start(start).await.unwrap_err().message;
    world.runs.start(start(ACA, 59, 0)).await.unwrap();
    let long = told(start(ACA, 61, 0)).await;
    for part in [
        "plan.lifetimeMs",
        "what was PT1H2M ago, and remembers PT1H: take PT2M off",
    ] {
        assert!(long.contains(part), "{long}");
    }
    // It was over long ago.
    let past = told(start(ACA, 5, 120)).await;
    assert!(past.contains("what was PT2H1M ago"), "{past}");
    // Control's window is earlier.
    let mut offset = start(ACA, 30, 0);
    offset.plan.as_mut().unwrap().baseline_offset_ms = 3_600_000;
    assert!(told(offset).await.contains("what was PT1H31M ago"));
    // Two steps for the data to settle.
    let mut steps = start(SEQUENTIAL, 59, 0);
    steps.request = request(1);
    assert!(told(steps).await.contains("take PT2S off"));
    let mut slides = start(ACA, 600, 0);
    slides.plan.as_mut().unwrap().lookback_ms = 60_000;
    world.runs.start(slides).await.unwrap();
}

#[tokio::test]
async fn a_judgement_of_more_values_than_memory_is_meant_for_is_refused() {
    let world = World::new();
    let mut many = start(ACA, 1_000, 0);
    let names: Vec<String> = (0..100).map(|n| format!("m{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    many.config = config(ACA, &names);
    many.request = request(1);
    let told = world.runs.start(many).await.unwrap_err().message;
    assert!(
        told.contains("more than 10000000 values: give a longer step"),
        "{told}"
    );
    // As many as that may also be of a few questions with many series.
    world.script.series.store(6_000, Ordering::SeqCst);
    let mut series = start(ACA, 17, 60);
    series.request = request(1);
    series.plan.as_mut().unwrap().interval_ms = 0;
    let id = world.runs.start(series).await.unwrap();
    world.live(5).await;
    let told = world.told(&id).await;
    assert_eq!(told["status"], "terminal");
    let error = told["exception"]["details"]["errors"][0].as_str().unwrap();
    assert!(
        error.contains("answer more than 10000000 values"),
        "{error}"
    );
}
