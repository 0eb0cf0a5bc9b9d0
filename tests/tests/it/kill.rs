//! `kill -9` at points drawn from the log of an undisturbed run: whatever moment it is, the run ends with
//! the same statuses, nothing outside happens twice, and nothing is left behind.
//!
//! A point is right after a line of the log that marks a commit, a step of an operation or a generation
//! of the balancer. `KILL=all` takes every point; otherwise eight are taken, at least one of each kind.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::census::{self, Role};
use tests::fixture::{pipeline, webhook};
use tests::gate::outline;
use tests::redis::Fsync;
use tests::world::{APPLICATION, DEPLOYMENT, HOSTS};
use tests::{Backend, Setup, World, balancer, eventually};

use crate::first_pipeline::backends;

/// What the log must show, and how its lines are recognised.
const FILTER: &str = "info,store=debug,cloud_driver=debug,orchestrator=debug";
const MARKS: [(Kind, &str); 3] = [
    (Kind::Commit, "committed"),
    (Kind::Step, "operation step"),
    (Kind::Generation, "generation applied"),
];
const KILLS: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Commit,
    Step,
    Generation,
}

fn kind(line: &str) -> Option<Kind> {
    MARKS
        .iter()
        .find(|(_, mark)| line.contains(mark))
        .map(|(kind, _)| *kind)
}

/// Sees the log of every control plane of a world, and kills it after so many marks.
#[derive(Default)]
struct Reaper {
    /// Marks seen since the run began; `None` between runs.
    seen: Option<Vec<Kind>>,
    /// The numbers of marks after which to kill, ascending.
    kills: Vec<usize>,
    /// How many kills were done.
    done: usize,
    /// Do not kill, but count: somebody else is killed at these points.
    spare: bool,
}

impl Reaper {
    fn see(&mut self, pid: Pid, line: &str) {
        let (Some(kind), Some(seen)) = (kind(line), &mut self.seen) else {
            return;
        };
        seen.push(kind);
        if self.kills.first().is_some_and(|at| seen.len() > *at) {
            self.kills.remove(0);
            self.done += 1;
            if !self.spare {
                let _gone = kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// What the outside counted of one run.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// Type and status of every stage, in the execution's order, and of the execution.
    statuses: Vec<(String, String)>,
    /// Processes that announced their start.
    started: usize,
    /// What the balancer saw of the traffic: how often an instance began to serve, answered its first
    /// request, had drained.
    traffic: [usize; 3],
    /// Distinct effects that each webhook's server was asked for.
    effects: [usize; 2],
}

/// A run and what the harness knows of it.
struct Run {
    outcome: Outcome,
    /// The marks of the log.
    seen: Vec<Kind>,
    /// Kills that were done.
    done: usize,
    /// Generations of the balancer that were used up.
    used: u64,
}

/// A world that serves version 1, and a way to replace it by the next.
struct Scene {
    world: World,
    reaper: Arc<Mutex<Reaper>>,
    images: [String; 2],
    runs: usize,
}

impl Scene {
    async fn set(backend: Backend) -> Self {
        let environment = vec![("GENNAKER_LOG".to_owned(), FILTER.to_owned())];
        let mut world = World::up(Setup {
            backend,
            environment,
            ..Setup::default()
        })
        .await
        .unwrap();
        let reaper = Arc::new(Mutex::new(Reaper::default()));
        let looking = Arc::clone(&reaper);
        world
            .stack
            .look(Arc::new(move |pid, line| lock(&looking).see(pid, line)));
        world.stack.kill_and_restart().await.unwrap();
        let one = world.push(&world.image("1")).await.unwrap();
        let two = world.push(&world.image("2")).await.unwrap();
        let images = [world.reference(&one), world.reference(&two)];
        world
            .deploy("prod", &images[0], "none", "SUCCEEDED")
            .await
            .unwrap();
        Self {
            world,
            reaper,
            images,
            runs: 0,
        }
    }

    /// Replaces the serving version by the other one, killing at these points, and counts.
    async fn run(&mut self, kills: &[usize], victim: Victim) -> Run {
        self.runs += 1;
        let version = ["1", "2"][self.runs % 2];
        let image = self.images[self.runs % 2].clone();
        let paths = [
            format!("/before/{}", self.runs),
            format!("/after/{}", self.runs),
        ];
        let cluster = self.world.cluster("prod", &image, "inplacedrain");
        let stages = [
            webhook("Before", "1", &[], &self.world.sink.url(&paths[0])),
            self.world.deploy_stage("2", &["1"], &cluster),
            webhook("After", "3", &["2"], &self.world.sink.url(&paths[1])),
        ];
        let started = self.world.started().len();
        let before = self.balancer().await;
        {
            let mut reaper = lock(&self.reaper);
            reaper.seen = Some(Vec::new());
            reaper.kills = kills.to_vec();
            reaper.done = 0;
            reaper.spare = victim == Victim::Redis;
        }
        let id = self.start(&pipeline(APPLICATION, "Replace", &stages)).await;
        let execution = self.attend(&id, victim).await;
        assert_eq!(
            execution["status"],
            "SUCCEEDED",
            "killed {victim:?} after points {kills:?}: {}",
            outline(&execution)
        );
        self.world.require_version("prod", version).await.unwrap();
        let (seen, done) = {
            let mut reaper = lock(&self.reaper);
            reaper.kills.clear();
            (reaper.seen.take().unwrap_or_default(), reaper.done)
        };
        self.nothing_is_left().await;
        let after = self.balancer().await;
        let used = number(&after, "generation") - number(&before, "generation");
        let traffic = self.traffic(number(&before, "lastEvent")).await;
        let outcome = Outcome {
            statuses: statuses(&execution),
            started: self.world.started().len() - started,
            traffic,
            effects: paths.map(|path| self.effects(&path)),
        };
        Run {
            outcome,
            seen,
            done,
            used,
        }
    }

    /// Starts the run. A kill may come before the answer: then nobody knows whether it was started, and
    /// the list of executions tells, as a client would find out.
    async fn start(&mut self, definition: &Value) -> String {
        let before = self.known().await.unwrap();
        if let Ok(id) = self.world.stack.gate.start_ad_hoc(definition).await {
            return id;
        }
        let end = tokio::time::Instant::now() + DEPLOYMENT;
        loop {
            assert!(
                tokio::time::Instant::now() < end,
                "the run could not be started"
            );
            self.revive().await;
            if let Ok(now) = self.known().await {
                if let Some(new) = now.difference(&before).next() {
                    return new.clone();
                }
                if let Ok(id) = self.world.stack.gate.start_ad_hoc(definition).await {
                    return id;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The ids of all executions.
    async fn known(&self) -> anyhow::Result<BTreeSet<String>> {
        let executions = self.world.stack.gate.executions(APPLICATION).await?;
        let id = |execution: &Value| execution["id"].as_str().unwrap_or_default().to_owned();
        Ok(executions.iter().map(id).collect())
    }

    /// Starts the control plane again whenever it was killed, until the execution has ended.
    async fn attend(&mut self, id: &str, victim: Victim) -> Value {
        let end = tokio::time::Instant::now() + DEPLOYMENT;
        let mut restarted = 0;
        loop {
            assert!(tokio::time::Instant::now() < end, "{id} has not ended");
            match victim {
                Victim::ControlPlane => self.revive().await,
                Victim::Redis => {
                    let done = lock(&self.reaper).done;
                    if done > restarted {
                        restarted = done;
                        let redis = self.world.stack.redis.as_mut().unwrap();
                        redis.kill_and_restart().await.unwrap();
                    }
                }
            }
            if let Ok(execution) = self.world.stack.gate.execution(id).await
                && tests::gate::is_complete(&execution)
            {
                return execution;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn revive(&mut self) {
        if self.world.stack.has_ended().unwrap() {
            // A kill may come during the start too; then the next round starts it again.
            let _killed = self.world.stack.start().await;
        }
    }

    async fn balancer(&self) -> Value {
        balancer::state(&self.world.stack.data).await.unwrap()
    }

    async fn traffic(&self, after: u64) -> [usize; 3] {
        let events = balancer::events(&self.world.stack.data, after)
            .await
            .unwrap();
        let count = |is: &dyn Fn(&Value) -> bool| events.iter().filter(|event| is(event)).count();
        [
            count(&|event| event["kind"] == "state" && event["state"] == "serving"),
            count(&|event| event["kind"] == "firstServed"),
            count(&|event| event["kind"] == "drained"),
        ]
    }

    /// How many effects a webhook's server was asked for: deliveries that carry the same effect id are
    /// one, since a server that keeps the id applies it once.
    fn effects(&self, path: &str) -> usize {
        let deliveries = self.world.sink.deliveries(path);
        let ids: BTreeSet<_> = deliveries
            .iter()
            .map(|delivery| delivery.headers.get("idempotency-key"))
            .collect();
        assert!(!ids.contains(&None), "a webhook without an effect id");
        ids.len()
    }

    async fn nothing_is_left(&self) {
        eventually(
            "only the new version's processes run",
            Duration::from_secs(40),
            async || {
                let served = census::count(&self.world.stack.data, Role::Served);
                let shims = census::count(&self.world.stack.data, Role::Shim);
                // One shim for each instance, one for the balancer.
                if (served, shims) == (HOSTS, HOSTS + 1) {
                    Ok(())
                } else {
                    Err((served, shims))
                }
            },
        )
        .await
        .unwrap();
        assert_eq!(self.world.serving("prod").await.unwrap(), HOSTS);
    }
}

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    ControlPlane,
    Redis,
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap()
}

fn statuses(execution: &Value) -> Vec<(String, String)> {
    let of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    execution["stages"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|stage| (of(&stage["type"]), of(&stage["status"])))
        .chain([("execution".to_owned(), of(&execution["status"]))])
        .collect()
}

fn lock(reaper: &Mutex<Reaper>) -> std::sync::MutexGuard<'_, Reaper> {
    reaper.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every point with `KILL=all`, else eight spread over the run, at least one of each kind.
fn choose(points: &[Kind]) -> Vec<usize> {
    if std::env::var("KILL").as_deref() == Ok("all") {
        return (0..points.len()).collect();
    }
    let mut chosen: BTreeSet<usize> = BTreeSet::new();
    for kind in [Kind::Commit, Kind::Step, Kind::Generation] {
        let of_kind: Vec<usize> = (0..points.len()).filter(|at| points[*at] == kind).collect();
        chosen.extend(of_kind.get(of_kind.len() / 2));
    }
    let spread = KILLS - chosen.len();
    chosen.extend((0..spread).map(|part| (2 * part + 1) * points.len() / (2 * spread)));
    // Two of them may have met.
    let rest = (0..points.len()).filter(|at| !chosen.contains(at));
    let missing: Vec<usize> = rest.take(KILLS - chosen.len()).collect();
    chosen.extend(missing);
    chosen.into_iter().collect()
}

#[test]
fn the_chosen_points_have_every_kind() {
    let mut points = vec![Kind::Commit; 60];
    points[7] = Kind::Step;
    points[41] = Kind::Generation;
    let chosen = choose(&points);
    assert!(
        chosen.len() >= KILLS && chosen.contains(&7) && chosen.contains(&41),
        "{chosen:?}"
    );
}

#[tokio::test]
async fn a_kill_at_any_point_changes_nothing() {
    for backend in backends() {
        let mut scene = Scene::set(backend).await;
        let undisturbed = scene.run(&[], Victim::ControlPlane).await;
        let (expected, points) = (&undisturbed.outcome, &undisturbed.seen);
        assert_eq!((expected.started, expected.effects), (HOSTS, [1, 1]));
        assert_eq!(expected.traffic, [HOSTS; 3]);
        for (kind, mark) in MARKS {
            assert!(
                points.contains(&kind),
                "the log shows no {mark:?}: nothing can be drawn"
            );
        }
        let chosen = choose(points);
        println!(
            "{backend:?}: {} points, killing after {chosen:?}",
            points.len()
        );
        for at in chosen {
            let run = scene.run(&[at], Victim::ControlPlane).await;
            assert_eq!(
                run.done,
                1,
                "the run ended before point {at}: {} marks",
                run.seen.len()
            );
            run.require_same_as(&undisturbed, &format!("point {at} ({:?})", points[at]));
        }
        // Several kills in one run.
        let several: Vec<usize> = (1..4).map(|part| part * points.len() / 4).collect();
        let run = scene.run(&several, Victim::ControlPlane).await;
        assert!(run.done >= 2, "{} kills only", run.done);
        run.require_same_as(&undisturbed, &format!("points {several:?}"));
    }
}

impl Run {
    /// A start tells the balancer what it finds in the journal. That may be a state which the undisturbed
    /// run went through without a word, so every kill may use up one generation more; nothing in it is
    /// done twice, which is what the balancer's own events show.
    fn require_same_as(&self, other: &Self, killed: &str) {
        assert_eq!(self.outcome, other.outcome, "killed after {killed}");
        assert!(
            self.used <= other.used + self.done as u64,
            "killed after {killed}: {} generations instead of {}",
            self.used,
            other.used
        );
    }
}

#[tokio::test]
async fn redis_killed_at_any_point_changes_nothing_when_it_syncs_always() {
    redis_killed(Fsync::Always).await;
}

/// Up to two seconds of commits are undone; they are noticed and repeated under the same effect ids.
#[tokio::test]
async fn redis_killed_loses_at_most_the_last_commits_when_it_syncs_every_second() {
    redis_killed(Fsync::EverySecond).await;
}

async fn redis_killed(fsync: Fsync) {
    if !tests::program::installed(tests::redis::PROGRAM) {
        println!("skipped: redis-server is not installed");
        return;
    }
    let mut scene = Scene::set(Backend::Redis(fsync)).await;
    let undisturbed = scene.run(&[], Victim::ControlPlane).await;
    for part in 1..4 {
        let at = part * undisturbed.seen.len() / 4;
        let run = scene.run(&[at], Victim::Redis).await;
        assert_eq!(run.done, 1, "the run ended before point {at}");
        run.require_same_as(&undisturbed, &format!("redis at point {at}"));
    }
}
