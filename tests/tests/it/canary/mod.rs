//! Canaries with real processes behind the real balancer, judged after every step: a good version is promoted, one
//! with errors and a slow one are rolled back, and no request fails but those that a bad version itself answered.
//!
//! On the balancer's own history, and on a real Prometheus that collects from the balancer. `CANARIES=long` makes it
//! twenty of each kind on both, and shows what the compatible judge says of the same data; the gate has one of each
//! on Prometheus.

mod killed;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use servers::port;
use tests::fixture::{pipeline, stage};
use tests::gate::outline;
use tests::load::{Load, Report};
use tests::prometheus::{self, Prometheus};
use tests::world::{self, APPLICATION};
use tests::{Setup, World, program};

const ACCOUNT: &str = "staging";
/// Requests a second that each of serving version, baseline and canary gets: a third of all.
const RATE_PER_ARM: u32 = 200;
/// After this many steps of a second the judge says what it knows.
const LIFETIME_S: u64 = 120;
/// The longest canary, with what is deployed before and after.
const CANARY: Duration = Duration::from_secs(300);

/// What is wrong with the version that is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing.
    Good,
    /// Two of a hundred answers are errors.
    Errors,
    /// Answers take twice as long.
    Slow,
}

const KINDS: [Kind; 3] = [Kind::Good, Kind::Errors, Kind::Slow];

/// Where the metrics are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Store {
    Local,
    Prometheus,
}

impl Store {
    /// The queries for errors, requests and latency (milliseconds) of a server group.
    fn queries(self) -> [Value; 3] {
        match self {
            Self::Local => ["errors", "requests", "latency_p50"]
                .map(|name| json!({"type": "local", "metricName": name})),
            Self::Prometheus => {
                // What was counted in the last second: the windows of two steps share nothing.
                let counted = |name: &str, more: &str| {
                    let series = format!("{name}{{server_group=\"${{scope}}\"{more}}}");
                    format!(
                        "((sum({series}) or vector(0)) - (sum({series} offset 1s) or vector(0)))"
                    )
                };
                let seconds = "balancer_request_seconds";
                [
                    counted("balancer_requests_total", ",code=~\"5..|5xx\""),
                    counted("balancer_requests_total", ""),
                    format!(
                        "1000 * {} / ({} > 0)",
                        counted(&format!("{seconds}_sum"), ""),
                        counted(&format!("{seconds}_count"), "")
                    ),
                ]
                .map(|query| {
                    json!({"type": "prometheus",
                        "customInlineTemplate": format!("PromQL:{query}")})
                })
            }
        }
    }

    fn account(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Prometheus => prometheus::PROGRAM,
        }
    }
}

/// A canary config over errors, requests and latency.
fn config(store: Store, judge: &str) -> Value {
    let [errors, requests, latency] = store.queries();
    let metric = |name: &str, group: &str, query: Value, canary: Value| {
        json!({"name": name, "groups": [group], "scopeName": "default", "query": query,
            "analysisConfigurations": {"canary": canary}})
    };
    json!({
        "name": format!("{}-{}", store.account(), judge.split('-').next().unwrap_or_default()),
        "applications": [APPLICATION],
        "judge": {"name": judge, "judgeConfigurations": {"settle": 2}},
        "metrics": [
            metric("errors", "Errors", errors, json!({"direction": "increase",
                "sequential": {"requests": "requests"}})),
            metric("requests", "Traffic", requests, json!({"muted": true})),
            metric("latency", "Latency", latency, json!({"direction": "increase",
                "effectSize": {"allowedIncrease": 1.1, "criticalIncrease": 1.5}})),
        ],
        "templates": {},
        "classifier": {"groupWeights": {"Errors": 50, "Latency": 50}},
    })
}

/// Everything that canaries are tried in.
struct Ground {
    world: World,
    store: Store,
    config: String,
    /// The image that serves.
    serving: String,
    _prometheus: Option<Prometheus>,
    _folder: tempfile::TempDir,
}

impl Ground {
    async fn up(store: Store, judge: &str) -> Result<Self> {
        let folder = tempfile::tempdir().context("no folder")?;
        let mut setup = Setup::default();
        let mut server = None;
        if store == Store::Prometheus {
            let figures = port::free();
            let started = Prometheus::start(folder.path(), figures).await?;
            let address = format!("127.0.0.1:{}", started.port);
            let account = json!([{"name": prometheus::PROGRAM, "type": "prometheus",
                "base-url": format!("http://{address}")}]);
            setup.environment = vec![
                (
                    "GENNAKER_LOCAL__METRICS_LISTEN".to_owned(),
                    format!("127.0.0.1:{figures}"),
                ),
                (
                    "GENNAKER_CANARY_JUDGE__ACCOUNTS".to_owned(),
                    account.to_string(),
                ),
            ];
            setup
                .arguments
                .extend(["--egress-allow".to_owned(), address]);
            server = Some(started);
        }
        let world = World::up(setup).await?;
        let image = world.push(&world.image("1")).await?;
        let serving = world.reference(&image);
        world.deploy(ACCOUNT, &serving, "none", "SUCCEEDED").await?;
        world.require_version(ACCOUNT, "1").await?;
        let config = save(&world, &config(store, judge)).await?;
        Ok(Self {
            world,
            store,
            config,
            serving,
            _prometheus: server,
            _folder: folder,
        })
    }

    /// Tries an image: judged beside a baseline, promoted if it is good. The execution at its end.
    async fn canary(&self, image: &str) -> Result<Value> {
        let group = |details: &str, image: Option<&str>| {
            let mut group = self
                .world
                .cluster(ACCOUNT, image.unwrap_or_default(), "none");
            group["freeFormDetails"] = json!(details);
            group["capacity"] = json!({"min": 1, "max": 1, "desired": 1});
            if image.is_none() {
                group
                    .as_object_mut()
                    .map(|group| group.shift_remove("imageId"));
            }
            group
        };
        let canary = json!({
            "analysisType": "realTimeAutomatic",
            "canaryConfig": {
                "canaryConfigId": self.config,
                "metricsAccountName": self.store.account(),
                "scopes": [{"scopeName": "default", "step": 1,
                    "extendedScopeParams": {"application": APPLICATION}}],
                "scoreThresholds": {"pass": 95, "marginal": 75},
                "lifetimeDuration": format!("PT{LIFETIME_S}S"),
                "beginCanaryAnalysisAfterSeconds": 3,
            },
            "deployments": {
                "baseline": {"application": APPLICATION, "account": ACCOUNT,
                    "cluster": world::cluster(ACCOUNT), "cloudProvider": "local"},
                "trafficShare": 33,
                "serverGroupPairs": [{"control": group("baseline", None),
                    "experiment": group("canary", Some(image))}],
            },
        });
        let cluster = self.world.cluster(ACCOUNT, image, "redblack");
        let mut cluster = cluster;
        cluster["scaleDown"] = json!(true);
        cluster["maxRemainingAsgs"] = json!(1);
        let stages = [
            stage("kayentaCanary", "Canary", "1", &[], canary),
            self.world.deploy_stage("2", &["1"], &cluster),
        ];
        let gate = &self.world.stack.gate;
        let id = gate
            .start_ad_hoc(&pipeline(APPLICATION, "Canary", &stages))
            .await?;
        gate.wait_for_execution(&id, CANARY).await
    }
}

async fn save(world: &World, config: &Value) -> Result<String> {
    let http = world.stack.gate.http();
    let answer = http.post("/v2/canaryConfig", config).await?.expect(200)?;
    let id = answer.json()?["canaryConfigId"].clone();
    Ok(id.as_str().context("no canaryConfigId")?.to_owned())
}

/// Requires that nothing failed but what a bad version itself answered.
fn only_own_failures(report: &Report) -> Result<()> {
    let own = |failure: &&Value| {
        let error = failure["error"].as_str().unwrap_or_default();
        !error.contains("answered 500: failed as configured")
    };
    let foreign: Vec<String> = report
        .failures
        .iter()
        .filter(own)
        .map(ToString::to_string)
        .collect();
    ensure!(
        foreign.is_empty(),
        "{} requests failed that no bad version answered:\n{}",
        foreign.len(),
        foreign
            .iter()
            .take(10)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    );
    for name in ["overrun", "inFlight"] {
        ensure!(report.count(name)? == 0, "{name}: {}", report.summary);
    }
    Ok(())
}

/// What is known of one canary.
#[derive(Debug)]
struct Outcome {
    kind: Kind,
    promoted: bool,
    /// From the start of the comparison to the decision, seconds.
    decided_s: f64,
    message: String,
}

fn outcome(kind: Kind, execution: &Value) -> Result<Outcome> {
    let stages = execution["stages"].as_array().context("no stages")?;
    let find = |kind: &str| stages.iter().find(|stage| stage["type"] == kind);
    let run = find("runCanary").with_context(|| outline(execution))?;
    let time = |name: &str| run[name].as_f64().with_context(|| format!("{name}: {run}"));
    let status = &execution["status"];
    ensure!(
        status == "SUCCEEDED" || status == "TERMINAL",
        "ended as {status}:\n{}",
        outline(execution)
    );
    let errors = run["context"]["exception"]["details"]["errors"].as_array();
    let errors = errors.into_iter().flatten().filter_map(Value::as_str);
    Ok(Outcome {
        kind,
        promoted: status == "SUCCEEDED",
        decided_s: (time("endTime")? - time("startTime")?) / 1000.0,
        message: errors.collect::<Vec<_>>().join("; "),
    })
}

/// How long canaries of a kind took, from the first to the last.
fn times(outcomes: &[Outcome], kind: Kind) -> Vec<f64> {
    let mut times: Vec<f64> = outcomes
        .iter()
        .filter(|outcome| outcome.kind == kind)
        .map(|outcome| outcome.decided_s)
        .collect();
    times.sort_by(f64::total_cmp);
    times
}

/// What the compatible judge says of what a canary was judged on.
async fn compatible(ground: &Ground, execution: &Value) -> Result<String> {
    let stages = execution["stages"].as_array().context("no stages")?;
    let run = stages.iter().find(|stage| stage["type"] == "runCanary");
    let id = run.and_then(|run| run["context"]["canaryPipelineExecutionId"].as_str());
    let http = ground.world.stack.gate.http();
    let path = format!("/v2/canaries/canary/{}", id.context("no run")?);
    let run = http.get(&path).await?.expect(200)?.json()?;
    let beside = &run["result"]["judgeResult"]["comparison"];
    ensure!(beside["judgeName"] == "NetflixACAJudge-v1.0", "{run}");
    let score = &beside["score"];
    Ok(format!(
        "{} {}",
        score["classification"].as_str().unwrap_or("?"),
        score["score"]
    ))
}

async fn many(store: Store, rounds: usize) {
    let mut ground = Ground::up(store, "SequentialJudge-v1.0").await.unwrap();
    let folder = ground.world.folder().unwrap();
    let host = world::host(ACCOUNT);
    let balancer = ground.world.stack.balancer_port;
    let load = Load::start(
        &folder,
        balancer,
        &host,
        3 * RATE_PER_ARM,
        &["--mix", "get=80,post=20"],
    );
    let load = load.unwrap();
    let mut outcomes = Vec::new();
    let mut version = 1;
    let mut serves = "1".to_owned();
    for round in 0..rounds {
        for kind in KINDS {
            version += 1;
            let tag = version.to_string();
            let image = ground.world.image(&tag);
            let image = match kind {
                Kind::Good => image,
                Kind::Errors => image.with("ERROR_RATE", "0.02"),
                Kind::Slow => image.with("LATENCY_MS", "40"),
            };
            let written = ground.world.push(&image).await.unwrap();
            let image = ground.world.reference(&written);
            let begun = Instant::now();
            let execution = ground.canary(&image).await.unwrap();
            let found = outcome(kind, &execution).unwrap();
            let other = compatible(&ground, &execution).await.unwrap();
            println!(
                "{store:?} {round} {kind:?}: promoted {}, decided after {:.1} s, all {:.1} s; compatible judge: \
                 {other}; {}",
                found.promoted,
                found.decided_s,
                begun.elapsed().as_secs_f64(),
                found.message
            );
            if found.promoted {
                ground.serving = image;
                serves = tag;
            } else {
                let metric = if kind == Kind::Slow {
                    "latency"
                } else {
                    "errors"
                };
                assert!(
                    kind == Kind::Good || found.message.contains(metric),
                    "nothing says that it is {metric}: {}\n{}",
                    found.message,
                    outline(&execution)
                );
            }
            ground
                .world
                .require_version(ACCOUNT, &serves)
                .await
                .unwrap();
            outcomes.push(found);
        }
    }
    let report = load.stop().await.unwrap();
    only_own_failures(&report).unwrap();
    let mut short = Vec::new();
    for kind in KINDS {
        let right = |outcome: &&Outcome| outcome.promoted == (kind == Kind::Good);
        let of_kind = || outcomes.iter().filter(|outcome| outcome.kind == kind);
        let (right, all) = (of_kind().filter(right).count(), of_kind().count());
        let times = times(&outcomes, kind);
        println!(
            "{store:?} {kind:?}: {right} of {all} as it must be; decided after {:.1} s (median), {:.1} to {:.1}",
            times[times.len() / 2],
            times[0],
            times[times.len() - 1]
        );
        let may_miss = usize::from(kind == Kind::Errors && all >= 20);
        if right + may_miss < all {
            short.push(kind);
        }
    }
    println!(
        "{store:?}: {} requests, {} answered by bad versions with errors, no other failed",
        report.count("started").unwrap(),
        report.failures.len()
    );
    assert!(short.is_empty(), "judged wrongly: {short:?}: {outcomes:?}");
}

fn is_long() -> bool {
    std::env::var("CANARIES").is_ok_and(|value| value == "long")
}

#[tokio::test]
async fn good_versions_are_promoted_and_bad_ones_rolled_back_by_a_real_prometheus() {
    if !program::installed(prometheus::PROGRAM) {
        println!("skipped: the package prometheus is not installed");
        return;
    }
    many(Store::Prometheus, if is_long() { 20 } else { 1 }).await;
}

#[tokio::test]
async fn good_versions_are_promoted_and_bad_ones_rolled_back_by_the_balancers_own_history() {
    if !is_long() {
        println!("skipped: CANARIES=long asks for it; the gate has the same on Prometheus");
        return;
    }
    many(Store::Local, 20).await;
}
