//! Every strategy with real processes behind the real balancer: new versions, broken ones, rollbacks by hand,
//! the control plane killed meanwhile, and no request fails.
//!
//! On Redis where that is installed. `ZERO_FAILED_REQUESTS=long` makes it 70 deployments and 700,000 requests.

use std::time::Duration;

use serde_json::{Value, json};
use tests::fixture::{pipeline, stage};
use tests::load::{EVERY_KIND, Load};
use tests::world::{self, APPLICATION, HOSTS, Pace, REGION};
use tests::{Setup, World};

use crate::first_pipeline::backends;
use crate::zero_failed_requests::{abrupt, broken, require_failures};

/// The account with room for several groups.
pub(crate) const ACCOUNT: &str = "staging";

/// A strategy with its fields.
pub(crate) fn strategies() -> Vec<Value> {
    vec![
        json!({"strategy": "redblack", "maxRemainingAsgs": 2}),
        json!({"strategy": "highlander"}),
        json!({"strategy": "rollingredblack", "targetPercentages": [34, 67], "scaleDown": true}),
        json!({"strategy": "canary", "trafficPercentages": [10, 50], "delayBeforeCleanup": 1,
            "scaleDown": true}),
        json!({"strategy": "inplacedrain"}),
    ]
}

struct Plan {
    deployments: usize,
    requests: u64,
    rate: u32,
    /// Answers and conversations of users that take long, and how long a drain waits for the latter.
    users: [&'static str; 6],
    drain_seconds: u32,
    /// Every how many deployments the control plane is killed in one.
    kill_every: usize,
    /// The deployments within which the balancer is upgraded.
    upgrades: &'static [usize],
}

impl Plan {
    fn from_environment() -> Self {
        match std::env::var("ZERO_FAILED_REQUESTS").as_deref() {
            Ok("long") => Self {
                deployments: 70,
                requests: 700_000,
                rate: 500,
                users: [
                    "--slow-ms",
                    "10000",
                    "--stream-ms",
                    "5000",
                    "--socket-ms",
                    "15000",
                ],
                drain_seconds: 12,
                kill_every: 5,
                upgrades: &[11, 31, 52],
            },
            _ => Self {
                deployments: 14,
                requests: 20_000,
                rate: 300,
                users: [
                    "--slow-ms",
                    "3000",
                    "--stream-ms",
                    "2000",
                    "--socket-ms",
                    "8000",
                ],
                drain_seconds: 5,
                kill_every: 4,
                upgrades: &[5],
            },
        }
    }
}

/// One deployment of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Good,
    /// It dies at once: the version before must go on serving.
    Broken,
    /// A rollback of the cluster by hand.
    Back,
}

/// What is done, over and over: with every strategy a new version, a broken one, and a rollback. After
/// `highlander` there is nothing to go back to.
fn steps(strategies: &[Value]) -> Vec<(usize, Change)> {
    let mut steps = Vec::new();
    for (n, strategy) in strategies.iter().enumerate() {
        steps.extend([(n, Change::Good), (n, Change::Broken)]);
        if strategy["strategy"] != "highlander" {
            steps.push((n, Change::Back));
        }
    }
    steps
}

impl Change {
    fn tag(self, number: usize) -> String {
        format!("{}", number + 2)
    }
}

async fn start(world: &World, image: &str, fields: &Value, plan: &Plan) -> String {
    let mut cluster = world.cluster(ACCOUNT, image, "none");
    cluster["drainSeconds"] = json!(plan.drain_seconds);
    let own = fields.as_object().unwrap();
    cluster.as_object_mut().unwrap().extend(own.clone());
    let stages = [world.deploy_stage("1", &[], &cluster)];
    let pipeline = pipeline(APPLICATION, "Deploy", &stages);
    world.stack.gate.start_ad_hoc(&pipeline).await.unwrap()
}

async fn roll_back(world: &World) -> String {
    let fields = json!({
        "credentials": ACCOUNT, "cloudProvider": "local", "regions": [REGION],
        "cluster": world::cluster(ACCOUNT),
        "moniker": {"app": APPLICATION, "cluster": world::cluster(ACCOUNT)},
    });
    let stages = [stage("rollbackCluster", "Roll back", "1", &[], fields)];
    let pipeline = pipeline(APPLICATION, "Roll back", &stages);
    world.stack.gate.start_ad_hoc(&pipeline).await.unwrap()
}

/// The version that answers.
async fn version(world: &World) -> String {
    world.visit(ACCOUNT, "/version").await.unwrap().text()
}

#[tokio::test]
async fn no_request_fails_whatever_the_strategy() {
    let plan = Plan::from_environment();
    // The stories of `zero_failed_requests` run on both stores; what moves instances is the same.
    if let Some(backend) = backends().pop() {
        let setup = Setup {
            backend,
            ..Setup::default()
        };
        let mut world = World::up_at(setup, &Pace::default()).await.unwrap();
        let first = world.push(&world.image("1")).await.unwrap();
        let first = world.reference(&first);
        world
            .deploy(ACCOUNT, &first, "none", "SUCCEEDED")
            .await
            .unwrap();
        world.require_version(ACCOUNT, "1").await.unwrap();
        let folder = world.folder().unwrap();
        let host = world::host(ACCOUNT);
        let users = [&EVERY_KIND[..], &plan.users].concat();
        let port = world.stack.balancer_port;
        let load = Load::start(&folder, port, &host, plan.rate, &users).unwrap();
        let begun = std::time::Instant::now();
        let all = strategies();
        let steps = steps(&all);
        let mut kills = 0;
        for number in 0..plan.deployments {
            let (which, change) = steps[number % steps.len()];
            let before = version(&world).await;
            let tag = change.tag(number);
            let image = match change {
                Change::Broken => world.image(&tag).with("EXIT_AFTER_MS", "0"),
                Change::Good | Change::Back => world.image(&tag),
            };
            let at = std::time::Instant::now();
            let id = if change == Change::Back {
                roll_back(&world).await
            } else {
                let image = world.push(&image).await.unwrap();
                start(&world, &world.reference(&image), &all[which], &plan).await
            };
            if number % plan.kill_every == plan.kill_every - 1 {
                // Somewhere in it: deployments take seconds.
                let part = u64::try_from(number % 7).unwrap();
                tokio::time::sleep(Duration::from_millis(400 * (part + 1))).await;
                world.stack.kill_and_restart().await.unwrap();
                kills += 1;
            }
            if plan.upgrades.contains(&number) {
                world.stack.upgrade_balancer().await.unwrap();
            }
            let status = match change {
                Change::Broken => "TERMINAL",
                Change::Good | Change::Back => "SUCCEEDED",
            };
            let ended = world.ended(&id, status).await;
            ended.unwrap_or_else(|error| {
                panic!("{number}: {change:?} by {}: {error:#}", all[which])
            });
            let after = version(&world).await;
            match change {
                Change::Good => assert_eq!(after, tag, "{}", all[which]),
                Change::Broken => assert_eq!(after, before, "{}", all[which]),
                Change::Back => assert_ne!(after, before),
            }
            world.require_version(ACCOUNT, &after).await.unwrap();
            println!(
                "{number}: {change:?} by {} took {:?}",
                all[which]["strategy"],
                at.elapsed()
            );
        }
        let enough = Duration::from_secs(plan.requests / u64::from(plan.rate) + 2);
        if let Some(rest) = enough.checked_sub(begun.elapsed()) {
            tokio::time::sleep(rest).await;
        }
        let report = load.stop().await.unwrap();
        println!(
            "{backend:?}: {} requests ({}), {} deployments, {kills} kills, {} upgrades, longest gap {} ms",
            report.count("answered").unwrap(),
            report.by_kind(),
            plan.deployments,
            plan.upgrades.len(),
            report.count("longestGapMs").unwrap(),
        );
        report.require_clean().unwrap();
        println!(
            "{backend:?}: 0 failed; with 95 % confidence fewer than {:.2} of a million requests fail",
            report.upper_bound_per_million().unwrap()
        );
        let farewells = &report.summary["kinds"]["socket"]["farewells"];
        assert_ne!(
            farewells, 0,
            "no conversation was sent away: {}",
            report.summary
        );
        assert!(report.count("answered").unwrap() >= plan.requests);
        assert!(world.serving(ACCOUNT).await.unwrap() >= HOSTS);
    }
}

/// A group that serves gets smaller, when enough three-second answers are under way on all its instances.
fn smaller(_: &World, _: &str) -> Vec<Value> {
    let fields = json!({
        "credentials": ACCOUNT, "cloudProvider": "local", "regions": [REGION],
        "cluster": world::cluster(ACCOUNT), "target": "current_asg_dynamic",
        "moniker": {"app": APPLICATION, "cluster": world::cluster(ACCOUNT)},
        "action": "scale_exact", "capacity": {"min": 1, "max": 1, "desired": 1},
    });
    let wait = stage("wait", "Wait", "1", &[], json!({"waitTime": 4}));
    vec![
        wait,
        stage("resizeServerGroup", "Resize", "2", &["1"], fields),
    ]
}

/// The strategies disable a group, see that its requests have ended, and only then stop it: they do not notice an
/// operation that does not drain, nor one that does not see the new group serve, because the stage looks for
/// itself. Whoever makes a group that serves smaller notices.
#[tokio::test]
async fn control_making_a_group_smaller_without_a_drain_makes_requests_fail() {
    let report = broken("drain-off", (ACCOUNT, smaller), abrupt).await;
    require_failures("stopped without a drain", &report, &["slow"]);
}
