//! `gennaker balancer upgrade`: another balancer takes the sockets over while users are served, and what
//! becomes of the one before, of the control plane, and of a successor that cannot begin.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::census::{self, Role};
use tests::load::Load;
use tests::world::{self, HOSTS};
use tests::{Setup, World, balancer, eventually, program};

const ACCOUNT: &str = "prod";

async fn upgrade(gennaker: &Path, world: &World) -> Result<String> {
    let data = world.stack.data.display().to_string();
    program::run(gennaker, ["balancer", "upgrade", "--data", &data]).await
}

async fn state(world: &World) -> Value {
    balancer::state(&world.stack.data).await.unwrap()
}

fn pid(state: &Value) -> i32 {
    i32::try_from(state["pid"].as_i64().unwrap()).unwrap()
}

fn balancers(world: &World) -> Vec<i32> {
    let all = census::of(&world.stack.data).into_iter();
    all.filter(|process| process.role == Role::Balancer)
        .map(|process| process.pid)
        .collect()
}

/// Waits until only the balancer in force is left.
async fn predecessors_end(world: &World) {
    let serves = pid(&state(world).await);
    eventually("predecessors end", Duration::from_secs(60), async || {
        let left = balancers(world);
        if left == [serves] { Ok(()) } else { Err(left) }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn users_notice_nothing_when_the_balancer_is_upgraded() {
    let mut world = World::serving_one(Setup::default(), ACCOUNT).await.unwrap();
    let folder = world.folder().unwrap();
    let host = world::host(ACCOUNT);
    let load = Load::start(&folder, world.stack.balancer_port, &host, 200, &[]).unwrap();
    let mut epochs = vec![state(&world).await["epoch"].clone()];
    for round in 2..5 {
        let before = pid(&state(&world).await);
        let said = world.stack.upgrade_balancer().await.unwrap();
        let now = state(&world).await;
        assert!(said.contains(&pid(&now).to_string()), "{said}");
        assert!(said.contains(&before.to_string()), "{said}");
        assert_ne!(pid(&now), before);
        epochs.push(now["epoch"].clone());
        // Deployed while the one before may still have connections; once by another control plane.
        if round == 3 {
            world.stack.kill_and_restart().await.unwrap();
        }
        let version = round.to_string();
        let image = world.push(&world.image(&version)).await.unwrap();
        let image = world.reference(&image);
        world
            .deploy(ACCOUNT, &image, "inplacedrain", "SUCCEEDED")
            .await
            .unwrap();
        world.require_version(ACCOUNT, &version).await.unwrap();
        assert_eq!(world.serving(ACCOUNT).await.unwrap(), HOSTS);
    }
    let report = load.stop().await.unwrap();
    println!(
        "{} requests over three upgrades, longest gap {} ms",
        report.count("answered").unwrap(),
        report.count("longestGapMs").unwrap()
    );
    report.require_clean().unwrap();
    epochs.sort_by_key(ToString::to_string);
    epochs.dedup();
    assert_eq!(epochs.len(), 4, "each is another life: {epochs:?}");
    predecessors_end(&world).await;

    // One that dies is there again by its own shim, whoever else lives.
    world.stack.kill().await.unwrap();
    let dies = Pid::from_raw(pid(&state(&world).await)).unwrap();
    let begun = std::time::Instant::now();
    kill_process(dies, Signal::KILL).unwrap();
    eventually("it serves again", Duration::from_secs(10), async || {
        world
            .require_version(ACCOUNT, "4")
            .await
            .map_err(|e| format!("{e:#}"))
    })
    .await
    .unwrap();
    println!("served again {:?} after kill -9", begun.elapsed());

    world.stack.start().await.unwrap();
    world.require_version(ACCOUNT, "4").await.unwrap();
    world.stack.down().await.unwrap();
    let left = census::of(&world.stack.data);
    assert!(left.is_empty(), "down left {left:?}");
    // The last order stands: it begins by itself, for nobody is there to take over from.
    world.stack.start().await.unwrap();
    world.require_version(ACCOUNT, "4").await.unwrap();
}

#[tokio::test]
async fn a_successor_that_cannot_begin_changes_nothing() {
    let mut world = World::serving_one(Setup::default(), ACCOUNT).await.unwrap();
    let before = state(&world).await;
    // An installation whose balancer ends at once.
    let broken = world.folder().unwrap().join("broken");
    std::fs::create_dir(&broken).unwrap();
    for name in ["gennaker", "instance"] {
        let from = world.stack.program(name).unwrap();
        std::fs::copy(&from, broken.join(name)).unwrap();
    }
    std::fs::copy("/bin/false", broken.join("balancer")).unwrap();
    let refused = upgrade(&broken.join("gennaker"), &world).await;
    let refused = format!("{:#}", refused.unwrap_err());
    let serves = pid(&before).to_string();
    assert!(
        refused.contains(&serves) && refused.contains("serves on"),
        "{refused}"
    );
    assert_eq!(state(&world).await["epoch"], before["epoch"]);
    world.require_version(ACCOUNT, "1").await.unwrap();
    // Nothing of it is left, and the next one goes well.
    let gennaker = world.stack.program("gennaker").unwrap();
    upgrade(&gennaker, &world).await.unwrap();
    assert_ne!(state(&world).await["epoch"], before["epoch"]);
    world.require_version(ACCOUNT, "1").await.unwrap();

    world.stack.down().await.unwrap();
    let refused = upgrade(&gennaker, &world).await.unwrap_err();
    let refused = format!("{refused:#}");
    assert!(refused.contains("gennaker up"), "no remedy: {refused}");
}
