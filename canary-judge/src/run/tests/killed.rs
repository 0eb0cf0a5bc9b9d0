//! The process that judges is killed at each of its steps in turn: before it and after it, once per run. Every such run
//! comes to what the undisturbed one does. A process that acknowledges its message first does not, which shows that the
//! kills reach what they should.

use std::sync::atomic::Ordering;

use serde_json::Value;

use super::world::{NOW, World, request, start};
use super::{ACA, SEQUENTIAL};
use crate::run::Start;

/// What of a run does not depend on when it was judged.
fn verdict(told: &Value) -> Vec<Value> {
    let intervals = told["intervals"].as_array().unwrap().iter();
    let keys = [
        "number",
        "judgementStartTimeMillis",
        "judgementEndTimeMillis",
        "score",
        "digest",
        "decision",
    ];
    let intervals = intervals.map(|i| keys.iter().map(|key| i[key].clone()).collect::<Value>());
    let whole = ["status", "complete", "decision", "judgements"].map(|key| told[key].clone());
    let score = told["result"]["judgeResult"]["score"].clone();
    whole.into_iter().chain(intervals).chain([score]).collect()
}

/// A run that is judged several times, large enough for pairs to be put aside.
fn asked(judge: &str) -> Start {
    let mut asked = start(judge, 3, 10);
    asked.effect_id = "once".to_owned();
    if judge == SEQUENTIAL {
        asked.request = request(5);
        asked.plan.as_mut().unwrap().lifetime_ms = 60_000;
    }
    asked
}

async fn world(judge: &str) -> (World, String) {
    let world = World::new();
    let series = if judge == ACA { 60 } else { 1 };
    world.script.series.store(series, Ordering::SeqCst);
    world
        .script
        .bad_from
        .store(NOW - 10 * 60_000 + 70_000, Ordering::SeqCst);
    let id = world.runs.start(asked(judge)).await.unwrap();
    (world, id)
}

#[tokio::test]
async fn a_run_killed_at_any_step_comes_to_the_undisturbed_verdict() {
    for judge in [ACA, SEQUENTIAL] {
        let (undisturbed, id) = world(judge).await;
        let begun = undisturbed.fate.steps();
        undisturbed.live(400).await;
        let steps = undisturbed.fate.steps();
        let expected = undisturbed.told(&id).await;
        assert_eq!(expected["complete"], true, "{judge}");
        let expected = verdict(&expected);
        assert!(steps - begun > 15, "{judge}: {steps} steps");
        for at in begun + 1..=steps {
            for after in [false, true] {
                let (killed, id) = world(judge).await;
                killed.fate.die_at(at, after);
                killed.live(800).await;
                let told = killed.told(&id).await;
                assert_eq!(
                    verdict(&told),
                    expected,
                    "{judge} killed at {at}, after {after}"
                );
                for asked in killed.script.asked() {
                    assert!(undisturbed.script.asked().contains(&asked), "{asked:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_start_killed_at_any_step_and_repeated_begins_one_run() {
    let (undisturbed, _) = world(ACA).await;
    for at in 1..=undisturbed.fate.steps() {
        for after in [false, true] {
            let killed = World::new();
            killed.fate.die_at(at, after);
            assert!(killed.runs.start(asked(ACA)).await.is_err());
            killed.live(1).await;
            killed.revive();
            let id = killed.runs.start(asked(ACA)).await.unwrap();
            killed.live(400).await;
            let wanted = crate::run::Wanted {
                application: "shop".to_owned(),
                ..Default::default()
            };
            let runs = killed.runs.list(&wanted).await.unwrap();
            assert_eq!(runs.len(), 1);
            assert_eq!(runs[0]["pipelineId"], id);
            assert_eq!(runs[0]["complete"], true);
        }
    }
}

#[tokio::test]
async fn a_control_that_acknowledges_before_it_commits_loses_runs() {
    let control = async |at: usize| {
        let (mut world, id) = world(ACA).await;
        // Without fencing its late commits are taken, so that undisturbed it works.
        world.embedded.relax(true, false);
        world.acknowledges_first = true;
        let begun = world.fate.steps();
        world.fate.die_at(at, false);
        world.live(400).await;
        (
            world.told(&id).await["complete"] == true,
            begun,
            world.fate.steps(),
        )
    };
    let (complete, begun, steps) = control(0).await;
    assert!(complete);
    let mut lost = 0;
    for at in begun + 1..=steps {
        lost += usize::from(!control(at).await.0);
    }
    assert!(
        lost > 0,
        "no kill lost a run, though messages were acknowledged first"
    );
}
