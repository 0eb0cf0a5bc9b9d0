//! What starts a deployment, with every strategy: a signed push to GitHub, a build of Jenkins, an image. Each
//! starts the pipeline once, under load, and its version is what users get; a push with a wrong signature
//! starts nothing.

use std::time::Duration;

use ::demo::jenkins::Jenkins;
use bytes::Bytes;
use hmac::{Hmac, Mac};
use hyper::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use tests::fixture::pipeline;
use tests::gate::outline;
use tests::http::Client;
use tests::load::Load;
use tests::world::{self, APPLICATION, DEPLOYMENT, JENKINS, Pace, REGISTRY, REPOSITORY};
use tests::{Setup, World, eventually};

use crate::strategies::{ACCOUNT, strategies};

const SECRET: &str = "the secret of the push";
const JOB: &str = "shop/main";

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

/// Only this pipeline has a trigger: an image is pushed for every deployment.
async fn save(world: &World, saved: Option<&Value>, origin: &str, strategy: &Value) -> Value {
    let mut cluster = world.cluster(ACCOUNT, &image(world, origin), "none");
    let fields = strategy.as_object().unwrap().clone();
    cluster.as_object_mut().unwrap().extend(fields);
    let stages = [world.deploy_stage("1", &[], &cluster)];
    let mut definition = pipeline(APPLICATION, "Promote", &stages);
    definition["triggers"] = json!([trigger(origin)]);
    if let Some(saved) = saved {
        definition["id"] = saved["id"].clone();
    }
    world.stack.gate.save_pipeline(&definition).await.unwrap()
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

#[tokio::test]
async fn every_origin_deploys_with_every_strategy_and_no_request_fails() {
    let jenkins = Jenkins::start().await.unwrap();
    jenkins.job(JOB, &[]);
    let pace = Pace {
        jenkins: Some(jenkins.address().to_owned()),
        ..Pace::default()
    };
    let mut world = World::up_at(Setup::default(), &pace).await.unwrap();
    let first = world.push(&world.image("1")).await.unwrap();
    let first = world.reference(&first);
    let deployed = world.deploy(ACCOUNT, &first, "none", "SUCCEEDED").await;
    deployed.unwrap();
    world.require_version(ACCOUNT, "1").await.unwrap();
    let (folder, host) = (world.folder().unwrap(), world::host(ACCOUNT));
    let load = Load::start(&folder, world.stack.balancer_port, &host, 200, &[]).unwrap();
    let (mut known, mut saved) = (0, None);
    for strategy in strategies() {
        for origin in ORIGINS {
            let version = format!("{}", known + 2);
            let what = format!("{origin} with {strategy}");
            saved = Some(save(&world, saved.as_ref(), origin, &strategy).await);
            if origin == "git" {
                push_to_github(&world, &version, "another secret").await;
            }
            let pushed = world.push(&world.image(&version)).await.unwrap();
            match origin {
                "git" => push_to_github(&world, &version, SECRET).await,
                "jenkins" => {
                    let properties = format!("image={}\n", world.reference(&pushed));
                    jenkins.build(JOB, "SUCCESS", &[("build.properties", &properties)]);
                }
                _ => {}
            }
            let execution = eventually(&what, Duration::from_secs(30), async || {
                let started = started(&world).await;
                match started.first() {
                    Some(newest) if started.len() == known + 1 => Ok(newest.clone()),
                    _ => Err(started.len()),
                }
            });
            let execution = execution.await.unwrap();
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
