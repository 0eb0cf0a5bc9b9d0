//! Manual starts go to the orchestrator at once and answer with the execution.

use proto::common::v1::Json;
use proto::status::{Failure, Kind};
use proto::trigger::v1::{FireManualReply, FireManualRequest};
use serde_json::{Value, json};

use crate::world::{World, memory, slow, with_pipeline};

async fn fire(world: &World, pipeline: &str, trigger: &Value) -> Result<FireManualReply, Failure> {
    let request = FireManualRequest {
        body: None,
        application: "shop".into(),
        pipeline: pipeline.into(),
        trigger: Some(Json::of(trigger)),
        user: "ann".into(),
    };
    let reply = world.events.clone().fire_manual(request).await;
    reply
        .map(tonic::Response::into_inner)
        .map_err(Failure::from)
}

#[tokio::test]
async fn a_pipeline_is_started_by_name_or_id_each_time_anew() {
    let world = World::start(memory(), slow(), with_pipeline());
    let mut ids = Vec::new();
    for pipeline in ["name of p", "p"] {
        let reply = fire(&world, pipeline, &json!({"parameters": {"k": 1.0}}))
            .await
            .unwrap();
        assert_eq!(
            (&*reply.r#ref, &*reply.execution_id),
            ("/pipelines/01X", "01X")
        );
        ids.push(reply.event_id);
    }
    assert_ne!(ids[0], ids[1]);
    let starts = std::mem::take(&mut world.state().starts);
    let body = starts[0].body.as_ref().unwrap();
    assert!(body.text.contains("\"k\":1.0"), "{}", body.text);
    let body = body.value("body").unwrap();
    assert_eq!(
        (&body["id"], &body["trigger"]["user"]),
        (&json!("p"), &json!("ann"))
    );
    assert_eq!(starts[0].event_id, ids[0]);
}

#[tokio::test]
async fn what_cannot_be_started_is_refused_and_starts_nothing() {
    let world = World::start(memory(), slow(), with_pipeline());
    assert_eq!(
        fire(&world, "none", &json!({})).await.unwrap_err().kind,
        Kind::NotFound
    );
    world.state().pipelines[0]["application"] = json!("other");
    assert_eq!(
        fire(&world, "p", &json!({})).await.unwrap_err().kind,
        Kind::NotFound
    );
    world.state().pipelines[0]["application"] = json!("shop");
    world.state().pipelines[0]["disabled"] = json!(true);
    assert_eq!(
        fire(&world, "p", &json!({})).await.unwrap_err().kind,
        Kind::Invalid
    );
    world.state().orchestrator_down = true;
    assert_eq!(
        fire(&world, "p", &json!({})).await.unwrap_err().kind,
        Kind::Unavailable
    );
    assert!(world.state().starts.is_empty());
}
