//! The balancer's own history, second by second for an hour, so that a canary on one machine needs no store. A type of
//! our own: Kayenta has none like it.
//!
//! Query: `{"type": "local", "metricName": "errors"}`; the scope is the name of a server group. Its truth is what
//! cloud-driver's `QueryService.GetTraffic` answers; the last second is read only once it has ended.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use judge::MetricSet;
use proto::cloud_driver::v1::TrafficQuery;
use proto::cloud_driver::v1::query_service_client::QueryServiceClient;
use proto::history::REMEMBERED_S;
use proto::status::{Failure, Kind};
use runtime::auth::AuthContext;
use runtime::client::Peer;
use serde::Deserialize;
use serde_json::Value;

use super::grid::Grid;
use super::{Class, Source, SourceError, matching, set};
use crate::query::{Fault, Question};

/// How long cloud-driver may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Who knows what the balancer measured.
#[async_trait]
pub trait History: Send + Sync + Debug {
    /// The last seconds of an application's server groups, as `GetTraffic` answers them.
    ///
    /// # Errors
    /// What cloud-driver says.
    async fn traffic(&self, application: &str, seconds: u32) -> Result<Value, Failure>;

    /// Now, Unix milliseconds.
    fn now_ms(&self) -> i64;
}

/// cloud-driver.
#[derive(Debug, Clone)]
pub struct CloudDriver(QueryServiceClient<Peer>);

impl CloudDriver {
    /// Over a way to it.
    pub fn new(peer: Peer) -> Self {
        let client = QueryServiceClient::new(peer);
        Self(client.max_decoding_message_size(proto::MAX_MESSAGE_BYTES))
    }
}

#[async_trait]
impl History for CloudDriver {
    async fn traffic(&self, application: &str, seconds: u32) -> Result<Value, Failure> {
        let query = TrafficQuery {
            application: application.to_owned(),
            seconds,
        };
        let request = AuthContext::default().request(query);
        let mut client = self.0.clone();
        let call = tokio::time::timeout(TIMEOUT, client.get_traffic(request));
        match call.await {
            Ok(Ok(answer)) => Ok(answer.into_inner().value("answer")?),
            Ok(Err(status)) => Err(status.into()),
            Err(_) => {
                let why = format!("no answer of cloud-driver in {} s", TIMEOUT.as_secs());
                Err(Failure::new(Kind::Unavailable, why))
            }
        }
    }

    fn now_ms(&self) -> i64 {
        jiff::Timestamp::now().as_millisecond()
    }
}

/// What a metric is of the seconds of a step.
type Of = fn(&[Second]) -> f64;

/// Metrics by name.
const METRICS: [(&str, Of); 10] = [
    ("requests", |s| sum(s, Second::requests)),
    ("errors", |s| sum(s, Second::errors)),
    ("client_errors", |s| sum(s, |s| s.client_error)),
    ("server_errors", |s| sum(s, |s| s.server_error)),
    ("balancer_errors", |s| sum(s, |s| s.own_error)),
    ("error_rate", |s| {
        sum(s, Second::errors) / sum(s, Second::requests)
    }),
    ("latency_p50", |s| latency(s, |s| s.p50_us)),
    ("latency_p99", |s| latency(s, |s| s.p99_us)),
    ("retries", |s| sum(s, |s| s.retries)),
    ("in_flight", |s| sum(s, |s| s.in_flight) / sum(s, |_| 1.0)),
];

/// One second of a server group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Second {
    ok: f64,
    client_error: f64,
    server_error: f64,
    own_error: f64,
    retries: f64,
    p50_us: f64,
    p99_us: f64,
    in_flight: f64,
}

impl Second {
    fn errors(&self) -> f64 {
        self.server_error + self.own_error
    }

    fn requests(&self) -> f64 {
        self.ok + self.client_error + self.errors()
    }

    /// What the group answered behind another load balancer in the same second.
    fn join(&mut self, other: &Self) {
        self.ok += other.ok;
        self.client_error += other.client_error;
        self.server_error += other.server_error;
        self.own_error += other.own_error;
        self.retries += other.retries;
        self.in_flight += other.in_flight;
        self.p50_us = self.p50_us.max(other.p50_us);
        self.p99_us = self.p99_us.max(other.p99_us);
    }
}

fn sum(seconds: &[Second], of: impl Fn(&Second) -> f64) -> f64 {
    seconds.iter().map(of).sum()
}

/// Milliseconds: of one second the balancer's quantile, of several the mean of theirs, each as often as it had
/// requests; NaN without requests.
fn latency(seconds: &[Second], of: impl Fn(&Second) -> f64) -> f64 {
    let weighted = sum(seconds, |second| of(second) * second.requests());
    weighted / sum(seconds, Second::requests) / 1_000.0
}

/// The history as it is answered.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    until_s: i64,
    series: Vec<Series>,
}

/// See above.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Series {
    group: String,
    seconds: Vec<Second>,
}

/// The seconds of one group by instant; none if the balancer never heard of it.
fn seconds_of(answer: &Answer, group: &str) -> Option<BTreeMap<i64, Second>> {
    let mut found = None;
    for series in answer.series.iter().filter(|series| series.group == group) {
        let all: &mut BTreeMap<i64, Second> = found.get_or_insert_default();
        let count = i64::try_from(series.seconds.len()).unwrap_or(0);
        for (at_s, second) in (answer.until_s - count + 1..).zip(&series.seconds) {
            all.entry(at_s).or_default().join(second);
        }
    }
    found
}

/// A value for each instant of the grid: NaN where not all seconds of the step are known.
fn values(seconds: &BTreeMap<i64, Second>, grid: Grid, of: Of) -> Vec<f64> {
    let value = |start_ms: i64| {
        let whole = start_ms.div_euclid(1_000)..(start_ms + grid.step_ms).div_euclid(1_000);
        let known: Vec<Second> = seconds
            .range(whole.clone())
            .map(|(_, second)| *second)
            .collect();
        let is_whole = i64::try_from(known.len()) == Ok(whole.end - whole.start);
        if is_whole { of(&known) } else { f64::NAN }
    };
    grid.times().into_iter().map(value).collect()
}

/// The balancer of this installation.
#[derive(Debug)]
pub(crate) struct Local {
    history: Arc<dyn History>,
}

impl Local {
    pub(super) fn new(history: Arc<dyn History>) -> Self {
        Self { history }
    }

    fn error(class: Class, why: impl Into<String>, remedy: &str) -> SourceError {
        let mut error = SourceError::new(class, why, remedy);
        "local".clone_into(&mut error.store);
        error
    }
}

/// The application that a server group's name begins with.
pub(crate) fn application_of(group: &str) -> &str {
    group.split('-').next().unwrap_or_default()
}

/// Name and meaning of the metric, and the server group.
fn asked(question: &Question) -> Result<(&'static str, Of, String), Fault> {
    let known = METRICS.map(|(name, _)| name).join(", ");
    let Some(name) = question.field("metricName") else {
        let remedy = format!("give one of {known}");
        return Err(Fault::missing("query.metricName", remedy));
    };
    let found = METRICS.iter().find(|(known, _)| *known == name);
    let (name, of) = found.ok_or_else(|| {
        let remedy = format!("the balancer measures {known}");
        Fault::new("query.metricName", &name, remedy)
    })?;
    let group = &question.scope.scope;
    let may = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    // Without an application, cloud-driver would tell of all of them.
    if application_of(group).is_empty() || !group.chars().all(may) {
        let remedy = "give the name of a server group, such as app-prod-v001";
        return Err(Fault::new("scope.scope", group, remedy));
    }
    Ok((name, *of, group.clone()))
}

#[async_trait]
impl Source for Local {
    fn kind(&self) -> &'static str {
        "local"
    }

    fn text(&self, question: &Question) -> Result<String, SourceError> {
        let (name, _, group) = asked(question)?;
        Ok(format!("{name} of {group}"))
    }

    fn remembered_ms(&self) -> Option<u64> {
        Some(u64::from(REMEMBERED_S) * 1_000)
    }

    async fn fetch(&self, question: &Question) -> Result<Vec<MetricSet>, SourceError> {
        let query = self.text(question)?;
        let (_, of, group) = asked(question)?;
        let grid = Grid::of(&question.scope)?;
        let back = (self.history.now_ms() - grid.start_ms).div_euclid(1_000);
        if back > i64::from(REMEMBERED_S) {
            let remedy = "the balancer remembers an hour: begin later, or use a metric store that keeps its values";
            let start = judge::iso(grid.start_ms);
            return Err(Fault::new("scope.start", &start, remedy).into());
        }
        // What is asked for ends now: some seconds more than those from the start on, for clocks that are apart.
        let back = u32::try_from((back + 5).clamp(1, REMEMBERED_S.into())).unwrap_or(1);
        let mut answer = self
            .history
            .traffic(application_of(&group), back)
            .await
            .map_err(|failure| {
                let (class, remedy) = match failure.kind {
                    Kind::Unavailable | Kind::Exhausted | Kind::Internal | Kind::Conflict => (
                        Class::Transient,
                        "see whether cloud-driver and the balancer run",
                    ),
                    _ => (
                        Class::Refused,
                        "see whether cloud-driver is of the same version",
                    ),
                };
                Self::error(class, failure.message, remedy).about(&question.metric, &query)
            })?;
        let history = answer
            .get_mut("history")
            .map(Value::take)
            .unwrap_or_default();
        let answer: Answer = serde_json::from_value(history).map_err(|error| {
            let why = format!("what cloud-driver answers is no history: {error}");
            let remedy = "see whether cloud-driver is of the same version";
            Self::error(Class::Refused, why, remedy).about(&question.metric, &query)
        })?;
        let Some(seconds) = seconds_of(&answer, &group) else {
            let empty = set(question, grid, &query, Vec::new());
            return Ok(vec![MetricSet {
                timestamps: Vec::new(),
                ..empty
            }]);
        };
        Ok(vec![set(
            question,
            grid,
            &query,
            values(&seconds, grid, of),
        )])
    }

    async fn metrics(&self, filter: &str) -> Result<Vec<String>, SourceError> {
        Ok(matching(METRICS.iter().map(|(name, _)| *name), filter))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::query::Scope;

    fn grid(start_s: i64, end_s: i64, step_s: u64) -> Grid {
        let scope = Scope {
            start_ms: start_s * 1_000,
            end_ms: end_s * 1_000,
            step_s,
            ..Scope::default()
        };
        Grid::of(&scope).unwrap()
    }

    fn answer() -> Answer {
        let second = |ok: u32, bad: u32, p50: u32| {
            json!({"ok": ok, "clientError": 0, "serverError": bad, "ownError": 0, "retries": 0,
                   "p50Us": p50, "p99Us": 2 * p50, "inFlight": 1})
        };
        let series = json!([
            {"loadBalancer": "a", "group": "x-v000", "seconds": [second(9, 1, 1_000), second(30, 0, 2_000), second(0, 0, 0)]},
            {"loadBalancer": "b", "group": "x-v000", "seconds": [second(10, 0, 500), second(0, 0, 0), second(0, 0, 0)]},
            {"loadBalancer": "a", "group": "-", "seconds": []},
        ]);
        serde_json::from_value(json!({"untilS": 102, "series": series})).unwrap()
    }

    fn of(name: &str, grid: Grid) -> Vec<Option<f64>> {
        let seconds = seconds_of(&answer(), "x-v000").unwrap();
        let (_, of) = METRICS.iter().find(|(known, _)| *known == name).unwrap();
        let values = values(&seconds, grid, *of).into_iter();
        values
            .map(|value| Some(value).filter(|v| !v.is_nan()))
            .collect()
    }

    #[test]
    fn seconds_are_values_and_load_balancers_are_added_up() {
        let grid = grid(100, 104, 1);
        assert_eq!(
            of("requests", grid),
            [Some(20.0), Some(30.0), Some(0.0), None]
        );
        assert_eq!(of("errors", grid), [Some(1.0), Some(0.0), Some(0.0), None]);
        assert_eq!(of("error_rate", grid), [Some(0.05), Some(0.0), None, None]);
        assert_eq!(of("latency_p50", grid), [Some(1.0), Some(2.0), None, None]);
        assert_eq!(
            of("in_flight", grid),
            [Some(2.0), Some(2.0), Some(2.0), None]
        );
    }

    #[test]
    fn steps_of_several_seconds_are_added_up_or_weighted() {
        let grid = grid(99, 105, 2);
        assert_eq!(of("requests", grid), [None, Some(30.0), None]);
        let grid = self::grid(100, 102, 2);
        assert_eq!(of("requests", grid), [Some(50.0)]);
        assert_eq!(of("error_rate", grid), [Some(0.02)]);
        assert_eq!(of("latency_p50", grid), [Some(1.6)]);
    }

    #[test]
    fn a_group_nobody_heard_of_has_no_seconds() {
        assert_eq!(seconds_of(&answer(), "y-v000"), None);
    }

    #[test]
    fn metrics_and_groups_that_are_not_there_are_refused_with_those_that_are() {
        let ask = |metric: &str, scope: &str| {
            let mut question = Question::default();
            question.query.insert("metricName".into(), json!(metric));
            question.scope.scope = scope.into();
            asked(&question).map(|_| ()).unwrap_err().to_string()
        };
        assert!(ask("cpu", "x-v000").contains("the balancer measures requests, errors"));
        assert!(ask("", "x-v000").contains("query.metricName is missing"));
        assert!(ask("errors", "x v000").contains("give the name of a server group"));
        assert!(ask("errors", "").contains("scope.scope is \"\""));
        assert!(ask("errors", "-v001").contains("scope.scope is \"-v001\""));
    }
}
