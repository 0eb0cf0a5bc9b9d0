//! What executions may do for those they act for, and the audit.

use orchestrator::Config;
use proto::common::v1::{Json, PageRequest};
use proto::orchestrator::v1::{
    AppendAuditRequest, ConfiguredRequest, ListAuditRequest, SaveApplicationRequest,
    SaveObjectRequest, StartRequest,
};
use runtime::auth::AuthContext;
use serde_json::{Value, json};

use crate::rig::{Rig, as_user, pipeline, quick};

async fn object(rig: &Rig, kind: &str, object: Value) {
    let request = SaveObjectRequest {
        kind: kind.to_owned(),
        object: Some(Json::of(&object)),
        ..SaveObjectRequest::default()
    };
    rig.definitions
        .clone()
        .save_object(as_user(request))
        .await
        .unwrap();
}

/// Application `app` is the team's; Ann is in it, Eve is not.
async fn enforced() -> Rig {
    // An entry that only the team may run, and see.
    let permissions = json!({"READ": ["team"], "WRITE": ["team"]});
    let entry = |kind: &str, permissions: Value| {
        json!({"type": kind, "label": kind, "url": format!("http://hook.test/{kind}"),
            "permissions": permissions})
    };
    let webhook = json!({"preconfigured": [entry("ours", permissions), entry("all", json!({}))]});
    let config = Config {
        webhook: serde_json::from_value(webhook).unwrap(),
        ..quick()
    };
    let policy = serde_json::from_value(json!({"admin-roles": ["admin"]})).unwrap();
    let rig = Rig::enforced_with(policy, config).await;
    let roles = json!(["team"]);
    let application = json!({"name": "app", "email": "a@b",
                             "permissions": {"READ": roles, "WRITE": roles, "EXECUTE": roles}});
    let request = SaveApplicationRequest {
        application: Some(Json::of(&application)),
        user: String::new(),
    };
    rig.definitions
        .clone()
        .save_application(as_user(request))
        .await
        .unwrap();
    object(&rig, "user", json!({"id": "ann", "roles": ["team"]})).await;
    object(&rig, "user", json!({"id": "eve", "roles": ["other"]})).await;
    object(
        &rig,
        "serviceAccount",
        json!({"name": "bot", "memberOf": ["team"]}),
    )
    .await;
    rig
}

async fn run(rig: &Rig, user: &str, stages: Value) -> Value {
    let mut body = pipeline("p", stages);
    body["trigger"] = json!({"type": "manual"});
    let caller = AuthContext {
        user: user.to_owned(),
        ..AuthContext::default()
    };
    let request = StartRequest {
        kind: 0,
        body: Some(Json::of(&body)),
        event_id: String::new(),
    };
    let started = rig.executions.clone().start(caller.request(request)).await;
    rig.end(&started.unwrap().into_inner().id).await
}

/// Why it failed: the reason is with the stage that did, which may be another's child.
fn reason(execution: &Value) -> String {
    let stages = execution["stages"].as_array().unwrap();
    let reasons = stages.iter().map(|stage| &stage["context"]["exception"]);
    reasons
        .filter(|r| !r.is_null())
        .map(Value::to_string)
        .collect()
}

#[tokio::test]
async fn a_pipeline_does_what_the_one_it_acts_for_may_do() {
    let rig = enforced().await;
    let destroy = json!([{"type": "destroyServerGroup", "refId": "1", "requisiteStageRefIds": [],
        "account": "test", "credentials": "test", "region": "r", "regions": ["r"],
        "cloudProvider": "local", "serverGroupName": "app-v000", "asgName": "app-v000"}]);
    let delete = json!([{"type": "deleteApplication", "refId": "1", "requisiteStageRefIds": [],
        "application": {"name": "app"}}]);
    for (what, stages) in [("an operation", &destroy), ("a definition", &delete)] {
        let ended = run(&rig, "eve", stages.clone()).await;
        assert_eq!(ended["status"], "TERMINAL", "{what}");
        let reason = reason(&ended);
        assert!(
            reason.contains("Access denied to application app"),
            "{what}: {reason}"
        );
        assert!(reason.contains("for eve"), "{what}: {reason}");
    }
    // A stage that says it is somebody else's changes nothing.
    let mut forged = delete.clone();
    forged[0]["user"] = json!("ann");
    assert_eq!(run(&rig, "eve", forged).await["status"], "TERMINAL");
    // A permission that was taken counts at the next operation.
    for (roles, status) in [(json!(["team"]), "SUCCEEDED"), (json!([]), "TERMINAL")] {
        object(&rig, "user", json!({"id": "ann", "roles": roles})).await;
        let update = json!([{"type": "updateApplication", "refId": "1", "requisiteStageRefIds": [],
            "application": {"name": "app", "email": format!("{roles}@b").replace(['[', ']', '"'], "x")}}]);
        let ended = run(&rig, "ann", update).await;
        assert_eq!(ended["status"], status, "{}", reason(&ended));
    }
    // The service account goes on.
    let ended = run(&rig, "bot", delete).await;
    assert_eq!(ended["status"], "SUCCEEDED", "{}", reason(&ended));
}

#[tokio::test]
async fn an_expression_finds_the_canary_configs_that_its_user_may_read() {
    let rig = enforced().await;
    let config = json!({"id": "c", "name": "errors", "applications": ["app"]});
    rig.fake.canary_config(config);
    let value = "${#canaryConfigNameToId('errors', 'app')}";
    for (user, told) in [
        ("ann", "c"),
        (
            "eve",
            "Unable to find a canary config with name errors for application app",
        ),
    ] {
        let stages = json!([{"type": "evaluateVariables", "refId": "1", "requisiteStageRefIds": [],
            "variables": [{"key": "found", "value": value}]}]);
        let ended = run(&rig, user, stages).await;
        let stage = &ended["stages"][0];
        if user == "ann" {
            assert_eq!(stage["outputs"]["found"], told);
        } else {
            assert_eq!(stage["outputs"]["found"], value);
            assert!(stage["context"].to_string().contains(told), "{stage:#}");
        }
    }
}

#[tokio::test]
async fn what_the_operator_configured_for_a_role_is_run_and_seen_by_it_alone() {
    let rig = enforced().await;
    for (user, kind, status) in [
        ("ann", "ours", "SUCCEEDED"),
        ("ann", "all", "SUCCEEDED"),
        ("eve", "all", "SUCCEEDED"),
        ("eve", "ours", "TERMINAL"),
    ] {
        let stage = json!([{"type": kind, "alias": "preconfiguredWebhook", "refId": "1",
            "requisiteStageRefIds": []}]);
        let ended = run(&rig, user, stage).await;
        assert_eq!(ended["status"], status, "{user} {kind}: {}", reason(&ended));
    }
    assert_eq!(rig.fake.requests().len(), 3);
    for (user, seen) in [("ann", vec!["ours", "all"]), ("eve", vec!["all"])] {
        let caller = AuthContext {
            user: user.to_owned(),
            ..AuthContext::default()
        };
        let asked = ConfiguredRequest {
            kind: "preconfiguredWebhook".to_owned(),
        };
        let call = caller.request(asked);
        let found = rig.definitions.clone().list_configured(call).await.unwrap();
        let found: Vec<Value> = found
            .into_inner()
            .items
            .iter()
            .map(|i| i.value("entry").unwrap())
            .collect();
        let types: Vec<_> = found.iter().map(|e| e["type"].clone()).collect();
        assert_eq!(types, seen, "{user}");
        assert_eq!(found[0]["preconfiguredProperties"], json!(["url"]));
        assert_eq!(found[0]["noUserConfigurableFields"], false);
        assert!(found[0].get("url").is_none(), "{}", found[0]);
    }
}

#[tokio::test]
async fn a_saved_pipeline_runs_as_nobody_whom_its_author_may_not_be() {
    use base64::Engine;
    let rig = enforced().await;
    object(
        &rig,
        "serviceAccount",
        json!({"name": "root", "memberOf": ["admin"]}),
    )
    .await;
    for (account, status) in [
        ("bot", "SUCCEEDED"),
        ("root", "TERMINAL"),
        ("nobody", "TERMINAL"),
    ] {
        let saved = json!({"application": "app", "name": account, "stages": [],
            "triggers": [{"type": "docker", "enabled": true, "runAsUser": account}]});
        let encoded = base64::engine::general_purpose::STANDARD.encode(saved.to_string());
        let save = json!([{"type": "savePipeline", "refId": "1", "requisiteStageRefIds": [],
                           "pipeline": encoded}]);
        let ended = run(&rig, "ann", save).await;
        assert_eq!(ended["status"], status, "{account}: {}", reason(&ended));
    }
}

#[tokio::test]
async fn a_pipeline_with_roles_has_an_account_of_its_own() {
    let rig = enforced().await;
    let mut saved = pipeline("with roles", json!([]));
    saved["roles"] = json!(["team"]);
    saved["triggers"] =
        json!([{"type": "docker", "enabled": true, "account": "r", "repository": "x"}]);
    let saved = rig.save(&saved).await.unwrap();
    let own = saved["triggers"][0]["runAsUser"].as_str().unwrap();
    let id = saved["id"].as_str().unwrap();
    assert_eq!(own, format!("{id}@managed-service-account"));
    let update = |email: &str| {
        json!([{"type": "updateApplication", "refId": "1", "requisiteStageRefIds": [],
                "application": {"name": "app", "email": email}}])
    };
    let ended = run(&rig, own, update("x@b")).await;
    assert_eq!(ended["status"], "SUCCEEDED", "{}", reason(&ended));
    // Without the roles there is no account any more.
    let mut without = saved.clone();
    without["roles"] = json!([]);
    rig.save(&without).await.unwrap();
    assert_eq!(run(&rig, own, update("y@b")).await["status"], "TERMINAL");
}

#[tokio::test]
async fn the_audit_keeps_every_entry_in_its_order() {
    let rig = Rig::up().await;
    for n in 0..5 {
        let entry = Some(Json::of(&json!({"n": n})));
        rig.audit
            .clone()
            .append(AppendAuditRequest { entry })
            .await
            .unwrap();
    }
    let mut cursor = String::new();
    let mut seen = Vec::new();
    loop {
        let page = Some(PageRequest { size: 2, cursor });
        let page = rig
            .audit
            .clone()
            .list_entries(ListAuditRequest { page })
            .await
            .unwrap();
        let page = page.into_inner();
        for entry in &page.entries {
            let entry = entry.value("entry").unwrap();
            assert!(entry["at"].as_i64().unwrap() > 0 && entry["id"].is_string());
            seen.push(entry["n"].as_i64().unwrap());
        }
        if page.next_cursor.is_empty() {
            break;
        }
        cursor = page.next_cursor;
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3, 4]);
    for bad in [json!("text"), json!({"long": "x".repeat(20_000)})] {
        let entry = Some(Json::of(&bad));
        assert!(
            rig.audit
                .clone()
                .append(AppendAuditRequest { entry })
                .await
                .is_err()
        );
    }
    let page = Some(PageRequest {
        size: 2,
        cursor: "nonsense".into(),
    });
    assert!(
        rig.audit
            .clone()
            .list_entries(ListAuditRequest { page })
            .await
            .is_err()
    );
}
