//! Promote, the previous version and undo, as tasks outside a pipeline.

use orchestrator::services::fake::Fake;
use orchestrator::services::{Definitions, Object};
use orchestrator_core::{ExecutionType, Status};
use serde_json::{Value, json};

use crate::bench::{Act, Bench};
use crate::samples::{deployed, group, two_environments};

async fn run(fake: &Fake, job: Value) -> Bench {
    let body = json!({"application": "app", "description": "by hand", "job": [job]});
    let mut bench = Bench::of(fake.clone(), ExecutionType::Orchestration, &body);
    bench.drive(|_, _| Act::Run).await;
    bench
}

async fn done(fake: &Fake, job: Value) {
    let bench = run(fake, job.clone()).await;
    assert_eq!(
        bench.status(),
        Status::Succeeded,
        "{job}: {:#?}",
        bench.execution()
    );
}

/// The first line of why a task failed.
async fn refused(fake: &Fake, job: Value) -> String {
    let before = fake.operations().len();
    let bench = run(fake, job.clone()).await;
    assert_eq!(bench.status(), Status::Terminal, "{job}");
    assert_eq!(fake.operations().len(), before, "{job}");
    let execution = bench.execution().to_json();
    let errors = &execution["stages"][0]["context"]["exception"]["details"]["errors"];
    errors[0].as_str().unwrap_or_default().to_owned()
}

fn promote() -> Value {
    json!({"type": "promoteEnvironment", "from": "staging", "to": "prod"})
}

async fn held(fake: &Fake) -> Vec<Value> {
    let objects = fake.objects(Object::Quarantine).await.unwrap();
    objects.iter().map(|q| q["id"].clone()).collect()
}

#[tokio::test]
async fn what_runs_in_staging_is_deployed_to_prod_once() {
    let fake = Fake::new();
    two_environments(&fake);
    done(&fake, promote()).await;
    let made: Vec<_> = fake
        .operations()
        .into_iter()
        .filter(|o| o.input["imageId"].is_string())
        .collect();
    assert_eq!(made.len(), 1);
    let input = &made[0].input;
    assert_eq!(input["imageId"], "registry/app:9");
    assert_eq!(
        (&input["account"], &input["stack"]),
        (&json!("prod"), &json!("main"))
    );
    assert_eq!(input["source"]["serverGroupName"], "app-main-v000");
    assert_eq!(input["capacity"]["desired"], 3);
    // The old one is out of traffic: redblack unless another strategy is named.
    let disabled = fake
        .operations()
        .iter()
        .any(|o| o.kind == "disableServerGroup" && o.input["serverGroupName"] == "app-main-v000");
    assert!(disabled);
    // It is there now, so a repeat does nothing.
    let before = fake.operations().len();
    done(&fake, promote()).await;
    assert_eq!(fake.operations().len(), before);
}

#[tokio::test]
async fn a_promotion_says_what_is_missing() {
    let fake = Fake::new();
    let job = |from: &str, to: &str| json!({"type": "promoteEnvironment", "from": from, "to": to});
    let text = refused(&fake, job("staging", "prod")).await;
    assert!(
        text.contains("no environment \"staging\"; known are none"),
        "{text}"
    );
    two_environments(&fake);
    let text = refused(&fake, job("staging", "prdo")).await;
    assert!(
        text.starts_with("to: ") && text.contains("known are staging, prod"),
        "{text}"
    );
    let mut other = promote();
    other["application"] = json!("shop");
    assert!(
        refused(&fake, other)
            .await
            .contains("start it as a task of shop")
    );
    let mut odd = promote();
    odd["strategy"] = json!("big-bang");
    assert!(refused(&fake, odd).await.contains("use one of"));

    let quarantined = json!({"id": "prod/app-main/registry/app:9", "account": "prod",
        "cluster": "app-main", "image": "registry/app:9", "executionId": "e"});
    fake.object(Object::Quarantine, quarantined);
    let text = refused(&fake, promote()).await;
    assert!(
        text.contains("release prod/app-main/registry/app:9"),
        "{text}"
    );
    let id = "prod/app-main/registry/app:9";
    fake.delete_object(Object::Quarantine, id).await.unwrap();

    let mut second = group("app-main-v008", 10, 1, false);
    second["account"] = json!("test");
    fake.server_group(second);
    let text = refused(&fake, promote()).await;
    assert!(
        text.contains("registry/app:10 and registry/app:9 beside each other"),
        "{text}"
    );
    fake.forget("app-main-v007");
    fake.forget("app-main-v008");
    let text = refused(&fake, promote()).await;
    assert!(
        text.contains("nothing of application app runs healthy in environment staging"),
        "{text}"
    );
    fake.forget("app-main-v000");
    let text = refused(&fake, promote()).await;
    assert!(
        text.contains("no server group in environment prod to copy"),
        "{text}"
    );
}

#[tokio::test]
async fn the_previous_version_comes_back_and_the_newer_one_is_held() {
    for job in [
        json!({"type": "deployPreviousVersion", "environment": "PROD"}),
        json!({"type": "deployPreviousVersion", "account": "prod", "cluster": "app-main"}),
        json!({"type": "undoDeployment", "environment": "prod"}),
        json!({"type": "undoDeployment", "executionId": "x"}),
    ] {
        let fake = Fake::new();
        deployed(&fake);
        done(&fake, job.clone()).await;
        let kinds: Vec<_> = fake
            .operations()
            .into_iter()
            .map(|o| (o.kind, o.input["serverGroupName"].clone()))
            .filter(|(kind, _)| kind.ends_with("ableServerGroup"))
            .collect();
        let expected = [
            ("enableServerGroup".to_owned(), json!("app-main-v000")),
            ("disableServerGroup".to_owned(), json!("app-main-v001")),
        ];
        assert_eq!(kinds, expected, "{job}");
        assert_eq!(held(&fake).await, ["prod/app-main/registry/app:2"], "{job}");
        // Once more there is nothing before, and nothing more is held.
        let text = refused(&fake, job.clone()).await;
        let again = text.contains("no previous version") || text.contains("undone already");
        assert!(again, "{job}: {text}");
        assert_eq!(held(&fake).await, ["prod/app-main/registry/app:2"], "{job}");
    }
}

#[tokio::test]
async fn a_group_of_the_same_version_is_no_previous_version() {
    let fake = Fake::new();
    deployed(&fake);
    let mut again = group("app-main-v002", 3, 3, false);
    again["imageId"] = json!("registry/app:2");
    fake.server_group(again);
    done(
        &fake,
        json!({"type": "deployPreviousVersion", "environment": "prod"}),
    )
    .await;
    let enabled = fake
        .operations()
        .into_iter()
        .find(|o| o.kind == "enableServerGroup");
    assert_eq!(enabled.unwrap().input["serverGroupName"], "app-main-v000");
}

#[tokio::test]
async fn undo_says_what_is_missing_and_touches_no_other_application() {
    let fake = Fake::new();
    deployed(&fake);
    let undo = |id: &str| json!({"type": "undoDeployment", "executionId": id});
    fake.execution(json!({"id": "theirs", "application": "shop", "stages": []}));
    for id in ["theirs", "none"] {
        let text = refused(&fake, undo(id)).await;
        assert!(
            text.contains(&format!("application app has no execution {id}")),
            "{text}"
        );
    }
    fake.execution(json!({"id": "idle", "application": "app", "stages": []}));
    assert!(
        refused(&fake, undo("idle"))
            .await
            .contains("deployed no server group")
    );
    let text = refused(&fake, json!({"type": "undoDeployment"})).await;
    assert!(text.starts_with("executionId is missing"), "{text}");
    let other = json!({"type": "deployPreviousVersion", "account": "prod", "cluster": "shop-main"});
    assert!(
        refused(&fake, other)
            .await
            .contains("belongs to application shop")
    );
    let text = refused(
        &fake,
        json!({"type": "deployPreviousVersion", "account": "prod"}),
    )
    .await;
    assert!(text.starts_with("environment is missing"), "{text}");
    let held = json!({"id": "prod/app-main/registry/app:1", "account": "prod",
        "cluster": "app-main", "image": "registry/app:1"});
    fake.object(Object::Quarantine, held);
    let text = refused(&fake, undo("x")).await;
    assert!(
        text.contains("every version before app-main-v001 is in quarantine"),
        "{text}"
    );
}
