//! What 1,000 metric pairs of 1,440 points cost that are fetched from a Prometheus and judged, and how much of it is
//! ours: `cargo bench -p canary-judge --bench fetching`.
//!
//! A Prometheus on this machine, filled with a day of 100 metrics of two arms of four instances each. Every metric is
//! asked for ten times, as an average over an arm by `query_range`, a few at once over connections that are kept;
//! answers are mixed and judged by `NetflixACAJudge-v1.0`. Time is processor time, that of this process and that of
//! Prometheus; beside it stands how long it took. The limit holds for arms of four instances; arms of one, which cost
//! Prometheus least, are printed beside. `-- --report` asserts nothing.

#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a measurement that unwraps fails with the reason"
)]

use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use canary_judge::account::{Account, Kind};
use canary_judge::query::{Question, Scope};
use canary_judge::source::{History, Source, source};
use futures_util::{StreamExt, stream};
use judge::{CanaryConfig, Judge, NetflixAca, Noise, Random, Thresholds, mix};
use proto::status::{Failure, Kind as Fault};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

#[path = "../tests/it/process.rs"]
mod process;

const PAIRS: usize = 1_000;
const METRICS: usize = 100;
const INSTANCES: usize = 4;
const POINTS: i64 = 1_440;
const STEP_S: i64 = 60;
const START_S: i64 = 1_767_225_600;
/// Pairs that are under way at the same time.
const AT_ONCE: usize = 4;
/// Of the time, ours may be.
const LIMIT: f64 = 0.10;

/// A day of everything, as Prometheus imports it.
fn past() -> String {
    let mut random = Random::new(7);
    let mut text = String::new();
    for metric in 0..METRICS {
        writeln!(text, "# TYPE m{metric} gauge").unwrap();
        for arm in ["baseline", "canary"] {
            for instance in 0..INSTANCES {
                for point in 0..POINTS {
                    let value = 100.0 + 10.0 * random.gaussian();
                    let at_s = START_S + point * STEP_S;
                    writeln!(
                        text,
                        "m{metric}{{arm=\"{arm}\",pod=\"{instance}\"}} {value} {at_s}"
                    )
                    .unwrap();
                }
            }
        }
    }
    text.push_str("# EOF\n");
    text
}

fn question(metric: usize, arm: &str, labels: &[&str]) -> Question {
    let name = format!("m{metric}");
    let query = json!({"type": "prometheus", "metricName": name, "labelBindings": labels});
    Question {
        metric: name,
        query: query.as_object().unwrap().clone(),
        templates: serde_json::Map::new(),
        scope: Scope {
            scope: arm.to_owned(),
            start_ms: START_S * 1_000,
            end_ms: (START_S + POINTS * STEP_S) * 1_000,
            step_s: u64::try_from(STEP_S).unwrap(),
            ..Scope::default()
        },
    }
}

/// Processor time of this process, s.
fn ours() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Processor time of another process, s.
fn theirs(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    // The unit of this file, whatever the kernel counts in.
    (ticks(11) + ticks(12)) / 100.0
}

/// There is no balancer here.
#[derive(Debug)]
struct Nobody;

#[async_trait::async_trait]
impl History for Nobody {
    async fn traffic(&self, _application: &str, _seconds: u32) -> Result<Value, Failure> {
        Err(Failure::new(Fault::NotFound, "there is no balancer"))
    }

    fn now_ms(&self) -> i64 {
        0
    }
}

/// A config of one metric.
fn config(metric: usize) -> CanaryConfig {
    let config = CanaryConfig::read(json!({
        "metrics": [{"name": format!("m{metric}"), "groups": ["g"],
                     "analysisConfigurations": {"canary": {"direction": "increase"}}}],
        "classifier": {"groupWeights": {"g": 100.0}},
    }));
    config.unwrap()
}

/// One pair: fetched, mixed, judged.
async fn pair(source: &dyn Source, metric: usize, labels: &[&str], config: &CanaryConfig) -> f64 {
    let question = |arm: &str| question(metric, arm, labels);
    let (control, experiment) = (question("baseline"), question("canary"));
    let (control, experiment) = tokio::join!(source.fetch(&control), source.fetch(&experiment));
    let (control, experiment) = (control.unwrap(), experiment.unwrap());
    assert!(control[0].values.iter().all(|value| !value.is_nan()));
    assert_eq!(experiment[0].values.len(), 1_440);
    let pairs = mix(config, &control, &experiment, ToOwned::to_owned).unwrap();
    let thresholds = Thresholds {
        pass: 95.0,
        marginal: 75.0,
    };
    let result = NetflixAca.judge(config, thresholds, &pairs, &mut Noise::of_pairs());
    result.unwrap().score.score
}

/// What all pairs took, s.
struct Measured {
    ours: f64,
    theirs: f64,
    took: f64,
}

impl Measured {
    fn share(&self) -> f64 {
        self.ours / (self.ours + self.theirs)
    }
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ours, theirs, took } = self;
        let share = self.share() * 100.0;
        write!(
            f,
            "{PAIRS} pairs of {POINTS} points in {took:.2} s: Prometheus {theirs:.2} s of processor, \
             ours {ours:.2} s ({share:.1} %)"
        )
    }
}

async fn measured(source: &dyn Source, pid: u32, labels: &[&str]) -> Measured {
    let configs: Vec<_> = (0..METRICS).map(config).collect();
    let before = (ours(), theirs(pid), Instant::now());
    let pairs = stream::iter(0..PAIRS).map(|at| {
        let metric = at % METRICS;
        pair(source, metric, labels, &configs[metric])
    });
    let scores: Vec<f64> = pairs.buffer_unordered(AT_ONCE).collect().await;
    assert_eq!(scores.len(), PAIRS);
    Measured {
        ours: ours() - before.0,
        theirs: theirs(pid) - before.1,
        took: before.2.elapsed().as_secs_f64(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let is_report = std::env::args().any(|argument| argument == "--report");
    let Some((server, url)) = process::prometheus_of(&past()).await else {
        return;
    };
    let account = Account {
        kind: Kind::Prometheus,
        base_url: Some(url),
        scope_label: "arm".to_owned(),
        ..Account::local()
    };
    let nobody: Arc<dyn History> = Arc::new(Nobody);
    let source = source(&account, &nobody).unwrap();
    let pid = server.child.id();
    // Connections are made and files are read once.
    pair(&*source, 0, &[], &config(0)).await;
    let one = measured(&*source, pid, &["pod=\"0\""]).await;
    let all = measured(&*source, pid, &[]).await;
    println!("arms of one instance: {one}");
    println!("arms of {INSTANCES} instances: {all}");
    let share = all.share();
    assert!(
        is_report || share <= LIMIT,
        "more than {:.0} % is ours",
        LIMIT * 100.0
    );
}
