//! Three of each service on Redis, and nothing is left alone: a process killed every 200 ms, workers stopped
//! past their leases, Redis stopped or killed. Every execution comes to what it came to undisturbed, and
//! every effect is applied once.
//!
//! `CHAOS=long` makes it 1,000 executions; `CHAOS_SEED` does the same things to the processes once more.

mod loss;
mod verdict;
mod watch;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::Value;
use tests::effects::{Ledger, Memory};
use tests::gate::store_notices;
use tests::havoc::{Done, Havoc, Schedule};
use tests::redis::Fsync;
use tests::sink::{Delivery, Sink};
use tests::{Backend, Setup, Stack};

use loss::{Loss, NOTICED};
use verdict::{Expected, Place, outcomes};
use watch::{Shown, Watch};
use work::{KINDS, number};

/// How much is asked for.
struct Plan {
    seed: u64,
    starts: usize,
    /// From one start to the next.
    every: Duration,
    /// Everything has ended so long after the last start.
    deadline: Duration,
    /// How often Redis is killed and loses commits, where it may.
    losses: u32,
}

impl Plan {
    fn from_environment() -> Self {
        let long = std::env::var("CHAOS").is_ok_and(|asked| asked == "long");
        let (starts, every, deadline, losses) = match long {
            true => (1_000, 300, 400, 5),
            false => (60, 250, 120, 1),
        };
        let seed = std::env::var("CHAOS_SEED").ok();
        let seed = seed.map(|seed| seed.parse().unwrap());
        let now = || UNIX_EPOCH.elapsed().unwrap().subsec_nanos().into();
        Self {
            seed: seed.unwrap_or_else(now),
            starts,
            every: Duration::from_millis(every),
            deadline: Duration::from_secs(deadline),
            losses,
        }
    }

    /// The starts under disturbance: those before are the undisturbed ones.
    fn numbers(&self) -> std::ops::Range<usize> {
        calm().end..calm().end + self.starts
    }
}

/// The undisturbed starts: each kind, even and odd.
fn calm() -> std::ops::Range<usize> {
    0..2 * KINDS.len()
}

/// A stack with its pipelines, and what they come to undisturbed.
struct Scene {
    stack: Stack,
    sink: Sink,
    pipelines: Vec<String>,
    expected: Expected,
}

impl Scene {
    async fn set(fsync: Fsync) -> Self {
        let sink = Sink::start().await.unwrap();
        let arguments = ["--processes", "--replicas", "3", "--egress-allow"];
        let mut arguments: Vec<String> = arguments.map(ToOwned::to_owned).to_vec();
        arguments.push(sink.address());
        let setup = Setup {
            backend: Backend::Redis(fsync),
            arguments,
            ..Setup::default()
        };
        let stack = Stack::up(setup).await.unwrap();
        let pipelines = work::save(&stack.gate, &sink).await;
        let mut scene = Self {
            stack,
            sink,
            pipelines,
            expected: Expected::new(),
        };
        scene.expected = scene.undisturbed().await;
        scene
    }

    async fn undisturbed(&self) -> Expected {
        let gate = &self.stack.gate;
        tokio::select! {
            () = work::judge(gate) => {}
            () = async {
                work::ask_all(gate, calm(), Duration::from_millis(50)).await;
                work::ended(gate, calm(), Duration::from_secs(60)).await;
            } => {}
        }
        let executions = self.executions().await;
        let ledger = self.ledger(Memory::Keys, |_| true);
        assert_eq!(ledger.repeats, 0, "without any disturbance");
        let expected = verdict::expected(outcomes(&executions, &ledger));
        let statuses: BTreeSet<&str> = expected.values().flat_map(|o| o.statuses()).collect();
        // What can come out differently does.
        for status in [
            "SUCCEEDED",
            "TERMINAL",
            "STOPPED",
            "FAILED_CONTINUE",
            "SKIPPED",
            "NOT_STARTED",
        ] {
            assert!(statuses.contains(status), "no {status}: {expected:#?}");
        }
        expected
    }

    async fn executions(&self) -> BTreeMap<String, Value> {
        work::executions(&self.stack.gate, &self.pipelines).await
    }

    fn ledger(&self, memory: Memory, wanted: impl Fn(&Delivery) -> bool) -> Ledger<Place> {
        let place = |delivery: &Delivery| work::place(delivery).filter(|_| wanted(delivery));
        Ledger::of(&self.sink.all(), memory, place)
    }

    /// Runs the load under disturbance; `beside` goes on meanwhile.
    async fn disturbed(
        &mut self,
        plan: &Plan,
        schedule: Schedule,
        losses: u32,
    ) -> (Done, [Shown; 2], Vec<Loss>) {
        let (gate, numbers) = (self.stack.gate.clone(), plan.numbers());
        let watch = Watch::begin(&gate);
        let havoc = Havoc::begin(self.stack.pid().unwrap(), schedule);
        let judge = tokio::spawn({
            let gate = gate.clone();
            async move { work::judge(&gate).await }
        });
        let all = plan.every * u32::try_from(plan.starts).unwrap();
        let losing = async {
            let mut caused = Vec::new();
            for _ in 0..losses {
                tokio::time::sleep(all / (losses + 1)).await;
                caused.push(loss::cause(&mut self.stack, &watch).await);
            }
            caused
        };
        let asking = work::ask_all(&gate, numbers.clone(), plan.every);
        let ((), caused) = tokio::join!(asking, losing);
        if !caused.is_empty() {
            // Senders whose deliveries were lost with the last commits repeat them.
            work::ask_all(&gate, numbers.clone(), Duration::from_millis(10)).await;
        }
        work::ended(&gate, numbers, plan.deadline).await;
        let done = havoc.end().await.unwrap();
        judge.abort();
        (done, watch.end(), caused)
    }
}

fn require_none(faults: &[String], what: &str) {
    let shown: Vec<&String> = faults.iter().take(10).collect();
    assert!(
        faults.is_empty(),
        "{what}: {} faults, such as {shown:#?}",
        faults.len()
    );
}

/// Prints the figures of a run.
fn tell(mode: &str, plan: &Plan, done: &Done, shown: &[Shown; 2], rest: &str) {
    println!(
        "chaos: appendfsync {mode}, seed {}: {} starts; {} kills {:?}, {} workers stopped past their leases, \
         Redis stopped {} times; {} and {} statuses watched; {rest}",
        plan.seed,
        plan.starts,
        done.killed(),
        done.kills,
        done.stops,
        done.redis,
        shown[0].seen,
        shown[1].seen,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_or_stopped_everything_ends_as_undisturbed_and_is_done_once() {
    let plan = Plan::from_environment();
    println!("chaos: appendfsync always, seed {}", plan.seed);
    let mut scene = Scene::set(Fsync::Always).await;
    let redis = scene.stack.redis.as_ref().unwrap().pid().unwrap();
    let begun = Instant::now();
    let schedule = Schedule::new(plan.seed, Some(redis));
    let (done, shown, _) = scene.disturbed(&plan, schedule, 0).await;
    let took = begun.elapsed();
    let executions = scene.executions().await;
    let ledger = scene.ledger(Memory::Keys, |_| true);
    let rest = format!(
        "{} executions, {} effects applied, {} repeats refused by the outside, {took:?}",
        executions.len(),
        ledger.done(),
        ledger.repeats,
    );
    tell("always", &plan, &done, &shown, &rest);
    let came_to = outcomes(&executions, &ledger);
    let faults = verdict::faults(&scene.expected, plan.numbers(), &came_to, &ledger);
    require_none(&faults, "what it came to");
    require_none(&verdict::unfinished(&executions), "at the end");
    let left = verdict::left(&shown, &executions);
    assert_eq!(left, [], "terminal statuses were left");
    let said: usize = executions.values().map(store_notices).sum();
    assert_eq!(said, 0, "nothing was lost");
    assert!(
        done.killed() > 100 && done.stops > 2 && done.redis > 0,
        "{done:?}"
    );
    assert!(shown.iter().all(|shown| shown.seen > 100), "nobody watched");
    // The control: an outside that forgets what it was asked for would have done something twice.
    let forgetful = scene.ledger(Memory::None, |_| true);
    let came_to = outcomes(&executions, &forgetful);
    let faults = verdict::faults(&scene.expected, plan.numbers(), &came_to, &forgetful);
    assert!(!faults.is_empty(), "no repeat came: the test cannot fail");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_loses_its_last_commits_loses_whole_ones_and_that_is_said() {
    let plan = Plan::from_environment();
    println!("chaos: appendfsync everysec, seed {}", plan.seed);
    let mut scene = Scene::set(Fsync::EverySecond).await;
    let begun = Instant::now();
    let schedule = Schedule::new(plan.seed, None);
    let (done, shown, losses) = scene.disturbed(&plan, schedule, plan.losses).await;
    let took = begun.elapsed();
    let executions = scene.executions().await;
    let (mut commits, mut vanished, mut went_back, mut faults) = (0, 0, 0, Vec::new());
    for loss in &losses {
        let found = loss.judge(&scene.stack, &executions).await;
        commits += found.commits;
        vanished += found.vanished.len();
        went_back += found.went_back.len();
        faults.extend(found.faults);
    }
    // Starts whose first execution was lost as a whole and that were asked for again: what it had done, a
    // new one does under keys of its own.
    let anew: BTreeSet<usize> = scene
        .sink
        .all()
        .iter()
        .filter_map(|delivery| {
            let (number, ..) = work::place(delivery)?;
            let body = delivery.json().ok()?;
            let is_there = executions.contains_key(body["root"].as_str()?);
            (!is_there).then_some(number)
        })
        .collect();
    let is_kept = |delivery: &Delivery| {
        work::place(delivery).is_some_and(|(number, ..)| !anew.contains(&number))
    };
    let ledger = scene.ledger(Memory::Keys, is_kept);
    let rest = format!(
        "Redis killed {} times with the end of its log lost: {commits} commits seen lost, {went_back} executions \
         went back, {vanished} vanished, {} starts done anew; {} executions, {} effects applied once, {} repeats \
         refused by the outside, {took:?}",
        losses.len(),
        anew.len(),
        executions.len(),
        ledger.done(),
        ledger.repeats,
    );
    tell("everysec", &plan, &done, &shown, &rest);
    require_none(&faults, "what was lost");
    assert!(commits > 0, "nothing was lost: the test cannot fail");
    let log = scene.stack.log().unwrap();
    assert!(log.contains(NOTICED), "nobody noticed");
    let came_to = outcomes(&executions, &ledger);
    let kept = plan.numbers().filter(|number| !anew.contains(number));
    let faults = verdict::faults(&scene.expected, kept, &came_to, &ledger);
    require_none(&faults, "what it came to");
    require_none(&verdict::unfinished(&executions), "at the end");
    for number in &anew {
        let again = executions
            .values()
            .filter(|e| self::number(e) == Some(*number));
        assert_eq!(again.count(), 1, "start {number}");
    }
    // No terminal status is undone without a word.
    for left in verdict::left(&shown, &executions) {
        let told = executions.get(&left.execution).map(store_notices);
        assert!(told != Some(0), "{left:?} was not said");
    }
}
