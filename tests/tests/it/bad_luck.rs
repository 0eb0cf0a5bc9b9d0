//! Bad luck: images that cannot work, and a disk that is full. The old version keeps serving, the cause is
//! told, nothing is left behind.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tests::census::{self, Role};
use tests::fixture::{pipeline, stage};
use tests::gate::outline;
use tests::world::{HOSTS, cluster};
use tests::{Setup, Stack, World, eventually};

const SOON: Duration = Duration::from_secs(20);

async fn nothing_is_left(world: &World, account: &str) {
    eventually("only one version's processes run", SOON, async || {
        let served = census::count(&world.stack.data, Role::Served);
        let shims = census::count(&world.stack.data, Role::Shim);
        if served == HOSTS {
            Ok(())
        } else {
            Err((served, shims))
        }
    })
    .await
    .unwrap();
    assert_eq!(world.serving(account).await.unwrap(), HOSTS);
}

#[tokio::test]
async fn a_version_that_cannot_work_fails_with_its_last_lines_and_the_old_one_keeps_serving() {
    // In staging the new group stands beside the old one, in prod it takes its hosts.
    for (account, strategy) in [("staging", "none"), ("prod", "inplacedrain")] {
        let world = World::serving_one(Setup::default(), account).await.unwrap();
        for (what, variables, line) in [
            (
                "never healthy",
                &[("REFUSE_HEALTH", "1")][..],
                "demo-server 2 listens on",
            ),
            (
                "dies at once",
                &[("EXIT_AFTER_MS", "0")],
                "demo-server 2 dies with code 1",
            ),
            (
                "never healthy and deaf to SIGTERM",
                &[("REFUSE_HEALTH", "1"), ("ON_SIGTERM", "ignore")],
                "demo-server 2 listens on",
            ),
        ] {
            let mut image = world.image("2");
            for (name, value) in variables {
                image = image.with(name, value);
            }
            let image = world.push(&image).await.unwrap();
            let image = world.reference(&image);
            let execution = world
                .deploy(account, &image, strategy, "TERMINAL")
                .await
                .unwrap();
            let told = execution["stages"].to_string();
            assert!(
                told.contains(line),
                "{what}, {strategy}: no last lines in {told}"
            );
            world.require_version(account, "1").await.unwrap();
            nothing_is_left(&world, account).await;
            // What failed here is deployed again by hand only.
            let held = world.stack.gate.get("/quarantine?application=shop").await;
            let held = held.unwrap();
            assert_eq!(held[0]["image"], image.as_str(), "{held:#}");
        }
    }
}

#[tokio::test]
async fn an_old_version_that_is_deaf_to_sigterm_is_drained_and_then_killed() {
    let world = World::up(Setup::default()).await.unwrap();
    let deaf = world
        .push(&world.image("1").with("ON_SIGTERM", "ignore"))
        .await
        .unwrap();
    let deaf = world.reference(&deaf);
    world
        .deploy("prod", &deaf, "none", "SUCCEEDED")
        .await
        .unwrap();
    let image = world.push(&world.image("2")).await.unwrap();
    let image = world.reference(&image);
    world
        .deploy("prod", &image, "inplacedrain", "SUCCEEDED")
        .await
        .unwrap();
    world.require_version("prod", "2").await.unwrap();
    nothing_is_left(&world, "prod").await;
    assert_eq!(world.started().len(), 2 * HOSTS);
}

#[tokio::test]
async fn an_image_that_does_not_exist_or_is_no_image_fails_before_traffic_is_touched() {
    let world = World::serving_one(Setup::default(), "prod").await.unwrap();
    let missing = format!("{}/shop:nothing", world.registry.address());
    for image in [missing.as_str(), "127.0.0.1:1/shop:1", "not an image"] {
        let execution = world
            .deploy("prod", image, "inplacedrain", "TERMINAL")
            .await
            .unwrap();
        let told = execution["stages"].to_string();
        assert!(told.contains(image), "the image is not named: {told}");
    }
    world.require_version("prod", "1").await.unwrap();
    nothing_is_left(&world, "prod").await;
}

#[tokio::test]
async fn replacing_in_place_on_one_host_is_refused_with_the_remedies() {
    let world = World::up(Setup::default()).await.unwrap();
    let image = world.push(&world.image("1")).await.unwrap();
    let reference = world.reference(&image);
    let one = |strategy: &str| {
        let mut cluster = world.cluster("prod", &reference, strategy);
        cluster["capacity"] = json!({"min": 1, "max": 1, "desired": 1});
        pipeline("shop", "One", &[world.deploy_stage("1", &[], &cluster)])
    };
    let id = world.stack.gate.start_ad_hoc(&one("none")).await.unwrap();
    world.ended(&id, "SUCCEEDED").await.unwrap();
    let id = world
        .stack
        .gate
        .start_ad_hoc(&one("inplacedrain"))
        .await
        .unwrap();
    let execution = world.ended(&id, "TERMINAL").await.unwrap();
    let told = execution["stages"].to_string();
    assert!(told.contains("allowOutage"), "no remedy: {told}");
    world.require_version("prod", "1").await.unwrap();

    let mut allowed = one("inplacedrain");
    allowed["stages"][0]["clusters"][0]["allowOutage"] = Value::Bool(true);
    let id = world.stack.gate.start_ad_hoc(&allowed).await.unwrap();
    world.ended(&id, "SUCCEEDED").await.unwrap();
}

#[tokio::test]
async fn an_instance_that_dies_leaves_the_rotation_and_no_request_finds_it() {
    let world = World::serving_one(Setup::default(), "prod").await.unwrap();
    let victim = census::of(&world.stack.data)
        .into_iter()
        .find(|process| process.role == Role::Served)
        .unwrap();
    let pid = rustix::process::Pid::from_raw(victim.pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    eventually("the balancer serves with the other two", SOON, async || {
        let serving = world.serving("prod").await.unwrap();
        if serving == HOSTS - 1 {
            Ok(())
        } else {
            Err(serving)
        }
    })
    .await
    .unwrap();
    world.require_version("prod", "1").await.unwrap();
    let state = tests::balancer::state(&world.stack.data)
        .await
        .unwrap()
        .to_string();
    assert!(state.contains(&cluster("prod")));
}

/// A file system of 64 MiB. It is unmounted when this is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: &Path) -> Result<Self, String> {
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"])
            .arg(folder)
            .output()
            .map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        Ok(Self(folder.to_owned()))
    }

    /// Writes until nothing more fits; the file to remove again.
    fn fill(&self) -> PathBuf {
        use std::io::Write;
        let path = self.0.join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        for size in [1024 * 1024, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _status = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test]
async fn on_a_full_disk_new_work_is_refused_running_work_waits_and_nothing_is_lost() {
    let mut stack = Stack::prepare(Setup::default()).await.unwrap();
    let disk = match SmallDisk::mount(&stack.data) {
        Ok(disk) => disk,
        Err(reason) => {
            println!("skipped: a small file system cannot be mounted: {reason}");
            return;
        }
    };
    stack.start().await.unwrap();
    let gate = &stack.gate;
    gate.save_application("full").await.unwrap();
    let stages = [
        stage("manualJudgment", "Ask", "1", &[], json!({})),
        stage("wait", "Rest", "2", &["1"], json!({"waitTime": 0})),
    ];
    let definition = pipeline("full", "P", &stages);
    gate.save_pipeline(&definition).await.unwrap();
    let id = gate.start("full", "P", &json!({})).await.unwrap();
    let ask = gate
        .wait_for_stage(&id, "1", "RUNNING", SOON)
        .await
        .unwrap();

    let filler = disk.fill();
    // The store may have room left in its own file: use it up with new work until it is refused.
    let refused = eventually(
        "new work is refused",
        Duration::from_secs(120),
        async || {
            let mut large = definition.clone();
            large["name"] = json!(format!("large {:?}", std::time::Instant::now()));
            large["description"] = json!("x".repeat(200_000));
            match gate.try_save_pipeline(&large).await {
                Ok(answer) if answer.status.is_success() => Err("still accepted".to_owned()),
                Ok(answer) => Ok(answer),
                Err(error) => Err(format!("{error:#}")),
            }
        },
    )
    .await
    .unwrap();
    assert!(
        refused.status.as_u16() >= 500 || refused.status == 429,
        "{}",
        refused.status
    );
    let said = refused.text().to_lowercase();
    assert!(
        said.contains("disk") || said.contains("space"),
        "no clear cause: {said}"
    );
    let waiting = gate.execution(&id).await.unwrap();
    assert_eq!(waiting["status"], "RUNNING", "{}", outline(&waiting));

    std::fs::remove_file(filler).unwrap();
    eventually("the judgment is accepted", SOON, async || {
        gate.judge(&id, &ask, "continue").await
    })
    .await
    .unwrap();
    let execution = gate.wait_for_execution(&id, SOON).await.unwrap();
    assert_eq!(execution["status"], "SUCCEEDED", "{}", outline(&execution));
    stack.kill_and_restart().await.unwrap();
    let stored = stack.gate.execution(&id).await.unwrap();
    assert_eq!(stored["status"], "SUCCEEDED");
    stack.stop().await.unwrap();
}
