//! What happens to processes when the control plane comes and goes.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::traffic::{Users, visit};
use crate::world::{World, eventually};

#[tokio::test]
async fn a_new_control_plane_adopts_instances_and_balancer() {
    let mut world = World::up();
    world
        .succeed("createServerGroup", World::create("test/demo:1"))
        .await;
    let (served, balancer) = (world.served(), world.processes("balancer"));
    let users = Users::come(world.port);
    world.stop().await;
    assert_eq!(visit(world.port, "/").await.unwrap().0, 200);
    world.start();
    eventually("all are up again", Duration::from_secs(10), async || {
        let up = world.up_instances("shop-v000").await.len();
        if up == 3 { Ok(()) } else { Err(up) }
    })
    .await;
    assert_eq!(world.served(), served);
    assert_eq!(world.processes("balancer"), balancer);
    assert_eq!(users.leave().await.failures, Vec::<String>::new());
}

fn kill(process: u32) {
    signal(process, Signal::KILL);
}

fn signal(process: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Three are up, and the one that was killed is none of them.
async fn repaired(world: &World, victim: u32) {
    eventually("three others are up", Duration::from_secs(30), async || {
        let (up, served) = (world.up_instances("shop-v000").await.len(), world.served());
        if up == 3 && served.len() == 3 && !served.contains(&victim) {
            Ok(())
        } else {
            Err((up, served))
        }
    })
    .await;
}

#[tokio::test]
async fn instances_that_die_are_replaced_also_when_nobody_looked() {
    let mut world = World::up();
    world
        .succeed("createServerGroup", World::create("test/demo:1"))
        .await;
    let victim = *world.served().iter().next().unwrap();
    kill(victim);
    repaired(&world, victim).await;

    world.stop().await;
    let victim = *world.served().iter().next().unwrap();
    kill(victim);
    world.start();
    repaired(&world, victim).await;
}

#[tokio::test]
async fn a_killed_balancer_comes_back_with_its_configuration() {
    let world = World::up();
    world
        .succeed("createServerGroup", World::create("test/demo:1"))
        .await;
    let balancer = *world.processes("balancer").iter().next().unwrap();
    kill(balancer);
    eventually(
        "it serves again",
        Duration::from_secs(10),
        async || match visit(world.port, "/").await {
            Ok((200, _, _)) => Ok(()),
            other => Err(other),
        },
    )
    .await;
    // The control plane hears the new one and goes on.
    world
        .succeed("replaceInPlace", World::create("test/demo:2"))
        .await;
    assert_eq!(visit(world.port, "/").await.unwrap().1, "2");
}

#[tokio::test]
async fn down_ends_every_process_of_the_folder() {
    let mut world = World::up();
    world
        .succeed("createServerGroup", World::create("test/demo:1"))
        .await;
    world.stop().await;
    let stop_all = cloud_driver::provider::local::stop::stop_all;
    let stopped = stop_all(world.data(), Duration::from_secs(2)).await;
    assert_eq!((stopped.ended, stopped.left), (4, Vec::new()));
    assert!(world.served().is_empty());
    assert!(world.processes("balancer").is_empty());
    assert!(world.processes("instance").is_empty());
    // The next start brings back what was deployed.
    world.start();
    eventually("three are up", Duration::from_secs(20), async || {
        let up = world.up_instances("shop-v000").await.len();
        if up == 3 { Ok(()) } else { Err(up) }
    })
    .await;
}

#[tokio::test]
async fn a_balancer_that_hangs_does_not_hold_up_who_looks() {
    let world = World::up();
    world
        .succeed("createServerGroup", World::create("test/demo:1"))
        .await;
    let balancer = *world.processes("balancer").iter().next().unwrap();
    signal(balancer, Signal::STOP);
    // A question to the balancer is given up after ten seconds; who looks is told earlier what was seen last.
    let looked = tokio::time::timeout(Duration::from_secs(6), world.up_instances("shop-v000"));
    let up = looked.await;
    signal(balancer, Signal::CONT);
    assert_eq!(up.map(|up| up.len()), Ok(3));
}
