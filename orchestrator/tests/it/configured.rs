//! Stages that the operator configured, scripts, and what is said of requests.

use orchestrator::services::fake::{Fake, ok, response};
use orchestrator_core::Status;
use serde_json::{Value, json};

use crate::bench::{Act, Bench};
use crate::rig::make;
use crate::samples::configured;

async fn played(fake: &Fake, kind: &str, fields: Value) -> Bench {
    let mut bench = Bench::new(fake.clone(), json!([make(kind, "1", &[], fields)]));
    bench.drive(|_, _| Act::Run).await;
    bench
}

fn errors(bench: &Bench) -> String {
    let stage = bench.execution().stages.iter().find(|s| !s.is_synthetic());
    let context = json!(stage.unwrap().context);
    context["exception"]["details"]["errors"].to_string()
}

#[tokio::test]
async fn the_operators_fields_win_and_parameters_fill_them() {
    let fake = Fake::new();
    configured(&fake);
    let fields = json!({"alias": "preconfiguredWebhook", "url": "http://hook.test/mine",
        "customHeaders": {"a": "b"}, "parameterValues": {"who": "me"}});
    let bench = played(&fake, "hook", fields).await;
    assert_eq!(bench.status(), Status::Succeeded, "{}", errors(&bench));
    let sent = &bench.fake.requests()[0];
    assert_eq!(
        (sent.method.as_str(), sent.url.as_str()),
        ("PUT", "http://hook.test/me")
    );
    assert_eq!(sent.body, br#"{"for":"fun"}"#);
    // What the operator left open is the stage's.
    assert!(sent.headers.iter().any(|(name, _)| name == "a"));
}

#[tokio::test]
async fn a_stage_that_is_not_configured_sends_nothing() {
    let fake = Fake::new();
    configured(&fake);
    for kind in ["off", "nowhere", "preconfiguredWebhook"] {
        let fields = json!({"alias": "preconfiguredWebhook", "url": "http://hook.test/x"});
        let bench = played(&fake, kind, fields).await;
        assert_eq!(bench.status(), Status::Terminal);
        let told = errors(&bench);
        assert!(
            told.contains(kind) && told.contains("configured: hook, ops"),
            "{told}"
        );
    }
    let bench = played(&fake, "off", json!({"alias": "preconfiguredJob"})).await;
    assert!(errors(&bench).contains("job stage"), "{}", errors(&bench));
    assert!(fake.requests().is_empty() && fake.operations().is_empty());
}

#[tokio::test]
async fn parameters_of_a_job_go_where_the_operator_said() {
    let fake = Fake::new();
    configured(&fake);
    let fields = json!({"alias": "preconfiguredJob", "parameters": {"version": "7"},
        "imageId": "registry/mine:1"});
    let bench = played(&fake, "smoke", fields).await;
    assert_eq!(bench.status(), Status::Succeeded, "{}", errors(&bench));
    let input = &bench.fake.operations()[0].input;
    assert_eq!(input["imageId"], "registry/smoke:1");
    assert_eq!(
        input["env"],
        json!({"A": "1", "VERSION": "7", "MODE": "fast"})
    );
    assert_eq!(input["timeLimitSeconds"], 300);
}

#[tokio::test]
async fn a_script_is_a_job_of_the_operators_with_what_the_stage_says() {
    let fake = Fake::new();
    configured(&fake);
    let fields = json!({"command": "make test", "cluster": "app-main", "repoUrl": "git@x"});
    let bench = played(&fake, "script", fields.clone()).await;
    assert_eq!(bench.status(), Status::Succeeded, "{}", errors(&bench));
    let context = &bench.execution().stages[0].context;
    assert_eq!(
        (&context["master"], &context["job"]),
        (&json!("ci"), &json!("run-script"))
    );
    assert_eq!(context["REPO_URL"], "git@x");
    assert_eq!(
        json!(bench.fake.build_parameters()),
        json!([{"COMMAND": "make test", "CLUSTER_PARAM": "app-main", "REPO_URL": "git@x"}])
    );
    let unset = played(&Fake::new(), "script", fields).await;
    assert_eq!(unset.status(), Status::Terminal);
    assert!(
        errors(&unset).contains("script.master"),
        "{}",
        errors(&unset)
    );
}

#[tokio::test]
async fn properties_of_a_failed_build_are_looked_for_all_the_same() {
    let fake = Fake::new();
    fake.builds_are("FAILURE");
    let fields = json!({"master": "ci", "job": "j", "propertyFile": "p"});
    let bench = played(&fake, "jenkins", fields).await;
    assert_eq!(bench.status(), Status::Terminal);
    let mut stages = bench.execution().stages.iter();
    let tried = stages.find(|s| s.kind == "getProperties").unwrap();
    assert_eq!(tried.name, "Try to get properties file");
    assert_eq!(tried.status, Status::Succeeded);
    assert_eq!(tried.outputs["image"], "h/a:1");
    let none = played(&fake, "jenkins", json!({"master": "ci", "job": "j"})).await;
    assert!(none.execution().stages.len() == 1);
}

#[tokio::test]
async fn five_errors_in_a_row_give_a_property_file_up() {
    let fields = json!({"master": "ci", "job": "j", "buildNumber": 3, "propertyFile": "p"});
    for (errors_in_a_row, ends) in [(4, Status::Succeeded), (5, Status::Terminal)] {
        let fake = Fake::new();
        fake.properties_fail(errors_in_a_row);
        let bench = played(&fake, "getProperties", fields.clone()).await;
        assert_eq!(bench.status(), ends, "{errors_in_a_row}");
        let runs = bench
            .ran
            .iter()
            .filter(|t| *t == "getBuildProperties")
            .count();
        assert_eq!(runs, 5);
    }
}

fn ruled(rules: Value) -> Fake {
    let fake = Fake::new();
    let set = json!({ "webhook": rules });
    fake.configure(set.as_object().cloned().unwrap());
    fake
}

#[tokio::test]
async fn requests_keep_to_the_operators_rules() {
    let list = json!([
        {"httpMethods": ["POST"], "matchStrategy": "starts-with", "urlPrefix": "http://hook.test/a"},
        {"httpMethods": [], "matchStrategy": "pattern-matches", "urlPattern": "http://hook\\.test/[0-9]+"},
    ]);
    let allowed = json!({"allowedRequestsEnabled": true, "allowedRequests": list});
    for (rules, fields, word) in [
        (json!({}), json!({"url": "http://hook.test/x"}), ""),
        (
            json!({"requireAccount": true}),
            json!({"url": "http://hook.test/x"}),
            "account is missing",
        ),
        (
            json!({"requireAccount": true}),
            json!({"url": "http://hook.test/x", "account": "a"}),
            "",
        ),
        (
            json!({"maxRequestBytes": 4}),
            json!({"url": "http://hook.test/x", "payload": "12345"}),
            "more than the 4 allowed",
        ),
        (
            json!({"maxResponseBytes": 1}),
            json!({"url": "http://hook.test/x"}),
            "more than the 1 allowed",
        ),
        (
            json!({"allowedRequestsEnabled": true}),
            json!({"url": "http://hook.test/a"}),
            "not among",
        ),
        (allowed.clone(), json!({"url": "http://hook.test/abc"}), ""),
        (
            allowed.clone(),
            json!({"url": "http://hook.test/abc", "method": "DELETE"}),
            "not among",
        ),
        (
            allowed.clone(),
            json!({"url": "http://hook.test/12", "method": "DELETE"}),
            "",
        ),
        (
            allowed,
            json!({"url": "http://hook.test/12/x"}),
            "not among",
        ),
    ] {
        let fake = ruled(rules);
        let bench = played(&fake, "webhook", fields.clone()).await;
        let told = errors(&bench);
        let ends = if word.is_empty() {
            Status::Succeeded
        } else {
            Status::Terminal
        };
        assert_eq!(bench.status(), ends, "{fields}: {told}");
        assert!(told.contains(word) || word.is_empty(), "{told}");
    }
}

#[tokio::test]
async fn what_is_sent_again_and_how_long_is_waited_is_set() {
    let fake = ruled(json!({"timeoutMs": 7, "defaultRetryStatusCodes": [418]}));
    fake.answer("http://hook.test/x", Ok(response(418, &json!({}))));
    fake.answer("http://hook.test/x", Ok(ok(&json!({}))));
    let bench = played(&fake, "webhook", json!({"url": "http://hook.test/x"})).await;
    assert_eq!(bench.status(), Status::Succeeded);
    assert_eq!(fake.requests().len(), 2);
    assert_eq!(fake.requests()[0].timeout_ms, 7);
    fake.answer("http://hook.test/x", Ok(response(429, &json!({}))));
    let bench = played(&fake, "webhook", json!({"url": "http://hook.test/x"})).await;
    assert_eq!(bench.status(), Status::Terminal);
}
