//! What the real Orca made of pipelines that need more than the engine: their artifacts
//! at the start, child pipelines, webhooks, a deletion. The service is ours, with the
//! definitions that Orca's stub had; other peers are fakes.

use std::sync::Arc;

use orchestrator::services::fake::{Fake, response};
use orchestrator::services::{CloudDriver, EgressHttp, Http};
use proto::common::v1::Json;
use proto::orchestrator::v1::{CancelRequest, ExecutionAction, StartRequest};
use proto::status::{Failure, Kind};
use runtime::egress::{Egress, Settings};
use serde_json::{Value, json};

use crate::rig::{Rig, memory, pipeline, quick, stage};

/// What the stub failed with.
const BROKEN: &str = "http://127.0.0.1:18000/hook/fail";

fn cases() -> Vec<Value> {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/orca-services.jsonl"
    );
    let text = std::fs::read_to_string(file).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn definition(id: &str, name: &str, stages: Value) -> Value {
    let mut definition = pipeline(name, stages);
    definition["application"] = json!("golden");
    definition["id"] = json!(id);
    definition
}

async fn rig(case: &str) -> Rig {
    let fake = Fake::new();
    for _ in 0..100 {
        fake.answer(BROKEN, Ok(response(500, &json!({"err": "boom"}))));
    }
    let driver: Arc<dyn CloudDriver> = Arc::new(fake.clone());
    let http: Arc<dyn Http> = if case.ends_with("default-url-restrictions") {
        Arc::new(EgressHttp(Egress::new(Settings::default()).unwrap()))
    } else {
        Arc::new(fake.clone())
    };
    let rig = Rig::with(memory(), fake, driver, http, quick()).await;
    let wait = |seconds: u64| json!({"type": "wait", "name": "w", "refId": "2", "requisiteStageRefIds": ["1"], "waitTime": seconds});
    let variables = json!([{"key": "out", "value": "child-${parameters.q}"}]);
    let mut ok = definition(
        "cfg-child-ok",
        "child-ok",
        json!([{"type": "evaluateVariables", "name": "v", "refId": "1", "variables": variables}, wait(1)]),
    );
    ok["parameterConfig"] = json!([{"name": "q", "default": "dq"}]);
    let condition =
        json!({"type": "expression", "failPipeline": true, "context": {"expression": "false"}});
    let fails = definition(
        "cfg-child-fail",
        "child-fail",
        json!([{"type": "checkPreconditions", "name": "c", "refId": "1", "preconditions": [condition]}]),
    );
    let mut slow = wait(60);
    slow["requisiteStageRefIds"] = json!([]);
    let slow = definition("cfg-child-slow", "child-slow", json!([slow]));
    for definition in [ok, fails, slow] {
        rig.save(&definition).await.unwrap();
    }
    rig
}

async fn post(rig: &Rig, body: &Value) -> Result<String, Failure> {
    // Orca was posted to without a user.
    let request = StartRequest {
        kind: 1,
        body: Some(Json::of(body)),
        event_id: String::new(),
    };
    let reply = rig.executions.clone().start(request).await;
    Ok(reply.map_err(Failure::from)?.into_inner().id)
}

/// Does what was done while it was recorded.
async fn act(rig: &Rig, id: &str, action: &Value) {
    let when = |at: usize| action["when"][at].as_str().unwrap().to_owned();
    rig.stage_is(id, &when(0), &when(1)).await;
    match action["op"].as_str().unwrap() {
        "cancel" => {
            // Three seconds later, when the child was known and asked about.
            rig.wait(id, "waiting for its child", |e| {
                stage(e, "1")["context"]["status"] == "RUNNING"
            })
            .await;
            let request = CancelRequest {
                kind: 0,
                id: id.to_owned(),
                reason: action["reason"].as_str().unwrap().to_owned(),
                force: false,
            };
            rig.executions.clone().cancel(request).await.unwrap();
        }
        "delete" => {
            let request = ExecutionAction {
                kind: 0,
                id: id.to_owned(),
            };
            let refused = rig.executions.clone().delete(request).await.unwrap_err();
            assert_eq!(Failure::from(refused).kind, Kind::Conflict);
            assert_eq!(action["response_status"], 409);
        }
        other => panic!("no action {other}"),
    }
}

/// A stage's own part of what is compared.
fn shape(stage: &Value) -> Value {
    let tasks = stage["tasks"].as_array().unwrap().iter();
    let tasks: Vec<Value> = tasks.map(|t| json!([t["name"], t["status"]])).collect();
    json!({
        "refId": stage["refId"], "type": stage["type"], "name": stage["name"],
        "status": stage["status"], "requisites": stage["requisiteStageRefIds"],
        "owner": stage["syntheticStageOwner"], "outputs": stage["outputs"], "tasks": tasks,
    })
}

/// A value of a context without what is of one run only, or of Orca's own world.
fn comparable(case: &str, id: &str, key: &str, value: &Value) -> Value {
    let restricted = case.ends_with("default-url-restrictions");
    let text = |value: &Value| value.as_str().map(|text| text.replace(id, "<exec1>"));
    match key {
        "executionId" => json!(value.is_string()),
        "exception" => {
            let source = &value["source"];
            json!({
                "errors": value["details"]["errors"],
                "source": [source["executionId"].is_string(), source["stageId"].is_string(),
                    source["stageName"], source["stageIndex"]],
            })
        }
        "webhook" => {
            let mut error = text(&value["error"]).unwrap_or_default();
            if restricted {
                // The reason is in our own words.
                let end = error.find("/hook/").unwrap();
                error.truncate(end);
            }
            json!([
                value["statusCode"],
                value["statusCodeValue"],
                value["body"],
                error
            ])
        }
        _ => value.clone(),
    }
}

fn compare(case: &str, ours: &Value, theirs: &Value) {
    for key in [
        "status",
        "canceled",
        "cancellationReason",
        "trigger",
        "systemNotifications",
        "initialConfig",
        "name",
        "type",
        "origin",
        "notifications",
    ] {
        assert_eq!(ours[key], theirs[key], "{case}, {key}");
    }
    let stages = |execution: &Value| execution["stages"].as_array().unwrap().clone();
    let shapes = |execution: &Value| stages(execution).iter().map(shape).collect::<Vec<_>>();
    assert_eq!(shapes(ours), shapes(theirs), "{case}: {ours:#}");
    let id = ours["id"].as_str().unwrap();
    for (own, recorded) in stages(ours).iter().zip(stages(theirs)) {
        let (own, recorded) = (&own["context"], &recorded["context"]);
        let keys = |value: &Value| {
            value
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect::<Vec<_>>()
        };
        for key in keys(own).iter().chain(&keys(recorded)) {
            assert_eq!(
                comparable(case, id, key, &own[key]),
                comparable(case, "<exec1>", key, &recorded[key]),
                "{case}, {key}: {own:#}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_other_services_is_what_the_real_orca_made_of_it() {
    let cases = cases();
    assert_eq!(cases.len(), 13, "the fixture is not whole");
    for case in cases {
        let name = case["id"].as_str().unwrap();
        let rig = rig(name).await;
        let recorded = &case["executions"][0];
        let started = post(&rig, &case["post"]).await;
        if case["responses"][0]["status"] != 200 {
            let refused = started.unwrap_err();
            assert_eq!(refused.kind, Kind::Invalid, "{name}");
            let words = ["could not be resolved", "matches multiple artifacts"];
            assert!(
                words.iter().any(|w| refused.message.contains(w)),
                "{refused}"
            );
            continue;
        }
        let id = started.unwrap();
        for action in case["actions"].as_array().unwrap() {
            act(&rig, &id, action).await;
        }
        let ours = if recorded["status"] == "RUNNING" {
            // It had not ended when the recording did: it tries again and again.
            rig.wait(&id, "answered", |e| {
                stage(e, "1")["context"]["webhook"]["error"].is_string()
            })
            .await
        } else {
            rig.end(&id).await
        };
        compare(name, &ours, recorded);
    }
}
