//! What starts a deployment, with every strategy: a signed push to GitHub, a build of Jenkins, an image. Each
//! starts the pipeline once, under load, and its version is what users get; a push with a wrong signature
//! starts nothing. Then the same on to a second environment, behind a judgment, on Redis, with kills.
//!
//! `ZERO_FAILED_REQUESTS=long` promotes from every origin with every strategy.

use std::time::Duration;

use ::demo::jenkins::Jenkins;
use bytes::Bytes;
use hmac::{Hmac, Mac};
use hyper::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use tests::fixture::{pipeline, stage};
use tests::gate::{is_complete, outline};
use tests::http::Client;
use tests::load::Load;
use tests::redis::Fsync;
use tests::world::{self, ACCOUNTS, APPLICATION, DEPLOYMENT, JENKINS, Pace, REGISTRY, REPOSITORY};
use tests::{Backend, Setup, World, eventually};

use crate::strategies::{ACCOUNT, strategies};

const SECRET: &str = "the secret of the push";
const JOB: &str = "shop/main";

/// The environment behind the judgment.
const PROD: &str = "prod";

/// Where a deployment comes from: the type of its trigger.
const ORIGINS: [&str; 3] = ["git", "jenkins", "docker"];

/// The version that a trigger of this type brings: the commit, a property of the build, the image's tag.
fn image(world: &World, origin: &str) -> String {
    let registry = world.registry.address();
    match origin {
        "git" => format!("{registry}/{REPOSITORY}:${{trigger['hash']}}"),
        "jenkins" => "${trigger['properties']['image']}".to_owned(),
        _ => "${trigger['artifacts'][0]['reference']}".to_owned(),
    }
}

fn trigger(origin: &str) -> Value {
    match origin {
        "git" => json!({"type": "git", "enabled": true, "source": "github", "project": "team",
            "slug": "shop", "branch": "main", "secret": SECRET}),
        "jenkins" => json!({"type": "jenkins", "enabled": true, "master": JENKINS, "job": JOB,
            "propertyFile": "build.properties"}),
        _ => json!({"type": "docker", "enabled": true, "account": REGISTRY,
            "repository": REPOSITORY}),
    }
}

/// How far a version goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To the first environment.
    Staging,
    /// And, when somebody said so, to the second.
    Prod,
}

/// Only this pipeline has a trigger: an image is pushed for every deployment.
async fn save(
    world: &World,
    saved: Option<&Value>,
    origin: &str,
    strategy: &Value,
    way: Way,
) -> Value {
    let image = image(world, origin);
    let mut cluster = world.cluster(ACCOUNT, &image, "none");
    let fields = strategy.as_object().unwrap().clone();
    cluster.as_object_mut().unwrap().extend(fields);
    let mut stages = vec![world.deploy_stage("1", &[], &cluster)];
    if way == Way::Prod {
        let asked = json!({"instructions": "Promote?", "judgmentInputs": []});
        stages.push(stage("manualJudgment", "Promote", "2", &["1"], asked));
        let cluster = world.cluster(PROD, &image, "inplacedrain");
        stages.push(world.deploy_stage("3", &["2"], &cluster));
    }
    let mut definition = pipeline(APPLICATION, "Promote", &stages);
    definition["triggers"] = json!([trigger(origin)]);
    if let Some(saved) = saved {
        definition["id"] = saved["id"].clone();
    }
    world.stack.gate.save_pipeline(&definition).await.unwrap()
}

/// A version comes from an origin; how it is told of.
async fn bring(world: &World, jenkins: &Jenkins, origin: &str, version: &str) {
    if origin == "git" {
        push_to_github(world, version, "another secret").await;
    }
    let pushed = world.push(&world.image(version)).await.unwrap();
    match origin {
        "git" => push_to_github(world, version, SECRET).await,
        "jenkins" => {
            let properties = format!("image={}\n", world.reference(&pushed));
            jenkins.build(JOB, "SUCCESS", &[("build.properties", &properties)]);
        }
        _ => {}
    }
}

/// A world with a Jenkins, whose accounts serve version 1.
async fn begin(setup: Setup, jenkins: &Jenkins, accounts: &[&str]) -> World {
    jenkins.job(JOB, &[]);
    let pace = Pace {
        jenkins: Some(jenkins.address().to_owned()),
        ..Pace::default()
    };
    let world = World::up_at(setup, &pace).await.unwrap();
    let first = world.push(&world.image("1")).await.unwrap();
    let first = world.reference(&first);
    for account in accounts {
        let deployed = world.deploy(account, &first, "none", "SUCCEEDED").await;
        deployed.unwrap();
        world.require_version(account, "1").await.unwrap();
    }
    world
}

/// Load on an account, with a folder of its own.
fn load(world: &World, account: &str) -> Load {
    let folder = world.folder().unwrap().join(format!("load-{account}"));
    std::fs::create_dir_all(&folder).unwrap();
    let host = world::host(account);
    Load::start(&folder, world.stack.balancer_port, &host, 200, &[]).unwrap()
}

/// GitHub tells of a push, signed with this secret.
async fn push_to_github(world: &World, hash: &str, secret: &str) {
    let body = json!({
        "ref": "refs/heads/main", "after": hash,
        "repository": {"name": "shop", "owner": {"name": "team", "login": "team"}},
    });
    let body = serde_json::to_vec(&body).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(&body);
    let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    let github = Client::port(world.stack.port)
        .header("X-GitHub-Event", "push")
        .header("X-GitHub-Delivery", &format!("{hash}-{secret}"))
        .header("X-Hub-Signature-256", &signature);
    // Sent twice, as GitHub does when it is asked to redeliver.
    for _ in 0..2 {
        let path = "/webhooks/git/github";
        let answer = github.send_bytes(Method::POST, path, Bytes::from(body.clone()));
        answer.await.unwrap().expect(200).unwrap();
    }
}

/// The executions that triggers started.
async fn started(world: &World) -> Vec<Value> {
    let all = world.stack.gate.executions(APPLICATION).await.unwrap();
    let by_trigger = |e: &Value| e["name"] == "Promote";
    all.into_iter().filter(by_trigger).collect()
}

/// The newest execution, when one more than those known has started.
async fn next(world: &World, known: usize, what: &str) -> Value {
    let found = eventually(what, Duration::from_secs(30), async || {
        let started = started(world).await;
        match started.first() {
            Some(newest) if started.len() == known + 1 => Ok(newest.clone()),
            _ => Err(started.len()),
        }
    });
    found.await.unwrap()
}

#[tokio::test]
async fn every_origin_deploys_with_every_strategy_and_no_request_fails() {
    let jenkins = Jenkins::start().await.unwrap();
    let mut world = begin(Setup::default(), &jenkins, &[ACCOUNT]).await;
    let load = load(&world, ACCOUNT);
    let (mut known, mut saved) = (0, None);
    for strategy in strategies() {
        for origin in ORIGINS {
            let version = format!("{}", known + 2);
            let what = format!("{origin} with {strategy}");
            saved = Some(save(&world, saved.as_ref(), origin, &strategy, Way::Staging).await);
            bring(&world, &jenkins, origin, &version).await;
            let execution = next(&world, known, &what).await;
            assert_eq!(execution["trigger"]["type"], origin, "{what}");
            assert!(!execution.to_string().contains(SECRET), "{what}");
            let id = execution["id"].as_str().unwrap();
            let ended = world.stack.gate.wait_for_execution(id, DEPLOYMENT).await;
            let ended = ended.unwrap();
            assert_eq!(ended["status"], "SUCCEEDED", "{what}: {}", outline(&ended));
            world.require_version(ACCOUNT, &version).await.unwrap();
            known += 1;
        }
    }
    // The wrong signatures and the redeliveries started nothing, then or later.
    assert_eq!(started(&world).await.len(), known);
    let report = load.stop().await.unwrap();
    let answered = report.count("answered").unwrap();
    println!("promote: {known} deployments, {answered} requests");
    report.require_clean().unwrap();
    world.stack.down().await.unwrap();
}

/// When in a promotion the control plane is killed.
#[derive(Debug, Clone, Copy)]
enum Kill {
    Staging,
    Judgment,
    Prod,
}

/// What is promoted: each origin once, with a strategy of its own; or everything.
fn promotions() -> Vec<(&'static str, Value)> {
    let is_long = std::env::var("ZERO_FAILED_REQUESTS").is_ok_and(|asked| asked == "long");
    let mut found = Vec::new();
    for (number, strategy) in strategies().into_iter().enumerate() {
        for (other, origin) in ORIGINS.into_iter().enumerate() {
            if is_long || other == number {
                found.push((origin, strategy.clone()));
            }
        }
    }
    found
}

/// Waits until a deployment is under way, and kills the control plane in it.
async fn kill_within(world: &mut World, id: &str, deployment: &str) {
    let gate = &world.stack.gate;
    let running = gate.wait_for_stage(id, deployment, "RUNNING", DEPLOYMENT);
    running.await.unwrap();
    world.stack.kill_and_restart().await.unwrap();
}

#[tokio::test]
async fn a_version_goes_on_to_the_second_environment_when_somebody_says_so() {
    let jenkins = Jenkins::start().await.unwrap();
    let setup = Setup {
        backend: Backend::Redis(Fsync::Always),
        ..Setup::default()
    };
    let mut world = begin(setup, &jenkins, &ACCOUNTS).await;
    let loads = ACCOUNTS.map(|account| load(&world, account));
    let kills = [Kill::Staging, Kill::Judgment, Kill::Prod];
    let promotions = promotions();
    let (mut saved, mut before) = (None, "1".to_owned());
    for (number, (origin, strategy)) in promotions.iter().enumerate() {
        let (version, kill) = (format!("{}", number + 2), kills[number % kills.len()]);
        let what = format!("{origin} with {strategy}, killed in {kill:?}");
        saved = Some(save(&world, saved.as_ref(), origin, strategy, Way::Prod).await);
        bring(&world, &jenkins, origin, &version).await;
        let execution = next(&world, number, &what).await;
        let id = execution["id"].as_str().unwrap();
        if matches!(kill, Kill::Staging) {
            kill_within(&mut world, id, "1").await;
        }
        let waiting = world
            .stack
            .gate
            .wait_for_stage(id, "2", "RUNNING", DEPLOYMENT);
        let waiting = waiting.await.unwrap();
        world.require_version(ACCOUNT, &version).await.unwrap();
        if matches!(kill, Kill::Judgment) {
            world.stack.kill_and_restart().await.unwrap();
            let now = world.stack.gate.execution(id).await.unwrap();
            assert!(!is_complete(&now), "{what}: {}", outline(&now));
        }
        // Nobody has said so yet.
        world.require_version(PROD, &before).await.unwrap();
        world
            .stack
            .gate
            .judge(id, &waiting, "continue")
            .await
            .unwrap();
        if matches!(kill, Kill::Prod) {
            kill_within(&mut world, id, "3").await;
        }
        let ended = world.ended(id, "SUCCEEDED").await;
        ended.unwrap_or_else(|error| panic!("{what}: {error:#}"));
        for account in ACCOUNTS {
            world.require_version(account, &version).await.unwrap();
        }
        before = version;
    }
    assert_eq!(started(&world).await.len(), promotions.len());
    let mut requests = 0;
    for load in loads {
        let report = load.stop().await.unwrap();
        requests += report.count("answered").unwrap();
        report.require_clean().unwrap();
    }
    println!(
        "promoted: {} versions to two environments on Redis, as many kills, {requests} requests",
        promotions.len()
    );
    world.stack.down().await.unwrap();
}
