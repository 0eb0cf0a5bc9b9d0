//! A pipeline as a strategy: what it is told, and what its own deploy stage deploys.

use orchestrator::definition::{Accounts, check_pipeline};
use orchestrator::services::fake::Fake;
use orchestrator_core::{ExecutionType, Status};
use proto::message::{EXECUTION_REQUESTS, ExecutionRequested};
use serde_json::{Value, json};
use store::{Address, Batch, Mode, Outgoing};

use crate::bench::{Act, Bench};
use crate::rig::{Rig, make, pipeline};
use crate::samples::{cluster, one_group};

/// The trigger of the strategy that a deployment started.
async fn started(kind: &str, before: Option<Value>) -> Value {
    let fake = Fake::new();
    one_group(&fake);
    fake.pipeline(
        json!({"application": "app", "name": "S", "id": "s", "type": "strategy",
        "stages": []}),
    );
    let mut one = cluster("custom");
    let more = json!({"strategyApplication": "app", "strategyPipeline": "s",
        "pipelineParameters": {"extra": "x"}});
    one.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let mut stages = vec![];
    let mut after: &[&str] = &[];
    if let Some(first) = before {
        stages.push(first);
        after = &["0"];
        one.as_object_mut().unwrap().shift_remove("imageId");
    }
    stages.push(make(kind, "1", after, one));
    let mut bench = Bench::new(fake, json!(stages));
    bench.drive(|_, _| Act::Run).await;
    assert_eq!(
        bench.status(),
        Status::Succeeded,
        "{:#?}",
        bench.execution()
    );
    assert!(bench.fake.operations().is_empty());
    bench.fake.started()[0]["trigger"].clone()
}

#[tokio::test]
async fn a_strategy_is_told_what_is_deployed() {
    let trigger = started("createServerGroup", None).await;
    assert_eq!(trigger["strategy"], true);
    let parameters = &trigger["parameters"];
    for (key, value) in [
        ("application", json!("app")),
        ("cluster", json!("app-main")),
        ("credentials", json!("prod")),
        ("region", json!("local")),
        ("cloudProvider", json!("local")),
        ("strategy", json!(true)),
        ("clone", json!(false)),
        ("extra", json!("x")),
    ] {
        assert_eq!(parameters[key], value, "{key}");
    }
    assert_eq!(trigger["deployment"]["imageId"], "registry/app:2");
    let clone = started("cloneServerGroup", None).await;
    assert_eq!(clone["parameters"]["clone"], true);
}

#[tokio::test]
async fn an_image_that_was_found_before_goes_along() {
    let found = json!({"deploymentDetails": [
        {"imageId": "r/a:7", "ami": "ami-7", "region": "local", "x": 1},
        {"imageId": "r/a:8", "region": "far"},
    ]});
    let variables = json!({"variables": [{"key": "deploymentDetails",
        "value": found["deploymentDetails"]}]});
    let before = make("evaluateVariables", "0", &[], variables);
    let trigger = started("createServerGroup", Some(before)).await;
    let parameters = &trigger["parameters"];
    assert_eq!(parameters["imageId"], "r/a:7");
    assert_eq!(parameters["amiName"], "ami-7");
    assert_eq!(
        parameters["deploymentDetails"][0],
        json!({"ami": "ami-7", "imageId": "r/a:7", "region": "local"})
    );
}

/// What the deploy stage of a strategy sends, or why nothing.
async fn deployed(deployment: Value, parameters: Value, stage: Value) -> Result<Value, String> {
    let fake = Fake::new();
    one_group(&fake);
    let body = json!({"application": "app", "name": "S", "stages": [make("deploy", "1", &[], stage)],
        "trigger": {"type": "pipeline", "strategy": true, "parameters": parameters,
            "deployment": deployment}});
    let mut bench = Bench::of(fake, ExecutionType::Pipeline, &body);
    bench.drive(|_, _| Act::Run).await;
    let told = bench.execution().to_json()["stages"].to_string();
    let operations = bench.fake.operations();
    operations.first().map(|o| o.input.clone()).ok_or(told)
}

fn whole() -> Value {
    let mut all = cluster("custom");
    let more = json!({"strategyApplication": "app", "strategyPipeline": "s", "kato.tasks": [],
        "stageEnabled": {"type": "expression", "expression": "false"}, "name": "Deploy in local",
        "source": {"serverGroupName": "app-main-v000"}});
    all.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    all
}

#[tokio::test]
async fn its_deploy_stage_makes_the_group_without_a_strategy() {
    let sent = deployed(whole(), json!({}), json!({"trafficOptions": "inherit"}))
        .await
        .unwrap();
    assert_eq!(sent["imageId"], "registry/app:2");
    assert_eq!(sent["stack"], "main");
    assert_eq!(sent["source"]["serverGroupName"], "app-main-v000");
    for gone in [
        "strategyPipeline",
        "stageEnabled",
        "trafficOptions",
        "kato.tasks",
    ] {
        assert!(sent.get(gone).is_none(), "{gone}");
    }
    // An image of its own before one that is a parameter.
    let parameters = json!({"imageId": "r/other:1"});
    let sent = deployed(whole(), parameters.clone(), json!({}))
        .await
        .unwrap();
    assert_eq!(sent["imageId"], "registry/app:2");
    let mut without = whole();
    without.as_object_mut().unwrap().shift_remove("imageId");
    let sent = deployed(without, parameters, json!({"clusters": []}))
        .await
        .unwrap();
    assert_eq!(sent["imageId"], "r/other:1");
}

#[tokio::test]
async fn traffic_options_say_whether_it_begins_in_traffic() {
    let mut aws = whole();
    aws["cloudProvider"] = json!("aws");
    aws["suspendedProcesses"] = json!(["AddToLoadBalancer", "Launch"]);
    for (asked, processes) in [
        ("inherit", json!(["AddToLoadBalancer", "Launch"])),
        ("enable", json!(["Launch"])),
        ("disable", json!(["Launch", "AddToLoadBalancer"])),
    ] {
        let stage = json!({"trafficOptions": asked});
        let sent = deployed(aws.clone(), json!({"amiName": "ami-1"}), stage)
            .await
            .unwrap();
        let parts = sent["operations"].as_array();
        let of_group = parts.map_or(&sent, |p| &p.last().unwrap()["createServerGroup"]);
        assert_eq!(of_group["suspendedProcesses"], processes, "{asked}");
    }
    for (asked, word) in [("disable", "out of traffic"), ("sideways", "is unknown")] {
        let stage = json!({"trafficOptions": asked});
        let told = deployed(whole(), json!({}), stage).await.unwrap_err();
        assert!(told.contains(word), "{told}");
    }
}

#[tokio::test]
async fn a_strategy_that_no_deployment_started_deploys_nothing() {
    let stage = make("deploy", "1", &[], json!({"trafficOptions": "inherit"}));
    let mut bench = Bench::new(Fake::new(), json!([stage]));
    bench.drive(|_, _| Act::Run).await;
    assert_eq!(bench.status(), Status::Terminal);
    let told = bench.execution().to_json()["stages"].to_string();
    assert!(told.contains("no deployment has started it"), "{told}");
}

#[tokio::test]
async fn who_starts_a_pipeline_cannot_say_what_it_deploys() {
    let rig = Rig::up().await;
    let stage = make("deploy", "1", &[], json!({"trafficOptions": "inherit"}));
    let mut saved = pipeline("S", json!([stage]));
    saved["type"] = json!("strategy");
    saved["triggers"] = json!([{"type": "docker", "enabled": true, "id": "t"}]);
    let saved = rig.save(&saved).await.unwrap();
    let forged = json!({"type": "docker", "strategy": true, "deployment": whole()});
    let mut body = saved.clone();
    body["trigger"] = forged.clone();
    let by_hand = rig.try_start(&body, "by hand").await.unwrap();
    let message = ExecutionRequested {
        application: "app".into(),
        pipeline_config_id: saved["id"].as_str().unwrap().into(),
        trigger_id: "t".into(),
        event_id: "push".into(),
        recorded_at_ms: 1_700_000_000_000,
        trigger: forged,
    };
    let shards = rig.store.shards();
    let shard = shards.of_application("app");
    let event = format!("{}/t/push", message.pipeline_config_id);
    let by_event = shards.mint_id(1_700_000_000_000, &event, shard);
    let batch = Batch::new(shard, "push").message(Outgoing {
        to: Address::new(EXECUTION_REQUESTS, "push", "app"),
        fingerprint: "push".into(),
        mode: Mode::Ensure,
        delay_ms: 0,
        body: serde_json::to_vec(&message).unwrap().into(),
    });
    rig.store.commit(batch).await.unwrap().unwrap();
    for id in [by_hand, by_event.to_string()] {
        let ended = rig.ends(&id, "TERMINAL").await;
        let told = ended["stages"].to_string();
        assert!(told.contains("no deployment has started it"), "{told}");
    }
    assert!(rig.fake.operations().is_empty());
}

#[test]
fn a_strategy_may_leave_open_what_it_deploys_and_a_deployment_names_its_strategy() {
    let faults = |kind: &str, stage: Value| {
        let pipeline = json!({"application": "app", "name": "p", "type": kind, "stages": [stage]});
        let found = check_pipeline(pipeline.as_object().unwrap(), &Accounts::Unknown);
        found.iter().map(|f| f.path.clone()).collect::<Vec<_>>()
    };
    let open = || make("deploy", "1", &[], json!({"clusters": []}));
    assert_eq!(faults("strategy", open()), [""; 0]);
    assert_eq!(faults("pipeline", open()), ["stages[0].clusters"]);
    let custom = make("createServerGroup", "1", &[], cluster("custom"));
    assert_eq!(
        faults("pipeline", custom),
        [
            "stages[0].strategyApplication",
            "stages[0].strategyPipeline"
        ]
    );
}
