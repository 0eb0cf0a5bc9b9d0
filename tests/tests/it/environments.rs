//! Environments tell which version runs where, since when and by whom.

use serde_json::{Value, json};
use tests::world::{APPLICATION, HOSTS};
use tests::{Setup, World};

async fn told(world: &World, name: &str) -> Value {
    let path = format!("/applications/{APPLICATION}/environments");
    let all = world.stack.gate.get(&path).await.unwrap();
    let mut all = all.as_array().unwrap().iter();
    all.find(|e| e["name"] == name).unwrap().clone()
}

#[tokio::test]
async fn an_environment_names_the_version_and_the_deployment_it_came_with() {
    let world = World::serving_one(Setup::default(), "staging")
        .await
        .unwrap();
    for (name, order) in [("staging", 1), ("prod", 2)] {
        let environment = json!({"name": name, "order": order, "accounts": [name]});
        let http = world.stack.gate.http();
        let saved = http
            .send(hyper::Method::POST, "/environments", Some(&environment))
            .await
            .unwrap();
        assert_eq!(saved.status, 200, "{saved:?}");
    }
    assert_eq!(told(&world, "prod").await["health"], "empty");
    for strategy in ["inplacedrain", "redblack"] {
        let image = world.push(&world.image(strategy)).await.unwrap();
        let image = world.reference(&image);
        let execution = world
            .deploy("staging", &image, strategy, "SUCCEEDED")
            .await
            .unwrap();
        let staging = told(&world, "staging").await;
        assert_eq!(
            (
                &staging["version"],
                &staging["mixedVersions"],
                &staging["health"]
            ),
            (&json!(strategy), &json!(false), &json!("healthy")),
            "{staging}"
        );
        let version = &staging["clusters"][0]["versions"][0];
        assert_eq!(version["instanceCounts"]["up"], HOSTS, "{version}");
        assert_eq!(version["by"]["executionId"], execution["id"], "{version}");
        let since = version["since"].as_u64().unwrap();
        assert!(
            since >= execution["startTime"].as_u64().unwrap(),
            "{version}"
        );
    }
}
