//! What `spin` does, in its order, against a real stack: by its requests, and by
//! the program itself where it is installed.

use std::process::Stdio;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tests::program::installed;
use tests::{Gate, Setup, Stack};

const SOON: Duration = Duration::from_secs(20);

async fn up() -> Stack {
    Stack::up(Setup::default()).await.unwrap()
}

fn template() -> Value {
    json!({"id": "t1", "schema": "v2", "protect": false, "variables": [],
           "metadata": {"name": "n", "description": "d", "owner": "o", "scopes": ["global"]},
           "pipeline": {"stages": []}})
}

/// Sends what `spin` sends; the status must be the one it compares with.
async fn send(gate: &Gate, method: Method, path: &str, body: &Value, status: u16) -> Value {
    let body = Some(body).filter(|body| !body.is_null());
    let answer = gate.http().send(method.clone(), path, body).await.unwrap();
    assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
    if answer.body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&answer.body).unwrap()
    }
}

async fn task(gate: &Gate, job: Value) {
    let body =
        json!({"application": "spinnaker", "project": "p", "description": "d", "job": [job]});
    let id = gate.submit(&body).await.unwrap();
    let task = gate.wait_for_task(&id, SOON).await.unwrap();
    assert_eq!(task["status"], "SUCCEEDED", "{task}");
}

#[tokio::test]
async fn projects_and_templates_live_as_spin_drives_them() {
    let stack = up().await;
    let gate = &stack.gate;
    let none = Value::Null;
    send(gate, Method::GET, "/projects/p", &none, 404).await;
    let project = json!({"name": "p", "email": "e@x", "config": {"applications": ["first"]}});
    task(
        gate,
        json!({"type": "upsertProject", "project": project, "user": "e@x"}),
    )
    .await;
    let found = send(gate, Method::GET, "/projects/p", &none, 200).await;
    assert_eq!(found["email"], "e@x");
    let mut changed = project.clone();
    (changed["id"], changed["email"]) = (found["id"].clone(), json!("f@x"));
    task(
        gate,
        json!({"type": "upsertProject", "project": changed, "user": "f@x"}),
    )
    .await;
    let all = send(gate, Method::GET, "/projects", &none, 200).await;
    assert_eq!(all.as_array().map(Vec::len), Some(1), "{all}");
    assert_eq!(all[0]["email"], "f@x");
    let ran = send(gate, Method::GET, "/projects/p/pipelines", &none, 200).await;
    assert_eq!(ran, json!([]));
    task(
        gate,
        json!({"type": "deleteProject", "project": found, "user": "e@x"}),
    )
    .await;
    send(gate, Method::GET, "/projects/p", &none, 404).await;

    send(gate, Method::GET, "/v2/pipelineTemplates/t1", &none, 404).await;
    let create = "/v2/pipelineTemplates/create";
    send(gate, Method::POST, create, &template(), 202).await;
    let found = send(gate, Method::GET, "/v2/pipelineTemplates/t1", &none, 200).await;
    assert_eq!(found["metadata"]["name"], "n");
    let tagged = "/v2/pipelineTemplates/t1?tag=v1";
    send(gate, Method::GET, tagged, &none, 404).await;
    let create = "/v2/pipelineTemplates/create?tag=v1";
    send(gate, Method::POST, create, &template(), 202).await;
    send(gate, Method::GET, tagged, &none, 200).await;
    let update = "/v2/pipelineTemplates/update/t1";
    send(gate, Method::POST, update, &template(), 202).await;
    let listed = send(
        gate,
        Method::GET,
        "/v2/pipelineTemplates?scopes=",
        &none,
        200,
    )
    .await;
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    send(gate, Method::DELETE, "/v2/pipelineTemplates/t1", &none, 202).await;
    send(gate, Method::GET, "/v2/pipelineTemplates/t1", &none, 404).await;
}

#[tokio::test]
async fn environments_are_kept_and_tell_what_runs() {
    let stack = up().await;
    let gate = &stack.gate;
    let environment =
        json!({"name": "staging", "order": 1, "accounts": ["local"], "owner": "team"});
    send(gate, Method::POST, "/environments", &environment, 200).await;
    send(gate, Method::POST, "/environments", &environment, 400).await;
    gate.save_application("first").await.unwrap();
    let path = "/applications/first/environments";
    let told = send(gate, Method::GET, path, &Value::Null, 200).await;
    assert_eq!(
        (&told[0]["name"], &told[0]["health"]),
        (&json!("staging"), &json!("empty"))
    );
    send(
        gate,
        Method::DELETE,
        "/environments/staging",
        &Value::Null,
        200,
    )
    .await;
}

/// Runs `spin` and gives its exit code and what it printed.
async fn spin(stack: &Stack, line: &str) -> (Option<i32>, String) {
    let endpoint = format!("http://127.0.0.1:{}", stack.port);
    let output = tokio::process::Command::new("spin")
        .args(["--gate-endpoint", &endpoint, "--no-color=false"])
        .args(line.split_whitespace())
        .env("HOME", &stack.data)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

#[tokio::test]
async fn spin_itself_succeeds_and_fails_as_it_should() {
    if !installed("spin") {
        println!("skipped: spin is not installed");
        return;
    }
    let stack = up().await;
    let file = |name: &str, content: &Value| {
        let path = stack.data.join(name);
        std::fs::write(&path, content.to_string()).unwrap();
        path.display().to_string()
    };
    let wait = json!([{"type": "wait", "refId": "1", "requisiteStageRefIds": [], "waitTime": 0}]);
    let pipeline = json!({"application": "a", "name": "n", "stages": wait, "triggers": []});
    let (pipeline, template) = (file("p.json", &pipeline), file("t.json", &template()));
    for (line, code) in [
        ("account list".to_owned(), 0),
        ("account get none".to_owned(), 1),
        ("application get a".to_owned(), 1),
        (
            "application save -a a --owner-email e@x --cloud-providers local".to_owned(),
            0,
        ),
        ("application list".to_owned(), 0),
        ("application get a".to_owned(), 0),
        (format!("pipeline save -f {pipeline}"), 0),
        ("pipeline list -a a".to_owned(), 0),
        ("pipeline get -a a -n n".to_owned(), 0),
        ("pipeline get -a a -n none".to_owned(), 1),
        ("pipeline execute -a a -n n".to_owned(), 0),
        ("application pipelines get -a a".to_owned(), 0),
        ("pipeline update -a a -n n -d".to_owned(), 0),
        ("pipeline delete -a a -n n".to_owned(), 0),
        ("pipeline-template get t1".to_owned(), 1),
        (format!("pipeline-template save -f {template}"), 0),
        (format!("pipeline-template save -f {template} --tag v1"), 0),
        ("pipeline-template get t1 --tag v1".to_owned(), 0),
        ("pipeline-template get t1".to_owned(), 0),
        ("pipeline-template list".to_owned(), 0),
        ("pipeline-template use t1 -a a -n m".to_owned(), 0),
        ("pipeline-template delete t1".to_owned(), 0),
        ("project get p".to_owned(), 1),
        ("project save -n p -e e@x".to_owned(), 0),
        ("project list".to_owned(), 0),
        ("project get p".to_owned(), 0),
        ("project get-pipelines p".to_owned(), 0),
        ("project delete -n p".to_owned(), 0),
        ("application delete a".to_owned(), 0),
    ] {
        let (found, text) = spin(&stack, &line).await;
        assert_eq!(found, Some(code), "spin {line}: {text}");
    }
}
