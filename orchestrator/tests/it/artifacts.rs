//! Artifacts where nobody starts by hand: a stage that names one, the end of another execution.

use orchestrator::services::fake::Fake;
use orchestrator_core::{ExecutionType, Status};
use proto::message::{EXECUTION_REQUESTS, ExecutionRequested};
use proto::orchestrator::v1::GetExecutionRequest;
use serde_json::{Value, json};
use store::{Address, Batch, Mode, Outgoing};

use crate::bench::{Act, Bench};
use crate::rig::{Rig, eventually, make, pipeline};

async fn deployed(artifact: &str) -> Bench {
    let context = json!({
        "application": "app", "stack": "main", "account": "prod", "region": "r", "strategy": "none",
        "cloudProvider": "local", "capacity": {"min": 1, "max": 1, "desired": 1},
        "imageArtifactId": artifact,
    });
    let bound = json!({"type": "docker/image", "reference": "app:${parameters.tag}"});
    let body = json!({
        "application": "app", "name": "p", "spelEvaluator": "v4",
        "stages": [make("createServerGroup", "1", &[], context)],
        "trigger": {"parameters": {"tag": "2"},
            "resolvedExpectedArtifacts": [{"id": "e", "boundArtifact": bound}]},
    });
    let mut bench = Bench::of(Fake::new(), ExecutionType::Pipeline, &body);
    bench.drive(|_, _| Act::Run).await;
    bench
}

#[tokio::test]
async fn an_image_may_be_named_by_its_expected_artifact() {
    let bench = deployed("e").await;
    let operations = bench.fake.operations();
    let create = operations.iter().find(|o| o.kind == "createServerGroup");
    let input = &create.unwrap().input;
    assert_eq!(input["imageArtifact"]["reference"], "app:2", "{input:#}");
    let nothing = deployed("other").await;
    assert_eq!(nothing.status(), Status::Terminal);
    let text = nothing.execution().to_json().to_string();
    assert!(
        text.contains("nothing is bound to expected artifact other"),
        "{text}"
    );
    assert!(nothing.fake.operations().is_empty());
}

/// What the trigger service leaves when an execution ended.
async fn ended(rig: &Rig, parent: &str, pipeline: &Value) -> String {
    let pipeline = pipeline["id"].as_str().unwrap().to_owned();
    let asked = ExecutionRequested {
        application: "app".into(),
        pipeline_config_id: pipeline.clone(),
        trigger_id: "t".into(),
        event_id: "end".into(),
        recorded_at_ms: 1_700_000_000_000,
        trigger: json!({"type": "pipeline", "user": "bob", "parentPipelineId": parent,
            "parentExecution": {"id": parent, "name": "parent"}}),
    };
    let shards = rig.store.shards();
    let shard = shards.of_application("app");
    let batch = Batch::new(shard, format!("end of {parent}")).message(Outgoing {
        to: Address::new(EXECUTION_REQUESTS, "end", "app"),
        fingerprint: "end".into(),
        mode: Mode::Ensure,
        delay_ms: 0,
        body: serde_json::to_vec(&asked).unwrap().into(),
    });
    rig.store.commit(batch).await.unwrap().unwrap();
    shards.mint_id(asked.recorded_at_ms, &format!("{pipeline}/t/end"), shard)
}

#[tokio::test]
async fn what_waits_for_a_pipeline_gets_all_it_made_and_is_kept_when_that_is_not_enough() {
    let rig = Rig::up().await;
    let stages = json!([make("wait", "1", &[], json!({"waitTime": 0}))]);
    let mut parent = pipeline("parent", stages.clone());
    parent["id"] = json!("cfg-parent");
    parent["trigger"] = json!({"artifacts": [{"name": "app", "reference": "app:2"}]});
    let parent = rig.start(&parent).await;
    rig.ends(&parent, "SUCCEEDED").await;
    for (name, wanted, status) in [("fits", "app", "SUCCEEDED"), ("lacks", "chart", "TERMINAL")] {
        let mut waits = pipeline(name, stages.clone());
        waits["expectedArtifacts"] = json!([{"id": "e", "matchArtifact": {"name": wanted}}]);
        waits["triggers"] = json!([{"id": "t", "type": "pipeline", "enabled": true, "application": "app",
            "pipeline": "cfg-parent", "status": ["successful"], "expectedArtifactIds": ["e"]}]);
        let waits = rig.save(&waits).await.unwrap();
        let id = ended(&rig, &parent, &waits).await;
        eventually("started", async || {
            let request = GetExecutionRequest {
                kind: 0,
                id: id.clone(),
            };
            rig.executions.clone().get(request).await.is_ok()
        })
        .await;
        let ended = rig.ends(&id, status).await;
        let trigger = &ended["trigger"];
        assert_eq!(trigger["artifacts"][0]["reference"], "app:2", "{ended:#}");
        assert_eq!(
            trigger["parentExecution"]["stages"][0]["status"],
            "SUCCEEDED"
        );
        let correlation = trigger["correlationId"].as_str().unwrap();
        let config = waits["id"].as_str().unwrap();
        assert!(
            correlation.starts_with(&format!("{parent}_null_{config}_")),
            "{correlation}"
        );
    }
}
