//! Execution windows with the real catalogue: waiting, skipping, jitter, limits.

use orchestrator::Config;
use orchestrator::services::fake::Fake;
use orchestrator_core::{Execution, Stage, Status, command};
use serde_json::{Value, json};

use crate::bench::{Act, Bench, Moved};
use crate::rig::make;

const MINUTE: i64 = 60_000;
/// 2013-02-13, a Wednesday, 06:30 in Los Angeles.
const HALF_PAST_SIX: i64 = 1_360_765_800_000;

fn begun(stage: Value) -> Bench {
    let mut bench = Bench::new(Fake::new(), json!([stage]));
    bench.now = HALF_PAST_SIX;
    bench
}

/// A wait of no time that may begin from ten to one o'clock.
fn restricted(more: Value) -> Value {
    let mut times =
        json!({"whitelist": [{"startHour": 10, "startMin": 0, "endHour": 13, "endMin": 0}]});
    let own = times.as_object_mut().unwrap();
    own.extend(more.as_object().cloned().unwrap());
    make(
        "wait",
        "1",
        &[],
        json!({"waitTime": 0, "restrictExecutionDuringTimeWindow": true,
            "restrictedExecutionWindow": times}),
    )
}

fn window(execution: &Execution) -> &Stage {
    let mut all = execution.stages.iter();
    all.find(|s| s.is_synthetic()).unwrap()
}

async fn until(bench: &mut Bench, at: i64) {
    while bench.step(Some(at), &mut |_, _| Act::Run).await == Moved::On {}
}

#[tokio::test]
async fn a_stage_waits_until_its_window_opens_and_says_when_that_is() {
    let mut bench = begun(restricted(json!({})));
    until(&mut bench, HALF_PAST_SIX + 60 * MINUTE).await;
    let opens = HALF_PAST_SIX + 210 * MINUTE;
    let served = bench.execution().to_json();
    assert_eq!(served["stages"][0]["status"], "RUNNING");
    assert_eq!(served["stages"][0]["scheduledTime"], opens);
    assert_eq!(served["stages"][1]["tasks"][0]["status"], "NOT_STARTED");
    bench.drive(|_, _| Act::Run).await;
    assert_eq!(bench.status(), Status::Succeeded);
    assert_eq!(window(bench.execution()).end_time, Some(opens));
    // It slept in between.
    let looks = bench.ran.iter().filter(|t| t.starts_with("suspend"));
    assert_eq!(looks.count(), 2);
}

#[tokio::test]
async fn a_person_lets_it_begin_before_its_time() {
    for (patch, skips) in [("skipRemainingWindow", false), ("skipRemainingWait", true)] {
        let mut bench = begun(restricted(
            json!({"jitter": {"enabled": true, "maxDelay": 600}}),
        ));
        let at = HALF_PAST_SIX + 5 * MINUTE;
        until(&mut bench, at).await;
        let id = window(bench.execution()).id.clone();
        let body = json!({patch: true}).as_object().cloned().unwrap();
        let catalog = &orchestrator::stage::Catalog;
        let effects = command::update_stage(bench.execution(), &id, body, "ann", at, catalog);
        bench.command(effects.unwrap());
        until(&mut bench, at + MINUTE).await;
        let ended = (bench.status(), window(bench.execution()).end_time);
        let expected = if skips {
            (Status::Succeeded, Some(at))
        } else {
            (Status::Running, None)
        };
        assert_eq!(ended, expected, "{patch}");
    }
}

#[tokio::test]
async fn a_jitter_counts_from_the_opening_and_is_the_same_when_repeated() {
    let jitter = json!({"jitter": {"enabled": true, "minDelay": 60, "maxDelay": 600}});
    let mut ends = Vec::new();
    for _ in 0..2 {
        let mut bench = begun(restricted(jitter.clone()));
        bench.drive(|_, _| Act::Twice).await;
        assert_eq!(bench.status(), Status::Succeeded);
        let window = window(bench.execution());
        let seconds = window.context["waitTime"].as_i64().unwrap();
        assert!((60..=600).contains(&seconds), "{seconds}");
        let opened = HALF_PAST_SIX + 210 * MINUTE;
        assert_eq!(window.end_time, Some(opened + seconds * 1_000));
        // The stage's own wait is another.
        assert_eq!(bench.execution().stages[1].context["waitTime"], 0);
        ends.push(window.end_time);
    }
    assert_eq!(ends[0], ends[1]);
}

#[tokio::test]
async fn who_starts_by_hand_may_be_spared_the_jitter() {
    let jitter =
        |skip: bool| json!({"jitter": {"enabled": true, "maxDelay": 9, "skipManual": skip}});
    for (trigger, skip, tasks) in [("manual", true, 1), ("manual", false, 2), ("cron", true, 2)] {
        let body = json!({"application": "app", "name": "p", "stages": [restricted(jitter(skip))],
            "trigger": {"type": trigger}});
        let mut bench = Bench::of(
            Fake::new(),
            orchestrator_core::ExecutionType::Pipeline,
            &body,
        );
        bench.drive(|_, _| Act::Run).await;
        let window = window(bench.execution());
        assert_eq!(window.tasks.len(), tasks, "{trigger} {skip}");
    }
}

#[tokio::test]
async fn no_limit_ends_the_wait_for_a_window() {
    let mut stage = restricted(json!({"days": [3]}));
    stage["stageTimeoutMs"] = json!(1_000);
    let mut bench = begun(stage);
    bench.drive(|_, _| Act::Run).await;
    // Six days later, a Tuesday.
    assert_eq!(bench.status(), Status::Succeeded);
    let opened = HALF_PAST_SIX + (6 * 24 * 60 + 210) * MINUTE;
    assert_eq!(window(bench.execution()).end_time, Some(opened));
}

#[tokio::test]
async fn what_is_no_window_fails_the_stage_with_the_reason() {
    let mut nothing = restricted(json!({}));
    nothing["restrictedExecutionWindow"] = json!({});
    for (stage, reason) in [
        (nothing, "Incorrect time windows specified"),
        (
            restricted(json!({"days": ["${ 'Mon' + 'day' }"]})),
            "restrictedExecutionWindow.days[0]: \"Monday\" is no day of the week",
        ),
    ] {
        let mut bench = begun(stage);
        bench.drive(|_, _| Act::Run).await;
        assert_eq!(bench.status(), Status::Terminal);
        let told = &window(bench.execution()).context["failureReason"];
        let expected = format!("Exception occurred while calculating time window: {reason}");
        assert!(told.as_str().unwrap().starts_with(&expected), "{told}");
    }
}

#[tokio::test]
async fn hours_are_those_of_the_zone_that_is_set() {
    let set = json!({"tasks": {"execution-window": {"timezone": "Europe/Berlin"}}});
    let config: Config = serde_json::from_value(set).unwrap();
    let fake = Fake::new();
    fake.configure(config.stages());
    let mut bench = Bench::new(fake, json!([restricted(json!({}))]));
    // There it is half past three in the afternoon.
    bench.now = HALF_PAST_SIX;
    bench.drive(|_, _| Act::Run).await;
    let opened = HALF_PAST_SIX + (18 * 60 + 30) * MINUTE;
    assert_eq!(window(bench.execution()).end_time, Some(opened));
}

/// Stages of a record: what does not depend on the time of its recording.
fn shape(execution: &Value) -> Vec<Value> {
    let stages = execution["stages"].as_array().unwrap().iter();
    let shape = |stage: &Value| {
        let tasks = stage["tasks"].as_array().unwrap().iter();
        let tasks: Vec<_> = tasks.map(|t| json!([t["name"], t["status"]])).collect();
        let requisites = &stage["requisiteStageRefIds"];
        json!([
            stage["refId"],
            stage["type"],
            stage["name"],
            stage["status"],
            requisites,
            stage["context"],
            stage["outputs"],
            tasks
        ])
    };
    stages.map(shape).collect()
}

#[tokio::test]
async fn windows_are_what_the_real_orca_made_of_them() {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/core/tests/fixtures/orca-executions.jsonl"
    );
    let records = std::fs::read_to_string(file).unwrap();
    let mut seen = 0;
    for record in records.lines() {
        let record: Value = serde_json::from_str(record).unwrap();
        let id = record["id"].as_str().unwrap();
        if !id.starts_with("window-") {
            continue;
        }
        seen += 1;
        let kind = orchestrator_core::ExecutionType::Pipeline;
        let mut bench = Bench::of(Fake::new(), kind, &record["post"]);
        bench.now = HALF_PAST_SIX;
        until(&mut bench, HALF_PAST_SIX + MINUTE).await;
        for action in record["actions"].as_array().unwrap() {
            assert_eq!(action["op"], "patch");
            let mut body = action["body"].as_object().cloned().unwrap();
            body.insert("lastModifiedBy".to_owned(), json!("anonymous"));
            let stage = window(bench.execution()).id.clone();
            let (catalog, now) = (&orchestrator::stage::Catalog, bench.now);
            let execution = bench.execution();
            let effects = command::update_stage(execution, &stage, body, "ann", now, catalog);
            bench.command(effects.unwrap());
            until(&mut bench, HALF_PAST_SIX + 2 * MINUTE).await;
        }
        let recorded = &record["executions"][0];
        assert_eq!(shape(&bench.execution().to_json()), shape(recorded), "{id}");
    }
    assert_eq!(seen, 2);
}
