//! Sixty things that go wrong with deployments and what is around them, on the real stack: the first
//! line that developers are told names the cause.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tests::fixture::{pipeline, stage};
use tests::sink::Reply;
use tests::world::{APPLICATION, REGION};
use tests::{Setup, World, eventually};

/// What goes wrong, the stage it goes wrong in, and what the first line must hold.
type Fault = (&'static str, Value, &'static str);

/// Everything has gone wrong by then; the slowest waits for an instance's health.
const LONG: Duration = Duration::from_secs(60);

fn with(mut base: Value, more: Value) -> Value {
    if let (Value::Object(base), Value::Object(more)) = (&mut base, more) {
        base.extend(more);
    }
    base
}

fn one(kind: &str, fields: Value) -> Value {
    stage(kind, kind, "1", &[], fields)
}

/// Faults of what a deploy stage asks for.
fn asked_for(world: &World, image: &str) -> Vec<Fault> {
    let deploy = |more: Value| {
        let mut cluster = with(
            world.cluster("staging", image, "none"),
            json!({"stack": "asked"}),
        );
        cluster = with(cluster, more);
        world.deploy_stage("1", &[], &cluster)
    };
    let tag = format!("{}/shop:nothing", world.registry.address());
    let repository = format!("{}/nobody:1", world.registry.address());
    vec![
        (
            "no such tag",
            deploy(json!({"imageId": tag})),
            "shop:nothing",
        ),
        (
            "no such repository",
            deploy(json!({"imageId": repository})),
            "nobody:1",
        ),
        (
            "no such registry",
            deploy(json!({"imageId": "127.0.0.1:1/shop:1"})),
            "127.0.0.1:1",
        ),
        (
            "no reference",
            deploy(json!({"imageId": "not an image"})),
            "not an image",
        ),
        ("no image", deploy(json!({"imageId": ""})), "imageId"),
        (
            "no such account",
            deploy(json!({"account": "nowhere"})),
            "nowhere",
        ),
        ("no such region", deploy(json!({"region": "moon"})), "moon"),
        (
            "no such load balancer",
            deploy(json!({"loadBalancers": ["none"]})),
            "none",
        ),
        (
            "more than there are hosts",
            deploy(json!({"capacity": {"min": 99, "max": 99, "desired": 99}})),
            "99",
        ),
        (
            "a capacity that is no number",
            deploy(json!({"capacity": {"desired": "many"}})),
            "capacity",
        ),
        (
            "less than nothing",
            deploy(json!({"capacity": {"min": -1, "max": -1, "desired": -1}})),
            "capacity",
        ),
        (
            "more at least than at most",
            deploy(json!({"capacity": {"min": 3, "max": 1, "desired": 2}})),
            "capacity",
        ),
        (
            "no such provider",
            deploy(json!({"cloudProvider": "gce"})),
            "gce",
        ),
        (
            "no such strategy",
            deploy(json!({"strategy": "warp"})),
            "warp",
        ),
        (
            "a stack that breaks names",
            deploy(json!({"stack": "a/b"})),
            "a/b",
        ),
        (
            "a health check without path",
            deploy(json!({"healthCheck": {"path": "health"}})),
            "health",
        ),
        (
            "weights that fall",
            deploy(json!({"strategy": "canary", "trafficPercentages": [50, 10]})),
            "trafficPercentages",
        ),
        (
            "a share beyond all",
            deploy(json!({"strategy": "rollingredblack", "targetPercentages": [150]})),
            "targetPercentages",
        ),
    ]
}

/// Faults of versions that do not work.
async fn broken(world: &World) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (what, tag, variables, told) in [
        (
            "never healthy",
            "deaf",
            &[("REFUSE_HEALTH", "1")][..],
            "did not become healthy",
        ),
        (
            "dies at once",
            "dead",
            &[("EXIT_AFTER_MS", "0")],
            "exit code 1",
        ),
        (
            "dies soon",
            "ill",
            &[("EXIT_AFTER_MS", "200")],
            "exit code 1",
        ),
    ] {
        let mut image = world.image(tag);
        for (name, value) in variables {
            image = image.with(name, value);
        }
        let image = world.push(&image).await.unwrap();
        let cluster = world.cluster("staging", &world.reference(&image), "none");
        let cluster = with(cluster, json!({"stack": tag}));
        faults.push((what, world.deploy_stage("1", &[], &cluster), told));
    }
    faults
}

/// Faults of stages over what runs already, or does not.
fn around() -> Vec<Fault> {
    let on = |more: Value| {
        let place = json!({
            "account": "staging", "credentials": "staging", "region": REGION, "regions": [REGION],
            "cloudProvider": "local",
        });
        with(place, more)
    };
    let gone = on(json!({"serverGroupName": "shop-gone-v000", "asgName": "shop-gone-v000"}));
    let cluster = on(json!({"cluster": "shop-gone", "target": "current_asg_dynamic"}));
    let rollback = json!({
        "rollbackType": "EXPLICIT", "targetHealthyRollbackPercentage": 100, "rollbackContext":
            {"rollbackServerGroupName": "shop-gone-v001", "restoreServerGroupName": "shop-gone-v000"},
    });
    vec![
        (
            "destroying what is gone",
            one("destroyServerGroup", gone.clone()),
            "shop-gone-v000",
        ),
        (
            "disabling what is gone",
            one("disableServerGroup", gone.clone()),
            "shop-gone-v000",
        ),
        (
            "enabling what is gone",
            one("enableServerGroup", gone.clone()),
            "shop-gone-v000",
        ),
        (
            "resizing what is gone",
            one(
                "resizeServerGroup",
                with(gone, json!({"capacity": {"desired": 1}})),
            ),
            "shop-gone-v000",
        ),
        (
            "destroying in no cluster",
            one("destroyServerGroup", cluster.clone()),
            "shop-gone",
        ),
        (
            "disabling in no cluster",
            one("disableServerGroup", cluster.clone()),
            "shop-gone",
        ),
        (
            "rolling back what is gone",
            one("rollbackServerGroup", on(rollback)),
            "shop-gone-v00",
        ),
        (
            "shrinking no cluster",
            one(
                "shrinkCluster",
                with(cluster.clone(), json!({"shrinkToSize": 1})),
            ),
            "shop-gone",
        ),
        (
            "disabling no cluster",
            one(
                "disableCluster",
                with(cluster.clone(), json!({"remainingEnabledServerGroups": 1})),
            ),
            "shop-gone",
        ),
        (
            "scaling down no cluster",
            one(
                "scaleDownCluster",
                with(cluster.clone(), json!({"remainingFullSizeServerGroups": 1})),
            ),
            "shop-gone",
        ),
        (
            "an image of no cluster",
            one("findImage", cluster.clone()),
            "shop-gone",
        ),
        (
            "enabling in no cluster",
            one("enableServerGroup", cluster.clone()),
            "shop-gone",
        ),
        (
            "resizing in no cluster",
            one(
                "resizeServerGroup",
                with(cluster, json!({"capacity": {"desired": 1}})),
            ),
            "shop-gone",
        ),
        (
            "deleting a pipeline of no name",
            one(
                "deletePipeline",
                json!({"pipeline": {"application": APPLICATION}}),
            ),
            "pipeline.name",
        ),
        (
            "no such target",
            one(
                "destroyServerGroup",
                on(json!({"cluster": "shop-staging", "target": "best"})),
            ),
            "best",
        ),
        (
            "weight for what is gone",
            one(
                "shiftTraffic",
                on(json!({"weights": {"shop-gone-v000": 30}})),
            ),
            "shop-gone-v000",
        ),
        (
            "promoting from nowhere",
            one(
                "promoteEnvironment",
                json!({"application": APPLICATION, "from": "nowhere", "to": "prod"}),
            ),
            "nowhere",
        ),
        (
            "the version before of nowhere",
            one("deployPreviousVersion", json!({"environment": "nowhere"})),
            "nowhere",
        ),
        (
            "undoing nothing",
            one(
                "undoDeployment",
                json!({"executionId": "01ARZ3NDEKTSV4RRFFQ69G5FAV"}),
            ),
            "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        ),
        (
            "no image by its tags",
            one(
                "findImageFromTags",
                on(json!({"packageName": "nobody", "tags": {}})),
            ),
            "nobody",
        ),
    ]
}

/// Faults of jobs, requests, conditions and definitions.
fn others(world: &World, image: &str) -> Vec<Fault> {
    let job = |more: Value| {
        let base = json!({
            "account": "staging", "credentials": "staging", "region": REGION, "cloudProvider": "local",
            "application": APPLICATION, "imageId": image,
        });
        one("runJob", with(base, more))
    };
    let call = |url: &str| one("webhook", json!({"url": url, "method": "POST"}));
    let sink = |path: &str| call(&world.sink.url(path));
    vec![
        (
            "a job that exits",
            job(json!({"command": ["/bin/demo-server"], "args": ["check", "http://127.0.0.1:1/"]})),
            "exit code",
        ),
        (
            "a job of no image",
            job(json!({"imageId": format!("{}/nobody:1", world.registry.address())})),
            "nobody:1",
        ),
        (
            "a job of no account",
            job(json!({"account": "nowhere", "credentials": "nowhere"})),
            "nowhere",
        ),
        (
            "a job without an end",
            job(json!({"jobRuntimeLimit": "soon"})),
            "jobRuntimeLimit",
        ),
        (
            "a request answered 500",
            with(sink("/500"), json!({"failFastStatusCodes": [500]})),
            "answered 500",
        ),
        ("a request answered 404", sink("/404"), "answered 404"),
        (
            "a request to this machine",
            call("http://127.0.0.1:9/x"),
            "127.0.0.1",
        ),
        ("a request to no address", call("nonsense"), "nonsense"),
        (
            "a request by another protocol",
            call("ftp://example.com/"),
            "ftp",
        ),
        (
            "a condition that does not hold",
            one(
                "checkPreconditions",
                json!({"preconditions": [{"type": "expression", "failPipeline": true, "context": {"expression": "1 == 2"}}]}),
            ),
            "1 == 2",
        ),
        (
            "a cluster of another size",
            one(
                "checkPreconditions",
                json!({"preconditions": [{"type": "clusterSize", "failPipeline": true, "context": {"cluster": "shop-gone", "credentials": "staging", "regions": [REGION], "comparison": "==", "expected": 3}}]}),
            ),
            "shop-gone",
        ),
        (
            "an expression that fails",
            one(
                "evaluateVariables",
                json!({"variables": [{"key": "v", "value": "${#nothing()}"}], "failOnFailedExpressions": true}),
            ),
            "nothing",
        ),
        (
            "a judgment of stop",
            one("manualJudgment", json!({"judgmentStatus": "stop"})),
            "stop",
        ),
        (
            "no such pipeline",
            one(
                "pipeline",
                json!({"application": APPLICATION, "pipeline": "nobody", "waitForCompletion": true}),
            ),
            "nobody",
        ),
        (
            "no such build server",
            one("jenkins", json!({"master": "nobody", "job": "j"})),
            "nobody",
        ),
        ("no such stage", one("warpDrive", json!({})), "warpDrive"),
        (
            "a wait that is no time",
            one("wait", json!({"waitTime": "long"})),
            "long",
        ),
        (
            "an application that breaks names",
            one(
                "createApplication",
                json!({"application": {"name": "a/b", "email": "a@b"}}),
            ),
            "a/b",
        ),
        (
            "a pipeline that is none",
            one("savePipeline", json!({"pipeline": "bm90IGpzb24="})),
            "pipeline",
        ),
        (
            "pipelines of no artifact",
            one(
                "savePipelinesFromArtifact",
                json!({"pipelinesArtifact": {"type": "embedded/base64", "reference": "bm90IGpzb24="}}),
            ),
            "artifact",
        ),
    ]
}

#[tokio::test]
async fn the_first_line_of_each_of_sixty_failures_names_its_cause() {
    let world = World::serving_one(Setup::default(), "staging")
        .await
        .unwrap();
    for status in [500_u16, 404] {
        let reply = Reply {
            status,
            body: json!({"message": "it is broken"}),
            delay: Duration::ZERO,
        };
        world.sink.reply(&format!("/{status}"), reply);
    }
    let good = world.push(&world.image("good")).await.unwrap();
    let image = world.reference(&good);
    let mut faults = asked_for(&world, &image);
    faults.extend(broken(&world).await);
    faults.extend(around());
    faults.extend(others(&world, &image));
    assert!(faults.len() >= 60, "only {}", faults.len());
    let told = world.sink.url("/told");
    for (what, stage, _) in &faults {
        let mut failing = pipeline(APPLICATION, what, std::slice::from_ref(stage));
        failing["notifications"] =
            json!([{"type": "webhook", "address": told, "when": ["pipeline.failed"]}]);
        world
            .stack
            .gate
            .start_ad_hoc(&failing)
            .await
            .unwrap_or_else(|e| panic!("{what}: {e:#}"));
    }
    let lines = eventually("everybody was told", LONG, async || {
        let deliveries = world.sink.deliveries("/told");
        let lines: BTreeMap<String, String> = deliveries
            .iter()
            .map(|delivery| {
                let told = delivery.json().unwrap();
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                (text(&told["pipeline"]), text(&told["cause"]["message"]))
            })
            .collect();
        let untold = faults
            .iter()
            .filter(|(what, _, _)| !lines.contains_key(*what));
        let untold: Vec<_> = untold.map(|(what, _, _)| *what).collect();
        if untold.is_empty() {
            Ok(lines)
        } else {
            Err(format!("not told of {untold:?}"))
        }
    })
    .await
    .unwrap();
    let mut wrong = Map::new();
    for (what, _, expected) in &faults {
        let line = lines.get(*what).map(String::as_str).unwrap_or_default();
        if !line.contains(expected) {
            wrong.insert(
                (*what).to_owned(),
                json!({"expected": expected, "told": line}),
            );
        }
    }
    assert!(wrong.is_empty(), "{:#}", Value::Object(wrong));
    world.require_version("staging", "1").await.unwrap();
}
