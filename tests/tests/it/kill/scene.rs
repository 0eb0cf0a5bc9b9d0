//! A world in which one version replaces the other, over and over, and what the outside counts of it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tests::census::{self, Role};
use tests::fixture::{pipeline, webhook};
use tests::gate::{outline, store_notices};
use tests::world::{APPLICATION, DEPLOYMENT, HOSTS};
use tests::{Backend, Setup, World, balancer, eventually};

use super::reaper::{Kind, LOST, Reaper, lock};

/// What the log must show.
const FILTER: &str = "info,store=debug,cloud_driver=debug,orchestrator=debug";

/// What the outside counted of one run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Type and status of every stage, in the execution's order, and of the execution.
    pub(crate) statuses: Vec<(String, String)>,
    /// Processes that announced their start.
    pub(crate) started: usize,
    /// What the balancer saw of the traffic: how often an instance began to serve, answered its first
    /// request, had drained.
    pub(crate) traffic: [usize; 3],
    /// Distinct effects that each webhook's server was asked for.
    pub(crate) effects: [usize; 2],
}

/// A run and what the harness knows of it.
pub(crate) struct Run {
    pub(crate) outcome: Outcome,
    /// The marks of the log.
    pub(crate) seen: Vec<Kind>,
    /// Kills that were done.
    pub(crate) done: usize,
    /// Generations of the balancer that were used up.
    pub(crate) used: u64,
    /// What the execution says of the store.
    pub(crate) notices: usize,
}

/// A world that serves version 1, and a way to replace it by the next.
pub(crate) struct Scene {
    pub(crate) world: World,
    reaper: Arc<Mutex<Reaper>>,
    images: [String; 2],
    runs: usize,
}

impl Scene {
    pub(crate) async fn set(backend: Backend) -> Self {
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
    pub(crate) async fn run(&mut self, kills: &[usize], victim: Victim) -> Run {
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
            reaper.spare = victim != Victim::ControlPlane;
            reaper.cut = match (victim, &self.world.stack.redis) {
                (Victim::LastCommits, Some(redis)) => Some((redis.log(), 0)),
                _ => None,
            };
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
            notices: store_notices(&execution),
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
                Victim::Redis | Victim::LastCommits => {
                    let (done, cut) = {
                        let reaper = lock(&self.reaper);
                        (reaper.done, reaper.cut.as_ref().map(|(_, size)| *size))
                    };
                    if done > restarted {
                        restarted = done;
                        let redis = self.world.stack.redis.as_mut().unwrap();
                        match cut {
                            None => redis.kill_and_restart().await.unwrap(),
                            Some(0) => panic!("the log's size before the kill is not known"),
                            Some(size) => redis.kill_and_restart_with(size).await.unwrap(),
                        }
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
pub(crate) enum Victim {
    ControlPlane,
    Redis,
    /// Redis, and with it the commits of the last marks.
    LastCommits,
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

impl Run {
    /// A start tells the balancer what it finds in the journal. That may be a state which the undisturbed
    /// run went through without a word, so every kill may use up one generation more; nothing in it is
    /// done twice, which is what the balancer's own events show.
    pub(crate) fn require_same_as(&self, other: &Self, killed: &str) {
        assert_eq!(self.outcome, other.outcome, "killed after {killed}");
        self.require_generations(other, self.done, killed);
    }

    /// A journal that went back makes the balancer go through some states again: what it observes of them
    /// may come twice, what is done outside may not.
    pub(crate) fn require_same_effects_as(&self, other: &Self, killed: &str) {
        let (own, theirs) = (&self.outcome, &other.outcome);
        assert_eq!(own.statuses, theirs.statuses, "killed after {killed}");
        assert_eq!(own.started, theirs.started, "killed after {killed}");
        assert_eq!(own.effects, theirs.effects, "killed after {killed}");
        let seen = own.traffic.iter().zip(&theirs.traffic);
        assert!(
            seen.clone().all(|(own, theirs)| own >= theirs),
            "killed after {killed}: {:?} instead of {:?}",
            own.traffic,
            theirs.traffic
        );
        self.require_generations(other, self.done + LOST, killed);
    }

    fn require_generations(&self, other: &Self, more: usize, killed: &str) {
        assert!(
            self.used <= other.used + more as u64,
            "killed after {killed}: {} generations instead of {}",
            self.used,
            other.used
        );
    }
}
