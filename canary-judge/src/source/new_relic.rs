//! New Relic, asked in NRQL over the Insights API (`kayenta: NewRelicMetricsService`) or over NerdGraph, its successor.
//!
//! https://docs.newrelic.com/docs/apis/insights-apis/query-insights-event-data-api/ and
//! https://docs.newrelic.com/docs/apis/nerdgraph/examples/nerdgraph-nrql-tutorial/

use std::collections::BTreeMap;

use async_trait::async_trait;
use judge::MetricSet;
use serde_json::{Map, Value, json};

use super::grid::{Finer, Grid, OtherStep, Placer, seconds};
use super::http::{Call, Door};
use super::{Class, Source, SourceError, matching, number, set};
use crate::account::Account;
use crate::query::{Fault, Question};
use crate::template::{Binding, NRQL, quoted};

/// What a template may use of a scope.
const BASE: [&str; 3] = ["scope", "location", "step"];
/// The query of a query.
const GRAPH: &str = "query($id: Int!, $nrql: Nrql!) \
                     { actor { account(id: $id) { nrql(query: $nrql) { results } } } }";

/// One account.
#[derive(Debug)]
pub(crate) struct NewRelic {
    door: Door,
    account: String,
    nerd_graph: bool,
    scope_key: Option<String>,
    location_key: Option<String>,
}

impl NewRelic {
    pub(super) fn new(account: &Account) -> Result<Self, SourceError> {
        let door = Door::new(account)?;
        let id = account.account_id.clone().unwrap_or_default();
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_digit()) {
            let why = format!("account-id is {id:?}");
            let remedy = "give the number of the New Relic account in canary-judge.accounts";
            return Err(door.error(Class::Refused, why, remedy));
        }
        Ok(Self {
            door,
            account: id,
            nerd_graph: account.nerd_graph,
            scope_key: account.default_scope_key.clone(),
            location_key: account.default_location_key.clone(),
        })
    }

    /// The query.
    fn query(&self, question: &Question) -> Result<String, Fault> {
        let scope = &question.scope;
        let (since, until) = seconds(scope);
        let mut bindings = question.bindings(&BASE);
        bindings.insert("startEpochSeconds".into(), Binding::Ours(since.to_string()));
        bindings.insert("endEpochSeconds".into(), Binding::Ours(until.to_string()));
        if let Some(whole) = question.template(&bindings, &NRQL)? {
            return Ok(whole);
        }
        let select = question.field("select").ok_or_else(|| {
            let remedy = "give what is selected, such as average(duration) FROM Transaction";
            Fault::missing("query.select", remedy)
        })?;
        let begins = select.trim_start().get(..7).unwrap_or_default();
        let select = match begins.eq_ignore_ascii_case("select ") {
            true => select.trim().to_owned(),
            false => format!("SELECT {}", select.trim()),
        };
        let mut conditions = Vec::new();
        conditions.extend(question.field("q"));
        let given = scope
            .extended
            .iter()
            .filter(|(key, _)| !key.starts_with('_'));
        for (key, value) in given {
            let field = format!("scope.extendedScopeParams.{key}");
            conditions.push(like(key, value, &field)?);
        }
        let key = |parameter: &str, default: &Option<String>| {
            let given = scope.extended.get(parameter).filter(|key| !key.is_empty());
            given.or(default.as_ref()).cloned()
        };
        if !scope.scope.is_empty() {
            let key = key("_scope_key", &self.scope_key).ok_or_else(|| {
                let remedy = "give the attribute that the scope is looked for in, or set \
                              default-scope-key of the account";
                Fault::missing("scope.extendedScopeParams._scope_key", remedy)
            })?;
            conditions.push(like(&key, &scope.scope, "scope.scope")?);
        }
        if let Some(key) = key("_location_key", &self.location_key)
            && !scope.location.is_empty()
        {
            conditions.push(like(&key, &scope.location, "scope.location")?);
        }
        let condition = match conditions.as_slice() {
            [] => String::new(),
            all => format!(" WHERE {}", all.join(" AND ")),
        };
        let step = scope.step_s;
        Ok(format!(
            "{select} TIMESERIES {step} seconds SINCE {since} UNTIL {until}{condition}"
        ))
    }

    async fn ask(&self, nrql: &str) -> Result<Value, SourceError> {
        if !self.nerd_graph {
            let path = format!("/v1/accounts/{}/query", self.account);
            return self.door.json(Call::get(&path, &[("nrql", nrql)])).await;
        }
        let id: u64 = self.account.parse().unwrap_or_default();
        let body = json!({"query": GRAPH, "variables": {"id": id, "nrql": nrql}});
        let answer = self.door.json(Call::json("/graphql", &body)).await?;
        let Some(error) = answer["errors"]
            .as_array()
            .and_then(|errors| errors.first())
        else {
            return Ok(answer);
        };
        let said = error["message"]
            .as_str()
            .unwrap_or("an error without a message");
        let code = error["extensions"]["errorClass"]
            .as_str()
            .unwrap_or_default();
        let later = ["TIMEOUT", "SERVER_ERROR", "TOO_MANY_REQUESTS"];
        let class = match later.iter().any(|name| code.contains(name)) {
            true => Class::Transient,
            false => Class::Invalid,
        };
        let why = format!("it answers: {}", self.door.said(said));
        Err(self.door.error(
            class,
            why,
            "correct the metric's query, or the account's api-key",
        ))
    }
}

/// `key` like `value`, both as the language has them.
fn like(key: &str, value: &str, field: &str) -> Result<String, Fault> {
    let is_plain = key
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_.:".contains(&b));
    let key = match is_plain && !key.is_empty() {
        true => key.to_owned(),
        false => format!("`{}`", quoted(key, field, '`', &NRQL)?),
    };
    Ok(format!(
        "{key} LIKE '{}'",
        quoted(value, field, '\'', &NRQL)?
    ))
}

/// The one number among an entry's fields, which may lie one level deeper.
fn value_of(entry: &Map<String, Value>) -> f64 {
    let own = [
        "beginTimeSeconds",
        "endTimeSeconds",
        "inspectedCount",
        "facet",
    ];
    let mut values = entry.iter().filter(|(key, _)| !own.contains(&key.as_str()));
    match values.next() {
        Some((_, Value::Object(deeper))) => deeper.values().next().map_or(f64::NAN, number),
        Some((_, value)) => number(value),
        None => f64::NAN,
    }
}

/// A part of a series: when it begins, how long it is, its value.
fn part(entry: &Value) -> Option<(i64, i64, f64)> {
    let begin = entry["beginTimeSeconds"].as_i64()?;
    let end = entry["endTimeSeconds"].as_i64()?;
    let value = match entry["results"][0].as_object() {
        // The Insights API; a count of nothing is no value there.
        Some(_) if entry["inspectedCount"].as_i64().unwrap_or(0) == 0 => f64::NAN,
        Some(results) => value_of(results),
        None => entry.as_object().map_or(f64::NAN, value_of),
    };
    Some((
        begin.saturating_mul(1_000),
        (end - begin).saturating_mul(1_000),
        value,
    ))
}

/// The parts of an answer by facet; of all together under none.
fn series(answer: &Value) -> BTreeMap<Option<String>, Vec<&Value>> {
    let mut found: BTreeMap<_, Vec<&Value>> = BTreeMap::new();
    let facet = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    };
    let graph = &answer["data"]["actor"]["account"]["nrql"]["results"];
    for entry in graph.as_array().into_iter().flatten() {
        found.entry(facet(&entry["facet"])).or_default().push(entry);
    }
    for one in answer["facets"].as_array().into_iter().flatten() {
        let parts = one["timeSeries"].as_array().into_iter().flatten();
        found.entry(facet(&one["name"])).or_default().extend(parts);
    }
    if found.is_empty() {
        let parts = answer["timeSeries"].as_array().into_iter().flatten();
        found.insert(None, parts.collect());
    }
    found
}

#[async_trait]
impl Source for NewRelic {
    fn kind(&self) -> &'static str {
        "newrelic"
    }

    fn text(&self, question: &Question) -> Result<String, SourceError> {
        Ok(self.query(question)?)
    }

    async fn fetch(&self, question: &Question) -> Result<Vec<MetricSet>, SourceError> {
        let query = self.query(question)?;
        let about = |error: SourceError| error.about(&question.metric, &query);
        let grid = Grid::of_seconds(&question.scope)?;
        let answer = self.ask(&query).await.map_err(about)?;
        let is_answer = answer["timeSeries"].is_array()
            || answer["facets"].is_array()
            || answer["data"]["actor"]["account"]["nrql"]["results"].is_array();
        if !is_answer {
            let why = "it answers no values over time";
            let remedy = "have the query select TIMESERIES";
            return Err(about(self.door.error(Class::Invalid, why, remedy)));
        }
        let remedy = "have the query select TIMESERIES ${step} seconds";
        let other = |found| about(self.door.other_step(found, grid.step_ms, remedy));
        let all = series(&answer);
        self.door.room(all.len(), grid).map_err(about)?;
        let sets = all.into_iter().map(|(facet, parts)| {
            let mut placer = Placer::new(grid, Finer::Refused);
            let mut parts = parts.into_iter().filter_map(part).peekable();
            // The last part may be cut by the end of the window, the first is whole.
            if let Some((_, length_ms, _)) = parts.peek().filter(|(_, l, _)| *l != grid.step_ms)
                && grid.len() > 1
            {
                return Err(other(OtherStep {
                    found_ms: *length_ms,
                }));
            }
            parts.for_each(|(at_ms, _, value)| placer.put(at_ms, value));
            let values = placer.finish().map_err(other)?;
            Ok(MetricSet {
                tags: facet
                    .map(|facet| ("facet".to_owned(), facet))
                    .into_iter()
                    .collect(),
                ..set(question, grid, &query, values)
            })
        });
        sets.collect()
    }

    async fn metrics(&self, filter: &str) -> Result<Vec<String>, SourceError> {
        let answer = self
            .ask("SELECT uniques(metricName) FROM Metric SINCE 1 hour ago")
            .await?;
        let graph = &answer["data"]["actor"]["account"]["nrql"]["results"][0];
        let found = graph.as_object().into_iter().flat_map(Map::values);
        let rest = answer["results"][0]["members"].as_array();
        let names = found.filter_map(Value::as_array).chain(rest).flatten();
        Ok(matching(names.filter_map(Value::as_str), filter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(fields: &Value, scope: &str, extended: &[(&str, &str)]) -> Result<String, String> {
        let account = Account {
            kind: crate::account::Kind::NewRelic,
            account_id: Some("7".into()),
            default_location_key: Some("region".into()),
            ..Account::local()
        };
        let extended = extended.iter();
        let question = Question {
            query: fields.as_object().unwrap().clone(),
            scope: crate::query::Scope {
                scope: scope.into(),
                location: "eu".into(),
                start_ms: 60_000,
                end_ms: 180_000,
                step_s: 60,
                extended: extended.map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            },
            ..Question::default()
        };
        let query = NewRelic::new(&account).unwrap().query(&question);
        query.map_err(|fault| fault.to_string())
    }

    #[test]
    fn queries_read_as_kayenta_writes_them() {
        let fields = json!({"select": "average(d) FROM Transaction", "q": "a = 1"});
        let found = asked(&fields, "app-v1", &[("_scope_key", "host"), ("code", "5%")]);
        let expected = "SELECT average(d) FROM Transaction TIMESERIES 60 seconds SINCE 60 UNTIL 180 \
                        WHERE a = 1 AND code LIKE '5%' AND host LIKE 'app-v1' AND region LIKE 'eu'";
        assert_eq!(found.as_deref(), Ok(expected));
        let whole = "SELECT x FROM y WHERE h = '${scope}' TIMESERIES ${step} seconds \
                     SINCE ${startEpochSeconds} UNTIL ${endEpochSeconds}";
        let found = asked(&json!({"customInlineTemplate": whole}), "a", &[]);
        let expected = "SELECT x FROM y WHERE h = 'a' TIMESERIES 60 seconds SINCE 60 UNTIL 180";
        assert_eq!(found.as_deref(), Ok(expected));
    }

    #[test]
    fn a_scope_cannot_widen_its_condition() {
        let fields = json!({"select": "SELECT count(*) FROM T"});
        let keys = [("_scope_key", "h`x"), ("a b", "c")];
        let found = asked(&fields, "x' OR 1 = 1 -- ", &keys).unwrap();
        let expected =
            "WHERE `a b` LIKE 'c' AND `h\\`x` LIKE 'x\\' OR 1 = 1 -- ' AND region LIKE 'eu'";
        assert!(found.ends_with(expected), "{found}");
        assert!(
            asked(&fields, "x", &[])
                .unwrap_err()
                .contains("_scope_key is missing")
        );
    }
}
