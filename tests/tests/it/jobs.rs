//! A smoke test after a deployment: a job of the image that was deployed. It passes, it fails and says why, it
//! is cancelled with its process, and a control plane that dies meanwhile neither loses nor repeats it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tests::fixture::{pipeline, stage};
use tests::gate::{outline, stage as find};
use tests::sink::Reply;
use tests::world::{self, APPLICATION, DEPLOYMENT, REGION};
use tests::{Setup, World, eventually};

const ACCOUNT: &str = "staging";
const SOON: Duration = Duration::from_secs(30);

fn smoke_test(ref_id: &str, after: &[&str], image: &str, arguments: &[&str]) -> Value {
    let fields = json!({
        "account": ACCOUNT, "region": REGION, "cloudProvider": "local", "imageId": image,
        "args": arguments, "jobRuntimeLimit": "PT2M", "propertyFile": "smoke",
    });
    stage("runJob", "Smoke test", ref_id, after, fields)
}

fn status(status: u16) -> Reply {
    Reply {
        status,
        ..Reply::default()
    }
}

/// The processes that asked the sink on this path.
fn asked(world: &World, path: &str) -> BTreeSet<String> {
    let deliveries = world.sink.deliveries(path);
    deliveries.into_iter().map(|d| d.query).collect()
}

async fn start(world: &World, stages: &[Value]) -> String {
    let pipeline = pipeline(APPLICATION, "Deploy and test", stages);
    world.stack.gate.start_ad_hoc(&pipeline).await.unwrap()
}

async fn ended(world: &World, id: &str, status: &str) -> Value {
    let gate = &world.stack.gate;
    let execution = gate.wait_for_execution(id, DEPLOYMENT).await.unwrap();
    assert_eq!(execution["status"], status, "{}", outline(&execution));
    execution
}

#[tokio::test]
async fn a_pipeline_deploys_and_then_its_smoke_test_decides() {
    let world = World::up(Setup::default()).await.unwrap();
    let written = world.push(&world.image("1")).await.unwrap();
    let image = world.reference(&written);
    let users = format!("http://127.0.0.1:{}/version", world.stack.balancer_port);
    let host = world::host(ACCOUNT);
    let cluster = world.cluster(ACCOUNT, &image, "none");
    let passes = [
        world.deploy_stage("1", &[], &cluster),
        smoke_test("2", &["1"], &image, &["check", &users, &host]),
    ];
    let id = start(&world, &passes).await;
    let execution = ended(&world, &id, "SUCCEEDED").await;
    let job = &find(&execution, "2").unwrap()["outputs"];
    assert_eq!(job["answer"], "1", "what users get: {job}");
    assert_eq!(job["jobStatus"]["jobState"], "Succeeded");
    let log = job["jobStatus"]["logs"].as_str().unwrap();
    assert!(log.contains("answered 200"), "{log}");

    world.sink.reply("/smoke", status(500));
    let url = world.sink.url("/smoke");
    let fails = [
        smoke_test("1", &[], &image, &["check", &url]),
        stage("wait", "Never", "2", &["1"], json!({"waitTime": 1})),
    ];
    let id = start(&world, &fails).await;
    let execution = ended(&world, &id, "TERMINAL").await;
    let job = &find(&execution, "1").unwrap()["context"];
    let errors = &job["exception"]["details"]["errors"];
    assert_eq!(errors[0], format!("exit code 1: {url} answered 500"));
    assert_eq!(errors[1], format!("checking {url}"));
    assert_eq!(job["jobStatus"]["exitCode"], 1);
    assert_eq!(find(&execution, "2").unwrap()["status"], "NOT_STARTED");
}

#[tokio::test]
async fn a_killed_control_plane_neither_loses_nor_repeats_a_job() {
    let mut world = World::up(Setup::default()).await.unwrap();
    let written = world.push(&world.image("1")).await.unwrap();
    let image = world.reference(&written);
    for (path, answer, end) in [("/pass", 200, "SUCCEEDED"), ("/fail", 404, "TERMINAL")] {
        world.sink.reply(path, status(503));
        let url = world.sink.url(path);
        let id = start(&world, &[smoke_test("1", &[], &image, &["check", &url])]).await;
        for _ in 0..3 {
            let seen = world.sink.deliveries(path).len();
            world.sink.wait_for(path, seen + 2, SOON).await.unwrap();
            world.stack.kill_and_restart().await.unwrap();
        }
        world.sink.reply(path, status(answer));
        let execution = ended(&world, &id, end).await;
        let job = &find(&execution, "1").unwrap()["context"]["jobStatus"];
        let log = job["logs"].as_str().unwrap();
        assert!(log.ends_with(&format!("answered {answer}")), "{log}");
        assert_eq!(asked(&world, path).len(), 1, "one process asked");
    }
}

/// The job of an execution's only stage, by the name that the stage has for it.
async fn running_job(world: &World, id: &str) -> Value {
    let gate = &world.stack.gate;
    let execution = gate.execution(id).await.unwrap();
    let name = &find(&execution, "1").unwrap()["context"]["deploy.jobs"][REGION][0];
    let name = name.as_str().unwrap();
    let path = format!("/applications/{APPLICATION}/jobs/{ACCOUNT}/{REGION}/{name}");
    gate.get(&path).await.unwrap()
}

#[tokio::test]
async fn a_cancelled_pipeline_ends_its_job() {
    let world = World::up(Setup::default()).await.unwrap();
    let written = world.push(&world.image("1")).await.unwrap();
    world.sink.reply("/smoke", status(503));
    let url = world.sink.url("/smoke");
    let image = world.reference(&written);
    let id = start(&world, &[smoke_test("1", &[], &image, &["check", &url])]).await;
    world.sink.wait_for("/smoke", 2, SOON).await.unwrap();
    let job = running_job(&world, &id).await;
    assert_eq!(job["jobState"], "Running");
    assert!(job["logs"].as_str().unwrap().contains("checking"), "{job}");
    world.stack.gate.cancel(&id).await.unwrap();
    ended(&world, &id, "CANCELED").await;
    let query = asked(&world, "/smoke").pop_first().unwrap();
    let process = format!("/proc/{}", query.trim_start_matches("pid="));
    eventually("the job's process is gone", SOON, async || {
        let there = std::path::Path::new(&process).exists();
        if there { Err(process.clone()) } else { Ok(()) }
    })
    .await
    .unwrap();
}
