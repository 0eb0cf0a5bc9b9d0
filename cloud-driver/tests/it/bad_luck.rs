//! Versions that cannot work, and requests that cannot be met.

use std::time::Duration;

use proto::cloud_driver::v1::OperationState;
use proto::status::{Failure, Kind};
use serde_json::json;

use crate::traffic::{Users, visit};
use crate::world::{World, eventually};

#[tokio::test]
async fn a_broken_version_fails_with_its_last_lines_and_the_old_one_keeps_serving() {
    let world = World::up();
    world.image("dead", &[("EXIT_AFTER_MS", "0"), ("EXIT_CODE", "3")]);
    world.image("sick", &[("REFUSE_HEALTH", "1"), ("ON_SIGTERM", "ignore")]);
    world
        .succeed("createServerGroup", World::create("test/demo:1"))
        .await;
    let users = Users::come(world.port);
    for (tag, error, line) in [
        ("dead", "exit code 3", "dies with code 3"),
        (
            "sick",
            "did not become healthy",
            "demo-server sick listens on",
        ),
    ] {
        let image = format!("test/demo:{tag}");
        let mut input = World::create(&image);
        input["startTimeoutSeconds"] = json!(4);
        let operation = world.perform("replaceInPlace", input).await;
        assert_eq!(operation.state(), OperationState::Failed);
        assert!(operation.error.contains(error), "{}", operation.error);
        let lines = operation.error_details.join("\n");
        assert!(lines.contains(line), "{lines}");
        assert_eq!(world.up_instances("shop-v000").await.len(), 3);
        assert_eq!(
            world.server_groups().await.len(),
            1,
            "the failed group is left"
        );
        assert_eq!(world.served().len(), 3);
    }
    let seen = users.leave().await;
    assert_eq!(seen.failures, Vec::<String>::new());
    assert_eq!(visit(world.port, "/").await.unwrap().1, "1");
}

#[tokio::test]
async fn an_image_that_is_not_there_fails_before_anything_is_touched() {
    let world = World::up();
    world
        .succeed("createServerGroup", World::create("test/demo:1"))
        .await;
    let before = world.served();
    let operation = world
        .perform("replaceInPlace", World::create("test/demo:nothing"))
        .await;
    assert_eq!(operation.state(), OperationState::Failed);
    assert!(
        operation.error.contains("test/demo:nothing"),
        "{}",
        operation.error
    );
    assert_eq!(world.served(), before);
}

#[tokio::test]
async fn what_cannot_be_met_is_refused_by_field_or_with_a_remedy() {
    let world = World::up();
    for (kind, input, word) in [
        (
            "createServerGroup",
            json!({"application": "shop"}),
            "imageId",
        ),
        (
            "createServerGroup",
            json!({"application": "a b", "imageId": "x"}),
            "application",
        ),
        (
            "resizeServerGroup",
            json!({"serverGroupName": "x-v000"}),
            "capacity",
        ),
        ("explode", json!({}), "createServerGroup"),
    ] {
        let status = world
            .submit(&format!("{kind}{word}"), kind, &input)
            .await
            .unwrap_err();
        let failure = Failure::from(status);
        assert_eq!(failure.kind, Kind::Invalid);
        assert!(failure.message.contains(word), "{}", failure.message);
    }
    let mut one = World::create("test/demo:1");
    one["capacity"] = json!({"desired": 1});
    world.succeed("createServerGroup", one).await;
    let refused = world
        .perform("replaceInPlace", World::create("test/demo:2"))
        .await;
    assert!(refused.error.contains("allowOutage"), "{}", refused.error);
    let full = world
        .perform("createServerGroup", World::create("test/demo:2"))
        .await;
    assert!(full.error.contains("slots-per-host"), "{}", full.error);
    let last = json!({"serverGroupName": "shop-v000"});
    let destroyed = world.perform("destroyServerGroup", last).await;
    assert!(
        destroyed.error.contains("force: true"),
        "{}",
        destroyed.error
    );
    assert_eq!(world.served().len(), 1);
}

#[tokio::test]
async fn a_cancelled_replacement_turns_back() {
    let world = World::up();
    world.image("slow", &[("START_DELAY_MS", "2500")]);
    world
        .succeed("createServerGroup", World::create("test/demo:1"))
        .await;
    let users = Users::come(world.port);
    let input = World::create("test/demo:slow");
    let accepted = world
        .submit("cancel-me", "replaceInPlace", &input)
        .await
        .unwrap();
    eventually(
        "it begins to start the first",
        Duration::from_secs(20),
        async || {
            let operation = world.operation(&accepted.id).await;
            let started = operation.history.iter().any(|p| p.phase == "START");
            if started {
                Ok(())
            } else {
                Err(operation.history.len())
            }
        },
    )
    .await;
    world.cancel(&accepted.id).await;
    let operation = world.ended(&accepted.id).await;
    assert_eq!(operation.state(), OperationState::Failed);
    assert!(operation.error.contains("canceled"), "{}", operation.error);
    assert_eq!(world.up_instances("shop-v000").await.len(), 3);
    let seen = users.leave().await;
    assert_eq!(seen.failures, Vec::<String>::new());
}
