//! What the real `spin` sent is answered so that it would succeed.

use serde_json::Value;

use crate::fake::Gate;

const RECORDED: &str = include_str!("../fixtures/spin.jsonl");
/// The status `spin` compares with, by method and path; `None`: it only reads on.
fn wanted(method: &str, path: &str) -> Option<u16> {
    match (method, path) {
        ("POST", p) if p.starts_with("/pipelines/") => Some(202),
        ("POST", "/v2/pipelineTemplates/plan") => Some(200),
        ("POST", p) if p.starts_with("/v2/pipelineTemplates/") => Some(202),
        ("DELETE", p) if p.starts_with("/v2/pipelineTemplates/") => Some(202),
        // Logging in, against the recording server's own identity provider.
        (_, "/login" | "/token") | ("GET", "/") => None,
        _ => Some(200),
    }
}

#[tokio::test]
async fn every_recorded_run_of_a_served_command_would_succeed() {
    let gate = Gate::up();
    let mut served = 0;
    for line in RECORDED.lines() {
        let run: Value = serde_json::from_str(line).unwrap();
        let case = run["case"].as_str().unwrap();
        for request in run["requests"].as_array().unwrap() {
            let text = |key: &str| request[key].as_str().unwrap().to_owned();
            let (method, path, body) = (text("method"), text("path"), text("body"));
            // Ids are the recording server's own.
            let path = path.replace("/pipelines/01ABC", "/pipelines/E1");
            let body = body.replace(char::is_control, "");
            let answer = gate.send(&method, &path, body).await;
            let what = format!(
                "{case}: {method} {path}: {} {}",
                answer.status,
                answer.text()
            );
            if let Some(status) = wanted(&method, &path) {
                assert_eq!(answer.status.as_u16(), status, "{what}");
            }
            // It decodes a body only with this content type.
            if !answer.body.is_empty() && answer.status.is_success() {
                assert_eq!(answer.headers["content-type"], "application/json", "{what}");
            }
            served += 1;
        }
    }
    assert!(served > 100, "{served} served");
}

#[tokio::test]
async fn what_spin_reads_is_there() {
    let gate = Gate::up();
    let started = gate
        .send(
            "POST",
            "/tasks",
            r#"{"application":"a","job":[{"type":"x"}]}"#,
        )
        .await;
    let reference = started.json()["ref"].as_str().unwrap().to_owned();
    let task = gate.get(&reference).await.json();
    assert_eq!(task["status"], "SUCCEEDED");
    let application = gate.get("/applications/a?expand=false").await.json();
    assert_eq!(application["attributes"]["email"], "e@x");
    let pipeline = gate.get("/applications/a/pipelineConfigs/n").await.json();
    assert!(pipeline["id"].is_string());
}

#[tokio::test]
async fn what_spin_tells_apart_by_status_has_it() {
    let gate = Gate::up();
    for (method, path, status) in [
        ("GET", "/applications/none?expand=false", 404),
        ("GET", "/credentials/none", 404),
        ("GET", "/applications/none/pipelines?expand=false", 404),
        ("GET", "/applications/a/pipelineConfigs/none", 404),
        (
            "PUT",
            "/applications/%7Bapplication%7D/pipelines/none/cancel?reason=",
            404,
        ),
        ("DELETE", "/pipelines/a/none", 404),
    ] {
        gate.peers.executions(Vec::new());
        let answer = gate.send(method, path, "").await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path}");
    }
}
