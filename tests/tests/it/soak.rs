//! A day of deployments, one after the other, under load: no request fails, and neither memory nor
//! descriptors of anything that lives as long as the stack grow with their number.
//!
//! `SOAK=long` makes it 1,440, one a minute of a day; the gate makes 12.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::census::{self, Role};
use tests::fixture::{pipeline, stage};
use tests::load::Load;
use tests::measure::{anonymous_kib, descriptors, pss_kib};
use tests::world::{self, APPLICATION, HOSTS, Pace, REGION};
use tests::{Setup, World};

const ACCOUNT: &str = "prod";

/// Users whose requests are short: drains are to be many, not long.
const USERS: [&str; 8] = [
    "--mix",
    "get=500,new=200,post=200,slow=20,upload=20,http2=200,grpc=20,socket=20",
    "--slow-ms",
    "300",
    "--stream-ms",
    "300",
    "--socket-ms",
    "600",
];

/// Samples of a run.
const SAMPLES: usize = 12;

/// Descriptors that the balancer may have more of than before, once its users have gone.
const MORE_AT_REST: usize = 4;

/// How long connections that nobody uses may be kept, and a slow machine may need beside.
const REST: Duration = Duration::from_secs(180);

/// What one process of a role needs.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    /// Memory that no file stands behind: what a leak is made of.
    kib: u64,
    /// All of it, with the program's own pages.
    whole_kib: u64,
    descriptors: usize,
    /// Processes of the role.
    count: usize,
}

fn sample(world: &World, role: Role) -> Sample {
    let all = census::of(&world.stack.data);
    let of_role: Vec<_> = all.iter().filter(|process| process.role == role).collect();
    Sample {
        kib: of_role
            .iter()
            .map(|p| anonymous_kib(p.pid).unwrap_or(0))
            .sum(),
        whole_kib: of_role.iter().map(|p| pss_kib(p.pid).unwrap_or(0)).sum(),
        descriptors: of_role
            .iter()
            .map(|p| descriptors(p.pid).unwrap_or(0))
            .sum(),
        count: of_role.len(),
    }
}

/// The mean of a figure over samples.
fn mean(samples: &[Sample], of: impl Fn(&Sample) -> u64) -> u64 {
    samples.iter().map(of).sum::<u64>() / samples.len().max(1) as u64
}

/// How a role's figures grow from the second third of the run to the last; in the first, caches fill.
fn growth(samples: &[Sample], of: impl Fn(&Sample) -> u64) -> (u64, u64) {
    let third = samples.len() / 3;
    let (before, after) = (&samples[third..2 * third], &samples[2 * third..]);
    (mean(before, &of), mean(after, &of))
}

/// KiB that memory may grow by beside 5 %, over a day and over the gate's few deployments.
const SLACK: (u64, u64) = (1_024, 8 * 1_024);

/// Whether memory grows.
fn leaks(samples: &[Sample], slack: u64) -> bool {
    let (before, after) = growth(samples, |s| s.kib);
    after > before + before / 20 + slack
}

/// What the balancer holds when its users have gone and what was kept for them is closed. Under load its descriptors
/// tell how many users are being answered, which on a slow machine are more; what is left at rest has leaked.
async fn at_rest(world: &World, before: usize) -> usize {
    let begun = Instant::now();
    loop {
        let now = sample(world, Role::Balancer).descriptors;
        if now <= before + MORE_AT_REST || begun.elapsed() > REST {
            println!(
                "balancer at rest: {before} descriptors before, {now} after {:?}",
                begun.elapsed()
            );
            return now;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Replaces the version that serves, and deletes the groups that are left of those before the last.
async fn deploy(world: &World, image: &str) {
    let cluster = world.cluster(ACCOUNT, image, "inplacedrain");
    let shrink = json!({
        "credentials": ACCOUNT, "cloudProvider": "local", "regions": [REGION],
        "cluster": world::cluster(ACCOUNT), "shrinkToSize": 2, "allowDeleteActive": false,
        "retainLargerOverNewer": false,
        "moniker": {"app": APPLICATION, "cluster": world::cluster(ACCOUNT)},
    });
    let stages = [
        world.deploy_stage("1", &[], &cluster),
        stage("shrinkCluster", "Shrink", "2", &["1"], shrink),
    ];
    let pipeline = pipeline(APPLICATION, "Deploy", &stages);
    let id = world.stack.gate.start_ad_hoc(&pipeline).await.unwrap();
    world.ended(&id, "SUCCEEDED").await.unwrap();
}

#[tokio::test]
async fn memory_and_descriptors_stay_flat_over_many_deployments() {
    let long = std::env::var("SOAK").is_ok_and(|asked| asked == "long");
    let deployments = if long { 1_440 } else { 12 };
    let pace = Pace {
        settle: "0s",
        ..Pace::default()
    };
    let world = World::up_at(Setup::default(), &pace).await.unwrap();
    let mut images = Vec::new();
    for version in ["1", "2"] {
        let image = world.push(&world.image(version)).await.unwrap();
        images.push(world.reference(&image));
    }
    let first = world.deploy(ACCOUNT, &images[0], "none", "SUCCEEDED").await;
    first.unwrap();
    let resting = sample(&world, Role::Balancer).descriptors;
    let folder = world.folder().unwrap();
    let (port, host) = (world.stack.balancer_port, world::host(ACCOUNT));
    let load = Load::start(&folder, port, &host, 100, &USERS).unwrap();
    let roles = [
        (Role::ControlPlane, "control plane"),
        (Role::Balancer, "balancer"),
        (Role::Shim, "shims"),
    ];
    let mut samples = [(); 3].map(|()| Vec::new());
    let begun = Instant::now();
    for number in 1..=deployments {
        deploy(&world, &images[number % 2]).await;
        if number % (deployments / SAMPLES) == 0 {
            for ((role, name), samples) in roles.into_iter().zip(&mut samples) {
                let one = sample(&world, role);
                println!(
                    "{number} deployments, {:?}: {name}: {} KiB of {}, {} descriptors, {} processes",
                    begun.elapsed(),
                    one.kib,
                    one.whole_kib,
                    one.descriptors,
                    one.count
                );
                assert!(
                    one.kib > 0 && one.descriptors > 0,
                    "nothing was measured of {name}: {one:?}"
                );
                samples.push(one);
            }
        }
    }
    let report = load.stop().await.unwrap();
    println!(
        "{} requests ({}), {deployments} deployments, longest gap {} ms",
        report.count("answered").unwrap(),
        report.by_kind(),
        report.count("longestGapMs").unwrap()
    );
    report.require_clean().unwrap();
    assert_eq!(world.serving(ACCOUNT).await.unwrap(), HOSTS);
    let rests = at_rest(&world, resting).await;
    assert!(
        rests <= resting + MORE_AT_REST,
        "the balancer keeps {rests} descriptors without users, where it had {resting}"
    );
    for ((role, name), samples) in roles.into_iter().zip(&samples) {
        let (before, after) = growth(samples, |s| s.kib);
        println!("{name}: {before} KiB, then {after}");
        let slack = if long { SLACK.0 } else { SLACK.1 };
        assert!(
            !leaks(samples, slack),
            "the memory of {name} grows: {samples:?}"
        );
        let (before, after) = growth(samples, |s| s.descriptors as u64);
        assert!(
            role == Role::Balancer || after <= before + 16,
            "the descriptors of {name} grow: {samples:?}"
        );
        let (before, after) = growth(samples, |s| s.count as u64);
        assert!(after <= before + 1, "more and more {name}: {samples:?}");
    }
}

/// Twenty MiB and 5 KiB of each deployment of a day would be found, and what stays level is not.
#[test]
fn control_a_leak_is_seen_in_the_growth() {
    let samples = |each: u64| -> Vec<Sample> {
        let kib = |n: u64| 20_480 + each * n * (1_440 / SAMPLES as u64);
        let samples = (0..SAMPLES as u64).map(|n| Sample {
            kib: kib(n),
            ..Sample::default()
        });
        samples.collect()
    };
    assert!(leaks(&samples(5), SLACK.0));
    assert!(!leaks(&samples(0), SLACK.0));
}
