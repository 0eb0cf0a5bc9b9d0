//! An image is pushed: its notification starts one execution, the poll finds the same push and starts no
//! second one, and the image's bytes are what users get.

use std::time::Duration;

use serde_json::{Value, json};
use tests::fixture::pipeline;
use tests::gate::outline;
use tests::image::{Image, Written};
use tests::world::{APPLICATION, DEPLOYMENT, Pace, REGISTRY, REPOSITORY};
use tests::{Setup, World, eventually};

use crate::first_pipeline::backends;

/// A pipeline that deploys whatever image was pushed.
async fn save_pipeline(world: &World) {
    let image = "${trigger['artifacts'][0]['reference']}";
    let first = world.cluster("prod", image, "inplacedrain");
    let mut definition = pipeline(
        APPLICATION,
        "On push",
        &[world.deploy_stage("1", &[], &first)],
    );
    definition["triggers"] = json!([{
        "type": "docker", "enabled": true, "account": REGISTRY, "repository": REPOSITORY,
    }]);
    world.stack.gate.save_pipeline(&definition).await.unwrap();
}

fn triggered_by<'a>(executions: &'a [Value], image: &Written) -> Vec<&'a Value> {
    executions
        .iter()
        .filter(|execution| {
            let trigger = &execution["trigger"];
            trigger["type"] == "docker"
                && trigger["tag"] == image.tag.as_str()
                && trigger["digest"] == image.digest.as_str()
        })
        .collect()
}

async fn ended(world: &World, image: &Written) -> Value {
    let id = eventually(
        "the push starts an execution",
        Duration::from_secs(30),
        async || {
            let executions = world.stack.gate.executions(APPLICATION).await.unwrap();
            match triggered_by(&executions, image).first() {
                Some(execution) => Ok(execution["id"].as_str().unwrap().to_owned()),
                None => Err(executions.len()),
            }
        },
    )
    .await
    .unwrap();
    world
        .stack
        .gate
        .wait_for_execution(&id, DEPLOYMENT)
        .await
        .unwrap()
}

/// Waits until the registry has been asked for its tags twice more: whatever a poll finds, it has found.
async fn polled(world: &World) {
    let before = world.registry.requests("/tags/list");
    eventually(
        "the registry is polled",
        Duration::from_secs(30),
        async || {
            let polls = world.registry.requests("/tags/list") - before;
            if polls >= 2 { Ok(()) } else { Err(polls) }
        },
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn two_images_that_differ_in_one_byte_each_start_one_execution_and_serve_their_byte() {
    for backend in backends() {
        let setup = Setup {
            backend,
            ..Setup::default()
        };
        let world = World::up_at(setup, &Pace::polling()).await.unwrap();
        save_pipeline(&world).await;
        let image = |tag: &str, content: &str| Image {
            tag: tag.to_owned(),
            content: content.to_owned(),
            environment: vec![("VERSION".to_owned(), "same".to_owned())],
        };
        let mut pushed = Vec::new();
        for (tag, content) in [("1", "a served byte: a"), ("2", "a served byte: b")] {
            let written = world.push(&image(tag, content)).await.unwrap();
            let execution = ended(&world, &written).await;
            assert_eq!(execution["status"], "SUCCEEDED", "{}", outline(&execution));
            let served = world
                .visit("prod", "/content")
                .await
                .unwrap()
                .expect(200)
                .unwrap();
            assert_eq!(served.text(), content);
            pushed.push(written);
        }
        assert_ne!(pushed[0].digest, pushed[1].digest);

        // The same notification again, byte by byte the registry's own: nothing new.
        let repeated = world.registry.address();
        for image in &pushed {
            let event = json!({"events": [{
                "id": "repeated", "action": "push",
                "target": {
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": image.digest, "repository": REPOSITORY, "tag": image.tag,
                },
                "request": {"host": repeated},
            }]});
            let path = format!("/webhooks/docker/{REGISTRY}");
            let answer = world.stack.gate.http().post(&path, &event).await.unwrap();
            assert!(
                answer.status.is_success(),
                "{} {}",
                answer.status,
                answer.text()
            );
        }
        polled(&world).await;
        let executions = world.stack.gate.executions(APPLICATION).await.unwrap();
        for image in &pushed {
            assert_eq!(
                triggered_by(&executions, image).len(),
                1,
                "{} started more than once",
                image.tag
            );
        }
        assert_eq!(executions.len(), pushed.len());
    }
}

#[tokio::test]
async fn a_push_that_nobody_notified_is_found_by_the_poll_and_started_once() {
    let mut world = World::up_at(Setup::default(), &Pace::polling())
        .await
        .unwrap();
    // The registry is told to notify nobody.
    world.registry = world.registry.restart(None).await.unwrap();
    save_pipeline(&world).await;
    polled(&world).await;
    let written = world.push(&world.image("1")).await.unwrap();
    let execution = ended(&world, &written).await;
    assert_eq!(execution["status"], "SUCCEEDED", "{}", outline(&execution));
    // Now the late notification of the same push.
    let event = json!({"events": [{
        "action": "push",
        "target": {"digest": written.digest, "repository": REPOSITORY, "tag": written.tag},
        "request": {"host": world.registry.address()},
    }]});
    let path = format!("/webhooks/docker/{REGISTRY}");
    let answer = world.stack.gate.http().post(&path, &event).await.unwrap();
    assert!(
        answer.status.is_success(),
        "{} {}",
        answer.status,
        answer.text()
    );
    let second = world.push(&world.image("2")).await.unwrap();
    ended(&world, &second).await;
    let executions = world.stack.gate.executions(APPLICATION).await.unwrap();
    assert_eq!(triggered_by(&executions, &written).len(), 1);
    assert_eq!(executions.len(), 2);
}

#[tokio::test]
async fn a_notification_that_was_answered_survives_kill_9() {
    let mut world = World::up_at(Setup::default(), &Pace::polling())
        .await
        .unwrap();
    save_pipeline(&world).await;
    let written = world
        .image("1")
        .write(&world.folder().unwrap())
        .await
        .unwrap();
    world.registry = world.registry.restart(None).await.unwrap();
    written
        .push(&world.registry.address(), REPOSITORY)
        .await
        .unwrap();
    let event = json!({"events": [{
        "action": "push",
        "target": {"digest": written.digest, "repository": REPOSITORY, "tag": written.tag},
        "request": {"host": world.registry.address()},
    }]});
    let path = format!("/webhooks/docker/{REGISTRY}");
    let answer = world.stack.gate.http().post(&path, &event).await.unwrap();
    assert!(
        answer.status.is_success(),
        "{} {}",
        answer.status,
        answer.text()
    );
    world.stack.kill_and_restart().await.unwrap();
    let execution = ended(&world, &written).await;
    assert_eq!(execution["status"], "SUCCEEDED", "{}", outline(&execution));
    assert_eq!(
        world
            .stack
            .gate
            .executions(APPLICATION)
            .await
            .unwrap()
            .len(),
        1
    );
}
