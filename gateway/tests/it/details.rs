//! Strategies, former versions of applications, operations of tasks, and why executions failed.

use serde_json::{Value, json};

use crate::fake::Gate;

const STRATEGY: &str = "{\"name\": \"s\", \"application\": \"a\", \"stages\": []}";

/// As `routes::served`.
pub(crate) fn served() -> Vec<(&'static str, &'static str, &'static str, u16, Value)> {
    let strategy = json!({"id": "s1", "type": "strategy"});
    let move_it = "{\"application\": \"a\", \"from\": \"s\", \"to\": \"t\"}";
    let operation = json!({"id": "op1", "history": []});
    let (none, nothing) = (Value::Null, json!({}));
    vec![
        ("GET", "/strategyConfigs", "", 200, json!([strategy])),
        ("GET", "/strategyConfigs/s1/history", "", 200, json!([{}])),
        (
            "GET",
            "/applications/a/strategyConfigs/s",
            "",
            200,
            strategy,
        ),
        (
            "GET",
            "/applications/a/strategyConfigs/n",
            "",
            404,
            nothing.clone(),
        ),
        ("POST", "/strategies", STRATEGY, 200, none.clone()),
        (
            "POST",
            "/strategies",
            "{\"name\": \"s\"}",
            400,
            nothing.clone(),
        ),
        ("POST", "/strategies/move", move_it, 200, none.clone()),
        ("PUT", "/strategies/s1", STRATEGY, 200, json!({"id": "p1"})),
        ("PUT", "/strategies/none", STRATEGY, 404, nothing.clone()),
        ("DELETE", "/strategies/a/s", "", 200, none.clone()),
        ("DELETE", "/strategies/a/n", "", 404, nothing.clone()),
        (
            "POST",
            "/actions/strategies/reorder",
            "{\"application\": \"a\", \"idsToIndices\": {\"s1\": 1}}",
            200,
            none,
        ),
        (
            "GET",
            "/applications/A/history?limit=3",
            "",
            200,
            json!([{"email": "e@x"}]),
        ),
        (
            "GET",
            "/applications/none/history",
            "",
            404,
            nothing.clone(),
        ),
        (
            "GET",
            "/applications/A/jobs/k8s/local/j1",
            "",
            200,
            json!({"jobState": "Running", "logs": "so far"}),
        ),
        (
            "GET",
            "/applications/a/jobs/k8s/local/none",
            "",
            404,
            nothing.clone(),
        ),
        (
            "GET",
            "/tasks/CHILD/details/op1",
            "",
            200,
            operation.clone(),
        ),
        ("GET", "/tasks/CHILD/details/op2", "", 404, nothing.clone()),
        ("GET", "/tasks/none/details/op1", "", 404, nothing.clone()),
        (
            "GET",
            "/applications/a/tasks/CHILD/details/op1",
            "",
            200,
            operation,
        ),
        (
            "GET",
            "/executions/failedStages?executionId=FAILED&deckOrigin=https://deck",
            "",
            200,
            json!([{"executionId": "CHILD", "stageType": "runJob", "error": "exit code 1",
                "url": "https://deck/#/applications/a/executions/details/CHILD?stage=0"}]),
        ),
        (
            "GET",
            "/executions/failedStages?executionId=E1",
            "",
            200,
            json!([]),
        ),
        (
            "GET",
            "/executions/failedStages?executionId=none",
            "",
            404,
            nothing.clone(),
        ),
        ("GET", "/executions/failedStages", "", 400, nothing.clone()),
        (
            "GET",
            "/executions/failedStages?executionId=E1&deckOrigin=javascript:x",
            "",
            400,
            nothing,
        ),
    ]
}

#[tokio::test]
async fn a_strategy_is_stored_as_one_whatever_its_body_says() {
    let gate = Gate::up();
    for body in [
        STRATEGY,
        "{\"name\": \"s\", \"application\": \"a\", \"type\": \"x\"}",
    ] {
        gate.send("POST", "/strategies", body).await;
    }
    let saved = gate.peers.calls("save_pipeline");
    assert_eq!(saved.len(), 2);
    for call in saved {
        // The call is noted as text.
        assert!(call.contains("strategy"), "{call}");
    }
}

#[tokio::test]
async fn a_pipeline_is_not_deleted_as_a_strategy() {
    let gate = Gate::up();
    let refused = gate.send("DELETE", "/strategies/a/n", "").await;
    assert_eq!(refused.status, 404);
    assert!(gate.peers.calls("delete_pipeline").is_empty());
}
