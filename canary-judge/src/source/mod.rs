//! Metric stores: one file each, one trait, one contract (`tests/it/contract.rs`).
//!
//! Every store is asked for values on the same instants, `start`, `start + step`, … before `end`, answers NaN where it
//! has none, and says in its own words why it has nothing to say. Asking again is not a store's business but
//! the run's.

mod cloudwatch;
mod datadog;
mod error;
mod graphite;
mod grid;
mod http;
mod influxdb;
mod local;
mod new_relic;
mod prometheus;
mod retry;
mod scan;
mod sigv4;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use judge::MetricSet;
use serde_json::{Map, Value};

use crate::account::{Account, Kind};
use crate::query::Question;
use grid::Grid;

pub use error::{Class, SourceError};
pub(crate) use local::application_of;
pub use local::{CloudDriver, History};
pub(crate) use retry::Retry;

/// Series of one answer at most.
const MOST_SERIES: usize = 1_000;
/// Values of one answer at most, over all series, with those that it leaves out.
const MOST_VALUES: usize = 5_000_000;
/// Names of metrics that are listed at most.
const MOST_NAMES: usize = 5_000;

/// A metric store.
#[async_trait]
pub trait Source: Send + Sync + Debug {
    /// The `type` of its accounts and queries.
    fn kind(&self) -> &'static str;

    /// The query as it will be sent, without sending it.
    ///
    /// # Errors
    /// A query, template or value that is faulty.
    fn text(&self, question: &Question) -> Result<String, SourceError>;

    /// How long the window of a question with this step may be, in ms.
    fn longest_ms(&self, step_ms: u64) -> u64 {
        step_ms.saturating_mul(u64::from(grid::MOST))
    }

    /// How long the store remembers by its own nature, in ms; none: as long as whoever runs it says.
    fn remembered_ms(&self) -> Option<u64> {
        None
    }

    /// One attempt to get the values: a set for each of the store's series, and one without values if there is none.
    ///
    /// # Errors
    /// What is faulty, or what the store says.
    async fn fetch(&self, question: &Question) -> Result<Vec<MetricSet>, SourceError>;

    /// Names of metrics that contain `filter`, whatever its case.
    ///
    /// # Errors
    /// What the store says.
    async fn metrics(&self, filter: &str) -> Result<Vec<String>, SourceError>;
}

/// The store of an account; `history` is what the balancer of this installation measured.
///
/// # Errors
/// When the account cannot be used.
pub fn source(
    account: &Account,
    history: &Arc<dyn History>,
) -> Result<Arc<dyn Source>, SourceError> {
    Ok(match account.kind {
        Kind::Prometheus => Arc::new(prometheus::Prometheus::new(account)?),
        Kind::Graphite => Arc::new(graphite::Graphite::new(account)?),
        Kind::InfluxDb => Arc::new(influxdb::InfluxDb::new(account)?),
        Kind::Datadog => Arc::new(datadog::Datadog::new(account)?),
        Kind::CloudWatch => Arc::new(cloudwatch::CloudWatch::new(account)?),
        Kind::NewRelic => Arc::new(new_relic::NewRelic::new(account)?),
        Kind::Local => Arc::new(local::Local::new(Arc::clone(history))),
    })
}

/// A set of values on a grid.
fn set(question: &Question, grid: Grid, query: &str, values: Vec<f64>) -> MetricSet {
    let attributes = [("query".to_owned(), Value::String(query.to_owned()))];
    MetricSet {
        name: question.metric.clone(),
        start_ms: grid.start_ms,
        end_ms: grid.end_ms,
        step_ms: grid.step_ms,
        timestamps: grid.times(),
        values,
        attributes: Map::from_iter(attributes),
        ..MetricSet::default()
    }
}

/// Whether there is room for so many series: each takes a value for every instant, however few it has.
fn is_room(series: usize, grid: Grid) -> bool {
    series <= MOST_SERIES && series.saturating_mul(grid.len()) <= MOST_VALUES
}

/// A number of an answer; NaN if it is none.
fn number(value: &Value) -> f64 {
    match value {
        Value::Number(number) => number.as_f64().unwrap_or(f64::NAN),
        Value::String(text) => text.parse().unwrap_or(f64::NAN),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => f64::NAN,
    }
}

/// The names that contain `filter`, sorted, each once.
fn matching<'a>(names: impl Iterator<Item = &'a str>, filter: &str) -> Vec<String> {
    let filter = filter.to_lowercase();
    let mut found: Vec<String> = names
        .filter(|name| name.to_lowercase().contains(&filter))
        .map(ToOwned::to_owned)
        .collect();
    found.sort_unstable();
    found.dedup();
    found.truncate(MOST_NAMES);
    found
}
