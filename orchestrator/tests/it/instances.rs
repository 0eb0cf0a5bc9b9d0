//! Stages on instances, load balancers, jobs, and several groups at once.

use orchestrator::services::Definitions;
use orchestrator::services::fake::{Fake, Plan};
use orchestrator_core::Status;
use serde_json::{Value, json};

use crate::bench::{Act, Bench};
use crate::rig::make;
use crate::samples::{on, one_group, two_groups};

async fn played(fake: &Fake, stages: Value) -> Bench {
    let mut bench = Bench::new(fake.clone(), stages);
    bench.drive(|_, _| Act::Run).await;
    bench
}

async fn one(fake: &Fake, kind: &str, fields: Value) -> Bench {
    played(fake, json!([make(kind, "1", &[], on(fields))])).await
}

fn errors(bench: &Bench) -> String {
    bench.execution().to_json()["stages"].to_string()
}

fn task_names(bench: &Bench) -> Vec<String> {
    let stage = bench.execution().stages.first().unwrap();
    stage.tasks.iter().map(|t| t.name.clone()).collect()
}

#[tokio::test]
async fn instances_are_replaced_or_the_group_is_smaller() {
    for (kind, key, decrement) in [
        ("terminateInstances", "instanceIds", None),
        (
            "terminateInstanceAndDecrementServerGroup",
            "instance",
            Some(true),
        ),
    ] {
        let fake = Fake::new();
        one_group(&fake);
        let id = "app-main-v000-1";
        let named = if key == "instance" {
            json!(id)
        } else {
            json!([id])
        };
        let fields = json!({"serverGroupName": "app-main-v000", key: named});
        let bench = one(&fake, kind, fields).await;
        assert_eq!(bench.status(), Status::Succeeded, "{}", errors(&bench));
        let sent = &fake.operations()[0];
        assert_eq!(sent.kind, "terminateInstances");
        assert_eq!(sent.input["instanceIds"], json!([id]));
        assert_eq!(
            sent.input.get("decrement").and_then(Value::as_bool),
            decrement
        );
        assert_eq!(
            task_names(&bench),
            [kind, "monitorTermination", "waitForTerminatedInstances"]
        );
        let context = &bench.execution().stages[0].context;
        assert_eq!(context["terminate.instance.ids"], json!([id]));
        assert_eq!(context["terminate.region"], "local");
    }
}

#[tokio::test]
async fn the_last_instance_that_serves_is_guarded() {
    let guard = json!({"enabled": true, "account": "prod", "location": "*", "stack": "*",
        "detail": "*"});
    let application = json!({"name": "app", "trafficGuards": [guard]});
    for (ids, ends) in [
        (json!(["app-main-v000-0"]), Status::Succeeded),
        (
            json!(["app-main-v000-0", "app-main-v000-1", "app-main-v000-2"]),
            Status::Terminal,
        ),
    ] {
        let fake = Fake::new();
        one_group(&fake);
        fake.save_application(application.clone(), "ann")
            .await
            .unwrap();
        let fields = json!({"serverGroupName": "app-main-v000", "instanceIds": ids});
        let bench = one(&fake, "terminateInstances", fields).await;
        assert_eq!(bench.status(), ends, "{}", errors(&bench));
        let refused = errors(&bench).contains("traffic guards enabled");
        assert_eq!(refused, ends == Status::Terminal);
    }
}

#[tokio::test]
async fn load_balancers_are_made_in_one_request() {
    let fake = Fake::new();
    let fields = json!({"loadBalancers": [{"name": "a", "path": "/a"}, {"name": "b"}]});
    let bench = one(&fake, "upsertLoadBalancers", fields).await;
    assert_eq!(bench.status(), Status::Succeeded, "{}", errors(&bench));
    let operations = fake.operations();
    assert_eq!(operations.len(), 1);
    let parts = operations[0].input["operations"].as_array().unwrap();
    let names: Vec<_> = parts
        .iter()
        .map(|p| p["upsertLoadBalancer"]["name"].clone())
        .collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(parts[0]["upsertLoadBalancer"]["region"], "local");
    let targets = &bench.execution().stages[0].context["targets"];
    assert_eq!(
        targets[1],
        json!({"credentials": "prod", "name": "b", "regions": ["local"]})
    );
    assert_eq!(
        task_names(&bench),
        [
            "upsertLoadBalancers",
            "monitorUpsert",
            "extrapolateUpsertResult"
        ]
    );
}

#[tokio::test]
async fn where_a_load_balancer_can_be_reached_is_told() {
    let fake = Fake::new();
    let made = json!({"loadBalancers": {"local": {"name": "lb", "dnsName": "lb.test"}}});
    fake.plan("upsertLoadBalancer", Plan::Succeed(made));
    let bench = one(
        &fake,
        "upsertLoadBalancer",
        json!({"loadBalancerName": "lb"}),
    )
    .await;
    assert_eq!(bench.status(), Status::Succeeded, "{}", errors(&bench));
    let targets = &bench.execution().stages[0].context["targets"];
    assert_eq!(targets[0]["dnsName"], "lb.test");
}

#[tokio::test]
async fn several_groups_are_drained_and_then_removed() {
    let fake = Fake::new();
    two_groups(&fake);
    let names = json!(["app-main-v000", "app-main-v001"]);
    let bench = one(
        &fake,
        "bulkDestroyServerGroup",
        json!({"serverGroupNames": names}),
    )
    .await;
    assert_eq!(bench.status(), Status::Succeeded, "{}", errors(&bench));
    let kinds: Vec<Vec<String>> = fake
        .operations()
        .iter()
        .map(|o| {
            let parts = o.input["operations"].as_array().unwrap();
            parts
                .iter()
                .map(|p| {
                    let (kind, input) = p.as_object().unwrap().iter().next().unwrap();
                    format!("{kind} {}", input["serverGroupName"].as_str().unwrap())
                })
                .collect()
        })
        .collect();
    assert_eq!(
        kinds[0],
        [
            "disableServerGroup app-main-v000",
            "disableServerGroup app-main-v001"
        ]
    );
    assert_eq!(
        kinds[1],
        [
            "destroyServerGroup app-main-v000",
            "destroyServerGroup app-main-v001"
        ]
    );
    for (names, word) in [
        (
            json!(["app-main-v000", "app-test-v000"]),
            "is not of cluster app-main",
        ),
        (json!(["app-main-v009"]), "does not exist in local"),
    ] {
        let fake = Fake::new();
        two_groups(&fake);
        let bench = one(
            &fake,
            "bulkDestroyServerGroup",
            json!({"serverGroupNames": names}),
        )
        .await;
        assert_eq!(bench.status(), Status::Terminal);
        assert!(errors(&bench).contains(word), "{}", errors(&bench));
        assert!(fake.operations().is_empty());
    }
}

#[tokio::test]
async fn a_job_that_nobody_waits_for_is_ended_by_its_name() {
    let fake = Fake::new();
    fake.plan("runJob", Plan::Wait);
    let run = on(json!({"imageId": "r/smoke:1", "waitForCompletion": false}));
    let destroy =
        on(json!({"jobName": "${#stage('runJob 1').context['deploy.jobs']['local'][0]}"}));
    let stages = json!([
        make("runJob", "1", &[], run),
        make("destroyJob", "2", &["1"], destroy),
    ]);
    let mut bench = Bench::new(fake.clone(), stages);
    let ending = fake.clone();
    bench
        .drive(|_, run| {
            if run.task_type == "monitorDestroyJob" {
                ending.finish("op-1", Err(("canceled".to_owned(), Vec::new())));
            }
            Act::Run
        })
        .await;
    assert_eq!(bench.status(), Status::Succeeded, "{}", errors(&bench));
    assert_eq!(fake.canceled(), ["op-1"]);
    // Only jobs of the same execution.
    let bench = one(&fake, "destroyJob", json!({"jobName": "op-1"})).await;
    assert_eq!(bench.status(), Status::Terminal);
    assert!(
        errors(&bench).contains("no stage of this execution"),
        "{}",
        errors(&bench)
    );
}
