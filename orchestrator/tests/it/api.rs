//! The gRPC services as their clients use them.

use std::collections::BTreeSet;

use orchestrator::Config;
use orchestrator::services::fake::Fake;
use proto::common::v1::PageRequest;
use proto::message::{EXECUTION_REQUESTS, ExecutionRequested};
use proto::orchestrator::v1::{ListExecutionsRequest, WatchRequest};
use proto::status::{Failure, Kind};
use serde_json::{Value, json};
use store::{Address, Batch, Mode, Outgoing};

use crate::rig::{Rig, eventually, make, memory, pipeline, stage, webhook};

#[tokio::test]
async fn a_pipeline_runs_from_start_to_end_and_says_what_happened() {
    let rig = Rig::up().await;
    let watch = rig
        .executions
        .clone()
        .watch(WatchRequest::default())
        .await
        .unwrap();
    let mut watch = watch.into_inner();
    let stages = json!([
        make("wait", "1", &[], json!({"waitTime": 0})),
        webhook("2", &["1"]),
        make(
            "evaluateVariables",
            "3",
            &["2"],
            json!({"variables": [{"key": "a", "value": "b"}]})
        ),
    ]);
    let id = rig.start_stages(stages).await;
    let execution = rig.ends(&id, "SUCCEEDED").await;
    assert_eq!(stage(&execution, "3")["outputs"], json!({"a": "b"}));
    assert_eq!(
        stage(&execution, "2")["context"]["webhook"]["statusCode"],
        "OK"
    );
    let sent = rig.fake.requests();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        String::from_utf8(sent[0].body.clone()).unwrap(),
        r#"{"n":"2"}"#
    );
    let mut kinds = Vec::new();
    loop {
        let event = watch.message().await.unwrap().unwrap();
        assert_eq!(
            (event.execution_id.as_str(), event.application.as_str()),
            (&*id, "app")
        );
        let told = event.event.unwrap().value("event").unwrap();
        kinds.push(told["type"].as_str().unwrap().to_owned());
        if kinds.last().is_some_and(|k| k == "execution:complete") {
            break;
        }
    }
    assert_eq!(kinds.first().map(String::as_str), Some("execution:started"));
    assert_eq!(kinds.iter().filter(|k| *k == "stage:complete").count(), 3);
}

#[tokio::test]
async fn the_same_event_starts_one_execution() {
    let rig = Rig::up().await;
    let body = pipeline("p", json!([make("wait", "1", &[], json!({"waitTime": 0}))]));
    let first = rig.try_start(&body, "event-1").await.unwrap();
    assert_eq!(rig.try_start(&body, "event-1").await.unwrap(), first);
    assert_ne!(rig.try_start(&body, "event-2").await.unwrap(), first);
    assert_ne!(
        rig.try_start(&body, "").await.unwrap(),
        rig.try_start(&body, "").await.unwrap()
    );
}

#[tokio::test]
async fn a_trigger_message_starts_one_execution_however_often_it_comes() {
    let rig = Rig::up().await;
    let mut definition = pipeline("triggered", json!([webhook("1", &[])]));
    definition["triggers"] = json!([{"type": "docker", "enabled": true, "id": "t1"}]);
    let saved = rig.save(&definition).await.unwrap();
    let message = ExecutionRequested {
        application: "app".into(),
        pipeline_config_id: saved["id"].as_str().unwrap().into(),
        trigger_id: "t1".into(),
        event_id: "push-1".into(),
        recorded_at_ms: 1_700_000_000_000,
        trigger: json!({"type": "docker", "tag": "2", "user": "bob"}),
    };
    let shards = rig.store.shards();
    let shard = shards.of_application("app");
    let of = |pipeline: &str, event: &str| {
        shards.mint_id(1_700_000_000_000, &format!("{pipeline}/t1/{event}"), shard)
    };
    let first = message.pipeline_config_id.clone();
    let id = of(&first, "push-1");
    for round in 0..2 {
        let batch = Batch::new(shard, format!("push {round}")).message(Outgoing {
            to: Address::new(EXECUTION_REQUESTS, &format!("push-1/{round}"), "app"),
            fingerprint: "push-1".into(),
            mode: Mode::Ensure,
            delay_ms: 0,
            body: serde_json::to_vec(&message).unwrap().into(),
        });
        rig.store.commit(batch).await.unwrap().unwrap();
    }
    // Another push of another tag comes after both and ends after them.
    let mut last = message.clone();
    last.event_id = "push-2".into();
    let body = serde_json::to_vec(&last).unwrap();
    let batch = Batch::new(shard, "last").message(Outgoing {
        to: Address::new(EXECUTION_REQUESTS, "push-2", "app"),
        fingerprint: "push-2".into(),
        mode: Mode::Ensure,
        delay_ms: 0,
        body: body.into(),
    });
    rig.store.commit(batch).await.unwrap().unwrap();
    let second = of(&first, "push-2");
    // A copy of the pipeline has a trigger of the same id, and the push is its too.
    let mut copy = definition.clone();
    copy["name"] = json!("copied");
    let copied = rig.save(&copy).await.unwrap();
    let mut other = message.clone();
    other.pipeline_config_id = copied["id"].as_str().unwrap().into();
    let third = of(&other.pipeline_config_id, "push-1");
    let batch = Batch::new(shard, "copy").message(Outgoing {
        to: Address::new(EXECUTION_REQUESTS, "copy", "app"),
        fingerprint: "copy".into(),
        mode: Mode::Ensure,
        delay_ms: 0,
        body: serde_json::to_vec(&other).unwrap().into(),
    });
    rig.store.commit(batch).await.unwrap().unwrap();
    for id in [&id, &second, &third] {
        let known = async || {
            let request = proto::orchestrator::v1::GetExecutionRequest {
                kind: 0,
                id: (*id).clone(),
            };
            rig.executions.clone().get(request).await.is_ok()
        };
        eventually("it is there", known).await;
        let execution = rig.ends(id, "SUCCEEDED").await;
        assert_eq!(execution["trigger"]["tag"], "2");
        assert_eq!(execution["authentication"]["user"], "bob");
    }
    let listed = rig
        .executions
        .clone()
        .list(ListExecutionsRequest {
            application: "app".into(),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.executions.len(), 3);
    assert_eq!(rig.fake.requests().len(), 3);
}

#[tokio::test]
async fn malformed_pipelines_start_and_end_with_the_cause() {
    let rig = Rig::up().await;
    for (what, stages) in [
        (
            "a cycle",
            json!([
                make("wait", "1", &["2"], json!({})),
                make("wait", "2", &["1"], json!({}))
            ]),
        ),
        (
            "an unknown type",
            json!([make("teleport", "1", &[], json!({}))]),
        ),
        (
            "an unknown requisite",
            json!([make("wait", "1", &["9"], json!({}))]),
        ),
        ("no stages", json!([])),
        (
            "no account",
            json!([make(
                "deploy",
                "1",
                &[],
                json!({"clusters": [{"region": "r"}]})
            )]),
        ),
        (
            "no number",
            json!([make("wait", "1", &[], json!({"waitTime": "soon"}))]),
        ),
        ("no url", json!([make("webhook", "1", &[], json!({}))])),
        (
            "an unknown strategy",
            json!([make(
                "createServerGroup",
                "1",
                &[],
                json!({"account": "prod", "region": "r", "strategy": "x"})
            )]),
        ),
    ] {
        let id = rig.start_stages(stages).await;
        let execution = rig.ends(&id, "TERMINAL").await;
        let text = execution.to_string();
        let says = execution["cancellationReason"].is_string() || text.contains("\"errors\":[\"");
        assert!(says, "{what}: {execution:#}");
    }
}

#[tokio::test]
async fn only_what_must_not_run_is_refused_at_the_start() {
    let rig = Rig::up().await;
    let mut disabled = pipeline("p", json!([make("wait", "1", &[], json!({}))]));
    disabled["disabled"] = json!(true);
    let mut unresolved = pipeline("p", json!([make("wait", "1", &[], json!({}))]));
    unresolved["expectedArtifacts"] = json!([{"id": "a", "displayName": "image"}]);
    unresolved["trigger"] = json!({"expectedArtifactIds": ["a"]});
    for (body, word) in [
        (disabled, "disabled"),
        (unresolved, "image"),
        (json!([]), "not a JSON object"),
    ] {
        let failure = rig.try_start(&body, "").await.unwrap_err();
        assert_eq!(failure.kind, Kind::Invalid);
        assert!(failure.message.contains(word), "{failure}");
    }
    let nobodys = json!({"name": "p", "stages": [make("wait", "1", &[], json!({"waitTime": 0}))]});
    let id = rig.try_start(&nobodys, "").await.unwrap();
    let execution = rig.ends(&id, "TERMINAL").await;
    let why = execution["cancellationReason"].as_str().unwrap();
    assert!(why.contains("application is missing"), "{why}");
    assert_eq!(execution["canceledBy"], "system");
}

/// A commit has limits; what is beyond them must end and not be tried for ever.
#[tokio::test]
async fn what_no_commit_can_hold_fails_with_the_cause() {
    let rig = Rig::up().await;
    let answer = orchestrator::services::HttpResponse {
        status: 200,
        headers: std::collections::BTreeMap::new(),
        body: "x".repeat(store::blob::MAX_BLOB + 1).into_bytes(),
    };
    rig.fake.answer("http://hook.test/1", Ok(answer));
    let id = rig.start_stages(json!([webhook("1", &[])])).await;
    let execution = rig.ends(&id, "TERMINAL").await;
    assert!(execution.to_string().contains("cannot be stored"));
    assert_eq!(rig.fake.requests().len(), 1);
}

/// One turn plans as many stages as one commit can hold, and goes on in the next. With threads, as in the
/// product: on one alone nobody renews a lease while a step over so many stages is computed.
#[tokio::test(flavor = "multi_thread")]
async fn six_hundred_planned_stages_are_more_than_one_commit() {
    let rig = Rig::over(memory(), Fake::new(), Config::default()).await;
    let holds: Vec<_> = (0..100)
        .map(|_| json!({"type": "expression", "context": {"expression": "true"}}))
        .collect();
    let checks = (1..7).map(|n| {
        make(
            "checkPreconditions",
            &n.to_string(),
            &[],
            json!({"preconditions": holds}),
        )
    });
    let id = rig.start_stages(json!(checks.collect::<Vec<_>>())).await;
    let execution = rig.ends(&id, "SUCCEEDED").await;
    assert_eq!(execution["stages"].as_array().unwrap().len(), 606);
}

#[tokio::test]
async fn a_judgment_wakes_its_stage_and_a_restart_asks_again() {
    let rig = Rig::up().await;
    let stages = json!([
        make("manualJudgment", "1", &[], json!({})),
        webhook("2", &["1"])
    ]);
    let id = rig.start_stages(stages).await;
    let ask = rig.stage_is(&id, "1", "RUNNING").await;
    rig.update_stage(&id, &ask, json!({"judgmentStatus": "stop"}))
        .await
        .unwrap();
    let execution = rig.ends(&id, "TERMINAL").await;
    assert_eq!(stage(&execution, "1")["context"]["lastModifiedBy"], "ann");
    assert_eq!(stage(&execution, "2")["status"], "NOT_STARTED");

    rig.restart(&id, &ask).await.unwrap();
    let ask = rig.stage_is(&id, "1", "RUNNING").await;
    assert_eq!(ask["context"]["restartDetails"]["restartedBy"], "ann");
    assert!(ask["context"].get("judgmentStatus").is_none());
    rig.update_stage(&id, &ask, json!({"judgmentStatus": "continue"}))
        .await
        .unwrap();
    rig.ends(&id, "SUCCEEDED").await;
    assert_eq!(rig.fake.requests().len(), 1);
    let unknown = rig
        .update_stage(&id, &json!({"id": "nothing"}), json!({}))
        .await
        .unwrap_err();
    assert_eq!(unknown.kind, Kind::NotFound);
}

#[tokio::test]
async fn a_wait_is_skipped_and_a_running_execution_paused_resumed_and_cancelled() {
    let rig = Rig::up().await;
    let long = json!([make("wait", "1", &[], json!({"waitTime": 3600}))]);
    let id = rig.start_stages(long.clone()).await;
    let waiting = rig.stage_is(&id, "1", "RUNNING").await;
    rig.executions
        .clone()
        .pause(Rig::action(&id))
        .await
        .unwrap();
    let paused = rig.stage_is(&id, "1", "PAUSED").await;
    assert_eq!(paused["tasks"][0]["status"], "PAUSED");
    assert!(
        rig.executions
            .clone()
            .pause(Rig::action(&id))
            .await
            .is_err()
    );
    rig.executions
        .clone()
        .resume(Rig::action(&id))
        .await
        .unwrap();
    rig.stage_is(&id, "1", "RUNNING").await;
    rig.update_stage(&id, &waiting, json!({"skipRemainingWait": true}))
        .await
        .unwrap();
    let execution = rig.ends(&id, "SUCCEEDED").await;
    assert_eq!(execution["paused"]["resumedBy"], "ann");

    let id = rig.start_stages(long).await;
    rig.stage_is(&id, "1", "RUNNING").await;
    let running = rig
        .executions
        .clone()
        .delete(Rig::action(&id))
        .await
        .map_err(Failure::from);
    assert_eq!(running.unwrap_err().kind, Kind::Conflict);
    rig.cancel(&id).await.unwrap();
    let execution = rig.ends(&id, "CANCELED").await;
    assert_eq!(
        (&execution["canceledBy"], &execution["cancellationReason"]),
        (&json!("ann"), &json!("enough"))
    );
    rig.cancel(&id).await.unwrap();
    rig.ends(&id, "CANCELED").await;
    rig.executions
        .clone()
        .delete(Rig::action(&id))
        .await
        .unwrap();
    let gone = rig.cancel(&id).await.unwrap_err();
    assert_eq!(gone.kind, Kind::NotFound);
}

#[tokio::test]
async fn limited_pipelines_run_one_at_a_time_and_the_newest_waiter_goes_next() {
    let rig = Rig::up().await;
    let mut body = pipeline("one", json!([make("manualJudgment", "1", &[], json!({}))]));
    body["id"] = json!("config-one");
    body["limitConcurrent"] = json!(true);
    let first = rig.start(&body).await;
    let ask = rig.stage_is(&first, "1", "RUNNING").await;
    let (second, third) = (rig.start(&body).await, rig.start(&body).await);
    for id in [&second, &third] {
        assert_eq!(rig.get(id).await["status"], "NOT_STARTED");
    }
    rig.update_stage(&first, &ask, json!({"judgmentStatus": "continue"}))
        .await
        .unwrap();
    rig.ends(&second, "CANCELED").await;
    rig.stage_is(&third, "1", "RUNNING").await;
}

#[tokio::test]
async fn listings_are_paged_newest_first_and_filtered() {
    let rig = Rig::up().await;
    let mut ids = Vec::new();
    for n in 0..7 {
        let mut body = pipeline("p", json!([make("wait", "1", &[], json!({"waitTime": 0}))]));
        body["id"] = json!(if n % 2 == 0 { "even" } else { "odd" });
        let id = rig.start(&body).await;
        rig.ends(&id, "SUCCEEDED").await;
        ids.push(id);
    }
    let waiting = rig
        .start_stages(json!([make("manualJudgment", "1", &[], json!({}))]))
        .await;
    rig.stage_is(&waiting, "1", "RUNNING").await;
    let list = async |request: ListExecutionsRequest| {
        let reply = rig
            .executions
            .clone()
            .list(request)
            .await
            .unwrap()
            .into_inner();
        let found: Vec<Value> = reply
            .executions
            .iter()
            .map(|e| e.value("execution").unwrap())
            .collect();
        (found, reply.next_cursor)
    };
    let of = |found: &[Value]| -> Vec<String> {
        found
            .iter()
            .map(|e| e["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let mut request = ListExecutionsRequest {
        application: "app".into(),
        ..Default::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = PageRequest {
            size: 3,
            cursor: std::mem::take(&mut request.page).map_or(String::new(), |p| p.cursor),
        };
        request.page = Some(page);
        let (found, cursor) = list(request.clone()).await;
        seen.extend(of(&found));
        if cursor.is_empty() {
            break;
        }
        request.page = Some(PageRequest { size: 3, cursor });
    }
    let mut expected: Vec<String> = ids.iter().rev().cloned().collect();
    expected.insert(0, waiting.clone());
    assert_eq!(seen, expected);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 8);

    let by_config = ListExecutionsRequest {
        application: "app".into(),
        pipeline_config_ids: vec!["odd".into()],
        ..Default::default()
    };
    assert_eq!(of(&list(by_config.clone()).await.0).len(), 3);
    let anywhere = ListExecutionsRequest {
        application: String::new(),
        ..by_config
    };
    assert_eq!(of(&list(anywhere).await.0).len(), 3);
    let running = ListExecutionsRequest {
        application: "app".into(),
        statuses: vec!["RUNNING".into()],
        ..Default::default()
    };
    assert_eq!(of(&list(running).await.0), [waiting]);
    let newest = ListExecutionsRequest {
        application: "app".into(),
        per_pipeline: 1,
        ..Default::default()
    };
    assert_eq!(list(newest).await.0.len(), 3);
    let by_id = ListExecutionsRequest {
        execution_ids: vec![
            ids[0].clone(),
            ids[0].clone(),
            "01ARZ3NDEKTSV4RRFFQ69G5FAV".into(),
        ],
        ..Default::default()
    };
    let (found, _) = list(by_id).await;
    assert_eq!(of(&found), [ids[0].clone()]);
    assert_eq!(found[0]["stages"][0]["context"], json!({}));
}

#[tokio::test]
async fn a_watch_continues_after_its_cursor() {
    let rig = Rig::up().await;
    let mut watch = rig
        .executions
        .clone()
        .watch(WatchRequest::default())
        .await
        .unwrap()
        .into_inner();
    let id = rig
        .start_stages(json!([make("wait", "1", &[], json!({"waitTime": 0}))]))
        .await;
    let first = watch.message().await.unwrap().unwrap();
    drop(watch);
    rig.ends(&id, "SUCCEEDED").await;
    let request = WatchRequest {
        cursor: first.cursor.clone(),
        application: "APP".into(),
    };
    let mut watch = rig
        .executions
        .clone()
        .watch(request)
        .await
        .unwrap()
        .into_inner();
    let next = watch.message().await.unwrap().unwrap();
    assert!(!next.reset);
    assert_ne!(next.cursor, first.cursor);
    let strange = WatchRequest {
        cursor: "x".into(),
        application: String::new(),
    };
    let mut watch = rig
        .executions
        .clone()
        .watch(strange)
        .await
        .unwrap()
        .into_inner();
    assert!(watch.message().await.unwrap().unwrap().reset);
}

#[tokio::test]
async fn a_condition_may_look_documents_up() {
    let rig = Rig::up().await;
    let condition = |expression: &str| {
        json!([make(
            "checkPreconditions",
            "1",
            &[],
            json!({"preconditions": [
            {"type": "expression", "context": {"expression": expression}}]})
        )])
    };
    for (expression, status) in [
        ("#pipelineIdOrNull('nowhere') == null", "SUCCEEDED"),
        ("#pipelineIdOrNull('nowhere') != null", "TERMINAL"),
    ] {
        let id = rig.start_stages(condition(expression)).await;
        rig.ends(&id, status).await;
    }
}
