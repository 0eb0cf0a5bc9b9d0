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

#[tokio::test]
async fn a_start_that_names_a_build_has_what_the_build_brings() {
    let jenkins = demo::jenkins::Jenkins::start().await.unwrap();
    jenkins.job("shop", &[]);
    let files = [("out.properties", "image=h/a:1\n"), ("a.txt", "")];
    let number = jenkins.build("shop", "FAILURE", &files);
    jenkins.commit("shop", number, "abc", "main");
    let mut config = crate::world::slow();
    let masters = format!("[{{name: ci, address: '{}'}}]", jenkins.address());
    config.jenkins = serde_yaml_ng::from_str(&masters).unwrap();
    let state = crate::world::State {
        pipelines: vec![crate::world::pipeline("p", "shop", &[])],
        ..crate::world::State::default()
    };
    let world = crate::world::World::start(crate::world::memory(), config, state);
    let fire = async |number: serde_json::Value| {
        let trigger = serde_json::json!({"type": "jenkins", "master": "ci", "job": "shop",
            "buildNumber": number, "propertyFile": "out.properties"});
        let request = proto::trigger::v1::FireManualRequest {
            application: "shop".into(),
            pipeline: "p".into(),
            trigger: Some(proto::common::v1::Json::of(&trigger)),
            ..proto::trigger::v1::FireManualRequest::default()
        };
        world.events.clone().fire_manual(request).await
    };
    for given in [
        serde_json::json!(number),
        serde_json::json!(number.to_string()),
    ] {
        fire(given).await.unwrap();
        let started = world.state().starts.pop().unwrap();
        let body = started.body.unwrap().value("body").unwrap();
        let trigger = &body["trigger"];
        assert_eq!(trigger["buildInfo"]["scm"][0]["sha1"], "abc");
        assert_eq!(trigger["buildInfo"]["scm"][0]["branch"], "main");
        assert_eq!(trigger["properties"]["image"], "h/a:1");
        assert_eq!(trigger["artifacts"].as_array().unwrap().len(), 2);
    }
    let missing = fire(serde_json::json!(99)).await.unwrap_err();
    assert!(
        missing.message().contains("job shop has no build 99"),
        "{missing}"
    );
}
