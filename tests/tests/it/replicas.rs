//! `gennaker up --processes` with two of each service on Redis, one process killed every two seconds: of the
//! executions that run meanwhile all end right, nothing happens twice, and none stands still for long.
//!
//! `REPLICAS=long` makes it 200 executions.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::fixture::pipeline;
use tests::gate::{self, outline};
use tests::load::Load;
use tests::redis::Fsync;
use tests::replicas::{self, Killer, SERVICES};
use tests::sink::Reply;
use tests::world::{self, ACCOUNTS, APPLICATION};
use tests::{Backend, Setup, World, eventually, stall};
use tokio::sync::watch;

use crate::processes::{patient, require_once};

/// Between two kills.
const PAUSE: Duration = Duration::from_secs(2);
/// An execution, a webhook or a deployment takes no longer.
const DEADLINE: Duration = Duration::from_secs(120);
/// No execution may stand still for longer, in ms.
const STALL: i64 = 10_000;
/// Stages of one execution that call.
const HOOKS: usize = 4;

/// How much is asked for.
struct Plan {
    executions: usize,
    /// From one start to the next.
    every: Duration,
}

impl Plan {
    fn from_environment() -> Self {
        let (executions, every) = match is_long() {
            true => (200, 600),
            false => (60, 500),
        };
        Self {
            executions,
            every: Duration::from_millis(every),
        }
    }
}

/// Whether the long proofs are asked for.
pub(crate) fn is_long() -> bool {
    std::env::var("REPLICAS").is_ok_and(|asked| asked == "long")
}

/// Processes on Redis, so many of each.
pub(crate) fn processes(replicas: usize) -> Setup {
    let arguments = ["--processes", "--replicas", &replicas.to_string()];
    Setup {
        backend: Backend::Redis(Fsync::Always),
        arguments: arguments.map(ToOwned::to_owned).to_vec(),
        ..Setup::default()
    }
}

/// A pipeline that webhooks of this source start.
fn on_webhook(source: &str, mut definition: Value) -> Value {
    definition["triggers"] = json!([{"type": "webhook", "enabled": true, "source": source}]);
    definition
}

/// The strategy that fits what an account has room for.
fn strategy(account: &str) -> Value {
    if account == "staging" {
        json!({"strategy": "redblack", "maxRemainingAsgs": 2})
    } else {
        json!({"strategy": "inplacedrain"})
    }
}

async fn save_deployments(world: &World) {
    for account in ACCOUNTS {
        let image = "${trigger['payload']['image']}";
        let mut cluster = world.cluster(account, image, "none");
        let fields = strategy(account).as_object().unwrap().clone();
        cluster.as_object_mut().unwrap().extend(fields);
        let stages = [world.deploy_stage("1", &[], &cluster)];
        let definition = pipeline(APPLICATION, account, &stages);
        let definition = on_webhook(account, definition);
        let saved = world.stack.gate.save_pipeline(&definition);
        saved.await.unwrap();
    }
}

/// Deploys one version after another, to the accounts in turn, until told to end; answers the executions.
async fn deploy(world: &World, ending: watch::Receiver<bool>) -> Vec<Value> {
    let mut done = Vec::new();
    while !*ending.borrow() {
        let account = ACCOUNTS[done.len() % ACCOUNTS.len()];
        let version = format!("{}", done.len() + 2);
        let image = world.push(&world.image(&version)).await.unwrap();
        let body = json!({"image": world.reference(&image)});
        let path = format!("/webhooks/webhook/{account}");
        let gate = &world.stack.gate;
        gate.deliver(&path, &version, &body, DEADLINE)
            .await
            .unwrap();
        let began = Instant::now();
        let what = format!("version {version} has ended");
        let ended = eventually(&what, DEADLINE, async || {
            let all = gate
                .executions(APPLICATION)
                .await
                .map_err(|e| format!("{e:#}"))?;
            let ours = |e: &&Value| {
                e["name"] == account && e["trigger"]["payload"]["image"] == body["image"]
            };
            match all.iter().filter(ours).collect::<Vec<_>>()[..] {
                [one] if gate::is_complete(one) => Ok(one.clone()),
                [one] => Err(outline(one)),
                ref several => Err(format!("{} executions", several.len())),
            }
        });
        let ended = ended.await.unwrap();
        println!("version {version} to {account} took {:?}", began.elapsed());
        assert_eq!(ended["status"], "SUCCEEDED", "{}", outline(&ended));
        world.require_version(account, &version).await.unwrap();
        done.push(ended);
    }
    done
}

/// Starts executions at a steady pace and waits for their ends; answers each with the time its start was
/// answered.
async fn run(world: &World, plan: &Plan) -> Vec<(Value, Option<i64>)> {
    let mut ticks = tokio::time::interval(plan.every);
    let mut asked = Vec::new();
    for number in 0..plan.executions {
        ticks.tick().await;
        let gate = world.stack.gate.clone();
        asked.push(tokio::spawn(async move {
            let (name, body) = (format!("start-{number}"), json!({"number": number}));
            let path = "/webhooks/webhook/patient";
            gate.deliver(path, &name, &body, DEADLINE).await.unwrap()
        }));
    }
    let mut times = Vec::new();
    for answer in asked {
        times.push(answer.await.unwrap());
    }
    let all = eventually("every execution has ended", DEADLINE, async || {
        let gate = &world.stack.gate;
        let all = gate
            .executions(APPLICATION)
            .await
            .map_err(|e| format!("{e:#}"))?;
        let ours = |e: &Value| e["name"] == "patient";
        let (ended, open): (Vec<_>, Vec<_>) =
            all.into_iter().filter(ours).partition(gate::is_complete);
        if ended.len() >= plan.executions && open.is_empty() {
            Ok(ended)
        } else {
            let first = open.first().map(outline);
            Err(format!(
                "{} ended, {} open, such as {first:?}",
                ended.len(),
                open.len()
            ))
        }
    });
    let number = |e: &Value| e["trigger"]["payload"]["number"].as_u64();
    let timed = |e: Value| {
        let number = number(&e).and_then(|n| usize::try_from(n).ok());
        let time = number.and_then(|n| times.get(n)).copied();
        (e, time)
    };
    all.await.unwrap().into_iter().map(timed).collect()
}

/// All places are taken again.
async fn require_full(supervisor: i32, number: usize) {
    eventually("every replica runs", DEADLINE, async || {
        let found = replicas::of(supervisor);
        let is_full = |s: &&str| found.get(*s).is_some_and(|pids| pids.len() == number);
        if SERVICES.iter().all(is_full) {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn executions_and_deployments_go_on_while_one_process_after_another_is_killed() {
    let plan = Plan::from_environment();
    let world = World::up(processes(2)).await.unwrap();
    let first = world.push(&world.image("1")).await.unwrap();
    for account in ACCOUNTS {
        let image = world.reference(&first);
        let deployed = world.deploy(account, &image, "none", "SUCCEEDED").await;
        deployed.unwrap();
        world.require_version(account, "1").await.unwrap();
    }
    save_deployments(&world).await;
    // Slow enough that kills hit calls under way, which somebody else has to make again.
    let slow = Reply {
        status: 200,
        body: json!({}),
        delay: Duration::from_millis(700),
    };
    world.sink.reply("/hook", slow);
    let patient = on_webhook("patient", patient(&world.sink));
    let saved = world.stack.gate.save_pipeline(&patient);
    saved.await.unwrap();
    let (folder, port) = (world.folder().unwrap(), world.stack.balancer_port);
    let loads = ACCOUNTS.map(|account| {
        let folder = folder.join(format!("load-{account}"));
        std::fs::create_dir_all(&folder).unwrap();
        Load::start(&folder, port, &world::host(account), 50, &[]).unwrap()
    });
    let supervisor = world.stack.pid().unwrap();
    let (stop, ending) = watch::channel(false);
    let killer = Killer::alternately(supervisor, &SERVICES, PAUSE);
    let (deployments, executions) = tokio::join!(deploy(&world, ending), async {
        let executions = run(&world, &plan).await;
        stop.send_replace(true);
        executions
    });
    let kills = killer.stop().await.unwrap();
    for (execution, _) in &executions {
        assert_eq!(execution["status"], "SUCCEEDED", "{}", outline(execution));
    }
    assert_eq!(
        executions.len(),
        plan.executions,
        "one execution for each start"
    );
    require_once(&world.sink, plan.executions, HOOKS);
    // A deployment is one stage that goes on for as long as its hosts take: it says nothing of standing still.
    let stall = stall::longest(&executions);
    println!(
        "replicas: {} executions, {} deployments, {kills} kills; longest stall of one execution {} ms, \
         of all {} ms",
        executions.len(),
        deployments.len(),
        stall.of_one,
        stall.of_all,
    );
    assert!(stall.of_one <= STALL && stall.of_all <= STALL, "{stall:?}");
    for load in loads {
        load.stop().await.unwrap().require_clean().unwrap();
    }
    // Each host of an account started each of its versions once: nobody acted beside somebody else.
    let started = world.started();
    for number in 0..deployments.len() {
        let version = format!("{}", number + 2);
        let count = started.iter().filter(|v| **v == version).count();
        assert_eq!(count, world::HOSTS, "version {version}: {started:?}");
    }
    require_full(supervisor, 2).await;
}
