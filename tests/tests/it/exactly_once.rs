//! Events of every kind, three replicas of each service on Redis, one process killed every two seconds: each
//! event starts one execution. The same of webhooks that come in while no orchestrator lives.
//!
//! `REPLICAS=long` makes it 500 pushes, 500 builds and 500 schedules, and 1,000 webhooks in ten minutes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, UNIX_EPOCH};

use ::demo::jenkins::Jenkins;
use serde_json::{Value, json};
use tests::fixture::{pipeline, stage};
use tests::gate::{self, outline};
use tests::replicas::{self, Killer, SERVICES};
use tests::world::{APPLICATION, JENKINS, Pace, REGISTRY, REPOSITORY};
use tests::{World, eventually};

use crate::replicas::{is_long, processes};

/// Between two kills.
const PAUSE: Duration = Duration::from_secs(2);
/// An answer, or the end of all executions, takes no longer.
const DEADLINE: Duration = Duration::from_secs(180);
/// From the last pipeline's save to the first schedule's time: time to give them their schedules.
const AHEAD: Duration = Duration::from_secs(12);
/// Every so many events one comes a second time.
const REPEATED: usize = 5;
/// Executions of one pipeline: less than one page shows.
const PER_PIPELINE: usize = 100;
/// Senders of webhooks give up after ten seconds, so answers must be there well before.
const ANSWER: Duration = Duration::from_secs(5);

/// How much is asked for.
struct Plan {
    /// Of each kind.
    events: usize,
    /// From one event of a kind to the next.
    every: Duration,
    webhooks: usize,
    /// How long no orchestrator lives.
    outage: Duration,
}

impl Plan {
    fn from_environment() -> Self {
        let (events, every, webhooks, outage) = match is_long() {
            true => (500, 240, 1_000, 600),
            false => (50, 400, 200, 20),
        };
        Self {
            events,
            every: Duration::from_millis(every),
            webhooks,
            outage: Duration::from_secs(outage),
        }
    }
}

/// A pipeline that tells the sink which event started it.
async fn save(world: &World, name: &str, event: &str, trigger: Value) {
    let fields = json!({"url": world.sink.url("/hook"), "method": "POST",
        "payload": {"execution": "${execution.id}", "event": event}});
    let mut definition = pipeline(
        APPLICATION,
        name,
        &[stage("webhook", "Tell", "1", &[], fields)],
    );
    definition["triggers"] = json!([trigger]);
    world.stack.gate.save_pipeline(&definition).await.unwrap();
}

/// The executions that each event started, as they told.
fn told(world: &World) -> BTreeMap<String, BTreeSet<String>> {
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for delivery in world.sink.deliveries("/hook") {
        let body = delivery.json().unwrap();
        let text = |key: &str| body[key].as_str().unwrap().to_owned();
        told.entry(text("event"))
            .or_default()
            .insert(text("execution"));
    }
    told
}

/// Each expected event has started one execution, it succeeded, and there is no other.
async fn require_one_each(world: &World, expected: &BTreeSet<String>) {
    eventually("every event is told", DEADLINE, async || {
        let told = told(world);
        let left: Vec<_> = expected.iter().filter(|e| !told.contains_key(*e)).collect();
        match left.first() {
            None => Ok(()),
            Some(first) => Err(format!("{} are missing, such as {first}", left.len())),
        }
    })
    .await
    .unwrap();
    let all = eventually("every execution has ended", DEADLINE, async || {
        let all = world.stack.gate.executions(APPLICATION).await;
        let all = all.map_err(|error| format!("{error:#}"))?;
        match all.iter().find(|execution| !gate::is_complete(execution)) {
            None => Ok(all),
            Some(open) => Err(outline(open)),
        }
    });
    let all = all.await.unwrap();
    for execution in &all {
        assert_eq!(execution["status"], "SUCCEEDED", "{}", outline(execution));
    }
    let told = told(world);
    assert_eq!(
        told.keys().collect::<BTreeSet<_>>(),
        expected.iter().collect()
    );
    for (event, executions) in &told {
        assert_eq!(executions.len(), 1, "{event}: {executions:?}");
    }
    assert_eq!(
        all.len(),
        expected.len(),
        "executions for {} events",
        expected.len()
    );
}

/// The notification that a registry sends of a push.
fn notification(number: usize) -> Value {
    json!({"events": [{
        "id": format!("push-{number}"), "action": "push",
        "target": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": format!("sha256:{number:064x}"), "repository": REPOSITORY,
            "tag": tag(number),
        },
    }]})
}

fn tag(number: usize) -> String {
    format!("g{}-{number}", number / PER_PIPELINE)
}

fn job(number: usize) -> String {
    format!("job-{}", number / PER_PIPELINE)
}

/// Saves a pipeline for every hundred pushes and builds, and one for every schedule; answers when the first
/// schedule is due, and all events that are to come.
async fn save_all(world: &World, plan: &Plan) -> BTreeSet<String> {
    for group in 0..plan.events.div_ceil(PER_PIPELINE) {
        let trigger = json!({"type": "docker", "enabled": true, "account": REGISTRY,
            "repository": REPOSITORY, "tag": format!("g{group}-.*")});
        save(
            world,
            &format!("Push {group}"),
            "${trigger['tag']}",
            trigger,
        )
        .await;
        let trigger = json!({"type": "jenkins", "enabled": true, "master": JENKINS,
            "job": format!("job-{group}")});
        let event = "${trigger['job']}-${trigger['buildNumber']}";
        save(world, &format!("Build {group}"), event, trigger).await;
    }
    // Saving them takes a while too.
    let saving = Duration::from_millis(20) * u32::try_from(plan.events).unwrap();
    let first = UNIX_EPOCH.elapsed().unwrap() + AHEAD + saving;
    for number in 0..plan.events {
        let at = first + plan.every * u32::try_from(number).unwrap();
        let of_day = at.as_secs() % 86_400;
        let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        let trigger = json!({"type": "cron", "enabled": true,
            "cronExpression": format!("{second} {minute} {hour} * * ?")});
        save(
            world,
            &format!("Time {number}"),
            &format!("time-{number}"),
            trigger,
        )
        .await;
    }
    let pushes = (0..plan.events).map(tag);
    let builds = (0..plan.events).map(|n| format!("{}-{}", job(n), n % PER_PIPELINE + 1));
    let times = (0..plan.events).map(|n| format!("time-{n}"));
    pushes.chain(builds).chain(times).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_push_build_and_time_starts_one_execution_while_replicas_are_killed() {
    let plan = Plan::from_environment();
    let jenkins = Jenkins::start().await.unwrap();
    for number in (0..plan.events).step_by(PER_PIPELINE) {
        jenkins.job(&job(number), &[]);
    }
    let pace = Pace {
        jenkins: Some(jenkins.address().to_owned()),
        ..Pace::default()
    };
    let world = World::up_at(processes(3), &pace).await.unwrap();
    let expected = save_all(&world, &plan).await;
    let polled = async |more: usize| {
        let before = jenkins.polls();
        let done = eventually("Jenkins is polled", DEADLINE, async || {
            let polls = jenkins.polls() - before;
            if polls >= more { Ok(()) } else { Err(polls) }
        });
        done.await.unwrap();
    };
    // What ended before the first poll would be history.
    polled(2).await;
    let killer = Killer::alternately(world.stack.pid().unwrap(), &SERVICES, PAUSE);
    let path = format!("/webhooks/docker/{REGISTRY}");
    let push = async |number: usize| {
        let (gate, path) = (world.stack.gate.clone(), path.clone());
        let body = notification(number);
        // Not by the name of the delivery: by what was pushed.
        let name = format!("push-{}", UNIX_EPOCH.elapsed().unwrap().as_nanos());
        gate.deliver(&path, &name, &body, DEADLINE).await.unwrap();
    };
    let mut ticks = tokio::time::interval(plan.every);
    for number in 0..plan.events {
        ticks.tick().await;
        jenkins.build(&job(number), "SUCCESS", &[]);
        push(number).await;
        if number % REPEATED == 0 {
            push(number).await;
        }
    }
    require_one_each(&world, &expected).await;
    let kills = killer.stop().await.unwrap();
    // Everything once more, and polls that find nothing new.
    for number in 0..plan.events {
        push(number).await;
    }
    polled(2).await;
    require_one_each(&world, &expected).await;
    println!("exactly once: {} events, {kills} kills", expected.len());
    assert!(kills >= 10, "{kills} kills");
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_that_come_while_no_orchestrator_lives_each_start_one_execution() {
    let plan = Plan::from_environment();
    let world = World::up(processes(2)).await.unwrap();
    let groups = plan.webhooks.div_ceil(PER_PIPELINE);
    for group in 0..groups {
        let trigger =
            json!({"type": "webhook", "enabled": true, "source": format!("source-{group}")});
        let event = "${trigger['payload']['event']}";
        save(&world, &format!("Hook {group}"), event, trigger).await;
    }
    // Nothing starts with a configuration that cannot be read, however often the supervisor tries; who runs
    // already has read it.
    let file = world.stack.data.join("gennaker.yml");
    let configuration = std::fs::read(&file).unwrap();
    std::fs::write(&file, "orchestrator: [").unwrap();
    let supervisor = world.stack.pid().unwrap();
    let mut found = replicas::of(supervisor);
    let orchestrators = found.remove("orchestrator").unwrap();
    assert_eq!(orchestrators.len(), 2);
    orchestrators.iter().copied().for_each(replicas::kill);
    let mut ticks = tokio::time::interval(plan.outage / u32::try_from(plan.webhooks).unwrap());
    let mut answers = Vec::new();
    for number in 0..plan.webhooks {
        ticks.tick().await;
        let gate = world.stack.gate.clone();
        answers.push(tokio::spawn(async move {
            let event = format!("hook-{number}");
            let path = format!("/webhooks/webhook/source-{}", number % groups);
            let body = json!({"event": event});
            let asked = Instant::now();
            gate.deliver(&path, &event, &body, DEADLINE).await.unwrap();
            let took = asked.elapsed();
            if number % REPEATED == 0 {
                gate.deliver(&path, &event, &body, DEADLINE).await.unwrap();
            }
            took
        }));
    }
    let mut slowest = Duration::ZERO;
    for answer in answers {
        slowest = slowest.max(answer.await.unwrap());
    }
    assert!(slowest < ANSWER, "a webhook was answered after {slowest:?}");
    let told = world.sink.deliveries("/hook").len();
    assert_eq!(told, 0, "an orchestrator lived");
    let others = replicas::of(supervisor);
    found.keys().for_each(|service| {
        assert_eq!(others.get(service), found.get(service), "{service}");
    });
    std::fs::write(&file, configuration).unwrap();
    let back = Instant::now();
    let expected: BTreeSet<String> = (0..plan.webhooks).map(|n| format!("hook-{n}")).collect();
    require_one_each(&world, &expected).await;
    println!(
        "outage of {:?}: {} webhooks, slowest answer {slowest:?}, all ended {:?} after it",
        plan.outage,
        plan.webhooks,
        back.elapsed()
    );
}
