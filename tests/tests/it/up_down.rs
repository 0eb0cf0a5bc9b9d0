//! `up` twice, `down`, and `up` again on one folder; what outlives the control plane, and what does not.

use std::time::Duration;

use tests::census::{self, Process, Role};
use tests::world::{DEPLOYMENT, HOSTS};
use tests::{Setup, Stack, World, eventually, program};

fn of_role(stack: &Stack, role: Role) -> Vec<Process> {
    let mut found: Vec<_> = census::of(&stack.data)
        .into_iter()
        .filter(|process| process.role == role)
        .collect();
    found.sort_by_key(|process| process.pid);
    found
}

#[tokio::test]
async fn a_second_up_on_a_folder_refuses_and_names_the_first() {
    let mut stack = Stack::up(Setup::default()).await.unwrap();
    let mut second = stack.spawn().unwrap();
    let status = second.wait(Duration::from_secs(10)).await.unwrap();
    assert!(!status.success());
    let said = second.tail();
    assert!(
        said.contains(&stack.pid().unwrap().to_string()),
        "the first is not named: {said}"
    );
    assert!(said.contains("gennaker down"), "no remedy: {said}");
    let health = stack.gate.http().get("/health").await.unwrap();
    assert_eq!(health.status, 200, "the second hurt the first");
    stack.stop().await.unwrap();
    assert!(of_role(&stack, Role::ControlPlane).is_empty());
}

#[tokio::test]
async fn down_on_an_empty_folder_is_content() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("never-used").display().to_string();
    let gennaker = program::path("gennaker").unwrap();
    program::run(&gennaker, ["down", "--data", &data])
        .await
        .unwrap();
}

#[tokio::test]
async fn instances_and_balancer_outlive_the_control_plane_and_are_adopted_and_ended_by_down() {
    let mut world = World::serving_one(Setup::default(), "prod").await.unwrap();
    let (served, shims) = (
        of_role(&world.stack, Role::Served),
        of_role(&world.stack, Role::Shim),
    );
    let balancers = of_role(&world.stack, Role::Balancer);
    assert_eq!(served.len(), HOSTS, "{served:?}");
    assert!(!balancers.is_empty());

    let took = world.stack.stop().await.unwrap();
    assert!(took < Duration::from_secs(5), "SIGTERM took {took:?}");
    world.require_version("prod", "1").await.unwrap();
    assert_eq!(
        of_role(&world.stack, Role::Served),
        served,
        "instances changed at the stop"
    );

    world.stack.start().await.unwrap();
    world.require_version("prod", "1").await.unwrap();
    assert_eq!(of_role(&world.stack, Role::Served), served, "not adopted");
    assert_eq!(of_role(&world.stack, Role::Shim), shims, "not adopted");
    assert_eq!(
        of_role(&world.stack, Role::Balancer),
        balancers,
        "the balancer was replaced"
    );
    let groups = world.stack.gate.server_groups("shop").await.unwrap();
    assert_eq!(groups.len(), 1, "{groups:?}");
    assert_eq!(groups[0]["instances"].as_array().unwrap().len(), HOSTS);

    world.stack.kill().await.unwrap();
    world.require_version("prod", "1").await.unwrap();
    world.stack.start().await.unwrap();
    assert_eq!(
        of_role(&world.stack, Role::Served),
        served,
        "not adopted after kill -9"
    );
    assert_eq!(world.started().len(), HOSTS, "processes were started again");

    world.stack.down().await.unwrap();
    let left = census::of(&world.stack.data);
    assert!(left.is_empty(), "down left {left:?}");
    world.stack.down().await.unwrap();

    // What was deployed is started again from the journal, and the next version replaces it.
    world.stack.start().await.unwrap();
    world.require_version("prod", "1").await.unwrap();
    eventually(
        "the group has its size again",
        DEPLOYMENT,
        async || match world.serving("prod").await {
            Ok(HOSTS) => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .await
    .unwrap();
    let image = world.push(&world.image("2")).await.unwrap();
    let image = world.reference(&image);
    world
        .deploy("prod", &image, "inplacedrain", "SUCCEEDED")
        .await
        .unwrap();
    world.require_version("prod", "2").await.unwrap();
}

/// The kernel takes no socket's path above 107 bytes; data folders may lie deeper.
#[tokio::test]
async fn a_data_folder_with_a_long_path_is_as_good_as_any() {
    let setup = Setup {
        data: "d".repeat(160),
        ..Setup::default()
    };
    let mut world = World::serving_one(setup, "prod").await.unwrap();
    assert_eq!(of_role(&world.stack, Role::Served).len(), HOSTS);
    world.stack.down().await.unwrap();
    let left = census::of(&world.stack.data);
    assert!(left.is_empty(), "down left {left:?}");
}

/// What outlived its shim is ended all the same.
#[tokio::test]
async fn down_ends_an_instance_whose_shim_was_killed() {
    let mut world = World::serving_one(Setup::default(), "prod").await.unwrap();
    world.stack.stop().await.unwrap();
    let shims = of_role(&world.stack, Role::Shim);
    for shim in &shims {
        let pid = rustix::process::Pid::from_raw(shim.pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    assert_eq!(of_role(&world.stack, Role::Served).len(), HOSTS);
    world.stack.down().await.unwrap();
    let left = census::of(&world.stack.data);
    assert!(left.is_empty(), "down left {left:?}");
}

#[tokio::test]
async fn another_balancer_port_is_refused_while_the_balancer_serves() {
    let mut world = World::up(Setup::default()).await.unwrap();
    world.stack.stop().await.unwrap();
    let data = world.stack.data.display().to_string();
    let gennaker = program::path("gennaker").unwrap();
    let port = world.stack.port.to_string();
    let serving = world.stack.balancer_port;
    let other = servers::port::free().to_string();
    let up = [
        "up",
        "--data",
        &data,
        "--port",
        &port,
        "--balancer-port",
        &other,
    ];
    let refused = program::run(&gennaker, up).await.unwrap_err().to_string();
    let remedy = format!("--balancer-port {serving}");
    assert!(
        refused.contains(&remedy) && refused.contains("gennaker down"),
        "{refused}"
    );

    world.stack.down().await.unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().port().to_string();
    let up = [
        "up",
        "--data",
        &data,
        "--port",
        &port,
        "--balancer-port",
        &taken,
    ];
    let refused = program::run(&gennaker, up).await.unwrap_err().to_string();
    assert!(
        refused.contains(&taken) && refused.contains("--balancer-port"),
        "{refused}"
    );
}
