//! The control plane is killed wherever it is, again and again.

use std::time::{Duration, Instant};

use proto::cloud_driver::v1::OperationState;
use serde_json::json;

use crate::traffic::Users;
use crate::world::World;

/// Kills and starts the service every so many milliseconds until the operation ends.
async fn perform_under_kills(
    most: u32,
    world: &mut World,
    kind: &str,
    input: serde_json::Value,
) -> (OperationState, u32) {
    let effect = format!("kills/{kind}/{input}");
    let id = world.submit(&effect, kind, &input).await.unwrap().id;
    let begun = Instant::now();
    let mut kills = 0;
    loop {
        // A different part of each life: 60 ms to 1.5 s.
        let life = 60 + u64::from(kills) * 617 % 1_440;
        tokio::time::sleep(Duration::from_millis(life)).await;
        let state = world.operation(&id).await.state();
        if state != OperationState::Running {
            return (state, kills);
        }
        assert!(begun.elapsed() < Duration::from_secs(300), "does not end");
        if kills < most {
            world.crash();
            world.start();
            kills += 1;
        }
    }
}

#[tokio::test]
async fn kills_at_any_moment_change_nothing_of_a_replacement() {
    let mut world = World::up();
    // Every start of a server is written down by somebody outside.
    let starts = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = starts.local_addr().unwrap().to_string();
    let counted = tokio::spawn(count(starts));
    world.image("a", &[("ANNOUNCE", &address)]);
    world.image("b", &[("ANNOUNCE", &address)]);
    world
        .succeed("createServerGroup", World::create("test/demo:a"))
        .await;
    let users = Users::come(world.port);
    let input = World::create("test/demo:b");
    let (state, kills) = perform_under_kills(12, &mut world, "replaceInPlace", input).await;
    assert_eq!(state, OperationState::Succeeded);
    assert!(kills >= 5, "killed {kills} times only");
    let seen = users.leave().await;
    assert_eq!(seen.failures, Vec::<String>::new());
    assert_eq!(world.up_instances("shop-v001").await.len(), 3);
    assert_eq!(world.served().len(), 3);
    assert_eq!(
        world.processes("instance").len(),
        4,
        "three instances and the balancer"
    );
    counted.abort();
    let starts = STARTS.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(starts, 6, "every process is started once");
}

static STARTS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

async fn count(listener: tokio::net::TcpListener) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    while let Ok((mut stream, _)) = listener.accept().await {
        STARTS.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let mut buffer = [0; 1024];
        let _read = stream.read(&mut buffer).await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let _written = stream.write_all(answer).await;
    }
}

#[tokio::test]
async fn kills_change_nothing_of_a_failure_and_its_way_back() {
    let mut world = World::up();
    world.image("dead", &[("EXIT_AFTER_MS", "150")]);
    world
        .succeed("createServerGroup", World::create("test/demo:1"))
        .await;
    let before = world.up_instances("shop-v000").await.len();
    let input = World::create("test/demo:dead");
    let (state, _) = perform_under_kills(6, &mut world, "replaceInPlace", input).await;
    assert_eq!(state, OperationState::Failed);
    assert_eq!(world.up_instances("shop-v000").await.len(), before);
    assert_eq!(world.served().len(), 3);
    assert_eq!(world.server_groups().await.len(), 1);
    let (state, _) = perform_under_kills(
        3,
        &mut world,
        "destroyServerGroup",
        json!({"serverGroupName": "shop-v000", "force": true}),
    )
    .await;
    assert_eq!(state, OperationState::Succeeded);
    assert!(world.served().is_empty());
}
