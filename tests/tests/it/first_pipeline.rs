//! A first pipeline, driven by REST: save, start, judge, look, restart, cancel; and that nothing of it is
//! lost when the control plane dies in between.

use std::time::Duration;

use serde_json::{Value, json};
use tests::fixture::{pipeline, stage, webhook};
use tests::gate::{outline, stage as find};
use tests::sink::{Reply, Sink};
use tests::{Backend, Gate, Setup, Stack};

const SOON: Duration = Duration::from_secs(20);

/// A stack whose pipelines may call the sink.
async fn up(backend: Backend) -> (Stack, Sink) {
    let sink = Sink::start().await.unwrap();
    let arguments = vec!["--egress-allow".to_owned(), sink.address()];
    let stack = Stack::up(Setup {
        backend,
        arguments,
        ..Setup::default()
    })
    .await
    .unwrap();
    stack.gate.save_application("first").await.unwrap();
    (stack, sink)
}

async fn succeeded(gate: &Gate, id: &str) -> Value {
    let execution = gate.wait_for_execution(id, SOON).await.unwrap();
    assert_eq!(execution["status"], "SUCCEEDED", "{}", outline(&execution));
    execution
}

#[tokio::test]
async fn a_saved_pipeline_runs_through_judgment_webhook_and_expressions() {
    for backend in backends() {
        let (stack, sink) = up(backend).await;
        let gate = &stack.gate;
        sink.reply(
            "/job",
            Reply {
                body: json!({"state": "RUNNING"}),
                ..Reply::default()
            },
        );
        let stages = [
            stage(
                "evaluateVariables",
                "Name it",
                "1",
                &[],
                json!({
                    "variables": [{"key": "greeting", "value": "hello ${trigger.parameters.who}"}],
                }),
            ),
            stage(
                "manualJudgment",
                "Ask",
                "2",
                &["1"],
                json!({
                    "instructions": "Go on?", "judgmentInputs": [],
                }),
            ),
            stage(
                "webhook",
                "Call",
                "3",
                &["2"],
                json!({
                    "url": sink.url("/job"), "method": "POST",
                    "payload": {"text": "${greeting}", "number": "${1 + 1}"},
                    "waitForCompletion": true, "statusUrlResolution": "getMethod",
                    "statusJsonPath": "$.state", "successStatuses": "DONE",
                }),
            ),
            stage(
                "checkPreconditions",
                "Check",
                "4",
                &["3"],
                json!({
                    "preconditions": [{
                        "type": "expression", "failPipeline": true,
                        "context": {"expression": "${greeting == 'hello world'}"},
                    }],
                }),
            ),
            stage("wait", "Rest", "5", &["4"], json!({"waitTime": 1})),
        ];
        let mut definition = pipeline("first", "Say hello", &stages);
        definition["parameterConfig"] =
            json!([{"name": "who", "default": "world", "required": true}]);
        let saved = gate.save_pipeline(&definition).await.unwrap();
        assert!(saved["id"].is_string());
        assert_eq!(saved["stages"].as_array().unwrap().len(), 5);

        let id = gate
            .start("first", "Say hello", &json!({"type": "manual"}))
            .await
            .unwrap();
        let ask = gate
            .wait_for_stage(&id, "2", "RUNNING", SOON)
            .await
            .unwrap();
        assert!(
            sink.deliveries("/job").is_empty(),
            "the webhook was called before the judgment"
        );
        gate.judge(&id, &ask, "continue").await.unwrap();
        sink.wait_for("/job", 1, SOON).await.unwrap();
        sink.reply(
            "/job",
            Reply {
                body: json!({"state": "DONE"}),
                ..Reply::default()
            },
        );

        let execution = succeeded(gate, &id).await;
        let call = &sink.deliveries("/job")[0];
        assert_eq!(call.method, "POST");
        assert_eq!(call.json().unwrap()["text"], "hello world");
        let posts = sink
            .deliveries("/job")
            .iter()
            .filter(|call| call.method == "POST")
            .count();
        assert_eq!(posts, 1, "the webhook was called more than once");
        assert_eq!(execution["pipelineConfigId"], saved["id"]);
        assert_eq!(execution["trigger"]["type"], "manual");
        assert_eq!(execution["trigger"]["parameters"]["who"], "world");
        for number in ["1", "2", "3", "4", "5"] {
            let stage = find(&execution, number).unwrap();
            assert_eq!(stage["status"], "SUCCEEDED");
            assert!(stage["startTime"].as_u64() <= stage["endTime"].as_u64());
            assert!(stage["startTime"].as_u64().is_some());
        }
        let found = gate
            .get(&format!("/executions?executionIds={id}&limit=1"))
            .await
            .unwrap();
        assert_eq!(found[0]["id"], json!(id));
        let of_application = gate.executions("first").await.unwrap();
        assert_eq!(of_application.len(), 1);
    }
}

#[tokio::test]
async fn a_judgment_of_stop_ends_the_pipeline() {
    for backend in backends() {
        let (stack, sink) = up(backend).await;
        let stages = [
            stage("manualJudgment", "Ask", "1", &[], json!({})),
            webhook("Never", "2", &["1"], &sink.url("/never")),
        ];
        stack
            .gate
            .save_pipeline(&pipeline("first", "Stop", &stages))
            .await
            .unwrap();
        let id = stack.gate.start("first", "Stop", &json!({})).await.unwrap();
        let ask = stack
            .gate
            .wait_for_stage(&id, "1", "RUNNING", SOON)
            .await
            .unwrap();
        stack.gate.judge(&id, &ask, "stop").await.unwrap();
        let execution = stack.gate.wait_for_execution(&id, SOON).await.unwrap();
        assert_eq!(execution["status"], "TERMINAL", "{}", outline(&execution));
        assert_eq!(find(&execution, "2").unwrap()["status"], "NOT_STARTED");
        assert!(sink.all().is_empty());
    }
}

#[tokio::test]
async fn cancelling_ends_a_waiting_execution_and_says_who_did_it() {
    for backend in backends() {
        let (stack, _sink) = up(backend).await;
        let stages = [stage("wait", "Long", "1", &[], json!({"waitTime": 3600}))];
        stack
            .gate
            .save_pipeline(&pipeline("first", "Long", &stages))
            .await
            .unwrap();
        let id = stack.gate.start("first", "Long", &json!({})).await.unwrap();
        stack
            .gate
            .wait_for_stage(&id, "1", "RUNNING", SOON)
            .await
            .unwrap();
        stack.gate.cancel(&id).await.unwrap();
        let execution = stack.gate.wait_for_execution(&id, SOON).await.unwrap();
        assert_eq!(execution["status"], "CANCELED", "{}", outline(&execution));
        assert_eq!(execution["canceled"], true);
        assert!(execution["canceledBy"].is_string());
    }
}

#[tokio::test]
async fn a_limited_pipeline_runs_one_at_a_time_and_the_newest_waiter_goes_next() {
    for backend in backends() {
        let (stack, _sink) = up(backend).await;
        let gate = &stack.gate;
        let mut definition = pipeline(
            "first",
            "One",
            &[stage("manualJudgment", "Ask", "1", &[], json!({}))],
        );
        definition["limitConcurrent"] = json!(true);
        gate.save_pipeline(&definition).await.unwrap();
        let first = gate.start("first", "One", &json!({})).await.unwrap();
        let ask = gate
            .wait_for_stage(&first, "1", "RUNNING", SOON)
            .await
            .unwrap();
        let second = gate.start("first", "One", &json!({})).await.unwrap();
        let third = gate.start("first", "One", &json!({})).await.unwrap();
        for id in [&second, &third] {
            assert_eq!(gate.execution(id).await.unwrap()["status"], "NOT_STARTED");
        }
        gate.judge(&first, &ask, "continue").await.unwrap();
        let ask = gate
            .wait_for_stage(&third, "1", "RUNNING", SOON)
            .await
            .unwrap();
        let dropped = gate.wait_for_execution(&second, SOON).await.unwrap();
        assert_eq!(dropped["status"], "CANCELED", "{}", outline(&dropped));
        gate.judge(&third, &ask, "continue").await.unwrap();
        succeeded(gate, &third).await;
    }
}

#[tokio::test]
async fn definitions_are_listed_changed_and_deleted() {
    for backend in backends() {
        let (stack, _sink) = up(backend).await;
        let gate = &stack.gate;
        let mut definition = pipeline("first", "Mine", &[]);
        let mine = r#"{"number":1.50,"large":1180591620717411303424,"kept":[null,true]}"#;
        definition["somethingOfMine"] = serde_json::from_str(mine).unwrap();
        let saved = gate.save_pipeline(&definition).await.unwrap();
        // Unknown keys stay, numbers as they were written; keys are sorted, as Gate's are.
        let text = gate
            .http()
            .get("/applications/first/pipelineConfigs/Mine")
            .await
            .unwrap()
            .text();
        let sorted = r#"{"kept":[null,true],"large":1180591620717411303424,"number":1.50}"#;
        assert!(
            text.contains(&format!("\"somethingOfMine\":{sorted}")),
            "{text}"
        );

        let mut changed = saved.clone();
        changed["description"] = json!("changed");
        let again = gate.save_pipeline(&changed).await.unwrap();
        assert_eq!(
            (&again["id"], &again["description"]),
            (&saved["id"], &json!("changed"))
        );
        let listed = gate
            .get("/applications/first/pipelineConfigs")
            .await
            .unwrap();
        assert_eq!(listed.as_array().unwrap().len(), 1);

        let second = gate
            .try_save_pipeline(&pipeline("first", "mine", &[]))
            .await
            .unwrap();
        assert_eq!(
            second.status,
            400,
            "a second pipeline of the same name: {}",
            second.text()
        );
        let delete = gate
            .http()
            .send(hyper::Method::DELETE, "/pipelines/first/Mine", None)
            .await;
        delete.unwrap().expect(200).unwrap();
        let gone = gate
            .http()
            .get("/applications/first/pipelineConfigs/Mine")
            .await
            .unwrap();
        assert_eq!(gone.status, 404, "{}", gone.text());
        assert!(gone.json().unwrap()["message"].is_string());
    }
}

#[tokio::test]
async fn nothing_is_forgotten_over_kill_and_restart() {
    for backend in backends() {
        let (mut stack, sink) = up(backend).await;
        let stages = [
            webhook("Before", "1", &[], &sink.url("/before")),
            stage("manualJudgment", "Ask", "2", &["1"], json!({})),
            webhook("After", "3", &["2"], &sink.url("/after")),
        ];
        stack
            .gate
            .save_pipeline(&pipeline("first", "Killed", &stages))
            .await
            .unwrap();
        let id = stack
            .gate
            .start("first", "Killed", &json!({}))
            .await
            .unwrap();
        stack
            .gate
            .wait_for_stage(&id, "2", "RUNNING", SOON)
            .await
            .unwrap();
        stack.kill_and_restart().await.unwrap();
        let ask = stack
            .gate
            .wait_for_stage(&id, "2", "RUNNING", SOON)
            .await
            .unwrap();
        stack.gate.judge(&id, &ask, "continue").await.unwrap();
        succeeded(&stack.gate, &id).await;
        for path in ["/before", "/after"] {
            assert_eq!(sink.deliveries(path).len(), 1, "{path} on {backend:?}");
        }
    }
}

/// Both stores; Redis only where it is installed.
pub(crate) fn backends() -> Vec<Backend> {
    let mut backends = vec![Backend::Embedded];
    if tests::program::installed(tests::redis::PROGRAM) {
        backends.push(Backend::Redis(tests::redis::Fsync::Always));
    } else {
        println!("skipped: on Redis, redis-server is not installed");
    }
    backends
}
