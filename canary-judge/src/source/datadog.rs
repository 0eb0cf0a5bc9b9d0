//! Datadog (`kayenta: DatadogMetricsService`).
//!
//! Its API: https://docs.datadoghq.com/api/latest/metrics/#query-timeseries-points. It chooses a step of its own by the
//! length of the window, unless the query has a rollup; finer values are averaged, coarser ones refused.

use std::collections::BTreeMap;

use async_trait::async_trait;
use judge::MetricSet;
use serde_json::Value;

use super::grid::{Finer, Grid, Placer, seconds};
use super::http::{Call, Door};
use super::{Class, Source, SourceError, matching, number, set};
use crate::account::Account;
use crate::query::{Fault, Question};
use crate::template::{DATADOG, bare};

/// What a template may use of a scope.
const BASE: [&str; 2] = ["scope", "location"];
/// How far back metrics are listed that somebody sent, in s.
const LISTED_S: i64 = 3_600;

/// One account.
#[derive(Debug)]
pub(crate) struct Datadog {
    door: Door,
}

impl Datadog {
    pub(super) fn new(account: &Account) -> Result<Self, SourceError> {
        let door = Door::new(account)?;
        Ok(Self { door })
    }
}

/// The query.
fn query(question: &Question) -> Result<String, Fault> {
    if let Some(whole) = question.template(&question.bindings(&BASE), &DATADOG)? {
        return Ok(whole);
    }
    let name = question.field("metricName").ok_or_else(|| {
        let remedy = "give a metric, such as avg:system.cpu.user";
        Fault::missing("query.metricName", remedy)
    })?;
    // Tags that have to be there all together.
    let tags = question.scope.scope.split(',').map(str::trim);
    let tags = tags.map(|tag| bare(tag, "scope.scope", &DATADOG));
    let tags: Vec<String> = tags.collect::<Result<_, _>>()?;
    Ok(format!("{name}{{{}}}", tags.join(",")))
}

/// What a series is told from the others by.
fn tags(series: &Value) -> BTreeMap<String, String> {
    let tags = series["tag_set"].as_array().into_iter().flatten();
    let tags = tags.filter_map(Value::as_str);
    let pair = |tag: &str| match tag.split_once(':') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (tag.to_owned(), String::new()),
    };
    tags.map(pair).collect()
}

#[async_trait]
impl Source for Datadog {
    fn kind(&self) -> &'static str {
        "datadog"
    }

    fn text(&self, question: &Question) -> Result<String, SourceError> {
        Ok(query(question)?)
    }

    async fn fetch(&self, question: &Question) -> Result<Vec<MetricSet>, SourceError> {
        let query = query(question)?;
        let about = |error: SourceError| error.about(&question.metric, &query);
        let grid = Grid::of_seconds(&question.scope)?;
        let (from, to) = seconds(&question.scope);
        let (from, to) = (from.to_string(), to.to_string());
        let parameters = [("from", from.as_str()), ("to", &to), ("query", &query)];
        let answer = self
            .door
            .json(Call::get("/api/v1/query", &parameters))
            .await
            .map_err(about)?;
        if answer["status"] != "ok" {
            let said = answer["error"].as_str().unwrap_or("no status and no error");
            let why = format!("it answers: {}", self.door.said(said));
            return Err(about(self.door.error(
                Class::Invalid,
                why,
                "correct the metric's query",
            )));
        }
        let series = answer["series"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        if series.is_empty() {
            return Ok(vec![MetricSet {
                timestamps: Vec::new(),
                ..set(question, grid, &query, Vec::new())
            }]);
        }
        self.door.room(series.len(), grid).map_err(about)?;
        let sets = series.iter().map(|one| {
            let mut placer = Placer::new(grid, Finer::Averaged);
            for point in one["pointlist"].as_array().into_iter().flatten() {
                #[expect(clippy::cast_possible_truncation, reason = "an instant in ms")]
                if let Some(at_ms) = point[0].as_f64() {
                    placer.put(at_ms as i64, number(&point[1]));
                }
            }
            let values = placer.finish().map_err(|found| {
                let remedy = format!("add .rollup(avg, {}) to the query", grid.step_ms / 1_000);
                about(self.door.other_step(found, grid.step_ms, &remedy))
            })?;
            Ok(MetricSet {
                // One series alone is compared with one series alone, whatever its host.
                tags: if series.len() > 1 {
                    tags(one)
                } else {
                    BTreeMap::new()
                },
                ..set(question, grid, &query, values)
            })
        });
        sets.collect()
    }

    async fn metrics(&self, filter: &str) -> Result<Vec<String>, SourceError> {
        let from = (jiff::Timestamp::now().as_second() - LISTED_S).to_string();
        let answer = self
            .door
            .json(Call::get("/api/v1/metrics", &[("from", &from)]))
            .await?;
        let names = answer["metrics"].as_array().into_iter().flatten();
        Ok(matching(names.filter_map(Value::as_str), filter))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(fields: &Value, scope: &str) -> Result<String, String> {
        let mut question = Question {
            query: fields.as_object().unwrap().clone(),
            ..Question::default()
        };
        question.scope.scope = scope.into();
        query(&question).map_err(|fault| fault.to_string())
    }

    #[test]
    fn queries_read_as_kayenta_writes_them() {
        let name = json!({"metricName": "avg:system.cpu.user"});
        let found = asked(&name, "autoscaling_group:app-v001");
        assert_eq!(
            found.as_deref(),
            Ok("avg:system.cpu.user{autoscaling_group:app-v001}")
        );
        assert_eq!(
            asked(&name, "a:b, c:d").as_deref(),
            Ok("avg:system.cpu.user{a:b,c:d}")
        );
        let whole = json!({"customInlineTemplate": "sum:e{s:${scope}}.as_rate()"});
        assert_eq!(asked(&whole, "x").as_deref(), Ok("sum:e{s:x}.as_rate()"));
    }

    #[test]
    fn a_scope_cannot_end_the_braces() {
        for scope in ["*} by {host", "a}+avg:b{*", "a\"b", "a b"] {
            let fault = asked(&json!({"metricName": "avg:m"}), scope).unwrap_err();
            assert!(fault.starts_with("scope.scope is "), "{fault}");
        }
        assert!(
            asked(&json!({}), "a")
                .unwrap_err()
                .contains("query.metricName is missing")
        );
    }
}
