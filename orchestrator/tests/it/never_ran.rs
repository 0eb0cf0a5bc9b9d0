//! Executions that are kept only to tell why they could not begin.

use proto::common::v1::Json;
use proto::orchestrator::v1::FailRequest;
use proto::status::{Failure, Kind};
use serde_json::{Value, json};

use crate::rig::{Rig, as_user, pipeline, quick, stage, webhook};

async fn fail(rig: &Rig, body: &Value, error_message: &str) -> Result<String, Failure> {
    let request = FailRequest {
        body: Some(Json::of(body)),
        error_message: error_message.to_owned(),
    };
    let kept = rig.executions.clone().fail(as_user(request)).await;
    let kept = kept.map_err(Failure::from)?.into_inner();
    assert_eq!(kept.r#ref, format!("/pipelines/{}", kept.id));
    Ok(kept.id)
}

/// One that would run, were it started, and that has to pass its pipeline's gate.
fn runnable() -> Value {
    let mut body = pipeline("p", json!([webhook("1", &[]), webhook("2", &["1"])]));
    body["id"] = json!("cfg");
    body["limitConcurrent"] = json!(true);
    body["trigger"] = json!({"type": "docker", "tag": "v1", "user": "eve"});
    body
}

fn untouched(execution: &Value) {
    assert_eq!(execution["status"], "TERMINAL", "{execution:#}");
    let shown = (&execution["canceled"], &execution["canceledBy"]);
    assert_eq!(shown, (&json!(true), &json!("system")));
    assert_eq!(
        execution["cancellationReason"],
        "Failed on startup: no image came"
    );
    assert_eq!(execution["startTime"], Value::Null);
    for id in ["1", "2"] {
        assert_eq!(stage(execution, id)["status"], "NOT_STARTED");
    }
}

#[tokio::test]
async fn a_recorded_failure_is_shown_and_never_runs() {
    let mut rig = Rig::up().await;
    let id = fail(&rig, &runnable(), "no image came").await.unwrap();
    let kept = rig.get(&id).await;
    untouched(&kept);
    assert_eq!(kept["trigger"]["tag"], "v1");
    // Who asked is who it is recorded for, whatever the body says.
    assert_eq!(kept["trigger"]["user"], "ann");
    assert_eq!(kept["pipelineConfigId"], "cfg");

    // Restarting its first stage begins nothing.
    rig.restart(&id, stage(&kept, "1")).await.unwrap();
    let (store, fake) = (rig.store.clone(), rig.fake.clone());
    rig.kill();
    let rig = Rig::over(store, fake.clone(), quick()).await;
    // The gate lets in what may run, so it does not wait for the one that never will.
    let other = rig.start(&runnable()).await;
    rig.ends(&other, "SUCCEEDED").await;
    untouched(&rig.get(&id).await);
    let sent = fake.requests();
    assert_eq!(sent.len(), 2);
    assert!(
        sent.iter()
            .all(|request| request.effect_id.starts_with(&other))
    );
}

#[tokio::test]
async fn the_reason_that_is_given_is_the_one_that_is_told() {
    let rig = Rig::up().await;
    let mut body = runnable();
    body["expectedArtifacts"] = json!([{"id": "a", "displayName": "image"}]);
    body["trigger"] = json!({"expectedArtifactIds": ["a"]});
    let id = fail(&rig, &body, "no image came").await.unwrap();
    untouched(&rig.get(&id).await);

    for blank in ["", " \n"] {
        let refused = fail(&rig, &runnable(), blank).await.unwrap_err();
        assert_eq!(refused.kind, Kind::Invalid);
        assert_eq!(refused.fields[0].path, "errorMessage");
    }
    let mut disabled = runnable();
    disabled["disabled"] = json!(true);
    let refused = fail(&rig, &disabled, "no image came").await.unwrap_err();
    assert!(refused.message.contains("disabled"), "{refused}");
}
