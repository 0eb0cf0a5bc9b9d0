//! `gennaker up --processes`: replicas are killed and replaced, and nobody notices.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::Method;
use serde_json::{Value, json};
use tests::fixture::{pipeline, stage};
use tests::redis::Fsync;
use tests::replicas::{self, SERVICES, kill};
use tests::sink::Sink;
use tests::stack::Backend;
use tests::world;
use tests::{Setup, Stack, World, eventually, gate, program};
use tokio::sync::watch;

/// Anything ends within this time.
const DEADLINE: Duration = Duration::from_secs(180);
/// Between two kills.
const PAUSE: Duration = Duration::from_secs(2);
/// Of each.
const REPLICAS: usize = 2;
/// Executions that run while replicas are killed.
const EXECUTIONS: usize = 24;
/// The account whose hosts have room for one version at a time.
const ACCOUNT: &str = "prod";
/// Restarts of everything.
const RESTARTS: usize = 4;
/// Kills of one of each service.
const KILLS: usize = 8;

async fn up(sink: &Sink) -> Result<Stack> {
    up_from(sink, None).await
}

/// The same with the programs of a folder.
async fn up_from(sink: &Sink, programs: Option<&Path>) -> Result<Stack> {
    let arguments = ["--processes", "--replicas", "2", "--egress-allow"];
    let mut arguments: Vec<String> = arguments.map(ToOwned::to_owned).to_vec();
    arguments.push(sink.address());
    let stack = Stack::up(Setup {
        backend: Backend::Redis(Fsync::Always),
        arguments,
        programs: programs.map(ToOwned::to_owned),
        ..Setup::default()
    })
    .await?;
    stack.gate.save_application("shop").await?;
    Ok(stack)
}

/// Waits, calls, waits, calls.
pub(crate) fn patient(sink: &Sink) -> Value {
    let hook = |id: &str, after: &[&str]| {
        stage(
            "webhook",
            id,
            id,
            after,
            json!({"url": sink.url("/hook"), "method": "POST",
            "payload": {"execution": "${execution.id}", "stage": id}}),
        )
    };
    let wait = |id: &str, after: &[&str]| stage("wait", id, id, after, json!({"waitTime": 3}));
    let stages = [
        wait("1", &[]),
        hook("2", &["1"]),
        wait("3", &["2"]),
        hook("4", &["3"]),
        hook("5", &["1"]),
        wait("6", &["5", "4"]),
        hook("7", &["6"]),
    ];
    pipeline("shop", "patient", &stages)
}

/// Every stage's request came under one key, whatever was killed meanwhile.
pub(crate) fn require_once(sink: &Sink, executions: usize, hooks: usize) {
    let mut keys: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for delivery in sink.deliveries("/hook") {
        let body = delivery.json().unwrap();
        let text = |key: &str| body[key].as_str().unwrap().to_owned();
        let key = delivery.headers["idempotency-key"].clone();
        keys.entry((text("execution"), text("stage")))
            .or_default()
            .insert(key);
    }
    assert_eq!(keys.len(), executions * hooks, "each stage called");
    for (place, keys) in keys {
        assert_eq!(keys.len(), 1, "{place:?}: {keys:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_each_is_killed_every_two_seconds_and_nothing_happens_twice() {
    let sink = Sink::start().await.unwrap();
    let stack = up(&sink).await.unwrap();
    stack.gate.save_pipeline(&patient(&sink)).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..EXECUTIONS {
        ids.push(
            stack
                .gate
                .start("shop", "patient", &json!({"type": "manual"}))
                .await
                .unwrap(),
        );
    }
    let supervisor = stack.pid().unwrap();
    for _ in 0..KILLS {
        for (service, pids) in replicas::of(supervisor) {
            assert!(!pids.is_empty(), "{service}");
            // The oldest: with cloud-driver the one that serves.
            kill(pids[0]);
        }
        tokio::time::sleep(PAUSE).await;
    }
    for id in &ids {
        let execution = stack.gate.wait_for_execution(id, DEADLINE).await.unwrap();
        assert_eq!(
            execution["status"],
            "SUCCEEDED",
            "{}",
            gate::outline(&execution)
        );
    }
    require_once(&sink, EXECUTIONS, 4);
    // All places are taken again.
    eventually("every replica runs", DEADLINE, async || {
        let found = replicas::of(supervisor);
        let full = SERVICES
            .iter()
            .all(|s| found.get(s).is_some_and(|p| p.len() == REPLICAS));
        if full {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    })
    .await
    .unwrap();
}

/// Asks again and again over new connections, and starts executions, until told to end; answers
/// (requests, executions started, failures).
async fn ask(port: u16, ending: watch::Receiver<bool>) -> (u64, Vec<String>, Vec<String>) {
    let client = tests::http::Client::port(port);
    let gate = gate::Gate::port(port);
    let (mut asked, mut started, mut failures) = (0, Vec::new(), Vec::new());
    let paths = [
        "/applications",
        "/credentials",
        "/health",
        "/applications/shop/pipelines?limit=5",
    ];
    while !*ending.borrow() {
        let path = paths[usize::try_from(asked).unwrap_or(0) % paths.len()];
        match client.send(Method::GET, path, None).await {
            Ok(answer) if answer.status == 200 => {}
            Ok(answer) => failures.push(format!("{path}: {} {}", answer.status, answer.text())),
            Err(error) => failures.push(format!("{path}: {error:#}")),
        }
        asked += 1;
        if asked % 25 == 0 {
            match gate
                .start("shop", "patient", &json!({"type": "manual"}))
                .await
            {
                Ok(id) => started.push(id),
                Err(error) => failures.push(format!("start: {error:#}")),
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (asked, started, failures)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_replaces_every_process_and_fails_no_request() {
    let sink = Sink::start().await.unwrap();
    let installed = tempfile::tempdir().unwrap();
    let built = program::folder().unwrap();
    program::install(&built, installed.path()).unwrap();
    let mut stack = up_from(&sink, Some(installed.path())).await.unwrap();
    stack.gate.save_pipeline(&patient(&sink)).await.unwrap();
    let supervisor = stack.pid().unwrap();
    let running =
        || -> BTreeSet<i32> { replicas::of(supervisor).into_values().flatten().collect() };
    let (stop, ending) = watch::channel(false);
    let askers: Vec<_> = (0..4)
        .map(|_| tokio::spawn(ask(stack.port, ending.clone())))
        .collect();
    let data = stack.data.display().to_string();
    let gennaker = stack.program("gennaker").unwrap();
    for _ in 0..RESTARTS {
        let before = running();
        // As an upgrade does it: what ran until now has no file any more.
        program::install(&built, installed.path()).unwrap();
        let printed = program::run(&gennaker, ["restart", "--data", &data])
            .await
            .unwrap();
        assert!(printed.contains("every process was replaced"), "{printed}");
        let after = running();
        assert_eq!(after.len(), SERVICES.len() * REPLICAS);
        assert!(after.is_disjoint(&before), "{before:?} {after:?}");
    }
    stop.send(true).unwrap();
    let (mut requests, mut ids) = (0, Vec::new());
    for asker in askers {
        let (asked, started, failures) = asker.await.unwrap();
        assert_eq!(failures, [""; 0]);
        requests += asked;
        ids.extend(started);
    }
    println!(
        "{requests} requests and {} starts during {RESTARTS} restarts",
        ids.len()
    );
    assert!(requests > 100 && !ids.is_empty());
    let after = running();
    for id in &ids {
        let execution = stack.gate.wait_for_execution(id, DEADLINE).await.unwrap();
        assert_eq!(
            execution["status"],
            "SUCCEEDED",
            "{}",
            gate::outline(&execution)
        );
    }
    require_once(&sink, ids.len(), 4);
    stack.down().await.unwrap();
    assert!(
        after
            .iter()
            .all(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    );
}

/// Asks the application again and again until told to end; answers what went wrong.
async fn visit(port: u16, ending: watch::Receiver<bool>) -> (u64, Vec<String>) {
    let client = tests::http::Client::port(port).host(&world::host(ACCOUNT));
    let (mut asked, mut failures) = (0, Vec::new());
    while !*ending.borrow() {
        match client.get("/version").await {
            Ok(answer) if answer.status == 200 => {}
            Ok(answer) => failures.push(format!("{} {}", answer.status, answer.text())),
            Err(error) => failures.push(format!("{error:#}")),
        }
        asked += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (asked, failures)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_goes_on_when_the_cloud_driver_that_performs_it_is_killed() {
    let setup = Setup {
        backend: Backend::Redis(Fsync::Always),
        arguments: ["--processes", "--replicas", "2"]
            .map(ToOwned::to_owned)
            .to_vec(),
        ..Setup::default()
    };
    let world = World::serving_one(setup, ACCOUNT).await.unwrap();
    let supervisor = world.stack.pid().unwrap();
    let image = world.push(&world.image("2")).await.unwrap();
    let image = world.reference(&image);
    let (stop, ending) = watch::channel(false);
    let visitor = tokio::spawn(visit(world.stack.balancer_port, ending));
    let id = world
        .start_deployment(ACCOUNT, &image, "inplacedrain")
        .await
        .unwrap();
    let mut kills = 0;
    // Whoever is killed faster than leases end gets nowhere, so this ends.
    for _ in 0..KILLS {
        tokio::time::sleep(PAUSE).await;
        match world.stack.gate.execution(&id).await {
            Ok(execution) if gate::is_complete(&execution) => break,
            _ => {}
        }
        let found = replicas::of(supervisor);
        // The oldest performs, the other stands by.
        for service in ["cloud-driver", "orchestrator"] {
            if let Some(pid) = found.get(service).and_then(|pids| pids.first()) {
                kill(*pid);
                kills += 1;
            }
        }
    }
    world.ended(&id, "SUCCEEDED").await.unwrap();
    world.require_version(ACCOUNT, "2").await.unwrap();
    stop.send(true).unwrap();
    let (asked, failures) = visitor.await.unwrap();
    println!("{kills} kills, {asked} requests");
    assert!(kills > 0 && asked > 0);
    assert_eq!(failures, [""; 0]);
    // Each host started each version once: nobody acted beside somebody else.
    let started = world.started();
    for version in ["1", "2"] {
        let count = started.iter().filter(|v| *v == version).count();
        assert_eq!(count, world::HOSTS, "{started:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_into_a_faulty_configuration_leaves_what_runs() {
    let sink = Sink::start().await.unwrap();
    let stack = up(&sink).await.unwrap();
    let running = || replicas::of(stack.pid().unwrap());
    let before = running();
    std::fs::write(stack.data.join("gennaker.yml"), "orchestrator: {turnz: 1}").unwrap();
    let data = stack.data.display().to_string();
    let gennaker = stack.program("gennaker").unwrap();
    let refused = program::run(&gennaker, ["restart", "--data", &data]).await;
    let refused = format!("{:#}", refused.unwrap_err());
    assert!(refused.contains("is not replaced"), "{refused}");
    assert_eq!(running(), before);
    stack.gate.get("/applications").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_replica_tells_what_it_alone_counts() {
    let sink = Sink::start().await.unwrap();
    let mut stack = up(&sink).await.unwrap();
    let pipeline = pipeline(
        "shop",
        "one",
        &[tests::fixture::webhook(
            "Call",
            "1",
            &[],
            &sink.url("/hook"),
        )],
    );
    let id = stack.gate.start_ad_hoc(&pipeline).await.unwrap();
    stack.gate.wait_for_execution(&id, DEADLINE).await.unwrap();
    let run = stack.data.join("run");
    let metrics = async |name: String| -> String {
        let client = tests::http::Client::socket(&run.join(name));
        let answer = client.get("/metrics").await.unwrap();
        answer.expect(200).unwrap().text()
    };
    let mut runs = 0.0;
    for number in 0..REPLICAS {
        let text = metrics(format!("orchestrator-{number}.admin.sock")).await;
        let ran = |line: &str| line.strip_prefix("task_runs_total ")?.parse::<f64>().ok();
        runs += text.lines().find_map(ran).expect(&text);
        for service in ["trigger", "gateway"] {
            metrics(format!("{service}-{number}.admin.sock")).await;
        }
    }
    assert!(runs >= 1.0, "{runs} runs of tasks");
    stack.stop().await.unwrap();
    let left = std::fs::read_dir(&run).unwrap().flatten();
    let sockets = left.filter(|entry| entry.file_name().to_string_lossy().ends_with(".sock"));
    assert_eq!(sockets.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_end_with_their_supervisor() {
    let sink = Sink::start().await.unwrap();
    let mut stack = up(&sink).await.unwrap();
    let pids: Vec<i32> = replicas::of(stack.pid().unwrap())
        .into_values()
        .flatten()
        .collect();
    assert_eq!(pids.len(), SERVICES.len() * REPLICAS);
    stack.kill().await.unwrap();
    eventually("no replica is left", DEADLINE, async || {
        let left = |pid: &&i32| Path::new(&format!("/proc/{pid}")).exists();
        match pids.iter().find(left) {
            None => Ok(()),
            Some(pid) => Err(format!("{pid} is left")),
        }
    })
    .await
    .unwrap();
    // The folder is free, and a new supervisor goes on.
    stack.start().await.context("the second start").unwrap();
}

#[tokio::test]
async fn processes_need_a_redis() {
    let setup = Setup {
        arguments: vec!["--processes".to_owned()],
        ..Setup::default()
    };
    let refused = Stack::up(setup).await.err().unwrap().to_string();
    assert!(
        refused.contains("64") && refused.contains("--processes needs --redis"),
        "{refused}"
    );
}
