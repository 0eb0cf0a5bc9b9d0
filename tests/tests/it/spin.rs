//! What `spin` does, in its order, against a real stack: by its requests, and by
//! the program itself where it is installed.

use std::process::Stdio;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tests::program::installed;
use tests::series::Series;
use tests::{Gate, Setup, Stack, eventually};

use crate::identity;

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

/// A value of a server group that is worse on the canary from 2026 on.
fn latency(query: &str, at: i64) -> f64 {
    let wave = f64::from(u32::try_from(at / 10 % 7).unwrap_or_default());
    let worse = query.contains("canary") && at >= 1_767_225_600;
    100.0 + wave + if worse { 40.0 } else { 0.0 }
}

#[tokio::test]
async fn canary_configs_live_and_are_tried_as_spin_drives_them() {
    let series = Series::start(latency).await.unwrap();
    let address = format!("127.0.0.1:{}", series.port);
    let account = json!([{"name": "m", "type": "prometheus",
        "base-url": format!("http://{address}")}]);
    let stack = Stack::up(Setup {
        arguments: vec!["--egress-allow".to_owned(), address],
        environment: vec![(
            "GENNAKER_CANARY_JUDGE__ACCOUNTS".to_owned(),
            account.to_string(),
        )],
        ..Setup::default()
    });
    let stack = stack.await.unwrap();
    let gate = &stack.gate;
    let none = Value::Null;
    let config = json!({
        "applications": ["a"], "configVersion": "1", "id": "c1", "name": "cc",
        "judge": {"judgeConfigurations": {}, "name": "NetflixACAJudge-v1.0"},
        "classifier": {"groupWeights": {"Latency": 100}}, "templates": {},
        "metrics": [{"name": "latency", "groups": ["Latency"], "scopeName": "default",
            "query": {"type": "prometheus", "serviceType": "prometheus",
                "customInlineTemplate": "PromQL:latency{group=\"${scope}\"}"},
            "analysisConfigurations": {"canary": {"direction": "increase"}}}],
    });
    send(gate, Method::GET, "/v2/canaryConfig/c1", &none, 404).await;
    let saved = send(gate, Method::POST, "/v2/canaryConfig", &config, 200).await;
    assert_eq!(saved["canaryConfigId"], "c1");
    let mut changed = config.clone();
    changed["description"] = json!("of spin");
    send(gate, Method::GET, "/v2/canaryConfig/c1", &none, 200).await;
    send(gate, Method::PUT, "/v2/canaryConfig/c1", &changed, 200).await;
    let found = send(gate, Method::GET, "/v2/canaryConfig/c1", &none, 200).await;
    assert_eq!(found["description"], "of spin");
    let listed = "/v2/canaryConfig?application=a";
    let listed = send(gate, Method::GET, listed, &none, 200).await;
    assert_eq!(listed[0]["id"], "c1", "{listed}");

    for (from, to, judged) in [
        ("2025-12-01T00:00:00Z", "2025-12-01T01:00:00.5Z", "Pass"),
        ("2026-02-01T00:00:00Z", "2026-02-01T01:00:00.5Z", "Fail"),
    ] {
        let side = |scope: &str| {
            json!({"scope": scope, "location": "us", "start": from, "end": to, "step": 10,
                "extendedScopeParams": null})
        };
        let body = json!({"canaryConfig": config, "executionRequest": {
            "scopes": {"default": {"controlScope": side("baseline"),
                "experimentScope": side("canary")}},
            "thresholds": {"pass": 95, "marginal": 75}}});
        let path = "/v2/canaries/canary?metricsAccountName=m";
        let run = send(gate, Method::POST, path, &body, 200).await;
        let path = format!(
            "/v2/canaries/canary/{}",
            run["canaryExecutionId"].as_str().unwrap()
        );
        // `spin` looks at once, and then for a minute.
        let run = eventually("the run is complete", SOON, async || {
            let run = send(gate, Method::GET, &path, &none, 200).await;
            if run["complete"] == true {
                Ok(run)
            } else {
                Err(run)
            }
        });
        let run = run.await.unwrap();
        let score = &run["result"]["judgeResult"]["score"];
        assert_eq!(score["classification"], judged, "{run}");
    }
    send(gate, Method::DELETE, "/v2/canaryConfig/c1", &none, 200).await;
    send(gate, Method::GET, "/v2/canaryConfig/c1", &none, 404).await;
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

/// What each command shall exit with, in this order; `{…}` stand for files and ids.
const COMMANDS: &[(&str, i32)] = &[
    ("account list", 0),
    ("account get none", 1),
    ("account whoami", 0),
    ("application get a", 1),
    ("application delete a", 1),
    (
        "application save -a a --owner-email e@x --cloud-providers local",
        0,
    ),
    ("application save -f {application}", 0),
    ("application list", 0),
    ("application get a", 0),
    ("application get a --expand", 0),
    ("application get a -o yaml", 0),
    ("application get a -o jsonpath={.email}", 0),
    ("pipeline save -f {bad}", 1),
    ("pipeline save -f {pipeline}", 0),
    ("pipeline save -f {slow}", 0),
    ("pipeline list -a a", 0),
    ("pipeline get -a a -n n", 0),
    ("pipeline get -a a -n none", 1),
    ("pipeline get -a a -n ü", 1),
    ("pipeline execute -a a -n n", 0),
    ("pipeline execute -a a -n n -p k=v -p x=1=2", 0),
    ("pipeline execute -a a -n none", 1),
    ("application pipelines get -a a", 0),
    ("application pipelines get -a a -s RUNNING -x", 0),
    // It sends its own placeholder in place of the application.
    ("application pipelines cancel -i none -r because", 1),
    ("pipeline execution list -i {id}", 0),
    (
        "pipeline execution list -i {id} -l 5 --running --succeeded --failed --canceled",
        0,
    ),
    ("pipeline execute -a a -n slow", 0),
    ("pipeline execution get {running}", 0),
    ("pipeline execution cancel {running}", 0),
    ("pipeline execution get none", 0),
    ("pipeline execution cancel none", 1),
    ("pipeline update -a a -n n -d", 0),
    ("pipeline update -a a -n n -e", 0),
    ("pipeline update -a a -n none -d", 1),
    ("pipeline delete -a a -n n -q", 0),
    ("pipeline delete -a a -n n", 1),
    ("pipeline-template get t1", 1),
    ("pipeline-template save -f {template}", 0),
    ("pipeline-template save -f {template} --tag v1", 0),
    ("pipeline-template save -f {template} --tag v1", 0),
    ("pipeline-template get t1 --tag v1", 0),
    ("pipeline-template get t1", 0),
    ("pipeline-template list", 0),
    ("pipeline-template list --scopes global --scopes a", 0),
    ("pipeline-template plan -f {configuration}", 0),
    ("pipeline-template plan -f {pipeline}", 1),
    ("pipeline-template use t1 -a a -n m --set k=v -d desc", 0),
    ("pipeline-template delete t1 --tag v1", 0),
    ("pipeline-template delete t1", 0),
    ("project get p", 1),
    ("project save -n p -e e@x", 0),
    ("project save -n p -e f@x", 0),
    ("project list", 0),
    ("project get p", 0),
    ("project get-pipelines p", 0),
    ("project delete -n p", 0),
    ("project delete -n p", 1),
    ("application delete a", 0),
];

#[tokio::test]
async fn spin_itself_succeeds_and_fails_as_it_should() {
    if !installed("spin") {
        println!("skipped: spin is not installed");
        return;
    }
    let stack = up().await;
    let wait = |seconds: u32| json!([{"type": "wait", "refId": "1", "requisiteStageRefIds": [], "waitTime": seconds}]);
    let pipeline = |name: &str, seconds: u32| json!({"application": "a", "name": name, "stages": wait(seconds), "triggers": []});
    let configuration = json!({"schema": "v2", "application": "a", "name": "c", "variables": {},
        "template": {"artifactAccount": "front50ArtifactCredentials",
            "type": "front50/pipelineTemplate", "reference": "spinnaker://t1"}});
    let application = json!({"name": "a", "email": "f@x", "cloudProviders": "local"});
    for (name, content) in [
        ("application", application),
        ("pipeline", pipeline("n", 0)),
        ("slow", pipeline("slow", 600)),
        ("bad", json!({"name": "n"})),
        ("template", template()),
        ("configuration", configuration),
    ] {
        std::fs::write(stack.data.join(name), content.to_string()).unwrap();
    }
    for (line, code) in COMMANDS {
        let mut line = (*line).to_owned();
        for name in [
            "application",
            "pipeline",
            "slow",
            "bad",
            "template",
            "configuration",
        ] {
            let path = stack.data.join(name).display().to_string();
            line = line.replace(&format!("{{{name}}}"), &path);
        }
        if line.contains("{id}") {
            let found = stack.gate.get("/applications/a/pipelineConfigs/n").await;
            line = line.replace("{id}", found.unwrap()["id"].as_str().unwrap());
        }
        if line.contains("{running}") {
            let running = "/applications/a/pipelines?statuses=RUNNING";
            let found = stack.gate.get(running).await.unwrap();
            line = line.replace("{running}", found[0]["id"].as_str().unwrap());
        }
        let (found, text) = spin(&stack, &line).await;
        assert_eq!(found, Some(*code), "spin {line}: {text}");
    }
}

#[tokio::test]
async fn spin_itself_logs_in_in_its_ways() {
    if !installed("spin") {
        println!("skipped: spin is not installed");
        return;
    }
    let mut stack = Stack::prepare(Setup::default()).await.unwrap();
    let file = stack.folder().unwrap().join("users");
    identity::add(&stack, &file, "ann", "team").await;
    let users = file.display();
    stack.configure(&format!(
        "gateway: {{authentication: {{users-file: {users}}}}}\n"
    ));
    stack.start().await.unwrap();
    let ann = stack.gate.with_password("ann", "ann");
    let made = ann.http().post("/tokens", &json!({"name": "spin"})).await;
    let made = made.unwrap().expect(200).unwrap().json().unwrap();
    let token = made["token"].as_str().unwrap();
    let ways = [
        ("basic: {username: ann, password: ann}", "", 0),
        ("basic: {username: ann, password: eve}", "", 1),
        ("ldap: {username: ann, password: ann}", "", 0),
        ("ldap: {username: ann, password: eve}", "", 1),
        ("ignoreCertErrors: false", token, 0),
        ("ignoreCertErrors: false", "gnk_none", 1),
    ];
    for (way, token, code) in ways {
        let config = stack.data.join("spin.yml");
        std::fs::write(&config, format!("auth: {{enabled: true, {way}}}\n")).unwrap();
        let header = match token {
            "" => String::new(),
            token => format!("--default-headers X-SPINNAKER-TOKEN={token}"),
        };
        let line = format!("account whoami --config {} {header}", config.display());
        let (found, text) = spin(&stack, &line).await;
        assert_eq!(found, Some(code), "spin with {way}: {text}");
        assert_eq!(text.contains("\"username\": \"ann\""), code == 0, "{text}");
    }
}
