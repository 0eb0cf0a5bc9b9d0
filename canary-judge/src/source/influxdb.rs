//! InfluxDB 1.x, asked in InfluxQL (`kayenta: InfluxDbMetricsService`).
//!
//! Its API: https://docs.influxdata.com/influxdb/v1/tools/api/#query-http-endpoint.
//!
//! Differs from Spinnaker: the database is that of query or account; there it is the metric's name, which is what is
//! left here if neither says.

mod names;

use std::collections::BTreeMap;

use async_trait::async_trait;
use judge::{MetricSet, iso};
use serde_json::Value;

use super::grid::{Finer, Grid, Placer, seconds};
use super::http::{Call, Door};
use super::{Class, Source, SourceError, matching, number, set};
use crate::account::Account;
use crate::query::{Fault, Question};
use crate::template::{Binding, INFLUXQL, quoted};

/// One account.
#[derive(Debug)]
pub(crate) struct InfluxDb {
    door: Door,
    database: Option<String>,
}

impl InfluxDb {
    pub(super) fn new(account: &Account) -> Result<Self, SourceError> {
        Ok(Self {
            door: Door::new(account)?,
            database: account.database.clone(),
        })
    }

    fn database(&self, question: &Question) -> String {
        let own = question.field("database").or_else(|| self.database.clone());
        own.unwrap_or_else(|| question.metric.clone())
    }
}

/// The scope as a condition; none if there is no scope.
fn condition(scope: &str) -> Result<Option<String>, Fault> {
    if scope.is_empty() {
        return Ok(None);
    }
    let Some((key, value)) = scope.split_once(':').filter(|(key, _)| !key.is_empty()) else {
        let remedy =
            "Scope expected in the format of 'name:value'. e.g. autoscaling_group:myapp-prod-v002";
        return Err(Fault::new("scope.scope", scope, remedy));
    };
    let key = match names::is_simple(key) {
        true => key.to_owned(),
        false => format!("\"{}\"", quoted(key, "scope.scope", '"', &INFLUXQL)?),
    };
    let value = quoted(value, "scope.scope", '\'', &INFLUXQL)?;
    Ok(Some(format!("{key} = '{value}'")))
}

/// The query.
fn query(question: &Question) -> Result<String, Fault> {
    let scope = condition(&question.scope.scope)?;
    // Groups of time begin at whole seconds: one that begins within the first second of a window is all of it in.
    let (start, end) = seconds(&question.scope);
    let iso = |at_s: i64| iso(at_s.saturating_mul(1_000));
    let (start, end) = (iso(start), iso(end));
    let time = format!("time >= '{start}' AND time < '{end}'");
    let mut bindings = question.bindings(&["location"]);
    if let Some(scope) = &scope {
        bindings.insert("scope".into(), Binding::Ours(scope.clone()));
    }
    bindings.insert("timeFilter".into(), Binding::Ours(time.clone()));
    let step = format!("{}s", question.scope.step_s);
    bindings.insert("step".into(), Binding::Ours(step));
    if let Some(own) = question.field("customInlineTemplate") {
        let own = crate::template::unescaped(&own);
        for part in ["${timeFilter}", "${scope}"] {
            if !own.contains(part) {
                let remedy = format!("{part} is required in query");
                return Err(Fault::new("query.customInlineTemplate", &own, remedy));
            }
        }
    }
    if let Some(own) = question.template(&bindings, &INFLUXQL)? {
        return checked(own, "query.customInlineTemplate");
    }
    let name = question.field("metricName").ok_or_else(|| {
        let remedy = "give a measurement, or a whole query as customInlineTemplate";
        Fault::missing("query.metricName", remedy)
    })?;
    let fields = question.list("fields")?;
    let fields = fields
        .iter()
        .map(|field| names::selected(field, "query.fields"));
    let mut fields: Vec<String> = fields.collect::<Result<_, Fault>>()?;
    if fields.is_empty() {
        fields.push("*::field".to_owned());
    }
    let scope = scope
        .map(|scope| format!(" AND {scope}"))
        .unwrap_or_default();
    let name = names::measurement(&name, "query.metricName")?;
    let own = format!(
        "SELECT {} FROM {name} WHERE {time}{scope}",
        fields.join(", ")
    );
    checked(own, "query.metricName")
}

/// A query that reads, and is one.
fn checked(query: String, field: &str) -> Result<String, Fault> {
    let fault = |remedy: &str| Err(Fault::new(field, &query, remedy));
    let upper = query.trim_start().to_uppercase();
    if !upper.starts_with("SELECT") {
        return fault("write one SELECT; nothing else is asked");
    }
    let mut quote = None;
    let mut word = String::new();
    let mut characters = query.chars().peekable();
    while let Some(character) = characters.next() {
        let is_in_word = quote.is_none() && (character.is_alphanumeric() || character == '_');
        if is_in_word {
            word.push(character.to_ascii_uppercase());
        } else if std::mem::take(&mut word) == "INTO" {
            return fault("leave out INTO: a query of a metric writes nothing");
        }
        match (quote, character) {
            (Some(_), '\\') => drop(characters.next()),
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(character),
            (None, ';') => return fault("leave out the semicolon: one query is asked at a time"),
            (None, '-') if characters.peek() == Some(&'-') => {
                return fault("leave out the comment");
            }
            (None, '/') if characters.peek() == Some(&'*') => {
                return fault("leave out the comment");
            }
            (None, _) => {}
        }
    }
    Ok(query)
}

#[async_trait]
impl Source for InfluxDb {
    fn kind(&self) -> &'static str {
        "influxdb"
    }

    fn text(&self, question: &Question) -> Result<String, SourceError> {
        Ok(query(question)?)
    }

    async fn fetch(&self, question: &Question) -> Result<Vec<MetricSet>, SourceError> {
        let query = query(question)?;
        let about = |error: SourceError| error.about(&question.metric, &query);
        let grid = Grid::of_seconds(&question.scope)?;
        let database = self.database(question);
        let parameters = [("db", database.as_str()), ("q", &query), ("epoch", "ms")];
        let answer = self
            .door
            .json(Call::get("/query", &parameters))
            .await
            .map_err(about)?;
        let result = &answer["results"][0];
        if let Some(said) = result["error"]
            .as_str()
            .or_else(|| answer["error"].as_str())
        {
            let why = format!("it answers: {}", self.door.said(said));
            let remedy = format!("correct the metric's query, or the database {database:?}");
            return Err(about(self.door.error(Class::Invalid, why, remedy)));
        }
        let mut sets = Vec::new();
        let mut texts = Vec::new();
        let all = result["series"].as_array().map_or(&[][..], Vec::as_slice);
        let columns = all.iter().filter_map(|series| series["columns"].as_array());
        let several = columns.map(|columns| columns.len().saturating_sub(1)).sum();
        self.door.room(several, grid).map_err(about)?;
        for series in all {
            if series["partial"] == Value::Bool(true) {
                let why = "it answers a part of the values only (max-row-limit)";
                let remedy = "have the query group by time(${step}), or raise the limit there";
                return Err(about(self.door.error(Class::Invalid, why, remedy)));
            }
            let rows = series["values"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            let columns = series["columns"]
                .as_array()
                .into_iter()
                .flatten()
                .enumerate();
            for (at, column) in columns.skip(1) {
                let column = column.as_str().unwrap_or_default();
                if rows
                    .iter()
                    .any(|row| !row[at].is_number() && !row[at].is_null())
                {
                    texts.push(column.to_owned());
                    continue;
                }
                let mut placer = Placer::new(grid, Finer::Averaged);
                for row in rows {
                    if let Some(at_ms) = row[0].as_i64() {
                        placer.put(at_ms, number(&row[at]));
                    }
                }
                let values = placer.finish().map_err(|found| {
                    let remedy = "have the query group by time(${step})";
                    about(self.door.other_step(found, grid.step_ms, remedy))
                })?;
                let mut tags = BTreeMap::from([("field".to_owned(), column.to_owned())]);
                for (tag, value) in series["tags"].as_object().into_iter().flatten() {
                    tags.insert(tag.clone(), value.as_str().unwrap_or_default().to_owned());
                }
                sets.push(MetricSet {
                    tags,
                    ..set(question, grid, &query, values)
                });
            }
        }
        if sets.is_empty() && !texts.is_empty() {
            let why = format!("it answers no numbers, {} are texts", texts.join(", "));
            return Err(about(self.door.error(
                Class::Invalid,
                why,
                "name numeric fields in query.fields",
            )));
        }
        if sets.is_empty() {
            sets.push(MetricSet {
                timestamps: Vec::new(),
                ..set(question, grid, &query, Vec::new())
            });
        }
        Ok(sets)
    }

    async fn metrics(&self, filter: &str) -> Result<Vec<String>, SourceError> {
        let Some(database) = &self.database else {
            let why = "nobody says which database";
            let remedy = "give the account a database in canary-judge.accounts";
            return Err(self.door.error(Class::Refused, why, remedy));
        };
        let parameters = [("db", database.as_str()), ("q", "SHOW MEASUREMENTS")];
        let answer = self.door.json(Call::get("/query", &parameters)).await?;
        let rows = answer["results"][0]["series"][0]["values"].as_array();
        let names = rows.into_iter().flatten().filter_map(|row| row[0].as_str());
        Ok(matching(names, filter))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(fields: &Value, scope: &str) -> Result<String, String> {
        let question = Question {
            query: fields.as_object().unwrap().clone(),
            scope: crate::query::Scope {
                scope: scope.into(),
                end_ms: 60_000,
                step_s: 60,
                ..crate::query::Scope::default()
            },
            ..Question::default()
        };
        query(&question).map_err(|fault| fault.to_string())
    }

    const TIME: &str = "time >= '1970-01-01T00:00:00Z' AND time < '1970-01-01T00:01:00Z'";

    #[test]
    fn queries_read_as_kayenta_writes_them() {
        for (fields, scope, expected) in [
            (
                json!({"metricName": "cpu", "fields": ["a", "b"]}),
                "host:x",
                format!("SELECT a, b FROM cpu WHERE {TIME} AND host = 'x'"),
            ),
            (
                json!({"metricName": "cpu"}),
                "",
                format!("SELECT *::field FROM cpu WHERE {TIME}"),
            ),
            (
                json!({"metricName": "rp.cpu", "fields": ["value::field", "\"a b\""]}),
                "my host:it's",
                format!(
                    "SELECT value::field, \"a b\" FROM rp.cpu WHERE {TIME} AND \"my host\" = 'it\\'s'"
                ),
            ),
            (
                json!({"customInlineTemplate":
                    "SELECT mean(a) FROM cpu WHERE $\\{timeFilter} AND ${scope} GROUP BY time(${step})"}),
                "host:x",
                format!("SELECT mean(a) FROM cpu WHERE {TIME} AND host = 'x' GROUP BY time(60s)"),
            ),
        ] {
            assert_eq!(asked(&fields, scope), Ok(expected));
        }
    }

    #[test]
    fn a_query_that_is_none_or_more_than_one_is_refused() {
        let template = |text: &str| json!({"customInlineTemplate": text});
        let all = "${timeFilter} ${scope}";
        for (query, text) in [
            (format!("SHOW DATABASES {all}"), "write one SELECT"),
            (
                format!("SELECT a FROM b WHERE {all}; DROP DATABASE d"),
                "leave out the semicolon",
            ),
            (
                format!("SELECT a FROM b WHERE {all} -- x"),
                "leave out the comment",
            ),
            (
                format!("SELECT a FROM b /* x */ WHERE {all}"),
                "leave out the comment",
            ),
            (
                "SELECT a FROM b WHERE ${scope}".to_owned(),
                "${timeFilter} is required in query",
            ),
            (
                "SELECT a FROM b WHERE ${timeFilter}".to_owned(),
                "${scope} is required in query",
            ),
        ] {
            let fault = asked(&template(&query), "k:v").unwrap_err();
            assert!(fault.contains(text), "{fault}");
        }
        let fine = format!("SELECT a FROM b WHERE {all} AND c = 'x; -- y'");
        assert!(asked(&template(&fine), "k:v").is_ok());
    }

    #[test]
    fn a_name_is_a_name_and_a_query_writes_nothing() {
        let name = "\"cpu\"; DROP DATABASE prod; SELECT * FROM \"cpu\"";
        let fault = asked(&json!({"metricName": name}), "").unwrap_err();
        assert!(fault.starts_with("query.metricName is "), "{fault}");
        let field = "\"a\" FROM secrets; SELECT \"b";
        let fault = asked(&json!({"metricName": "cpu", "fields": ["a", field]}), "").unwrap_err();
        assert!(fault.starts_with("query.fields is "), "{fault}");
        let query = asked(
            &json!({"metricName": "\"cpu load\"", "fields": ["\"a\""]}),
            "",
        );
        let expected = format!("SELECT \"a\" FROM \"cpu load\" WHERE {TIME}");
        assert_eq!(query, Ok(expected));
        let into = "SELECT a INTO db2..m FROM b WHERE ${timeFilter} AND ${scope}";
        let fault = asked(&json!({"customInlineTemplate": into}), "k:v").unwrap_err();
        assert!(fault.contains("leave out INTO"), "{fault}");
        let quoted = "SELECT a FROM b WHERE ${timeFilter} AND k = '${scope}'";
        let fault = asked(&json!({"customInlineTemplate": quoted}), "k:v").unwrap_err();
        assert!(fault.contains("leave out the quotes around it"), "{fault}");
    }

    #[test]
    fn a_scope_cannot_widen_its_condition() {
        let query = asked(&json!({"metricName": "m"}), "host:x' OR 'a' = 'a").unwrap();
        assert!(
            query.ends_with("AND host = 'x\\' OR \\'a\\' = \\'a'"),
            "{query}"
        );
        let query = asked(&json!({"metricName": "m"}), "a\" = 'b' OR \"c:x").unwrap();
        assert!(
            query.ends_with("AND \"a\\\" = 'b' OR \\\"c\" = 'x'"),
            "{query}"
        );
        let fault = asked(&json!({"metricName": "m"}), "x").unwrap_err();
        assert!(
            fault.contains("Scope expected in the format of 'name:value'"),
            "{fault}"
        );
    }
}
