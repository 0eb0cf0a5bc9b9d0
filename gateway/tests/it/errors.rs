//! Errors, limits and identity at the edge.

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use proto::status::{Failure, FieldError, Kind};
use serde_json::json;

use crate::fake::Gate;

#[tokio::test]
async fn a_refused_pipeline_names_each_faulty_path() {
    let gate = Gate::up();
    let field = |path: &str, message: &str| FieldError {
        path: path.into(),
        message: message.into(),
    };
    gate.peers.fail(
        "save_pipeline",
        Failure::invalid(
            "",
            vec![
                field("stages[0].type", "\"x\" is unknown"),
                field("stages[1].refId", "is twice"),
            ],
        ),
    );
    let answer = gate
        .send("POST", "/pipelines", r#"{"application":"a","name":"n"}"#)
        .await;
    assert_eq!(answer.status, 400);
    let error = answer.json();
    assert_eq!(
        error["errors"],
        json!([{"path": "stages[0].type", "message": "\"x\" is unknown"},
               {"path": "stages[1].refId", "message": "is twice"}])
    );
    assert_eq!(
        (&error["status"], &error["error"]),
        (&json!(400), &json!("Bad Request"))
    );
    assert!(error["timestamp"].is_u64() && error["exception"].is_string());
    let keys: Vec<_> = error.as_object().unwrap().keys().cloned().collect();
    assert!(keys.is_sorted(), "{keys:?}");
}

#[tokio::test]
async fn kinds_of_failure_become_gates_statuses() {
    for (kind, status) in [
        (Kind::Denied, 403),
        (Kind::Conflict, 400),
        (Kind::Exhausted, 503),
        (Kind::Unavailable, 503),
        (Kind::Unimplemented, 501),
        (Kind::Internal, 500),
    ] {
        let gate = Gate::up();
        gate.peers
            .fail("save_pipeline", Failure::new(kind, "because"));
        let answer = gate
            .send("POST", "/pipelines", r#"{"application":"a","name":"n"}"#)
            .await;
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.json()["message"], "because");
        assert_eq!(answer.headers.contains_key("retry-after"), status == 503);
    }
}

#[tokio::test]
async fn health_is_down_with_its_reason_when_a_peer_does_not_answer() {
    for (method, part) in [
        ("list_stage_types", "orchestrator"),
        ("list_decisions", "trigger"),
        ("list_registries", "cloud-driver"),
    ] {
        let gate = Gate::up();
        gate.peers
            .fail(method, Failure::new(Kind::Unavailable, "gone"));
        let answer = gate.get("/health").await;
        assert_eq!(answer.status, 503);
        let health = answer.json();
        assert_eq!(health["status"], "DOWN");
        assert_eq!(health["components"][part]["status"], "DOWN");
        assert!(health["components"][part]["details"]["reason"].is_string());
    }
}

#[tokio::test]
async fn bodies_above_their_limit_are_413_and_reach_nobody() {
    let gate = Gate::up();
    let definition = |bytes: usize| {
        format!(
            r#"{{"application":"a","name":"n","x":"{}"}}"#,
            "x".repeat(bytes)
        )
    };
    let large = gate.send("POST", "/pipelines", definition(11 << 20)).await;
    assert_eq!(large.status, 413);
    assert!(
        large.json()["message"]
            .as_str()
            .unwrap()
            .contains("10485760 bytes"),
        "{}",
        large.text()
    );
    let webhook = gate
        .send("POST", "/webhooks/docker/r", " ".repeat((5 << 20) + 1))
        .await;
    assert_eq!(webhook.status, 413);
    // Without an announced length too.
    let chunks = (0..60).map(|_| Ok::<_, std::io::Error>(vec![b' '; 100_000]));
    let body = Body::from_stream(tokio_stream::iter(chunks));
    assert_eq!(
        gate.send("POST", "/webhooks/docker/r", body).await.status,
        413
    );
    assert!(gate.peers.calls("save_pipeline").is_empty());
    assert!(gate.peers.calls("receive").is_empty());
    let fits = gate.send("POST", "/pipelines", definition(9 << 20)).await;
    assert_eq!(fits.status, 200, "{}", fits.text());
}

#[tokio::test]
async fn nobody_can_claim_to_be_somebody() {
    let gate = Gate::up();
    let request = Request::builder()
        .method("POST")
        .uri("/webhooks/docker/r")
        .header("X-SPINNAKER-USER", "root")
        .header("X-SPINNAKER-REQUEST-ID", "mine")
        .header("X-Other", "kept")
        .body(Body::from("{}"))
        .unwrap();
    let answer = gate.open(request).await;
    assert_ne!(answer.headers()["x-spinnaker-request-id"], "mine");
    let call = gate.peers.calls("receive").remove(0);
    assert!(call.contains("x-other") && !call.contains("root"), "{call}");

    let task = r#"{"application":"a","job":[{"type":"x","user":"root"}]}"#;
    gate.send("POST", "/tasks", task).await;
    gate.send("POST", "/pipelines/start", r#"{"trigger":{"user":"root"}}"#)
        .await;
    gate.send("POST", "/pipelines/a/n", r#"{"user":"root"}"#)
        .await;
    for call in gate.peers.calls("start") {
        assert!(
            call.contains("anonymous") && !call.contains("root"),
            "{call}"
        );
    }
    let fired = gate.peers.calls("fire_manual");
    assert_eq!(fired.len(), 2);
    for call in fired {
        assert!(call.contains("user: \"anonymous\""), "{call}");
    }
}

#[tokio::test]
async fn a_webhook_arrives_byte_by_byte() {
    let gate = Gate::up();
    let body = b"{ \"a\":1.0,\n\"b\" : [] }\xff".to_vec();
    gate.send("POST", "/webhooks/docker/r", body.clone()).await;
    let call = gate.peers.calls("receive").remove(0);
    assert!(call.contains(&format!("body: {body:?}")), "{call}");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_the_callers_error() {
    let gate = Gate::up();
    let chunks = [Ok(b"{".to_vec()), Err(std::io::Error::other("cut"))];
    let body = Body::from_stream(tokio_stream::iter(chunks));
    let request = Request::builder()
        .method("POST")
        .uri("/pipelines")
        .body(body)
        .unwrap();
    let (parts, body) = gate.open(request).await.into_parts();
    assert_eq!(parts.status, 400);
    let text = body.collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&text).contains("did not arrive whole"));
}

#[tokio::test]
async fn a_page_of_another_site_can_change_nothing() {
    let gate = Gate::up();
    let request = Request::builder()
        .method("POST")
        .uri("/pipelines/a/n")
        .header("Host", "127.0.0.1:8084")
        .header("Origin", "http://elsewhere.example")
        .body(Body::from("{}"))
        .unwrap();
    let answer = gate.open(request).await;
    assert_eq!(answer.status(), 403);
    assert!(answer.headers().contains_key("x-spinnaker-request-id"));
    assert!(gate.peers.calls("fire_manual").is_empty());
}

#[tokio::test]
async fn many_faulty_fields_arrive_too() {
    let gate = Gate::up();
    let fields = (0..200).map(|n| FieldError {
        path: format!("stages[{n}].clusters[0].account"),
        message: "\"nowhere\" is no account; known are: ".to_owned() + &"production-é, ".repeat(20),
    });
    gate.peers
        .fail("save_pipeline", Failure::invalid("", fields.collect()));
    let answer = gate
        .send("POST", "/pipelines", r#"{"application":"a","name":"n"}"#)
        .await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(
        answer.json()["errors"][0]["path"],
        "stages[0].clusters[0].account"
    );
}
