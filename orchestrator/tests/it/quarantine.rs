//! A version that was rolled back is not deployed again by a trigger.

use orchestrator::services::fake::Fake;
use orchestrator::services::{Definitions, Object};
use orchestrator_core::{ExecutionType, Status};
use serde_json::{Value, json};

use crate::bench::{Act, Bench};
use crate::rig::make;
use crate::samples::{cluster, group};

async fn run(fake: &Fake, trigger: Value, stage: Value) -> Bench {
    let body = json!({
        "application": "app", "name": "p", "stages": [stage], "trigger": trigger,
    });
    let mut bench = Bench::of(fake.clone(), ExecutionType::Pipeline, &body);
    bench.drive(|_, _| Act::Run).await;
    bench
}

fn two_groups() -> Fake {
    let fake = Fake::new();
    fake.server_group(group("app-main-v000", 1, 3, false));
    fake.server_group(group("app-main-v001", 2, 3, false));
    fake
}

#[tokio::test]
async fn what_was_rolled_back_is_deployed_by_hand_only_until_it_is_released() {
    let fake = two_groups();
    let wide = json!({"credentials": "prod", "regions": ["local"], "cluster": "app-main"});
    let manual = json!({"type": "manual", "user": "ann"});
    let rollback = make("rollbackCluster", "1", &[], wide);
    let rolled = run(&fake, manual.clone(), rollback).await;
    assert_eq!(rolled.status(), Status::Succeeded);

    let mut again = cluster("none");
    again["imageId"] = json!("registry/app:2");
    let deploy = |strategy: &str| {
        let mut again = again.clone();
        again["strategy"] = json!(strategy);
        make("deploy", "1", &[], json!({"clusters": [again]}))
    };
    let docker = json!({"type": "docker", "user": "anonymous"});
    let by_pipeline = json!({"type": "pipeline", "parentExecution": {"trigger": docker}});
    for trigger in [docker.clone(), by_pipeline] {
        for strategy in ["none", "redblack", "inplacedrain"] {
            let refused = run(&fake, trigger.clone(), deploy(strategy)).await;
            assert_eq!(refused.status(), Status::Terminal, "{strategy}");
            let text = refused.execution().to_json().to_string();
            assert!(
                text.contains("is in quarantine for cluster app-main of prod"),
                "{text}"
            );
        }
    }
    let other = make("deploy", "1", &[], {
        let mut other = cluster("none");
        other["imageId"] = json!("registry/app:3");
        json!({"clusters": [other]})
    });
    assert_eq!(
        run(&fake, docker.clone(), other).await.status(),
        Status::Succeeded
    );
    assert_eq!(
        run(&fake, manual, deploy("none")).await.status(),
        Status::Succeeded
    );

    let held = fake.objects(Object::Quarantine).await.unwrap();
    let id = held[0]["id"].as_str().unwrap();
    assert_eq!(id, "prod/app-main/registry/app:2");
    fake.delete_object(Object::Quarantine, id).await.unwrap();
    assert_eq!(
        run(&fake, docker, deploy("none")).await.status(),
        Status::Succeeded
    );
}
