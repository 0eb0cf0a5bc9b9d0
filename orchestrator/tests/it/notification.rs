//! From an execution's end to what a receiver gets: once under one id, however often
//! a worker dies in between; and given up in the open.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use orchestrator::Config;
use orchestrator::services::fake::Fake;
use orchestrator::services::{CloudDriver, EgressHttp, Http};
use runtime::config::Span;
use runtime::egress::{Egress, Settings};
use serde_json::{Value, json};
use store::Shared;

use crate::rig::{Rig, eventually, make, memory, pipeline, quick, stage};
use crate::sink::{Answer, Received, Sink};

async fn rig(store: Shared, config: Config) -> Rig {
    let settings = Settings {
        allow: vec!["127.0.0.1".parse().unwrap()],
        ..Settings::default()
    };
    let http: Arc<dyn Http> = Arc::new(EgressHttp(Egress::new(settings).unwrap()));
    let fake = Fake::new();
    let driver: Arc<dyn CloudDriver> = Arc::new(fake.clone());
    Rig::with(store, fake, driver, http, config).await
}

fn impatient() -> Config {
    let mut config = quick();
    config.notifications.first_pause = Span(Duration::from_millis(10));
    config
}

fn to(sink: &Sink, when: &[&str]) -> Value {
    json!({"type": "webhook", "address": sink.url("/in"), "when": when})
}

const ALL: [&str; 4] = [
    "pipeline.starting",
    "pipeline.complete",
    "pipeline.failed",
    "pipeline.canceled",
];

fn notifying(stages: Value, notifications: Value) -> Value {
    let mut body = pipeline("p", stages);
    body["notifications"] = notifications;
    body
}

fn told(received: &[Received]) -> Vec<(String, String)> {
    received
        .iter()
        .map(|r| {
            (
                r.json()["type"].as_str().unwrap().to_owned(),
                r.key().to_owned(),
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_end_is_told_with_its_cause() {
    let sink = Sink::http(&[]).await;
    let rig = rig(memory(), impatient()).await;
    let condition = json!({"preconditions": [{"type": "expression", "context": {
        "expression": "false", "failureMessage": "it is Friday"}}]});
    for (stages, end, cause) in [
        (
            json!([make("wait", "1", &[], json!({"waitTime": 0}))]),
            "pipeline.complete",
            Value::Null,
        ),
        (
            json!([make("checkPreconditions", "1", &[], condition)]),
            "pipeline.failed",
            json!("it is Friday"),
        ),
    ] {
        let before = sink.received().len();
        let id = rig
            .start(&notifying(stages, json!([to(&sink, &ALL)])))
            .await;
        rig.end(&id).await;
        let got = sink.wait(before + 2).await;
        let mut own = told(&got[before..]);
        own.sort();
        let mut expected = vec![
            (
                "pipeline.starting".to_owned(),
                format!("{id}/pipeline.starting/0"),
            ),
            (end.to_owned(), format!("{id}/{end}/0")),
        ];
        expected.sort();
        assert_eq!(own, expected);
        let ended = got
            .iter()
            .find(|r| r.key() == format!("{id}/{end}/0"))
            .unwrap();
        assert_eq!(ended.json()["cause"]["message"], cause);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_execution_tells_by_whom() {
    let sink = Sink::http(&[]).await;
    let rig = rig(memory(), impatient()).await;
    let stages = json!([make("wait", "1", &[], json!({"waitTime": 3600}))]);
    let body = notifying(
        stages,
        json!([to(&sink, &["pipeline.canceled", "pipeline.failed"])]),
    );
    let id = rig.start(&body).await;
    rig.stage_is(&id, "1", "RUNNING").await;
    rig.cancel(&id).await.unwrap();
    rig.ends(&id, "CANCELED").await;
    let got = sink.wait(1).await;
    assert_eq!(
        told(&got),
        [(
            "pipeline.canceled".to_owned(),
            format!("{id}/pipeline.canceled/0")
        )]
    );
    assert_eq!(got[0].json()["cause"]["message"], "canceled by ann: enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judgment_is_told_when_it_is_awaited_and_when_it_is_made() {
    let sink = Sink::http(&[]).await;
    let rig = rig(memory(), impatient()).await;
    let notification = to(&sink, &["manualJudgment", "manualJudgmentStop"]);
    let fields =
        json!({"sendNotifications": true, "notifications": [notification], "instructions": "look"});
    let body = pipeline("p", json!([make("manualJudgment", "1", &[], fields)]));
    let id = rig.start(&body).await;
    let got = sink.wait(1).await;
    assert_eq!(got[0].json()["type"], "manualJudgment");
    let execution = rig.get(&id).await;
    rig.update_stage(
        &id,
        stage(&execution, "1"),
        json!({"judgmentStatus": "stop"}),
    )
    .await
    .unwrap();
    rig.ends(&id, "TERMINAL").await;
    let got = sink.wait(2).await;
    assert_eq!(got[1].json()["type"], "manualJudgmentStop");
    assert_eq!(got[1].json()["cause"]["message"], "stopped by ann");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_it_is_told_again_while_nobody_answers() {
    let sink = Sink::http(&[]).await;
    let rig = rig(memory(), impatient()).await;
    let mut often = to(&sink, &["manualJudgment"]);
    often["notifyEveryMs"] = json!(1_000);
    let once = to(&sink, &["manualJudgment"]);
    let fields = json!({"notifications": [once, often], "instructions": "look"});
    let body = pipeline("p", json!([make("manualJudgment", "1", &[], fields)]));
    let id = rig.start(&body).await;
    let got = sink.wait(4).await;
    let execution = rig.get(&id).await;
    let stage = stage(&execution, "1");
    let of = |notification: usize| {
        let first = format!(
            "{id}/{}/manualJudgment/{notification}",
            stage["id"].as_str().unwrap()
        );
        let own = got.iter().filter(|r| r.key().starts_with(&first));
        own.map(|r| r.key().to_owned())
            .collect::<BTreeSet<_>>()
            .len()
    };
    assert_eq!(of(0), 1);
    assert!(of(1) >= 3, "{:?}", told(&got));
    rig.cancel(&id).await.unwrap();
    rig.ends(&id, "CANCELED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expressions_in_a_notification_are_evaluated() {
    let sink = Sink::http(&[]).await;
    let rig = rig(memory(), impatient()).await;
    let mut notification = to(&sink, &["pipeline.complete"]);
    notification["address"] = json!(sink.url("/${trigger['parameters']['team']}"));
    notification["message"] = json!({"pipeline.complete": {
        "text": "run ${execution['name']} after ${#pipelineIdOrNull('nowhere') ?: 'none'}"}});
    let stages = json!([make("wait", "1", &[], json!({"waitTime": 0}))]);
    let mut body = notifying(stages, json!([notification]));
    body["trigger"] = json!({"type": "manual", "parameters": {"team": "blue"}});
    rig.start(&body).await;
    let got = sink.wait(1).await;
    assert!(got[0].line.starts_with("POST /blue "), "{got:?}");
    assert_eq!(got[0].json()["message"], "run p after none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_after_sending_sends_again_under_the_same_id() {
    let sink = Sink::http(&[Answer::Silence, Answer::Silence]).await;
    let store = memory();
    let mut first = rig(store.clone(), impatient()).await;
    let stages = json!([make("wait", "1", &[], json!({"waitTime": 0}))]);
    let id = first
        .start(&notifying(
            stages,
            json!([to(&sink, &["pipeline.complete"])]),
        ))
        .await;
    sink.wait(1).await;
    // It was received, and nobody wrote down that it was.
    first.kill();
    let mut second = rig(store.clone(), impatient()).await;
    sink.wait(2).await;
    second.kill();
    let third = rig(store.clone(), impatient()).await;
    sink.wait(3).await;
    third.ends(&id, "SUCCEEDED").await;
    let keys: BTreeSet<String> = sink.received().iter().map(|r| r.key().to_owned()).collect();
    assert_eq!(keys, BTreeSet::from([format!("{id}/pipeline.complete/0")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn however_often_the_engine_is_killed_each_status_is_told_under_one_id() {
    let sink = Sink::http(&[]).await;
    let store = memory();
    let mut rig = rig(store.clone(), impatient()).await;
    let wait = |id: &str, after: &[&str]| make("wait", id, after, json!({"waitTime": 1}));
    let stages = json!([wait("1", &[]), wait("2", &["1"]), wait("3", &["2"])]);
    let body = notifying(stages, json!([to(&sink, &ALL)]));
    let mut expected = BTreeSet::new();
    for _ in 0..10 {
        let id = rig.start(&body).await;
        for when in ["pipeline.starting", "pipeline.complete"] {
            expected.insert(format!("{id}/{when}/0"));
        }
    }
    let keys = || -> BTreeSet<String> {
        let received = sink.received();
        received.iter().map(|r| r.key().to_owned()).collect()
    };
    for round in 1..=6 {
        // Each time somewhere else: after so many more have arrived, or none did for a while.
        let enough = async || sink.received().len() >= 3 * round;
        let _ =
            tokio::time::timeout(Duration::from_millis(1_500), eventually("some", enough)).await;
        rig.kill();
        rig = self::rig(store.clone(), impatient()).await;
    }
    eventually("all are told", async || keys().len() >= expected.len()).await;
    assert_eq!(keys(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_tried_again_until_it_works() {
    let sink = Sink::http(&[Answer::With(503, "busy"), Answer::With(429, "slow")]).await;
    let rig = rig(memory(), impatient()).await;
    let stages = json!([make("wait", "1", &[], json!({"waitTime": 0}))]);
    let id = rig
        .start(&notifying(
            stages,
            json!([to(&sink, &["pipeline.complete"])]),
        ))
        .await;
    let got = sink.wait(3).await;
    assert!(
        got.iter()
            .all(|r| r.key() == format!("{id}/pipeline.complete/0"))
    );
    let execution = rig.ends(&id, "SUCCEEDED").await;
    assert_eq!(execution["systemNotifications"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_is_told_in_the_execution() {
    // For good at once, and after the time is over.
    for (answer, hours, tries) in [(400, 24, "1 tries"), (503, 0, "1 tries")] {
        let sink = Sink::http(&[Answer::With(answer, "never")]).await;
        let mut config = impatient();
        config.notifications.give_up_after = Span(Duration::from_secs(hours * 3600));
        let rig = rig(memory(), config).await;
        let stages = json!([make("wait", "1", &[], json!({"waitTime": 0}))]);
        let id = rig
            .start(&notifying(
                stages,
                json!([to(&sink, &["pipeline.complete"])]),
            ))
            .await;
        let given_up = |e: &Value| e["systemNotifications"].get(0).is_some();
        let execution = rig.wait(&id, "given up", given_up).await;
        let notice = &execution["systemNotifications"][0];
        let text = notice["message"].as_str().unwrap();
        assert_eq!(notice["group"], "notification");
        assert!(
            text.contains(tries) && text.contains(&answer.to_string()),
            "{text}"
        );
        assert_eq!(
            (execution["status"].as_str(), sink.received().len()),
            (Some("SUCCEEDED"), 1)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_applications_notifications_join_those_of_its_pipelines() {
    let sink = Sink::http(&[]).await;
    let rig = rig(memory(), impatient()).await;
    let document = json!({"application": "App", "webhook": [to(&sink, &["pipeline.complete"])]});
    let request = proto::orchestrator::v1::SaveObjectRequest {
        kind: "notification".to_owned(),
        object: Some(proto::common::v1::Json::of(&document)),
        ..Default::default()
    };
    rig.definitions.clone().save_object(request).await.unwrap();
    let stages = json!([make("wait", "1", &[], json!({"waitTime": 0}))]);
    let id = rig.start(&pipeline("p", stages)).await;
    let got = sink.wait(1).await;
    assert_eq!(got[0].key(), format!("{id}/pipeline.complete/0"));
    // They go with the application.
    let name = proto::orchestrator::v1::ApplicationName {
        name: "app".to_owned(),
    };
    rig.definitions
        .clone()
        .delete_application(name)
        .await
        .unwrap();
    let key = proto::orchestrator::v1::ObjectKey {
        kind: "notification".to_owned(),
        id: "app".to_owned(),
    };
    let gone = rig.definitions.clone().get_object(key).await.unwrap_err();
    assert_eq!(gone.code(), tonic::Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_type_is_refused_when_the_pipeline_is_saved() {
    let rig = Rig::up().await;
    let stages = json!([make(
        "wait",
        "1",
        &[],
        json!({"waitTime": 0, "notifications": [{"type": "owl"}]})
    )]);
    let body = notifying(stages, json!([{"type": "pigeon", "address": "roof"}]));
    let refused = rig.save(&body).await.unwrap_err();
    let told: Vec<String> = refused
        .fields
        .iter()
        .map(|f| format!("{}: {}", f.path, f.message))
        .collect();
    let known = "use email, githubStatus, microsoftteams, slack, webhook";
    assert_eq!(
        told,
        [
            format!("notifications[0].type: \"pigeon\" is no notification type; {known}"),
            format!("stages[0].notifications[0].type: \"owl\" is no notification type; {known}"),
        ]
    );
}
