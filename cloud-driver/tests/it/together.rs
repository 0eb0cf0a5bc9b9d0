//! Groups that are created together: of one age, with their share of the requests, and without a trace if one of
//! them does not come up.

use std::time::Duration;

use proto::cloud_driver::v1::OperationState;
use serde_json::{Value, json};

use crate::traffic::{Users, visit};
use crate::world::World;

/// A baseline of version 1 and a canary of this image, each with a tenth of the requests.
fn pair(image: &str) -> Value {
    let group = |details: &str, image: &str| {
        let mut all = World::create(image);
        for (key, value) in [
            ("account", json!("prod")),
            ("region", json!("local")),
            ("stack", json!("prod")),
            ("freeFormDetails", json!(details)),
            ("capacity", json!({"desired": 1})),
            ("trafficShare", json!(10)),
            ("startTimeoutSeconds", json!(5)),
        ] {
            all[key] = value;
        }
        all
    };
    json!({"account": "prod", "region": "local", "serverGroups": [
        group("baseline", "test/demo:1"), group("canary", image),
    ]})
}

#[tokio::test]
async fn a_baseline_and_a_canary_are_of_one_age_and_get_their_share() {
    let world = World::up();
    world
        .succeed("createServerGroup", World::create("test/demo:1"))
        .await;
    let users = Users::come(world.port);
    let result = world
        .succeed("createServerGroups", pair("test/demo:2"))
        .await;
    assert_eq!(
        result["serverGroupNames"],
        json!([
            "local:shop-prod-baseline-v000",
            "local:shop-prod-canary-v000"
        ])
    );
    let mut started = Vec::new();
    for name in ["shop-prod-baseline-v000", "shop-prod-canary-v000"] {
        let group = world.server_group(name).await.unwrap();
        assert_eq!(group["instanceCounts"]["up"], 1, "{group}");
        started.push(group["instances"][0]["launchTime"].as_i64().unwrap());
    }
    assert!((started[0] - started[1]).abs() <= 5_000, "{started:?}");
    let mut canary = 0;
    for _ in 0..1_000 {
        let (status, version, _) = visit(world.port, "/").await.unwrap();
        assert_eq!(status, 200);
        canary += u32::from(version == "2");
    }
    println!("{canary} of 1000 requests went to the canary");
    assert!((60..150).contains(&canary), "{canary} of 1000");

    // Drained and destroyed: the serving version has everything again, and no request failed.
    for name in ["shop-prod-canary-v000", "shop-prod-baseline-v000"] {
        let one = json!({"account": "prod", "region": "local", "serverGroupName": name});
        let both =
            json!({"operations": [{"disableServerGroup": one}, {"destroyServerGroup": one}]});
        world.succeed("operations", both).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let seen = users.leave().await;
    assert_eq!(seen.failures, Vec::<String>::new());
    for _ in 0..50 {
        assert_eq!(visit(world.port, "/").await.unwrap().1, "1");
    }
    let left: Vec<_> = world.server_groups().await;
    assert_eq!(left.len(), 1);
}

#[tokio::test]
async fn one_that_does_not_come_up_takes_the_other_with_it() {
    let world = World::up();
    world
        .succeed("createServerGroup", World::create("test/demo:1"))
        .await;
    let sick = world.image("sick", &[("REFUSE_HEALTH", "1")]);
    let users = Users::come(world.port);
    let operation = world.perform("createServerGroups", pair(&sick)).await;
    assert_eq!(operation.state(), OperationState::Failed);
    assert!(
        operation.error.contains("everything is as it was before"),
        "{}",
        operation.error
    );
    assert_eq!(world.server_groups().await.len(), 1);
    assert_eq!(world.served().len(), 3);
    assert_eq!(users.leave().await.failures, Vec::<String>::new());
}
