//! The main promise: images are deployed, roll back by themselves and by hand, the control plane is killed
//! meanwhile, and no request fails. Users are a load generator that never repeats a request.
//!
//! `ZERO_FAILED_REQUESTS=long` makes it 30 deployments and 300,000 requests. The controls break one
//! rule each and must make requests fail.

use std::time::Duration;

use serde_json::Value;
use tests::balancer::{self, Watched, Watcher};
use tests::fixture::pipeline;
use tests::load::{EVERY_KIND, Load, Report};
use tests::world::{self, APPLICATION, HOSTS, Pace};
use tests::{Backend, Setup, World, eventually};

use crate::first_pipeline::backends;

const ACCOUNT: &str = "prod";
/// What the controls here deploy with.
const IN_PLACE: (&str, Stages) = (ACCOUNT, in_place);

/// How much is asked for.
struct Plan {
    deployments: usize,
    requests: u64,
    rate: u32,
    users: Vec<&'static str>,
    /// The deployments within which the balancer is upgraded.
    upgrades: &'static [usize],
}

impl Plan {
    fn from_environment() -> Self {
        match std::env::var("ZERO_FAILED_REQUESTS").as_deref() {
            Ok("long") => Self {
                deployments: 30,
                requests: 300_000,
                rate: 500,
                users: [&EVERY_KIND[..], &["--slow-ms", "10000"]].concat(),
                upgrades: &[8, 20],
            },
            _ => Self {
                deployments: 8,
                requests: 40_000,
                rate: 400,
                users: EVERY_KIND.to_vec(),
                upgrades: &[4],
            },
        }
    }
}

/// One deployment of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// A version that works.
    Good,
    /// A version that dies at once: it must roll itself back.
    Broken,
    /// The version before: a rollback by hand.
    Back,
}

/// Which deployment is what, and whether the control plane is killed during it.
fn change(number: usize) -> (Change, bool) {
    let change = match number % 4 {
        1 => Change::Broken,
        3 => Change::Back,
        _ => Change::Good,
    };
    // Of every eight: one good one, a broken one and a rollback by hand.
    (change, [2, 3, 5].contains(&(number % 8)))
}

/// What a run left behind.
struct Findings {
    report: Report,
    watched: Watched,
    kills: usize,
}

/// Waits until a new swap has begun.
async fn swap_begun(watcher: &Watcher, before: usize) {
    let cluster = world::cluster(ACCOUNT);
    eventually("an instance drains", Duration::from_secs(60), async || {
        let swaps = watcher.seen().swaps(&cluster).len();
        if swaps > before { Ok(()) } else { Err(swaps) }
    })
    .await
    .unwrap();
}

async fn run(backend: Backend, plan: &Plan) -> Findings {
    let setup = Setup {
        backend,
        ..Setup::default()
    };
    let mut world = World::up_at(setup, &Pace::product()).await.unwrap();
    let first = world.push(&world.image("1")).await.unwrap();
    let mut good = world.reference(&first);
    let mut before = good.clone();
    let (mut version, mut version_before) = ("1".to_owned(), "1".to_owned());
    world
        .deploy(ACCOUNT, &good, "none", "SUCCEEDED")
        .await
        .unwrap();
    world.require_version(ACCOUNT, &version).await.unwrap();

    let folder = world.folder().unwrap();
    let host = world::host(ACCOUNT);
    let watcher = Watcher::start(&world.stack.data);
    let port = world.stack.balancer_port;
    let load = Load::start(&folder, port, &host, plan.rate, &plan.users).unwrap();
    let begun = std::time::Instant::now();
    let mut kills = 0;
    for number in 0..plan.deployments {
        let (change, kill) = change(number);
        let tag = format!("{}", number + 2);
        let (image, status) = match change {
            Change::Good => (world.image(&tag), "SUCCEEDED"),
            Change::Broken => (world.image(&tag).with("EXIT_AFTER_MS", "0"), "TERMINAL"),
            Change::Back => (world.image(&version_before), "SUCCEEDED"),
        };
        let reference = match change {
            Change::Back => before.clone(),
            _ => world.reference(&world.push(&image).await.unwrap()),
        };
        let swaps = watcher.seen().swaps(&world::cluster(ACCOUNT)).len();
        let id = world
            .start_deployment(ACCOUNT, &reference, "inplacedrain")
            .await
            .unwrap();
        if kill {
            swap_begun(&watcher, swaps).await;
            world.stack.kill_and_restart().await.unwrap();
            kills += 1;
        }
        if plan.upgrades.contains(&number) {
            swap_begun(&watcher, swaps).await;
            balancer::require_untroubled(&world.stack.data)
                .await
                .unwrap();
            world.stack.upgrade_balancer().await.unwrap();
        }
        world.ended(&id, status).await.unwrap();
        if change != Change::Broken {
            (before, good) = (good, reference);
            let now = if change == Change::Back {
                version_before.clone()
            } else {
                tag
            };
            (version_before, version) = (version, now);
        }
        world.require_version(ACCOUNT, &version).await.unwrap();
        assert_eq!(world.serving(ACCOUNT).await.unwrap(), HOSTS);
    }
    assert!(
        kills >= 3,
        "the control plane was killed {kills} times only"
    );
    // The rate is constant: what is missing takes that long.
    let enough = Duration::from_secs(plan.requests / u64::from(plan.rate) + 2);
    if let Some(rest) = enough.checked_sub(begun.elapsed()) {
        tokio::time::sleep(rest).await;
    }
    let report = load.stop().await.unwrap();
    balancer::require_untroubled(&world.stack.data)
        .await
        .unwrap();
    Findings {
        report,
        watched: watcher.stop(),
        kills,
    }
}

#[tokio::test]
async fn no_request_fails_over_deployments_rollbacks_and_kills() {
    let plan = Plan::from_environment();
    for backend in backends() {
        let Findings {
            report,
            watched,
            kills,
        } = run(backend, &plan).await;
        println!(
            "{backend:?}: {} requests ({}), {} deployments, {kills} kills, {} upgrades, longest gap {} ms, {} \
             swaps, {} samples",
            report.count("answered").unwrap(),
            report.by_kind(),
            plan.deployments,
            plan.upgrades.len(),
            report.count("longestGapMs").unwrap(),
            watched.swaps(&world::cluster(ACCOUNT)).len(),
            watched.samples,
        );
        report.require_clean().unwrap();
        println!(
            "{backend:?}: 0 failed; with 95 % confidence fewer than {:.2} of a million requests fail",
            report.upper_bound_per_million().unwrap()
        );
        assert!(
            report.count("answered").unwrap() >= plan.requests,
            "{}",
            report.summary
        );
        assert_eq!(
            watched.epochs.len(),
            1 + plan.upgrades.len(),
            "the balancer was replaced by somebody else"
        );

        let fewest = watched.fewest_serving[&world::cluster(ACCOUNT)];
        assert!(
            fewest + 1 >= HOSTS,
            "the floor was not held: {fewest} of {HOSTS} were serving"
        );
        let expected_samples = report.count("milliseconds").unwrap() / 10 / 2;
        assert!(
            watched.samples >= expected_samples,
            "too few samples: {}",
            watched.samples
        );

        let swaps = watched.swaps(&world::cluster(ACCOUNT));
        assert!(
            swaps.len() >= plan.deployments * 2,
            "{} swaps only",
            swaps.len()
        );
        let absent = report.kinds_not_across(&swaps);
        assert!(
            absent.is_empty(),
            "no request of {absent:?} was in flight across a swap"
        );
    }
}

/// The stages that deploy an image.
pub(crate) type Stages = fn(&World, &str) -> Vec<Value>;

fn in_place(world: &World, image: &str) -> Vec<Value> {
    let cluster = world.cluster(ACCOUNT, image, "inplacedrain");
    vec![world.deploy_stage("1", &[], &cluster)]
}

/// Deploys an image with a rule broken, by these stages, and returns what the users of the account saw.
pub(crate) async fn broken(
    control: &str,
    (account, stages): (&str, Stages),
    image: impl Fn(&World, &str) -> tests::image::Image,
) -> Report {
    let setup = Setup {
        controls: true,
        ..Setup::default()
    };
    let mut world = World::up(setup).await.unwrap();
    let first = world.push(&image(&world, "1")).await.unwrap();
    let first = world.reference(&first);
    world
        .deploy(account, &first, "none", "SUCCEEDED")
        .await
        .unwrap();
    world.require_version(account, "1").await.unwrap();
    let second = world.push(&image(&world, "2")).await.unwrap();
    let second = world.reference(&second);
    // The rule is broken from here on.
    world.stack.environment("GENNAKER_CONTROL", control);
    world.stack.kill_and_restart().await.unwrap();

    let folder = world.folder().unwrap();
    let host = world::host(account);
    let load = Load::start(&folder, world.stack.balancer_port, &host, 200, &[]).unwrap();
    let pipeline = pipeline(APPLICATION, "Deploy", &stages(&world, &second));
    let id = world.stack.gate.start_ad_hoc(&pipeline).await.unwrap();
    // However it ends, and even if it does not: what users saw is what counts.
    let _ended = world
        .stack
        .gate
        .wait_for_execution(&id, Duration::from_secs(60))
        .await;
    load.stop().await.unwrap()
}

/// A new version that needs longer to listen than the whole swap takes. While one old instance is left,
/// the balancer's second try hides the fault; when none is, nothing does.
fn slow_to_start(world: &World, version: &str) -> tests::image::Image {
    let image = world.image(version);
    if version == "1" {
        image
    } else {
        image.with("START_DELAY_MS", "14000")
    }
}

/// It exits when it is told to, whatever it is doing.
pub(crate) fn abrupt(world: &World, version: &str) -> tests::image::Image {
    world.image(version).with("ON_SIGTERM", "exit")
}

/// Requires that requests failed, and prints which.
pub(crate) fn require_failures(what: &str, report: &Report, kinds: &[&str]) {
    assert!(
        !report.failures.is_empty(),
        "{what}: nothing failed, so nothing is proven"
    );
    for failure in report.failures.iter().take(3) {
        println!("{what}: {failure}");
    }
    for failure in &report.failures {
        let named = failure["kind"].is_string()
            && failure["number"].is_number()
            && failure["start"].is_number()
            && failure["error"].is_string();
        assert!(named, "not named: {failure}");
    }
    for kind in kinds {
        let failed = report
            .failures
            .iter()
            .any(|failure| failure["kind"] == *kind);
        assert!(failed, "{what}: no {kind} request failed");
    }
}

/// Short requests do not notice it; three-second answers do.
#[tokio::test]
async fn control_without_a_drain_requests_fail() {
    let report = broken("drain-off", IN_PLACE, abrupt).await;
    require_failures("drain off", &report, &["slow"]);
}

#[tokio::test]
async fn control_trusting_the_written_configuration_makes_requests_fail() {
    let report = broken("trust-desired-state", IN_PLACE, slow_to_start).await;
    require_failures(
        "endpoint removed when the configuration was written",
        &report,
        &[],
    );
}

#[tokio::test]
async fn control_a_health_check_slower_than_the_swap_makes_requests_fail() {
    let report = broken("slow-health-check", IN_PLACE, slow_to_start).await;
    require_failures("exchanged in place under a slow health check", &report, &[]);
}
