//! The store is emptied under load: who runs says so and writes nothing, who starts is refused, and after
//! `gennaker restore` every acknowledged definition is there with its versions, what was archived is found, and nothing
//! runs that is not due.
//!
//! `RESTORE=long` saves 3,000 versions before the store is emptied instead of 60.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::{Value, json};
use tests::fixture::{pipeline, webhook};
use tests::gate::{Gate, outline};
use tests::image::Written;
use tests::redis::Fsync;
use tests::world::{APPLICATION, Pace, REGISTRY, REPOSITORY};
use tests::{Backend, Setup, Stack, World, eventually, program};

use crate::replicas::processes;

const SOON: Duration = Duration::from_secs(30);
/// Who save at the same time.
const SAVERS: usize = 4;
/// So many versions are acknowledged before the store is emptied.
fn load() -> usize {
    let is_long = std::env::var("RESTORE").is_ok_and(|asked| asked == "long");
    if is_long { 3_000 } else { 60 }
}

/// Finished executions go to the archive at once.
fn archiving(mut setup: Setup) -> Setup {
    for name in ["AFTER", "WITHIN"] {
        let name = format!("GENNAKER_ORCHESTRATOR__ARCHIVE__{name}");
        setup.environment.push((name, "1s".to_owned()));
    }
    setup
}

/// Saves new definitions and changes them until that fails: what was acknowledged, as (id, number), and the failure.
async fn save(gate: Gate, saver: usize, count: Arc<AtomicUsize>) -> (Vec<(String, u64)>, String) {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let id = format!("made-{saver}-{}", number / 3);
        let mut definition = pipeline(APPLICATION, &id, &[]);
        definition["id"] = json!(id);
        definition["number"] = json!(number);
        match gate.try_save_pipeline(&definition).await {
            Ok(answer) if answer.status == 200 => acknowledged.push((id, number)),
            Ok(answer) => return (acknowledged, answer.text()),
            Err(error) => return (acknowledged, format!("{error:#}")),
        }
        count.fetch_add(1, Ordering::SeqCst);
    }
    (acknowledged, String::new())
}

/// What is there of a definition: the numbers of its versions.
async fn numbers(gate: &Gate, id: &str) -> BTreeSet<u64> {
    let path = format!("/pipelineConfigs/{id}/history?limit=100");
    let history = gate.get(&path).await.unwrap_or_default();
    let versions = history.as_array().into_iter().flatten();
    versions
        .filter_map(|version| version["number"].as_u64())
        .collect()
}

/// Acknowledged versions that are not there.
async fn lost(gate: &Gate, acknowledged: &[(String, u64)]) -> Vec<(String, u64)> {
    let mut there = BTreeMap::new();
    for (id, _) in acknowledged {
        if !there.contains_key(id) {
            there.insert(id.clone(), numbers(gate, id).await);
        }
    }
    let lost = acknowledged
        .iter()
        .filter(|(id, number)| !there[id].contains(number));
    lost.cloned().collect()
}

/// A pipeline with this trigger that calls the sink.
async fn wait_for(world: &World, name: &str, trigger: Value) {
    let hook = webhook("call", "1", &[], &world.sink.url(&format!("/{name}")));
    let mut definition = pipeline(APPLICATION, name, &[hook]);
    definition["triggers"] = json!([trigger]);
    world.stack.gate.save_pipeline(&definition).await.unwrap();
}

/// A schedule that is due once a day, first at this time.
fn daily(at: u64) -> Value {
    let expression = format!("{} {} {} * * ?", at % 60, at / 60 % 60, at / 3_600 % 24);
    json!({"type": "cron", "enabled": true, "cronExpression": expression})
}

fn seconds() -> u64 {
    UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// The registry is polled a few times more.
async fn polled(world: &World) {
    let asked = || world.registry.requests("tags/list");
    let before = asked();
    eventually("the registry is polled", SOON, async || {
        match asked() - before {
            few @ ..4 => Err(few),
            _ => Ok(()),
        }
    })
    .await
    .unwrap();
}

async fn push(world: &World, version: &str) -> Written {
    world.push(&world.image(version)).await.unwrap()
}

/// Posts an event that names itself.
async fn hook(world: &World, delivery: &str) {
    let (path, body) = ("/webhooks/webhook/hook", json!({"delivery": delivery}));
    let sent = world.stack.gate.deliver(path, delivery, &body, SOON).await;
    sent.unwrap();
}

/// The executions, when there are so many and all have ended.
async fn executions(world: &World, count: usize) -> BTreeMap<String, Value> {
    let what = format!("{count} executions have ended");
    let found = eventually(&what, SOON, async || {
        let all = world.stack.gate.executions(APPLICATION).await;
        let all = all.map_err(|e| format!("{e:#}"))?;
        if all.len() == count && all.iter().all(|e| e["status"] == "SUCCEEDED") {
            return Ok(all);
        }
        Err(all.iter().map(outline).collect::<Vec<_>>().join("\n"))
    });
    let id = |e: &Value| e["id"].as_str().unwrap().to_owned();
    let found = found.await.unwrap();
    found.into_iter().map(|e| (id(&e), e)).collect()
}

/// The control plane is started and refuses; what it said.
async fn refused(stack: &Stack) -> String {
    let before = stack.log().unwrap().len();
    let mut program = stack.spawn().unwrap();
    let status = program.wait(SOON).await.unwrap();
    let log = stack.log().unwrap().split_off(before);
    assert!(!status.success(), "{log}");
    log
}

async fn restore(stack: &Stack, more: &[&str]) -> anyhow::Result<String> {
    let data = stack.data.display().to_string();
    let mut arguments = vec!["restore".to_owned(), "--data".to_owned(), data];
    if let Some(redis) = &stack.redis {
        arguments.extend(["--redis".to_owned(), redis.url()]);
    }
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    program::run(&stack.program("gennaker")?, arguments).await
}

/// Executions that were archived so far, as the log tells.
fn archived(stack: &Stack) -> usize {
    let log = stack.log().unwrap();
    log.lines()
        .filter(|line| line.contains("executions were archived"))
        .filter_map(|line| {
            line.rsplit("executions=")
                .next()?
                .trim()
                .parse::<usize>()
                .ok()
        })
        .sum()
}

#[tokio::test]
async fn definitions_survive_an_emptied_store_and_nothing_starts_that_is_not_due() {
    let setup = archiving(processes(2));
    let mut world = World::up_at(setup, &Pace::polling()).await.unwrap();
    let docker =
        json!({"type": "docker", "enabled": true, "account": REGISTRY, "repository": REPOSITORY});
    // What the registry holds before is learnt, what is pushed then starts.
    push(&world, "1").await;
    polled(&world).await;
    wait_for(&world, "image", docker).await;
    wait_for(
        &world,
        "hook",
        json!({"type": "webhook", "enabled": true, "source": "hook"}),
    )
    .await;
    push(&world, "2").await;
    hook(&world, "first").await;
    hook(&world, "first").await;
    let before = executions(&world, 2).await;
    // The application's making is one too.
    eventually("they are archived", SOON, async || {
        match archived(&world.stack) {
            3 => Ok(()),
            other => Err(other),
        }
    })
    .await
    .unwrap();

    let count = Arc::new(AtomicUsize::new(0));
    let savers = (0..SAVERS).map(|saver| {
        let gate = world.stack.gate.clone();
        tokio::spawn(save(gate, saver, Arc::clone(&count)))
    });
    let savers: Vec<_> = savers.collect();
    let long = Duration::from_secs(300);
    eventually("enough is saved", long, async || {
        match count.load(Ordering::SeqCst) {
            few if few < load() => Err(few),
            _ => Ok(()),
        }
    })
    .await
    .unwrap();
    // Due while nothing runs.
    let missed = seconds() + 5;
    wait_for(&world, "missed", daily(missed)).await;
    let redis = world.stack.redis.as_ref().unwrap();
    redis.command("FLUSHALL").await.unwrap();
    let emptied = Instant::now();
    let mut acknowledged = Vec::new();
    for saver in savers {
        let (saved, failure) = saver.await.unwrap();
        assert!(failure.contains("the store was emptied"), "{failure}");
        acknowledged.extend(saved);
    }
    assert!(acknowledged.len() >= load(), "{}", acknowledged.len());
    println!(
        "{} saves were acknowledged, the last refused {:?} after FLUSHALL",
        acknowledged.len(),
        emptied.elapsed()
    );
    // Whoever still runs writes nothing, whatever it is asked.
    // Each learns it when it next asks the store.
    eventually("nobody answers", SOON, async || {
        let answer = world.stack.gate.http().get("/applications").await.unwrap();
        match answer.status.is_server_error() {
            true => Ok(()),
            false => Err(format!("{} {}", answer.status, answer.text())),
        }
    })
    .await
    .unwrap();
    assert_eq!(redis.command("DBSIZE").await.unwrap(), "0");
    world.stack.stop().await.unwrap();
    assert_eq!(redis_size(&world).await, "0");

    let told = refused(&world.stack).await;
    for remedy in ["gennaker restore", "--accept-empty"] {
        assert!(told.contains(remedy), "{told}");
    }
    assert_eq!(
        redis_size(&world).await,
        "0",
        "the refused start made something"
    );

    // The control: the store alone has nothing of them.
    let mut program = accepting(&world.stack);
    let gate = world.stack.gate.clone();
    eventually("an empty store is accepted", SOON, async || {
        match gate.get("/applications").await {
            Ok(there) if there == json!([]) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    assert_eq!(lost(&gate, &acknowledged).await.len(), acknowledged.len());
    program.signal(rustix::process::Signal::TERM).unwrap();
    program.wait(SOON).await.unwrap();
    let told = restore(&world.stack, &[]).await.unwrap_err().to_string();
    assert!(
        told.contains("is not empty") && told.contains("--merge"),
        "{told}"
    );
    world
        .stack
        .redis
        .as_ref()
        .unwrap()
        .command("FLUSHALL")
        .await
        .unwrap();

    let begun = Instant::now();
    let told = restore(&world.stack, &[]).await.unwrap();
    println!("restored in {:?}:\n{told}", begun.elapsed());
    assert!(told.contains("executions   3 in"), "{told}");
    let again = restore(&world.stack, &["--merge"]).await.unwrap();
    assert!(
        again.contains("definitions  0") && again.contains("there before"),
        "{again}"
    );

    eventually("the schedule was missed", SOON, async || match seconds() {
        now if now <= missed => Err(now),
        _ => Ok(()),
    })
    .await
    .unwrap();
    world.stack.start().await.unwrap();
    let gate = &world.stack.gate;
    assert_eq!(lost(gate, &acknowledged).await, []);
    assert_eq!(
        executions(&world, 2).await,
        before,
        "archived executions are found again"
    );
    // Polls learn, the schedule that was missed begins now, what is sent again is known.
    hook(&world, "first").await;
    polled(&world).await;
    assert_eq!(executions(&world, 2).await.len(), before.len());
    for name in ["/image", "/hook"] {
        assert_eq!(world.sink.deliveries(name).len(), 1, "{name}");
    }
    assert_eq!(world.sink.deliveries("/missed").len(), 0);
    // What is due starts.
    hook(&world, "second").await;
    push(&world, "3").await;
    wait_for(&world, "due", daily(seconds() + 4)).await;
    executions(&world, 5).await;
    world.stack.stop().await.unwrap();
}

async fn redis_size(world: &World) -> String {
    let redis = world.stack.redis.as_ref().unwrap();
    redis.command("DBSIZE").await.unwrap()
}

/// Starts on the empty store, as an operator does who wants to begin anew.
fn accepting(stack: &Stack) -> program::Program {
    let mut arguments = stack.arguments();
    arguments.push("--accept-empty".to_owned());
    let log = stack.folder().unwrap().join("accepting.log");
    let gennaker = stack.program("gennaker").unwrap();
    program::Program::start(&gennaker, arguments, &[], &log).unwrap()
}

#[tokio::test]
async fn a_process_whose_store_was_emptied_is_not_ready_and_one_without_its_file_does_not_start() {
    for backend in [Backend::Redis(Fsync::EverySecond), Backend::Embedded] {
        let setup = Setup {
            backend,
            ..Setup::default()
        };
        let mut stack = Stack::up(setup).await.unwrap();
        stack.gate.save_application("kept").await.unwrap();
        if let Some(redis) = &stack.redis {
            redis.command("FLUSHALL").await.unwrap();
            let health = stack.gate.http();
            eventually("it is not ready", SOON, async || {
                match health.get("/health").await {
                    Ok(answer) if answer.status == 503 => Ok(answer.text()),
                    Ok(answer) => Err(answer.text()),
                    Err(error) => Err(format!("{error:#}")),
                }
            })
            .await
            .unwrap();
            stack.stop().await.unwrap();
        } else {
            stack.stop().await.unwrap();
            std::fs::remove_file(stack.data.join("store.redb")).unwrap();
        }
        let told = refused(&stack).await;
        for remedy in ["gennaker restore", "--accept-empty"] {
            assert!(told.contains(remedy), "{backend:?}: {told}");
        }
        let told = restore(&stack, &[]).await.unwrap();
        assert!(told.contains("application 1"), "{backend:?}: {told}");
        stack.start().await.unwrap();
        let there = stack.gate.get("/applications/kept").await.unwrap();
        assert_eq!(there["name"], "kept", "{backend:?}");
        stack.stop().await.unwrap();
    }
}
