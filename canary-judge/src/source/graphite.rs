//! Graphite (`kayenta: GraphiteMetricsService`).
//!
//! The render API: https://graphite.readthedocs.io/en/stable/render_api.html. Its step is that of the archive the
//! values lie in; finer values are averaged, coarser ones refused.
//!
//! Differs from Spinnaker: a target that matches nothing is a metric without values, as in the other stores. There it
//! ends the judgement, and a canary whose first error has not come yet would fail for want of errors.

use async_trait::async_trait;
use judge::MetricSet;
use serde_json::Value;

use super::grid::{Finer, Grid, Placer, seconds};
use super::http::{Call, Door};
use super::{Class, Source, SourceError, matching, number, set};
use crate::account::Account;
use crate::query::{Fault, Question};
use crate::template::{GRAPHITE, expand, unescaped};

/// What a target may use of a scope.
const BASE: [&str; 2] = ["scope", "location"];

/// One account.
#[derive(Debug)]
pub(crate) struct Graphite {
    door: Door,
}

impl Graphite {
    pub(super) fn new(account: &Account) -> Result<Self, SourceError> {
        let door = Door::new(account)?;
        Ok(Self { door })
    }
}

/// The target.
fn query(question: &Question) -> Result<String, Fault> {
    let bindings = question.bindings(&BASE);
    if let Some(target) = question.template(&bindings, &GRAPHITE)? {
        return Ok(target);
    }
    let target = question.field("metricName").ok_or_else(|| {
        let remedy = "give a target, such as averageSeries(servers.$scope.requests)";
        Fault::missing("query.metricName", remedy)
    })?;
    expand(
        "query.metricName",
        &unescaped(&target),
        &bindings,
        &GRAPHITE,
    )
}

#[async_trait]
impl Source for Graphite {
    fn kind(&self) -> &'static str {
        "graphite"
    }

    fn text(&self, question: &Question) -> Result<String, SourceError> {
        Ok(query(question)?)
    }

    async fn fetch(&self, question: &Question) -> Result<Vec<MetricSet>, SourceError> {
        let query = query(question)?;
        let about = |error: SourceError| error.about(&question.metric, &query);
        let grid = Grid::of_seconds(&question.scope)?;
        // From is outside there and until is inside, both in whole seconds.
        let (from, until) = seconds(&question.scope);
        let (from, until) = (from.saturating_sub(1), until.saturating_sub(1));
        let parameters = [
            ("target", query.as_str()),
            ("from", &from.to_string()),
            ("until", &until.to_string()),
            ("format", "json"),
        ];
        let answer = self
            .door
            .json(Call::get("/render", &parameters))
            .await
            .map_err(about)?;
        let series = answer.as_array().ok_or_else(|| {
            let why = "its answer is no list of series";
            let remedy = "see whether base-url of the account is that of Graphite's web part";
            about(self.door.error(Class::Refused, why, remedy))
        })?;
        if let [first, second, ..] = series.as_slice() {
            let name = |series: &Value| series["target"].as_str().unwrap_or("?").to_owned();
            let why = format!(
                "it answers {} series, such as {} and {}",
                series.len(),
                name(first),
                name(second)
            );
            let remedy = "have the target make one of them, such as by averageSeries(…)";
            return Err(about(self.door.error(Class::Invalid, why, remedy)));
        }
        if series.is_empty() {
            return Ok(vec![MetricSet {
                timestamps: Vec::new(),
                ..set(question, grid, &query, Vec::new())
            }]);
        }
        let sets = series.iter().map(|series| {
            let mut placer = Placer::new(grid, Finer::Averaged);
            for point in series["datapoints"].as_array().into_iter().flatten() {
                if let Some(at_s) = point[1].as_i64() {
                    placer.put(at_s.saturating_mul(1_000), number(&point[0]));
                }
            }
            let values = placer.finish().map_err(|found| {
                let remedy = format!(
                    "wrap the target in summarize(…, '{}s', 'avg')",
                    grid.step_ms / 1_000
                );
                about(self.door.other_step(found, grid.step_ms, &remedy))
            })?;
            Ok(set(question, grid, &query, values))
        });
        sets.collect()
    }

    async fn metrics(&self, filter: &str) -> Result<Vec<String>, SourceError> {
        let query = match filter {
            "" => "*".to_owned(),
            filter => format!("{filter}*"),
        };
        let parameters = [("query", query.as_str()), ("format", "completer")];
        let answer = self
            .door
            .json(Call::get("/metrics/find", &parameters))
            .await?;
        let found = answer["metrics"].as_array().into_iter().flatten();
        Ok(matching(
            found.filter_map(|metric| metric["path"].as_str()),
            "",
        ))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(target: &str, scope: &str) -> Result<String, String> {
        let mut question = Question::default();
        question.query.insert("metricName".into(), json!(target));
        question.scope.scope = scope.into();
        question.scope.location = "eu".into();
        query(&question).map_err(|fault| fault.to_string())
    }

    #[test]
    fn scope_and_location_stand_in_targets() {
        let found = asked("alias(a.$location.${scope}.b,'$scope')", "app-v001");
        assert_eq!(found.as_deref(), Ok("alias(a.eu.app-v001.b,'app-v001')"));
    }

    #[test]
    fn a_scope_cannot_add_a_target() {
        for scope in ["a,secret.*", "a)", "{a,b}", "a'b"] {
            let text = asked("sum(x.$scope,'$scope')", scope).unwrap_err();
            assert!(
                text.starts_with(&format!("scope.scope is {scope:?}")),
                "{text}"
            );
        }
        assert!(
            asked("", "a")
                .unwrap_err()
                .contains("query.metricName is missing")
        );
    }
}
