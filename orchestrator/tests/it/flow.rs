//! Stages that wait for others, order definitions, page people: what no record shows.

use orchestrator::Config;
use orchestrator::services::Definitions;
use orchestrator::services::fake::{Fake, response};
use orchestrator_core::{Status, command};
use serde_json::{Value, json};

use crate::bench::{Act, Bench, Moved};
use crate::rig::make;
use crate::samples::{group, one_group};

async fn run(fake: &Fake, stage: Value) -> Bench {
    let mut bench = Bench::new(fake.clone(), json!([stage]));
    bench.drive(|_, _| Act::Run).await;
    bench
}

/// How a stage ended, its context, and why it failed.
async fn end(fake: &Fake, kind: &str, fields: Value) -> (Status, Value, String) {
    let bench = run(fake, make(kind, "1", &[], fields)).await;
    let served = bench.execution().to_json();
    let stages = served["stages"].as_array().unwrap();
    let first = stages.iter().find(|s| s["refId"] == "1").unwrap();
    let status = Status::parse(first["status"].as_str().unwrap()).unwrap();
    let failed = stages.iter().find_map(|s| {
        let errors = s["context"]["exception"]["details"]["errors"].as_array()?;
        errors.first()?.as_str().map(ToOwned::to_owned)
    });
    (status, first["context"].clone(), failed.unwrap_or_default())
}

#[tokio::test]
async fn nothing_to_do_is_skipped_and_what_follows_goes_on() {
    let stages = json!([
        make("noop", "1", &[], json!({})),
        make("wait", "2", &["1"], json!({}))
    ]);
    let mut bench = Bench::new(Fake::new(), stages);
    bench.drive(|_, _| Act::Run).await;
    let statuses: Vec<_> = bench.execution().stages.iter().map(|s| s.status).collect();
    assert_eq!(statuses, [Status::Skipped, Status::Succeeded]);
    assert_eq!(bench.status(), Status::Succeeded);
}

#[tokio::test]
async fn an_instant_is_waited_for_and_one_that_is_past_is_not() {
    for (until, ends) in [
        (json!(61_000), 61_000),
        (json!("61000"), 61_000),
        (json!(500), 1_000),
    ] {
        let stage = make("waitUntil", "1", &[], json!({"epochMillis": until}));
        let bench = run(&Fake::new(), stage).await;
        assert_eq!(bench.status(), Status::Succeeded);
        let stage = &bench.execution().stages[0];
        assert_eq!(stage.end_time, Some(ends), "{until}");
        let began = stage.context.get("startTime").cloned();
        assert_eq!(began, (ends > 1_000).then(|| json!(1_000)));
        assert!(bench.ran.len() <= 2);
    }
    let (status, _, why) = end(&Fake::new(), "waitUntil", json!({"epochMillis": "noon"})).await;
    assert_eq!(status, Status::Terminal);
    assert_eq!(
        why,
        "epochMillis: \"noon\" is no instant; use milliseconds since 1970"
    );
    // Its limit comes before the instant.
    let far = json!({"epochMillis": 10_000_000_000_000_i64});
    let bench = run(&Fake::new(), make("waitUntil", "1", &[], far)).await;
    assert_eq!(bench.status(), Status::Terminal);
    assert_eq!(bench.now, 1_000 + 2_147_483_647 + 1);
}

#[tokio::test]
async fn it_ends_as_the_execution_it_depends_on() {
    let ask = |kind: &str, id: &str| json!({"executionType": kind, "executionId": id});
    let fake = Fake::new();
    for status in [
        "SUCCEEDED",
        "STOPPED",
        "SKIPPED",
        "TERMINAL",
        "CANCELED",
        "RUNNING",
    ] {
        fake.execution(
            json!({"id": status, "type": "PIPELINE", "application": "other",
            "status": status, "stages": []}),
        );
    }
    for id in ["SUCCEEDED", "STOPPED", "SKIPPED"] {
        let (status, ..) = end(&fake, "dependsOnExecution", ask("pipeline", id)).await;
        assert_eq!(status, Status::Succeeded, "{id}");
    }
    for id in ["TERMINAL", "CANCELED"] {
        let (status, context, _) = end(&fake, "dependsOnExecution", ask("PIPELINE", id)).await;
        assert_eq!(status, Status::Canceled, "{id}");
        let reason = format!("Depended-on execution completed with status {id}");
        assert_eq!(context["reason"], reason);
    }
    let (status, context, why) = end(
        &fake,
        "dependsOnExecution",
        ask("orchestration", "SUCCEEDED"),
    )
    .await;
    assert_eq!(status, Status::Terminal);
    assert_eq!(
        context["error"],
        "Execution (ORCHESTRATION) SUCCEEDED not found."
    );
    assert_eq!(context["error"], why);
    let stage = make("dependsOnExecution", "1", &[], ask("PIPELINE", "RUNNING"));
    let mut bench = Bench::new(fake.clone(), json!([stage]));
    while bench.step(Some(3_600_000), &mut |_, _| Act::Run).await == Moved::On {}
    assert_eq!(bench.status(), Status::Running);
    bench.drive(|_, _| Act::Run).await;
    assert_eq!(bench.status(), Status::Terminal, "two hours are its limit");
}

#[tokio::test]
async fn pipelines_are_put_in_order_or_none_is() {
    let fake = Fake::new();
    for (id, application, kind) in [
        ("a", "app", ""),
        ("b", "app", ""),
        ("s", "app", "strategy"),
        ("x", "other", ""),
    ] {
        fake.pipeline(json!({"id": id, "name": id, "application": application, "type": kind}));
    }
    let index = async |id: &str| {
        let found = Definitions::pipeline(&fake, id, "").await.unwrap();
        found.unwrap()["index"].clone()
    };
    let order = |places: Value| json!({"application": "App", "idsToIndices": places});
    let (status, context, _) = end(&fake, "reorderPipelines", order(json!({"a": 1, "b": 0}))).await;
    assert_eq!(status, Status::Succeeded);
    assert_eq!(context["notification.type"], "reorderpipelines");
    assert_eq!([index("a").await, index("b").await], [json!(1), json!(0)]);
    for (places, id) in [
        (json!({"a": 5, "x": 0}), "x"),
        (json!({"a": 5, "s": 0}), "s"),
        (json!({"a": 5, "none": 0}), "none"),
    ] {
        let (status, _, why) = end(&fake, "reorderPipelines", order(places)).await;
        assert_eq!(status, Status::Terminal);
        assert_eq!(
            why,
            format!("idsToIndices: application app has no pipeline {id}")
        );
        assert_eq!(index("a").await, 1);
    }
    let mut strategies = order(json!({"s": 2}));
    strategies["isStrategy"] = json!(true);
    let (status, ..) = end(&fake, "reorderPipelines", strategies).await;
    assert_eq!((status, index("s").await), (Status::Succeeded, json!(2)));
}

/// A pager that takes its token from a variable that every process has.
pub(crate) fn pager(fake: &Fake) {
    let set = json!({"pager-duty": {"token": "env:PATH", "base-url": "http://pager.test/"}});
    let config: Config = serde_json::from_value(set).unwrap();
    fake.configure(config.stages());
}

const PAGE: &str = "http://pager.test/generic/2010-04-15/create_event.json";

#[tokio::test]
async fn owners_of_applications_are_paged_once_each() {
    let fake = Fake::new();
    pager(&fake);
    for (name, key) in [("shop", "k1"), ("cart", "k2"), ("bare", "")] {
        let application = json!({"name": name, "pdApiKey": key});
        fake.save_application(application, "ann").await.unwrap();
    }
    let ask = |applications: Value| json!({"applications": applications, "keys": ["k0"], "message": "help", "details": {"a": 1}});
    let (status, _, why) = end(
        &fake,
        "pageApplicationOwner",
        ask(json!(["shop", "bare", "none"])),
    )
    .await;
    assert_eq!(status, Status::Terminal);
    assert_eq!(why, "bare, none do not have a pager duty service key.");
    assert!(fake.requests().is_empty());
    // The second is not taken at first.
    fake.answer(PAGE, Ok(response(200, &json!({}))));
    fake.answer(PAGE, Ok(response(503, &json!({}))));
    let (status, ..) = end(&fake, "pageApplicationOwner", ask(json!(["shop", "cart"]))).await;
    assert_eq!(status, Status::Succeeded);
    let sent: Vec<Value> = fake
        .requests()
        .iter()
        .map(|r| serde_json::from_slice(&r.body).unwrap())
        .collect();
    let mut pages: Vec<_> = sent
        .iter()
        .map(|p| format!("{} {}", p["service_key"], p["incident_key"]))
        .collect();
    assert_eq!(pages.len(), 6);
    pages.sort();
    pages.dedup();
    // Each under one key, however often it was sent.
    assert_eq!(pages.len(), 3);
    assert_eq!(sent[0]["event_type"], "trigger");
    assert_eq!(sent[0]["description"], "help");
    assert_eq!(sent[0]["details"], json!({"a": 1, "from": "ann"}));
    assert!(
        fake.requests()[0]
            .headers
            .iter()
            .any(|(name, value)| name == "authorization" && value.starts_with("Token token="))
    );
    fake.answer(PAGE, Ok(response(200, &json!({}))));
    fake.answer(PAGE, Ok(response(400, &json!({}))));
    let (status, _, why) = end(&fake, "pageApplicationOwner", ask(json!(["shop"]))).await;
    assert_eq!(status, Status::Terminal);
    assert_eq!(
        why,
        "Some notifications succeeded, but 1 of 2 failed: the pager answered 400"
    );
}

#[tokio::test]
async fn nobody_is_paged_where_nothing_is_set() {
    let (status, _, why) = end(
        &Fake::new(),
        "pageApplicationOwner",
        json!({"keys": ["k"], "message": "m"}),
    )
    .await;
    assert_eq!(status, Status::Terminal);
    assert!(
        why.contains("orchestrator.pager-duty.token is not set"),
        "{why}"
    );
}

fn sized(more: Value) -> Value {
    let mut context = json!({"cluster": "app-main", "credentials": "prod", "regions": ["local"], "comparison": "<=", "expected": 1});
    context
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().cloned().unwrap());
    json!({"preconditions": [{"type": "clusterSize", "context": context}]})
}

#[tokio::test]
async fn a_cluster_that_is_too_large_is_told_with_its_groups() {
    let fake = Fake::new();
    one_group(&fake);
    fake.server_group(group("app-main-v001", 2, 2, false));
    let (status, _, why) = end(
        &fake,
        "checkPreconditions",
        sized(json!({"onlyEnabledServerGroups": true})),
    )
    .await;
    assert_eq!(status, Status::Terminal);
    assert_eq!(
        why,
        "Precondition check failed: expected <= 1 enabled server groups in local but found 2: \
         [app-main-v000, app-main-v001]. Please clean up the cluster to only have the specific \
         number of server groups, or opt out of this check in your deploy stage."
    );
    // The moniker is what counts.
    let moniker = json!({"moniker": {"app": "app", "cluster": "app-none"}});
    let (status, ..) = end(&fake, "checkPreconditions", sized(moniker)).await;
    assert_eq!(status, Status::Succeeded);
}

#[tokio::test]
async fn a_restart_checks_the_preconditions_of_the_definition_it_comes_with() {
    let of = |written: &str| json!([{"type": "expression", "context": {"expression": written}}]);
    let stage = make(
        "checkPreconditions",
        "1",
        &[],
        json!({"preconditions": of("1 == 2")}),
    );
    let mut bench = run(&Fake::new(), stage).await;
    assert_eq!(bench.status(), Status::Terminal);
    let definition = json!({"stages": [
        {"type": "checkPreconditions", "refId": "1", "preconditions": of("2 == 2")}]});
    let execution = bench.execution();
    let id = execution.top_level().next().unwrap().id.clone();
    let definition = definition.as_object().unwrap();
    let effects = command::restart_stage_as(execution, &id, "ann", definition).unwrap();
    bench.command(effects);
    bench.drive(|_, _| Act::Run).await;
    assert_eq!(bench.status(), Status::Succeeded);
}
