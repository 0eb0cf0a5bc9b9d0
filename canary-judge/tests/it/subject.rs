//! What the contract is held against: a store that knows the same made-up canary as all others.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use canary_judge::account::{Account, Kind};
use canary_judge::query::{Question, Scope};
use canary_judge::source::{History, Source, source};
use proto::status::Failure;
use serde_json::Value;

/// Between two values, in s.
pub(crate) const STEP_S: i64 = 60;
/// Values that are missing in the middle of the window.
pub(crate) const GAP: std::ops::Range<i64> = 10..13;
/// Values of the window.
pub(crate) const COUNT: i64 = 20;

/// The window begins two hours ago, at a whole ten minutes.
pub(crate) fn start_s() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = i64::try_from(now.unwrap().as_secs()).unwrap();
    (now - 7_200) / 600 * 600
}

/// What every store knows of an arm: instants in s and values, from before the window until after it.
pub(crate) fn points(arm: &str, start_s: i64) -> Vec<(i64, f64)> {
    let base = if arm == "canary" { 200.0 } else { 100.0 };
    let known = (-5..COUNT + 5).filter(|k| !GAP.contains(k));
    #[expect(clippy::cast_precision_loss, reason = "small")]
    known
        .map(|k| (start_s + k * STEP_S, base + k as f64))
        .collect()
}

/// What a store without an answer is expected to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoSeries {
    /// One set without values.
    Placeholder,
    /// One set, every value NaN.
    Nan,
}

/// A store, filled.
pub(crate) struct Subject {
    pub(crate) source: Arc<dyn Source>,
    /// The metric's query.
    pub(crate) query: Value,
    /// Scope and location of an arm.
    pub(crate) scope: fn(&str) -> (&'static str, &'static str),
    pub(crate) extended: &'static [(&'static str, &'static str)],
    /// Tags of the one series.
    pub(crate) tags: &'static [(&'static str, &'static str)],
    pub(crate) no_series: NoSeries,
    /// A word that the text of the query has.
    pub(crate) text: &'static str,
    /// A part of the name that it lists.
    pub(crate) lists: &'static str,
    pub(crate) start_s: i64,
    /// What has to live as long.
    pub(crate) _server: Box<dyn Any + Send>,
}

impl Subject {
    pub(crate) fn question(&self, arm: &str) -> Question {
        let (scope, location) = (self.scope)(arm);
        let extended = self.extended.iter();
        Question {
            metric: "requests".into(),
            query: self.query.as_object().unwrap().clone(),
            templates: serde_json::Map::new(),
            scope: Scope {
                scope: scope.into(),
                location: location.into(),
                start_ms: self.start_s * 1_000,
                end_ms: (self.start_s + COUNT * STEP_S) * 1_000,
                step_s: u64::try_from(STEP_S).unwrap(),
                extended: extended.map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            },
        }
    }

    pub(crate) fn expected_tags(&self) -> BTreeMap<String, String> {
        let tags = self.tags.iter();
        tags.map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }
}

/// A balancer that measured what it is told.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    pub(crate) answer: Option<Result<Value, Failure>>,
    pub(crate) now_ms: i64,
}

#[async_trait]
impl History for Remembered {
    async fn traffic(&self, _application: &str, _seconds: u32) -> Result<Value, Failure> {
        self.answer.clone().unwrap_or(Ok(Value::Null))
    }

    fn now_ms(&self) -> i64 {
        self.now_ms
    }
}

/// An account at an address.
pub(crate) fn account(kind: Kind, base_url: &str) -> Account {
    Account {
        name: "prod".into(),
        kind,
        base_url: Some(base_url.to_owned()),
        ..Account::local()
    }
}

/// Its store.
pub(crate) fn store(account: &Account) -> Arc<dyn Source> {
    let history: Arc<dyn History> = Arc::new(Remembered::default());
    source(account, &history).unwrap()
}
