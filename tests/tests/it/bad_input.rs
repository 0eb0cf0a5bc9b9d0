//! Bad input is refused with the path to the field, or ends as an execution that says why; nothing hangs,
//! and what was stored stays.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};
use tests::fixture::{pipeline, stage, webhook};
use tests::gate::outline;
use tests::sink::Sink;
use tests::{Setup, Stack};

const SOON: Duration = Duration::from_secs(20);

async fn up() -> Stack {
    let stack = Stack::up(Setup::default()).await.unwrap();
    stack.gate.save_application("bad").await.unwrap();
    stack
}

fn wait(ref_id: &str, after: &[&str]) -> Value {
    stage("wait", "Wait", ref_id, after, json!({"waitTime": 0}))
}

/// (what is wrong, the stages, a piece of the path that the message must name)
fn malformed() -> Vec<(&'static str, Vec<Value>, &'static str)> {
    vec![
        (
            "a cycle",
            vec![wait("1", &["2"]), wait("2", &["1"])],
            "requisiteStageRefIds",
        ),
        (
            "an unknown type",
            vec![stage("teleport", "T", "1", &[], json!({}))],
            "stages[0].type",
        ),
        (
            "an unknown requisite",
            vec![wait("1", &["9"])],
            "stages[0].requisiteStageRefIds",
        ),
        (
            "a refId twice",
            vec![wait("1", &[]), wait("1", &[])],
            "stages[1].refId",
        ),
        (
            "a bad condition",
            vec![stage(
                "wait",
                "W",
                "1",
                &[],
                json!({"stageEnabled": {"type": "expression", "expression": "1 + "}}),
            )],
            "stages[0].stageEnabled.expression",
        ),
        (
            "a missing account",
            vec![stage(
                "deploy",
                "D",
                "1",
                &[],
                json!({"clusters": [{
                    "application": "bad", "cloudProvider": "local", "account": "nowhere",
                    "region": "local", "capacity": {"min": 1, "max": 1, "desired": 1},
                }]}),
            )],
            "stages[0].clusters[0].account",
        ),
        (
            "a stage that is no object",
            vec![json!("wait")],
            "stages[0]",
        ),
    ]
}

#[tokio::test]
async fn saving_a_malformed_pipeline_is_refused_with_its_path_and_changes_nothing() {
    let stack = up().await;
    let gate = &stack.gate;
    let good = gate
        .save_pipeline(&pipeline("bad", "P", &[wait("1", &[])]))
        .await
        .unwrap();
    for (what, stages, path) in malformed() {
        let mut definition = pipeline("bad", "P", &stages);
        definition["id"] = good["id"].clone();
        let answer = gate.try_save_pipeline(&definition).await.unwrap();
        assert!(
            answer.status.is_client_error(),
            "{what}: {} {}",
            answer.status,
            answer.text()
        );
        let error = answer.json().unwrap();
        let message = error.to_string();
        assert!(message.contains(path), "{what}: {path} is not in {message}");
        assert_eq!(error["status"], json!(answer.status.as_u16()));
        let stored = gate
            .get("/applications/bad/pipelineConfigs/P")
            .await
            .unwrap();
        assert_eq!(stored, good, "{what} changed what was stored");
    }
    for (what, body) in [
        ("no JSON", Bytes::from_static(b"{\"name\": ")),
        ("a list", Bytes::from_static(b"[]")),
        (
            "no name",
            Bytes::from_static(b"{\"application\": \"bad\", \"stages\": []}"),
        ),
        (
            "no application",
            Bytes::from_static(b"{\"name\": \"Q\", \"stages\": []}"),
        ),
    ] {
        let answer = gate
            .http()
            .send_bytes(Method::POST, "/pipelines", body)
            .await
            .unwrap();
        assert!(
            answer.status.is_client_error(),
            "{what}: {} {}",
            answer.status,
            answer.text()
        );
    }
    let listed = gate.get("/applications/bad/pipelineConfigs").await.unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_oversized_body_is_refused_by_its_limit() {
    let stack = up().await;
    let mut definition = pipeline("bad", "Large", &[wait("1", &[])]);
    definition["description"] = json!("x".repeat(64 * 1024 * 1024));
    let body = Bytes::from(serde_json::to_vec(&definition).unwrap());
    // A server may answer and close before it has read everything: then the answer may be lost.
    if let Ok(answer) = stack
        .gate
        .http()
        .send_bytes(Method::POST, "/pipelines", body)
        .await
    {
        assert_eq!(answer.status, 413, "{}", answer.text());
    }
    let health = stack.gate.http().get("/health").await.unwrap();
    assert_eq!(health.status, 200, "{}", health.text());
    let listed = stack
        .gate
        .get("/applications/bad/pipelineConfigs")
        .await
        .unwrap();
    assert_eq!(listed, json!([]));
}

#[tokio::test]
async fn starting_what_is_malformed_gives_an_execution_that_ends_with_the_cause() {
    let stack = up().await;
    for (what, stages, _) in malformed() {
        // As in Orca two stages of one refId run, and a condition that cannot be evaluated skips its stage.
        if matches!(what, "a refId twice" | "a bad condition") {
            continue;
        }
        let definition = pipeline("bad", what, &stages);
        let id = stack
            .gate
            .start_ad_hoc(&definition)
            .await
            .unwrap_or_else(|error| {
                panic!("{what}: {error:#}");
            });
        let execution = stack.gate.wait_for_execution(&id, SOON).await.unwrap();
        assert_eq!(
            execution["status"],
            "TERMINAL",
            "{what}: {}",
            outline(&execution)
        );
        let cause = execution.to_string();
        let says = execution["failure"].is_string() || cause.contains("\"errors\":[\"");
        assert!(says, "{what} ended without a cause: {cause}");
    }
}

#[tokio::test]
async fn a_disabled_pipeline_is_refused_with_400_and_leaves_no_execution() {
    let stack = up().await;
    let mut definition = pipeline("bad", "Off", &[wait("1", &[])]);
    definition["disabled"] = json!(true);
    stack.gate.save_pipeline(&definition).await.unwrap();
    let answer = stack
        .gate
        .http()
        .post("/pipelines/bad/Off", &json!({}))
        .await
        .unwrap();
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("disabled"), "{}", answer.text());
    assert!(stack.gate.executions("bad").await.unwrap().is_empty());
}

/// Of what can be sent at all, only what must not run is refused.
#[tokio::test]
async fn ad_hoc_starts_are_refused_when_disabled_or_without_their_artifact_and_else_end() {
    let stack = up().await;
    let stored = pipeline("bad", "Off", &[wait("1", &[])]);
    let mut off = stored.clone();
    off["disabled"] = json!(true);
    off["id"] = json!("off");
    stack.gate.save_pipeline(&off).await.unwrap();
    let mut by_id = stored.clone();
    by_id["id"] = json!("off");
    let mut expecting = stored.clone();
    let expected =
        json!({"id": "e", "displayName": "image", "matchArtifact": {"type": "docker/image"}});
    expecting["expectedArtifacts"] = json!([expected]);
    expecting["trigger"] = json!({"expectedArtifactIds": ["e"]});
    for (body, word) in [
        (&off, "disabled"),
        (&by_id, "disabled"),
        (&expecting, "image"),
    ] {
        let answer = stack
            .gate
            .http()
            .post("/pipelines/start", body)
            .await
            .unwrap();
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.text().contains(word), "{}", answer.text());
    }
    // What lacks its artifact is kept with the reason, and never ran; what is disabled is not.
    let kept = stack.gate.executions("bad").await.unwrap();
    let [kept] = kept.as_slice() else {
        panic!("{kept:?}")
    };
    assert_eq!(kept["status"], "TERMINAL", "{}", outline(kept));
    let reason = kept["cancellationReason"].as_str().unwrap();
    assert!(reason.contains("image"), "{reason}");
    assert!(kept["startTime"].is_null(), "{kept}");

    let artifact = json!({"type": "docker/image", "name": "h/a", "reference": "h/a:1"});
    expecting["trigger"]["artifacts"] = json!([artifact]);
    let id = stack.gate.start_ad_hoc(&expecting).await.unwrap();
    let execution = stack.gate.wait_for_execution(&id, SOON).await.unwrap();
    assert_eq!(execution["status"], "SUCCEEDED", "{}", outline(&execution));
    let bound = &execution["trigger"]["resolvedExpectedArtifacts"][0]["boundArtifact"];
    assert_eq!(bound["reference"], "h/a:1");

    let nobodys = json!({"stages": [wait("1", &[])]});
    let id = stack.gate.start_ad_hoc(&nobodys).await.unwrap();
    let execution = stack.gate.wait_for_execution(&id, SOON).await.unwrap();
    assert_eq!(execution["status"], "TERMINAL");
    assert!(execution.to_string().contains("application is missing"));
}

#[tokio::test]
async fn what_does_not_exist_is_404_in_gates_form() {
    let stack = up().await;
    for path in [
        "/applications/nobody",
        "/pipelines/01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "/applications/bad/pipelineConfigs/Nothing",
        "/tasks/01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "/applications/bad/serverGroups/nowhere/local/bad-v000",
    ] {
        let answer = stack.gate.http().get(path).await.unwrap();
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        let error = answer.json().unwrap();
        assert_eq!(
            (&error["status"], &error["error"]),
            (&json!(404), &json!("Not Found")),
            "{path}"
        );
        assert!(
            error["message"].is_string() && error["timestamp"].is_number(),
            "{path}: {error}"
        );
    }
    let started = stack
        .gate
        .http()
        .post("/pipelines/bad/Nothing", &json!({}))
        .await
        .unwrap();
    assert_eq!(started.status, 404, "{}", started.text());
}

#[tokio::test]
async fn pipelines_reach_no_loopback_address_that_is_not_allowed() {
    let sink = Sink::start().await.unwrap();
    let allowed = Sink::start().await.unwrap();
    let arguments = vec!["--egress-allow".to_owned(), allowed.address()];
    let stack = Stack::up(Setup {
        arguments,
        ..Setup::default()
    })
    .await
    .unwrap();
    stack.gate.save_application("bad").await.unwrap();
    let own = format!("http://127.0.0.1:{}/health", stack.port);
    let by_name = format!("http://localhost:{}/", sink.port);
    for url in [
        sink.url("/"),
        by_name,
        own,
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        format!("http://[::1]:{}/", sink.port),
        format!("http://0.0.0.0:{}/", sink.port),
    ] {
        let definition = pipeline("bad", "Reach", &[webhook("Call", "1", &[], &url)]);
        let id = stack.gate.start_ad_hoc(&definition).await.unwrap();
        let execution = stack.gate.wait_for_execution(&id, SOON).await.unwrap();
        assert_eq!(
            execution["status"],
            "TERMINAL",
            "{url}: {}",
            outline(&execution)
        );
    }
    assert!(sink.all().is_empty(), "the guard let a request through");
    let definition = pipeline(
        "bad",
        "Reach",
        &[webhook("Call", "1", &[], &allowed.url("/"))],
    );
    let id = stack.gate.start_ad_hoc(&definition).await.unwrap();
    let execution = stack.gate.wait_for_execution(&id, SOON).await.unwrap();
    assert_eq!(execution["status"], "SUCCEEDED", "{}", outline(&execution));
    assert_eq!(allowed.all().len(), 1);
}
