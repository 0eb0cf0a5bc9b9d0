//! The balancer, seen through its admin socket: its state, its figures, and a watcher that looks every
//! ten milliseconds whether the floor is held.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use hyper::Method;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::http::{Client, Connection};

/// How often the watcher looks.
const EVERY: Duration = Duration::from_millis(10);

/// The admin socket of a data folder's balancer.
pub fn socket(data: &Path) -> PathBuf {
    data.join("balancer/admin.sock")
}

/// The balancer's state, as it tells it.
///
/// # Errors
/// It does not answer.
pub async fn state(data: &Path) -> Result<Value> {
    Client::socket(&socket(data))
        .get("/v1/state")
        .await?
        .expect(200)?
        .json()
}

/// What changed after an event of this number, oldest first, as the balancer numbers it.
///
/// # Errors
/// It does not answer, or does not remember that far.
pub async fn events(data: &Path, after: u64) -> Result<Vec<Value>> {
    let last = state(data).await?["lastEvent"]
        .as_u64()
        .context("the state has no lastEvent")?;
    if last <= after {
        return Ok(Vec::new());
    }
    let path = format!("/v1/watch?after={after}");
    Client::socket(&socket(data))
        .lines(&path, |event| event["number"].as_u64() >= Some(last))
        .await
}

/// The balancer's figures.
///
/// # Errors
/// It does not answer.
pub async fn metrics(data: &Path) -> Result<Metrics> {
    let text = Client::socket(&socket(data))
        .get("/metrics")
        .await?
        .expect(200)?
        .text();
    Ok(Metrics { text })
}

/// Requires that the balancer in force has repeated nothing and answered nothing by itself.
///
/// # Errors
/// It has, or does not answer.
pub async fn require_untroubled(data: &Path) -> Result<()> {
    let metrics = metrics(data).await?;
    for name in [
        "balancer_retries_total",
        "balancer_not_repeated_total",
        "balancer_no_instance_total",
    ] {
        ensure!(metrics.knows(name), "the balancer has no {name}");
        let sum = metrics.sum(name, &[]);
        ensure!(sum < 0.5, "{name}: {sum}");
    }
    let state = state(data).await?;
    for name in ["retries", "notRepeated", "ownErrors"] {
        ensure!(state[name] == 0, "the balancer's {name}: {state}");
    }
    Ok(())
}

/// Prometheus text.
#[derive(Debug, Clone)]
pub struct Metrics {
    text: String,
}

impl Metrics {
    /// The sum of a metric over all series that carry these labels. A metric without a series is 0.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.series(name)
            .filter(|(found, _)| {
                labels
                    .iter()
                    .all(|(key, value)| found.contains(&format!("{key}=\"{value}\"")))
            })
            .map(|(_, value)| value)
            .sum()
    }

    /// Whether the metric is known at all: a misspelt name must not pass for a zero.
    pub fn knows(&self, name: &str) -> bool {
        self.text.lines().any(|line| {
            line.strip_prefix("# TYPE ")
                .and_then(|rest| rest.split(' ').next())
                == Some(name)
        }) || self.series(name).next().is_some()
    }

    fn series<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(move |line| {
                let (series, value) = line.rsplit_once(' ')?;
                let labels = series.strip_prefix(name)?;
                (labels.is_empty() || labels.starts_with('{')).then_some(())?;
                Some((labels, value.parse().ok()?))
            })
    }
}

/// A change of one instance's observed state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Milliseconds since the epoch.
    pub at: u64,
    /// The instance.
    pub instance: String,
    /// Its server group.
    pub group: String,
    /// Its state from now on; `absent` when it is no longer listed.
    pub state: String,
}

/// What a watcher saw.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// How often it looked and got an answer.
    pub samples: u64,
    /// How often the balancer did not answer.
    pub missed: u64,
    /// The longest time between two samples, milliseconds.
    pub longest_pause_ms: u64,
    /// The fewest serving instances of each cluster, from the first time it had any.
    pub fewest_serving: BTreeMap<String, usize>,
    /// Every change of state, oldest first.
    pub changes: Vec<Change>,
    /// Every configuration generation seen.
    pub generations: BTreeSet<u64>,
    /// The epochs seen: one per balancer process.
    pub epochs: BTreeSet<String>,
}

impl Watched {
    /// When instances of a cluster began to drain, milliseconds since the epoch: the swaps.
    pub fn swaps(&self, cluster: &str) -> Vec<u64> {
        self.changes
            .iter()
            .filter(|change| change.state == "draining" && self::cluster(&change.group) == cluster)
            .map(|change| change.at)
            .collect()
    }
}

#[derive(Default)]
struct Sight {
    watched: Watched,
    states: BTreeMap<String, (String, String)>,
    last: Option<tokio::time::Instant>,
}

/// Looks at the balancer's state until it is stopped.
pub struct Watcher {
    sight: Arc<Mutex<Sight>>,
    looking: JoinHandle<()>,
}

impl Watcher {
    /// Starts to look at a data folder's balancer.
    pub fn start(data: &Path) -> Self {
        let sight = Arc::new(Mutex::new(Sight::default()));
        let looking = tokio::spawn(watch(Client::socket(&socket(data)), Arc::clone(&sight)));
        Self { sight, looking }
    }

    /// What was seen so far.
    pub fn seen(&self) -> Watched {
        lock(&self.sight).watched.clone()
    }

    /// Stops looking.
    pub fn stop(self) -> Watched {
        self.seen()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

async fn watch(client: Client, sight: Arc<Mutex<Sight>>) {
    let mut connection = None;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        match look(&client, &mut connection).await {
            // It leaves, and its successor's socket has its name by now.
            Ok(state) if state["listeners"].as_array().is_some_and(Vec::is_empty) => {
                connection = None;
            }
            Ok(state) => lock(&sight).see(&state),
            Err(_) => {
                connection = None;
                lock(&sight).watched.missed += 1;
            }
        }
    }
}

async fn look(client: &Client, connection: &mut Option<Connection>) -> Result<Value> {
    if connection.is_none() {
        *connection = Some(client.connect().await?);
    }
    let connection = connection.as_mut().context("not connected")?;
    connection
        .send(Method::GET, "/v1/state", Bytes::new())
        .await?
        .expect(200)?
        .json()
}

impl Sight {
    fn see(&mut self, state: &Value) {
        let now = tokio::time::Instant::now();
        if let Some(last) = self.last.replace(now) {
            let pause = u64::try_from(now.duration_since(last).as_millis()).unwrap_or(u64::MAX);
            self.watched.longest_pause_ms = self.watched.longest_pause_ms.max(pause);
        }
        self.watched.samples += 1;
        if let Some(generation) = state["generation"].as_u64() {
            self.watched.generations.insert(generation);
        }
        self.watched.epochs.insert(plain(&state["epoch"]));

        let at = epoch_ms();
        let mut serving: BTreeMap<String, usize> = BTreeMap::new();
        let mut listed = BTreeSet::new();
        for instance in state["instances"].as_array().into_iter().flatten() {
            let id = plain(&instance["id"]);
            let group = plain(&instance["group"]);
            let state = plain(&instance["state"]);
            if state == "serving" {
                *serving.entry(cluster(&group)).or_default() += 1;
            }
            self.change(at, &id, &group, &state);
            listed.insert(id);
        }
        let absent: Vec<String> = self
            .states
            .keys()
            .filter(|id| !listed.contains(*id))
            .cloned()
            .collect();
        for id in absent {
            let group = self
                .states
                .get(&id)
                .map(|(group, _)| group.clone())
                .unwrap_or_default();
            self.change(at, &id, &group, "absent");
            self.states.remove(&id);
        }
        for name in self.watched.fewest_serving.keys() {
            serving.entry(name.clone()).or_default();
        }
        for (name, count) in serving {
            let fewest = self.watched.fewest_serving.entry(name).or_insert(count);
            *fewest = count.min(*fewest);
        }
    }

    fn change(&mut self, at: u64, instance: &str, group: &str, state: &str) {
        let now = (group.to_owned(), state.to_owned());
        if self.states.get(instance) != Some(&now) {
            self.watched.changes.push(Change {
                at,
                instance: instance.to_owned(),
                group: group.to_owned(),
                state: state.to_owned(),
            });
            self.states.insert(instance.to_owned(), now);
        }
    }
}

/// The cluster of a server group: its name without the version.
pub fn cluster(group: &str) -> String {
    match group.rsplit_once("-v") {
        Some((cluster, number))
            if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            cluster.to_owned()
        }
        _ => group.to_owned(),
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn epoch_ms() -> u64 {
    let epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(epoch.as_millis()).unwrap_or(u64::MAX)
}

fn lock(sight: &Mutex<Sight>) -> MutexGuard<'_, Sight> {
    sight.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metrics_are_summed_over_the_matching_series() {
        let metrics = Metrics {
            text:
                "# TYPE a_total counter\na_total{code=\"502\",x=\"1\"} 2\na_total{code=\"200\"} 5\n\
                   a_total_more 9\nb 1\n"
                    .to_owned(),
        };
        assert!((metrics.sum("a_total", &[]) - 7.0).abs() < 1e-9);
        assert!((metrics.sum("a_total", &[("code", "502")]) - 2.0).abs() < 1e-9);
        assert!(metrics.knows("a_total") && metrics.knows("b") && !metrics.knows("a"));
    }

    #[test]
    fn the_fewest_serving_are_counted_per_cluster_from_the_first_one() {
        let state = |states: &[(&str, &str, &str)]| {
            let instances: Vec<Value> = states
                .iter()
                .map(|(id, group, state)| json!({"id": id, "group": group, "state": state}))
                .collect();
            json!({"epoch": "e", "generation": 1, "instances": instances})
        };
        let mut sight = Sight::default();
        sight.see(&state(&[("a", "demo-v000", "warming")]));
        assert!(sight.watched.fewest_serving.is_empty());
        sight.see(&state(&[
            ("a", "demo-v000", "serving"),
            ("b", "demo-v001", "serving"),
        ]));
        sight.see(&state(&[
            ("a", "demo-v000", "draining"),
            ("b", "demo-v001", "serving"),
        ]));
        assert_eq!(sight.watched.fewest_serving["demo"], 1);
        sight.see(&state(&[]));
        assert_eq!(sight.watched.fewest_serving["demo"], 0);
        assert_eq!(sight.watched.swaps("demo").len(), 1);
        assert_eq!(sight.watched.changes.last().unwrap().state, "absent");
    }
}
