//! What goes well: every kind of operation, and what the views show of it.

use std::collections::BTreeSet;
use std::time::Duration;

use proto::cloud_driver::v1::OperationState;
use proto::message::{OPERATION_FINISHED, OperationFinished};
use serde_json::{Value, json};
use store::Reserve;

use crate::traffic::{Users, visit};
use crate::world::{HOST, World, eventually};

#[tokio::test]
async fn a_server_group_is_created_and_shown_with_health_image_and_output() {
    let world = World::up();
    let result = world
        .succeed("createServerGroup", World::create("test/demo:1"))
        .await;
    assert_eq!(result["serverGroupNames"], json!(["local:shop-v000"]));
    assert_eq!(result["serverGroupNameByRegion"]["local"], "shop-v000");

    let (status, version, _) = visit(world.port, "/").await.unwrap();
    assert_eq!((status, version.as_str()), (200, "1"));
    let group = world.server_group("shop-v000").await.unwrap();
    assert_eq!(group["capacity"]["desired"], 3);
    assert_eq!(group["isDisabled"], false);
    assert_eq!(group["moniker"]["app"], "shop");
    assert_eq!(group["buildInfo"]["docker"]["tag"], "1");
    assert!(
        group["imageDigest"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    assert_eq!(group["instanceCounts"]["up"], 3);
    let zones: BTreeSet<&str> = group["zones"]
        .as_array()
        .unwrap()
        .iter()
        .map(|z| z.as_str().unwrap())
        .collect();
    assert_eq!(zones, ["host-1", "host-2", "host-3"].into());

    let id = group["instances"][0]["id"].as_str().unwrap();
    let instance = world.instance(id).await;
    assert_eq!(instance["serverGroup"], "shop-v000");
    assert_eq!(instance["healthState"], "Up");
    let port = instance["port"].as_u64().unwrap();
    assert!((20_000..25_000).contains(&port), "{port}");
    let output = world.console(id).await;
    assert!(output.contains("demo-server 1 listens on"), "{output}");

    let cluster = world.cluster().await.unwrap();
    assert_eq!(cluster["serverGroups"][0]["name"], "shop-v000");
    let balancers = world.load_balancers().await;
    assert_eq!(balancers[0]["name"], "shop");
    let behind = &balancers[0]["serverGroups"][0]["instances"];
    assert_eq!(behind.as_array().unwrap().len(), 3);
    let groups = world.server_groups().await;
    assert_eq!(groups[0]["cluster"], "shop");
    let traffic = world.traffic().await;
    assert_eq!(traffic["live"]["instances"].as_array().unwrap().len(), 3);
    assert!(traffic["history"]["series"].is_array());
}

#[tokio::test]
async fn requests_under_way_are_shown_while_nothing_else_happens() {
    let world = World::up();
    world
        .succeed("createServerGroup", World::create("test/demo:1"))
        .await;
    let under_way = async |wanted: u64| {
        let sum = |instances: &Value, count: &str| -> u64 {
            let instances = instances.as_array().unwrap().iter();
            instances.map(|i| i[count].as_u64().unwrap()).sum()
        };
        eventually("requests under way", Duration::from_secs(5), async || {
            let traffic = sum(&world.traffic().await["live"]["instances"], "requests");
            let group = world.server_group("shop-v000").await.unwrap();
            let shown = (traffic, sum(&group["instances"], "inFlight"));
            if shown == (wanted, wanted) {
                Ok(())
            } else {
                Err(shown)
            }
        })
        .await;
    };
    let asked = tokio::spawn(visit(world.port, "/slow?ms=2000"));
    under_way(1).await;
    assert_eq!(asked.await.unwrap().unwrap().0, 200);
    under_way(0).await;
}

#[tokio::test]
async fn an_effect_id_is_performed_once_and_who_waits_is_told() {
    let world = World::up();
    let input = World::create("test/demo:1");
    let first = world
        .submit("e/s/1/t/0", "createServerGroup", &input)
        .await
        .unwrap();
    let second = world
        .submit("e/s/1/t/0", "createServerGroup", &input)
        .await
        .unwrap();
    assert_eq!(first.id, second.id);
    let ended = world.ended(&first.id).await;
    assert!(ended.finished_at_ms >= ended.started_at_ms);
    let third = world
        .submit("e/s/1/t/0", "createServerGroup", &input)
        .await
        .unwrap();
    assert_eq!(third.state(), ended.state());
    assert_eq!(world.server_groups().await.len(), 1);
    assert_eq!(world.served().len(), 3);

    // The message goes through the outbox into the execution's shard.
    let shard = world.store.shards().of_id("01ARZ3NDEKTSV4RRFFQ69G5FAV");
    let told = eventually("the stage is told", Duration::from_secs(5), async || {
        relay(&world).await;
        let reserve = Reserve {
            queue: OPERATION_FINISHED,
            most: 1,
            lease_ms: 1_000,
            max_tries: 3,
        };
        let reserved = world.store.reserve(shard, reserve).await.unwrap();
        reserved.deliveries.into_iter().next().ok_or("nothing yet")
    })
    .await;
    let message: OperationFinished = serde_json::from_slice(&told.messages[0].body).unwrap();
    assert_eq!((message.operation_id, message.succeeded), (first.id, true));
}

/// What the relay of a running system does.
async fn relay(world: &World) {
    for shard in world.store.shards().all() {
        let reserve = Reserve {
            queue: store::outbox::QUEUE,
            most: 16,
            lease_ms: 1_000,
            max_tries: 3,
        };
        for delivery in world
            .store
            .reserve(shard, reserve)
            .await
            .unwrap()
            .deliveries
        {
            store::outbox::relay(&world.store, &delivery).await.unwrap();
        }
    }
}

#[tokio::test]
async fn replacing_in_place_under_traffic_fails_no_request_and_can_be_undone() {
    let world = World::up();
    world
        .succeed("createServerGroup", World::create("test/demo:1"))
        .await;
    let users = Users::come(world.port);
    let result = world
        .succeed("replaceInPlace", World::create("test/demo:2"))
        .await;
    assert_eq!(
        result["ancestorServerGroupNameByRegion"]["local"],
        "shop-v000"
    );
    assert_eq!(world.up_instances("shop-v001").await.len(), 3);
    let old = world.server_group("shop-v000").await.unwrap();
    assert_eq!(
        (&old["isDisabled"], &old["capacity"]["desired"]),
        (&json!(true), &json!(0))
    );
    assert_eq!(
        world.target("ancestor_asg_dynamic").await.unwrap()["name"],
        "shop-v000"
    );
    assert_eq!(
        world.target("current_asg").await.unwrap()["name"],
        "shop-v001"
    );

    // Back: the old group is still there.
    let back = json!({
        "source": {"serverGroupName": "shop-v001"}, "targetServerGroupName": "shop-v000",
    });
    world.succeed("replaceInPlace", back).await;
    assert_eq!(world.up_instances("shop-v000").await.len(), 3);
    assert!(world.up_instances("shop-v001").await.is_empty());
    let seen = users.leave().await;
    assert_eq!(seen.failures, Vec::<String>::new());
    assert!(seen.answered > 100, "{} requests only", seen.answered);
    assert_eq!(
        seen.versions,
        BTreeSet::from(["1".to_owned(), "2".to_owned()])
    );
    assert_eq!(world.served().len(), 3);
}

#[tokio::test]
async fn a_second_slot_allows_red_and_black_with_enable_disable_and_destroy() {
    let world = World::with_slots(2);
    world
        .succeed("createServerGroup", World::create("test/demo:1"))
        .await;
    let users = Users::come(world.port);
    world
        .succeed("createServerGroup", World::create("test/demo:2"))
        .await;
    let old = json!({"serverGroupName": "shop-v000"});
    world.succeed("disableServerGroup", old.clone()).await;
    assert_eq!(
        world.server_group("shop-v000").await.unwrap()["isDisabled"],
        true
    );
    assert_eq!(visit(world.port, "/").await.unwrap().1, "2");

    // Back to black: enable, then disable the other.
    world.succeed("enableServerGroup", old).await;
    let new = json!({"serverGroupName": "shop-v001"});
    world.succeed("disableServerGroup", new.clone()).await;
    assert_eq!(visit(world.port, "/").await.unwrap().1, "1");
    world.succeed("destroyServerGroup", new).await;
    assert!(world.server_group("shop-v001").await.is_none());
    let seen = users.leave().await;
    assert_eq!(seen.failures, Vec::<String>::new());
    assert_eq!(world.served().len(), 3);
}

#[tokio::test]
async fn groups_are_resized_cloned_and_their_instances_replaced() {
    let world = World::with_slots(2);
    let mut one = World::create("test/demo:1");
    one["capacity"] = json!({"desired": 1});
    world.succeed("createServerGroup", one).await;
    let resize = |n: u32| json!({"serverGroupName": "shop-v000", "capacity": {"desired": n}});
    world.succeed("resizeServerGroup", resize(3)).await;
    let three = world.up_instances("shop-v000").await;
    assert_eq!(three.len(), 3);
    let victim = three.iter().next().unwrap().clone();
    world
        .succeed("terminateInstances", json!({"instanceIds": [victim]}))
        .await;
    let after = world.up_instances("shop-v000").await;
    assert_eq!(after.len(), 3);
    assert!(!after.contains(&victim));
    let victim = after.iter().next().unwrap().clone();
    let fewer = json!({"instanceIds": [victim], "decrement": true});
    world.succeed("terminateInstances", fewer).await;
    let left = world.up_instances("shop-v000").await;
    assert_eq!(left.len(), 2);
    assert!(!left.contains(&victim));
    let group = world.server_group("shop-v000").await.unwrap();
    assert_eq!(group["capacity"]["desired"], 2);
    world.succeed("resizeServerGroup", resize(1)).await;
    assert_eq!(world.up_instances("shop-v000").await.len(), 1);

    let clone = json!({
        "application": "shop", "imageId": "test/demo:2", "startDisabled": true,
    });
    world.succeed("cloneServerGroup", clone).await;
    let clone = world.server_group("shop-v001").await.unwrap();
    assert_eq!(clone["loadBalancers"], json!(["shop"]));
    assert_eq!(
        (
            &clone["isDisabled"],
            &clone["instanceCounts"]["outOfService"]
        ),
        (&json!(true), &json!(1))
    );
    assert_eq!(visit(world.port, "/").await.unwrap().1, "1");
}

#[tokio::test]
async fn a_load_balancer_is_made_and_leads_to_its_groups() {
    let world = World::up();
    world
        .succeed(
            "upsertLoadBalancer",
            json!({"name": "extra", "path": "/", "host": "extra.test"}),
        )
        .await;
    let mut create = World::create("test/demo:1");
    create["loadBalancers"] = json!(["shop", "extra"]);
    create["capacity"] = json!({"desired": 1});
    world.succeed("createServerGroup", create).await;
    let names: Vec<_> = world
        .load_balancers()
        .await
        .iter()
        .map(|b| b["name"].clone())
        .collect();
    assert_eq!(names, [json!("shop"), json!("extra")]);
    world
        .succeed(
            "destroyServerGroup",
            json!({"serverGroupName": "shop-v000", "force": true}),
        )
        .await;
    assert!(world.served().is_empty());
    assert_eq!(visit(world.port, "/").await.unwrap().0, 503);
}

#[tokio::test]
async fn a_swap_on_a_single_host_fails_no_request_where_requests_are_held() {
    let world = World::up();
    // With a condition more than the route of `shop`, it gets what that would get.
    let held = json!({
        "name": "held", "host": HOST, "methods": ["GET", "HEAD"],
        "holdRequests": {"maxMs": 60_000, "maxRequests": 1_000},
    });
    world.succeed("upsertLoadBalancer", held).await;
    let one = |image: &str| {
        let mut one = World::create(image);
        one["loadBalancers"] = json!(["held"]);
        one["capacity"] = json!({"desired": 1});
        one
    };
    world.succeed("createServerGroup", one("test/demo:1")).await;
    let users = Users::come(world.port);
    world.succeed("replaceInPlace", one("test/demo:2")).await;
    assert_eq!(visit(world.port, "/").await.unwrap().1, "2");
    let seen = users.leave().await;
    assert_eq!(seen.failures, Vec::<String>::new());
    let both = BTreeSet::from(["1".to_owned(), "2".to_owned()]);
    assert_eq!(seen.versions, both);
    let shown = world.load_balancers().await;
    let shown = shown.iter().find(|b| b["name"] == "held").unwrap();
    assert_eq!(shown["holdRequests"]["maxRequests"], 1_000);
    // What is not sent stays, and null takes away: then one host is refused again.
    let without = json!({"name": "held", "host": HOST, "holdRequests": null});
    world.succeed("upsertLoadBalancer", without).await;
    let refused = world.perform("replaceInPlace", one("test/demo:3")).await;
    assert!(refused.error.contains("holdRequests"), "{}", refused.error);
    let flawed = json!({"name": "held", "sticky": {"cookie": "a b"}});
    let status = world.submit("flawed", "upsertLoadBalancer", &flawed).await;
    let message = status.unwrap_err().message().to_owned();
    assert!(message.contains("sticky.cookie"), "{message}");
}

/// A port that nobody listens on, and how it is asked for.
fn listener() -> (u16, Value) {
    let port = servers::port::free();
    (port, json!({"address": format!("127.0.0.1:{port}")}))
}

#[tokio::test]
async fn load_balancers_have_listeners_and_one_that_cannot_be_holds_up_no_deployment() {
    let world = World::up();
    let upsert = |name: &str, listener: Value| json!({"name": name, "path": "/", "host": format!("{name}.test"), "listeners": [listener]});
    let (port, plain) = listener();
    world
        .succeed("upsertLoadBalancer", upsert("extra", plain))
        .await;
    let mut create = World::create("test/demo:1");
    create["capacity"] = json!({"desired": 1});
    create["loadBalancers"] = json!(["shop", "extra"]);
    world.succeed("createServerGroup", create.clone()).await;
    assert_eq!(visit(port, "/").await.unwrap().1, "1");
    let shown = world.load_balancers().await;
    assert_eq!(
        shown[1]["listeners"][0]["address"],
        format!("127.0.0.1:{port}")
    );

    // What can be known at once is refused by its field.
    let (dark_port, mut dark) = listener();
    dark["tls"] = json!({"certificates": [{"certificate": "c.pem", "key": "/k.pem"}]});
    let input = json!({"name": "dark", "listeners": [dark.clone()]});
    let refused = world.submit("dark", "upsertLoadBalancer", &input);
    let refused = refused.await.unwrap_err().message().to_owned();
    assert!(
        refused.contains("listeners[0].tls.certificates[0].certificate")
            && refused.contains("\"c.pem\"")
            && refused.contains("begin it with /"),
        "{refused}"
    );
    let mut other = json!({"address": format!("127.0.0.1:{port}"), "proxyProtocol": "required"});
    let clash = world
        .perform("upsertLoadBalancer", upsert("clash", other.clone()))
        .await;
    assert!(
        clash.error.contains("proxyProtocol: load balancer extra"),
        "{}",
        clash.error
    );
    other["address"] = json!(format!("127.0.0.1:{}", world.port));
    let own = world
        .perform("upsertLoadBalancer", upsert("own", other))
        .await;
    assert!(own.error.contains("the balancer's own"), "{}", own.error);

    // What only the balancer can know fails the operation, and nothing else.
    let missing = world.data().join("nowhere.pem");
    dark["tls"]["certificates"][0] = json!({"certificate": missing, "key": missing});
    let failed = world
        .perform("upsertLoadBalancer", upsert("dark", dark))
        .await;
    assert_eq!(failed.state(), OperationState::Failed);
    assert!(
        failed.error.contains(&format!(
            "listener 127.0.0.1:{dark_port}: tls.certificates[0]"
        )) && failed.error.contains("No such file"),
        "{}",
        failed.error
    );
    create["imageId"] = json!("test/demo:2");
    world.succeed("createServerGroup", create).await;
    assert_eq!(visit(port, "/").await.unwrap().0, 200);
    assert!(visit(dark_port, "/").await.is_err());
    // Without the field listeners stay; with an empty list they go.
    world
        .succeed("upsertLoadBalancer", json!({"name": "extra", "path": "/"}))
        .await;
    assert_eq!(visit(port, "/").await.unwrap().0, 200);
    world
        .succeed(
            "upsertLoadBalancer",
            json!({"name": "extra", "listeners": []}),
        )
        .await;
    assert!(visit(port, "/").await.is_err());
}
