//! Runs over a store in memory: what they come to, undisturbed and disturbed.

mod kept;
mod killed;
mod refused;
mod world;

use std::sync::atomic::Ordering;

use proto::message::OPERATION_FINISHED;
use serde_json::{Value, json};

use self::world::{NOW, World, config, request, start};
use super::{Start, Waiter, Wanted};
use crate::source::{Class, SourceError};

const ACA: &str = "NetflixACAJudge-v1.0";
const SEQUENTIAL: &str = "SequentialJudge-v1.0";

fn error(class: Class, why: &str) -> SourceError {
    SourceError::new(class, why, "look at its log")
}

fn scores(told: &Value) -> Vec<f64> {
    let intervals = told["intervals"].as_array().unwrap().iter();
    intervals.map(|i| i["score"].as_f64().unwrap()).collect()
}

#[tokio::test]
async fn a_run_is_judged_after_each_interval_over_a_growing_window() {
    let world = World::new();
    world.script.bad_from.store(NOW, Ordering::SeqCst);
    let id = world.runs.start(start(ACA, 5, 0)).await.unwrap();
    let told = world.told(&id).await;
    assert_eq!(
        (&told["status"], &told["complete"]),
        (&json!("not_started"), &json!(false))
    );
    assert!(told.get("result").is_none());
    world.live(100).await;
    let told = world.told(&id).await;
    assert_eq!(
        (&told["status"], &told["complete"]),
        (&json!("succeeded"), &json!(true))
    );
    assert_eq!(scores(&told), [0.0; 5]);
    let expected: Vec<_> = (1..=5)
        .flat_map(|n| ["old", "new"].map(|side| (side.to_owned(), NOW, NOW + n * 60_000)))
        .collect();
    assert_eq!(world.script.asked(), expected);
    assert_eq!(
        told["result"]["judgeResult"]["score"]["classification"],
        "Fail"
    );
    assert_eq!(told["result"]["canaryDuration"], "PT5M");
    assert_eq!(told["config"]["unknown"]["kept"].to_string(), "1.5");
    assert_eq!(told["stageStatus"]["fetchControl0"], "succeeded");
    assert_eq!(told["endTimeMillis"], NOW + 300_000);
    let list = told["metricSetPairListId"].as_str().unwrap();
    let (run, number) = super::list_of(list);
    let loaded = world.runs.load(run).await.unwrap().unwrap();
    let pairs = world.runs.pairs(&loaded, number).await.unwrap().unwrap();
    assert_eq!(
        pairs[0]["values"]["experiment"].as_array().unwrap().len(),
        30
    );
    assert_eq!(
        pairs[0]["id"],
        told["result"]["judgeResult"]["results"][0]["id"]
    );
}

#[tokio::test]
async fn who_waits_for_a_run_is_told_of_its_end_once_and_in_the_same_commit() {
    for cancels in [false, true] {
        let world = World::new();
        let mut start = start(ACA, 3, 0);
        // An id of the run's own shard, so that nothing has to cross.
        let shards = world.runs.store.shards();
        let shard = shards.of_application(&start.application);
        let execution = shards.mint_id(NOW, &crate::ids::unique(), shard);
        start.waiter = Some(Waiter {
            execution_id: execution.clone(),
            stage_id: "s".to_owned(),
            task_id: "t".to_owned(),
        });
        let id = world.runs.start(start).await.unwrap();
        assert_eq!(
            world.messages(OPERATION_FINISHED).await,
            Vec::<Value>::new()
        );
        if cancels {
            world.runs.cancel(&id, "enough").await.unwrap();
        }
        world.live(100).await;
        let told = json!({"operationId": id, "succeeded": !cancels, "executionId": execution,
            "stageId": "s", "taskId": "t"});
        assert_eq!(world.messages(OPERATION_FINISHED).await, [told]);
    }
}

#[tokio::test]
async fn with_a_look_back_only_the_last_of_a_canary_is_judged() {
    let world = World::new();
    world.script.bad_from.store(NOW + 180_000, Ordering::SeqCst);
    let mut start = start(ACA, 5, 0);
    start.plan.as_mut().unwrap().lookback_ms = 60_000;
    let id = world.runs.start(start).await.unwrap();
    world.live(100).await;
    let told = world.told(&id).await;
    assert_eq!(scores(&told), [100.0, 100.0, 100.0, 0.0, 0.0]);
    assert_eq!(told["result"]["canaryDuration"], "PT1M");
}

#[tokio::test]
async fn a_run_that_stops_at_marginal_ends_with_the_first_bad_judgement() {
    let world = World::new();
    world.script.bad_from.store(NOW + 60_000, Ordering::SeqCst);
    let mut start = start(ACA, 9, 0);
    start.plan.as_mut().unwrap().lookback_ms = 60_000;
    start.plan.as_mut().unwrap().stop_at_marginal = true;
    let id = world.runs.start(start).await.unwrap();
    world.live(100).await;
    let told = world.told(&id).await;
    assert_eq!(told["status"], "succeeded");
    assert_eq!(scores(&told), [100.0, 0.0]);
}

#[tokio::test]
async fn an_interval_missed_while_the_service_was_down_is_judged_late_over_its_own_window() {
    let world = World::new();
    let id = world.runs.start(start(ACA, 5, 0)).await.unwrap();
    world.clock.advance(17 * 60_000);
    world.live(100).await;
    let late = world.told(&id).await;
    let other = World::new();
    let id = other.runs.start(start(ACA, 5, 0)).await.unwrap();
    other.live(100).await;
    let undisturbed = other.told(&id).await;
    assert_eq!(world.script.asked(), other.script.asked());
    let verdict = |told: &Value| -> Vec<(Value, Value)> {
        let intervals = told["intervals"].as_array().unwrap().iter();
        intervals
            .map(|i| (i["score"].clone(), i["digest"].clone()))
            .collect()
    };
    assert_eq!(verdict(&late), verdict(&undisturbed));
}

#[tokio::test]
async fn a_judge_by_steps_fails_a_bad_canary_before_the_horizon() {
    let world = World::new();
    world.script.bad_from.store(NOW, Ordering::SeqCst);
    let mut asked = start(SEQUENTIAL, 10, 0);
    asked.request = request(1);
    let id = world.runs.start(asked).await.unwrap();
    world.live(2_000).await;
    let told = world.told(&id).await;
    assert_eq!(
        (&told["status"], &told["decision"]),
        (&json!("succeeded"), &json!("FAIL"))
    );
    let judged = told["judgements"].as_u64().unwrap();
    assert!((3..60).contains(&judged), "{judged}");
    // Two steps for the data to settle.
    assert_eq!(
        told["endTimeMillis"],
        NOW + (i64::try_from(judged).unwrap() + 2) * 1_000
    );
    // Looks within an interval leave nothing behind but the last.
    assert_eq!(told["intervals"].as_array().unwrap().len(), 1);
    assert_eq!(told["result"]["judgeResult"]["score"]["score"], 0.0);
}

#[tokio::test]
async fn a_run_whose_store_fails_ends_with_its_words_and_blocks_no_other() {
    let world = World::new();
    world.script.fail("broken", Class::Transient, 1_000);
    let mut broken = start(ACA, 1, 5);
    broken.config = config(ACA, &["broken"]);
    let broken = world.runs.start(broken).await.unwrap();
    let fine = world.runs.start(start(ACA, 3, 0)).await.unwrap();
    world.live(200).await;
    let told = world.told(&broken).await;
    assert_eq!(told["status"], "terminal");
    let error = told["exception"]["details"]["errors"][0].as_str().unwrap();
    assert!(
        error.contains("control") && error.contains("answers 500"),
        "{error}"
    );
    assert!(told.get("result").is_none());
    assert_eq!(world.told(&fine).await["endTimeMillis"], NOW + 180_000);
}

#[tokio::test]
async fn a_store_that_fails_for_a_while_is_asked_again_over_the_same_window() {
    let world = World::new();
    world.script.fail("m", Class::Transient, 3);
    let id = world.runs.start(start(ACA, 1, 5)).await.unwrap();
    world.live(50).await;
    let told = world.told(&id).await;
    assert_eq!(told["status"], "succeeded");
    assert!(told.get("trouble").is_none());
    let windows: Vec<_> = world
        .script
        .asked()
        .iter()
        .map(|(_, a, b)| (*a, *b))
        .collect();
    assert!(
        windows.iter().all(|w| *w == (NOW - 300_000, NOW - 240_000)),
        "{windows:?}"
    );
    // 1 s, 2 s and 4 s later.
    assert_eq!(told["endTimeMillis"], NOW + 7_000);
}

#[tokio::test]
async fn a_query_that_the_store_refuses_is_not_asked_again() {
    let world = World::new();
    world.script.fail("m", Class::Invalid, 1_000);
    let id = world.runs.start(start(ACA, 1, 5)).await.unwrap();
    world.live(50).await;
    assert_eq!(world.told(&id).await["status"], "terminal");
    assert!(world.script.asked().len() <= 2);
}

#[tokio::test]
async fn the_same_effect_starts_one_run() {
    let world = World::new();
    let of = |effect: &str| Start {
        effect_id: effect.to_owned(),
        ..start(ACA, 1, 0)
    };
    let first = world.runs.start(of("e")).await.unwrap();
    assert_eq!(world.runs.start(of("e")).await.unwrap(), first);
    assert_ne!(world.runs.start(of("f")).await.unwrap(), first);
    let (a, b) = (world.runs.start(of("g")), world.runs.start(of("g")));
    let (a, b) = tokio::join!(a, b);
    assert_eq!(a.unwrap(), b.unwrap());
}

#[tokio::test]
async fn a_cancelled_run_is_over_at_once_and_is_not_judged_any_more() {
    let world = World::new();
    let id = world.runs.start(start(ACA, 5, 0)).await.unwrap();
    world.clock.advance(60_000);
    world.live(1).await;
    world.runs.cancel(&id, "").await.unwrap();
    let asked = world.script.asked().len();
    world.live(100).await;
    assert_eq!(world.script.asked().len(), asked);
    let told = world.told(&id).await;
    assert_eq!(
        (&told["status"], &told["complete"]),
        (&json!("canceled"), &json!(true))
    );
    assert_eq!(
        told["exception"]["details"]["errors"][0],
        "Canary execution was canceled."
    );
    world.runs.cancel(&id, "again").await.unwrap();
    assert!(
        world
            .runs
            .cancel("01ARZ3NDEKTSV4RRFFQ69G5FAV", "")
            .await
            .is_err()
    );
}

#[tokio::test]
async fn runs_of_an_application_are_listed_newest_first_by_page_and_state() {
    let world = World::new();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(world.runs.start(start(ACA, 1, 5)).await.unwrap());
        world.clock.advance(1);
    }
    world.runs.cancel(&ids[1], "").await.unwrap();
    world.live(100).await;
    ids.reverse();
    let list = |page, limit, statuses: &[&str]| {
        let wanted = Wanted {
            application: "Shop".to_owned(),
            limit,
            page,
            statuses: statuses.iter().map(|s| (*s).to_owned()).collect(),
        };
        let runs = world.runs.clone();
        async move {
            let found = runs.list(&wanted).await.unwrap();
            let id = |run: &Value| run["pipelineId"].as_str().unwrap().to_owned();
            found.iter().map(id).collect::<Vec<_>>()
        }
    };
    assert_eq!(list(1, 20, &[]).await, ids);
    assert_eq!(list(2, 2, &[]).await, ids[2..4]);
    assert_eq!(list(1, 20, &["canceled"]).await, ids[3..4]);
    assert_eq!(list(2, 3, &["succeeded"]).await, ids[4..]);
}

#[tokio::test]
async fn a_state_is_looked_for_among_the_newest_thousand_runs() {
    let world = World::new();
    let oldest = world.runs.start(start(ACA, 1, 5)).await.unwrap();
    world.clock.advance(1);
    let second = world.runs.start(start(ACA, 1, 5)).await.unwrap();
    world.runs.cancel(&oldest, "").await.unwrap();
    world.runs.cancel(&second, "").await.unwrap();
    world.live(100).await;
    for _ in 0..999 {
        world.clock.advance(1);
        world.runs.start(start(ACA, 1, 5)).await.unwrap();
    }
    let wanted = Wanted {
        application: "shop".to_owned(),
        limit: 20,
        page: 1,
        statuses: vec!["canceled".to_owned()],
    };
    let before = world.fate.steps();
    let found = world.runs.list(&wanted).await.unwrap();
    let ids: Vec<_> = found.iter().map(|run| &run["pipelineId"]).collect();
    assert_eq!(ids, [&json!(second)]);
    assert_eq!(world.fate.steps() - before, 1_000);
}

#[tokio::test]
async fn a_list_that_no_answer_holds_is_refused_with_how_many_runs_it_does() {
    let world = World::new();
    for _ in 0..8 {
        let mut large = start(ACA, 1, 5);
        large.config["description"] = json!("x".repeat(2 << 20));
        world.runs.start(large).await.unwrap();
    }
    let list = |limit| {
        let wanted = Wanted {
            application: "shop".to_owned(),
            limit,
            ..Wanted::default()
        };
        let runs = world.runs.clone();
        async move { runs.list(&wanted).await }
    };
    let refused = list(20).await.unwrap_err();
    assert_eq!(refused.fields[0].path, "limit");
    assert!(
        refused.to_string().contains("ask for 5 or fewer"),
        "{refused}"
    );
    assert_eq!(list(5).await.unwrap().len(), 5);
}

#[tokio::test]
async fn a_dry_run_that_no_answer_holds_is_told_without_its_pairs() {
    let world = World::new();
    let mut request = request(1);
    for side in ["controlScope", "experimentScope"] {
        request["scopes"]["default"][side]["start"] = json!("2025-12-31T00:00:00Z");
        request["scopes"]["default"][side]["end"] = json!("2025-12-31T22:00:00Z");
    }
    let dry = Start {
        application: "shop".to_owned(),
        config: config(ACA, &["a", "b", "c", "d"]),
        request,
        ..Start::default()
    };
    let told = world.runs.try_out(dry).await.unwrap();
    assert_eq!(told["result"]["judgeResult"]["score"]["score"], 100.0);
    assert_eq!(told["metricSetPairList"], json!([]));
    let warned = told["warnings"].to_string();
    assert!(warned.contains("are not told"), "{warned}");
}

#[tokio::test]
async fn a_dry_run_answers_queries_and_result_and_keeps_nothing() {
    let world = World::new();
    let mut request = request(60);
    for side in ["controlScope", "experimentScope"] {
        request["scopes"]["default"][side]["start"] = json!("2025-12-31T20:00:00Z");
        request["scopes"]["default"][side]["end"] = json!("2025-12-31T22:00:00Z");
    }
    let dry = Start {
        application: "shop".to_owned(),
        config: config(ACA, &["m"]),
        request,
        ..Start::default()
    };
    let told = world.runs.try_out(dry.clone()).await.unwrap();
    assert_eq!(told["result"]["judgeResult"]["score"]["score"], 100.0);
    assert_eq!(
        told["queries"][1],
        json!({"metricName": "m", "side": "experiment", "query": "m of new"})
    );
    assert_eq!(
        told["metricSetPairList"][0]["values"]["control"]
            .as_array()
            .unwrap()
            .len(),
        120
    );
    let wanted = Wanted {
        application: "shop".to_owned(),
        ..Wanted::default()
    };
    assert!(world.runs.list(&wanted).await.unwrap().is_empty());
    world.script.fail("m", Class::Refused, 1);
    let failed = world.runs.try_out(dry).await.unwrap_err();
    assert!(failed.message.contains("answers 500"), "{}", failed.message);
}
