//! Amazon CloudWatch. A type of our own: Kayenta has none like it.
//!
//! Query: `{"type": "cloudwatch", "namespace", "metricName", "dimensions": {name: value}, "stat": "Average", "unit"?}`,
//! or `customInlineTemplate` with an expression or a list of `MetricDataQueries`; location is the region. Asked is
//! GetMetricData: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html

use std::collections::BTreeMap;

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue};
use judge::MetricSet;
use runtime::config::SecretRef;
use serde_json::{Map, Value, json};
use url::Url;

use super::grid::{Finer, Grid, Placer, seconds};
use super::http::{Call, Door};
use super::sigv4::{Keys, Signed, authorization};
use super::{Class, Source, SourceError, matching, number, set};
use crate::account::Account;
use crate::query::{Fault, Question, text};
use crate::template::{Bindings, METRIC_MATH, TEXT, expand, unescaped};

/// What a template may use of a scope.
const BASE: [&str; 2] = ["scope", "location"];
/// Answers to one query that are read at most.
const MOST_PAGES: usize = 50;
/// What stands before the operation's name.
const TARGET: &str = "GraniteServiceVersion20100801";

/// One account.
#[derive(Debug)]
pub(crate) struct CloudWatch {
    door: Door,
    region: Option<String>,
    /// Whether every region is asked at the account's own address.
    one_address: bool,
    id: Option<SecretRef>,
    secret: Option<SecretRef>,
    token: Option<SecretRef>,
}

impl CloudWatch {
    pub(super) fn new(account: &Account) -> Result<Self, SourceError> {
        Ok(Self {
            door: Door::new(account)?,
            region: account.region.clone(),
            one_address: account.base_url.is_some(),
            id: account.access_key_id.clone(),
            secret: account.secret_access_key.clone(),
            token: account.session_token.clone(),
        })
    }

    fn region(&self, question: &Question) -> Result<String, Fault> {
        let (field, region) = match (&question.scope.location, question.field("region")) {
            (location, _) if !location.is_empty() => ("scope.location", location.clone()),
            (_, Some(region)) => ("query.region", region),
            _ => match &self.region {
                Some(region) => ("region", region.clone()),
                None => {
                    return Err(Fault::missing(
                        "scope.location",
                        "give a region, such as eu-central-1",
                    ));
                }
            },
        };
        let is_region = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !region.bytes().all(is_region) {
            return Err(Fault::new(
                field,
                &region,
                "give a region, such as eu-central-1",
            ));
        }
        Ok(region)
    }

    /// Sends one operation, signed.
    async fn call(
        &self,
        operation: &str,
        region: &str,
        body: &Value,
    ) -> Result<Value, SourceError> {
        let secret = |reference: &Option<SecretRef>| match reference {
            Some(reference) => self.door.secret(reference),
            None => Ok(String::new()),
        };
        let keys = Keys {
            id: secret(&self.id)?,
            secret: secret(&self.secret)?,
            token: self
                .token
                .as_ref()
                .map(|token| self.door.secret(token))
                .transpose()?,
        };
        let base = match self.one_address {
            true => self.door.base().to_owned(),
            false => format!("https://monitoring.{region}.amazonaws.com"),
        };
        let host = Url::parse(&base).ok().and_then(|url| {
            let port = url
                .port()
                .map(|port| format!(":{port}"))
                .unwrap_or_default();
            Some(format!("{}{port}", url.host_str()?))
        });
        let at = jiff::Timestamp::now()
            .strftime("%Y%m%dT%H%M%SZ")
            .to_string();
        let target = format!("{TARGET}.{operation}");
        let host = host.unwrap_or_default();
        let mut headers = vec![
            ("content-type", "application/x-amz-json-1.0"),
            ("host", &host),
            ("x-amz-date", &at),
        ];
        if let Some(token) = &keys.token {
            headers.push(("x-amz-security-token", token));
        }
        headers.push(("x-amz-target", &target));
        let body = body.to_string();
        let signed = Signed {
            method: "POST",
            headers: &headers,
            body: body.as_bytes(),
            region,
            service: "monitoring",
            at: &at,
        };
        let authorization = authorization(&keys, &signed);
        let mut sent = HeaderMap::new();
        headers.push(("authorization", &authorization));
        for (name, value) in headers.into_iter().filter(|(name, _)| *name != "host") {
            let value = HeaderValue::from_str(value).map_err(|_| {
                let why = format!("{name} has characters that no header may have");
                self.door
                    .error(Class::Refused, why, "write the account's secrets anew")
            })?;
            let name = http::HeaderName::from_bytes(name.as_bytes());
            sent.extend(name.ok().map(|name| (Some(name), value)));
        }
        let call = Call {
            path: "/".to_owned(),
            headers: sent,
            body: Some(body.into()),
            base: Some(base),
            secrets: [keys.id, keys.secret]
                .into_iter()
                .chain(keys.token)
                .collect(),
        };
        self.door.json(call).await
    }
}

/// The list of queries.
fn queries(question: &Question, step_s: u64) -> Result<Value, Fault> {
    // What the service has: whole minutes, or the steps of metrics of high resolution.
    if !(matches!(step_s, 1 | 5 | 10 | 30) || (step_s >= 60 && step_s.is_multiple_of(60))) {
        let remedy = "give 1, 5, 10, 30 or whole minutes: CloudWatch has no other periods";
        return Err(Fault::new("scope.step", &step_s.to_string(), remedy));
    }
    let bindings = question.bindings(&BASE);
    let own = question
        .field("customInlineTemplate")
        .map(|own| unescaped(&own));
    if let Some(list) = own.filter(|own| own.trim_start().starts_with('[')) {
        const FIELD: &str = "query.customInlineTemplate";
        let list: Value = serde_json::from_str(&list).map_err(|error| {
            let remedy = format!("it begins as a list in JSON, but: {error}");
            Fault::new(FIELD, &list, remedy)
        })?;
        return filled(&list, FIELD, &bindings);
    }
    if let Some(expression) = question.template(&bindings, &METRIC_MATH)? {
        return Ok(json!([{
            "Id": "m1", "Expression": expression, "Period": step_s, "ReturnData": true,
        }]));
    }
    let field = |name: &str, remedy: &str| {
        let field = format!("query.{name}");
        let value = question
            .field(name)
            .ok_or_else(|| Fault::missing(&field, remedy))?;
        expand(&field, &unescaped(&value), &bindings, &TEXT)
    };
    let namespace = field(
        "namespace",
        "give the metric's namespace, such as AWS/ApplicationELB",
    )?;
    let name = field("metricName", "give a metric, such as RequestCount")?;
    let mut dimensions = Vec::new();
    match question.query.get("dimensions") {
        None | Some(Value::Null) => {}
        Some(Value::Object(all)) => {
            for (name, value) in all {
                let field = format!("query.dimensions.{name}");
                let value = text(Some(value)).unwrap_or_default();
                let value = expand(&field, &unescaped(&value), &bindings, &TEXT)?;
                dimensions.push(json!({"Name": name, "Value": value}));
            }
        }
        Some(other) => {
            let remedy = "give an object of names and values";
            return Err(Fault::new("query.dimensions", &other.to_string(), remedy));
        }
    }
    let stat = question
        .field("stat")
        .unwrap_or_else(|| "Average".to_owned());
    let mut stat = json!({
        "Metric": {"Namespace": namespace, "MetricName": name, "Dimensions": dimensions},
        "Period": step_s,
        "Stat": stat,
    });
    if let Some(unit) = question.field("unit") {
        stat["Unit"] = Value::String(unit);
    }
    Ok(json!([{"Id": "m1", "MetricStat": stat, "ReturnData": true}]))
}

/// A list of the author's own, its texts expanded: expressions as such, all others as the texts that they are.
fn filled(value: &Value, field: &str, bindings: &Bindings) -> Result<Value, Fault> {
    Ok(match value {
        Value::String(template) => {
            let language = if field.ends_with(".Expression") {
                &METRIC_MATH
            } else {
                &TEXT
            };
            Value::String(expand(field, template, bindings, language)?)
        }
        Value::Array(all) => {
            let all = all.iter().enumerate();
            let all = all.map(|(at, value)| filled(value, &format!("{field}[{at}]"), bindings));
            Value::Array(all.collect::<Result<_, _>>()?)
        }
        Value::Object(all) => {
            let all = all.iter().map(|(name, value)| {
                Ok((
                    name.clone(),
                    filled(value, &format!("{field}.{name}"), bindings)?,
                ))
            });
            Value::Object(all.collect::<Result<Map<_, _>, Fault>>()?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    })
}

/// An instant as the service writes it: Unix seconds, or a text.
fn instant(value: &Value) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "an instant in ms")]
    let of_seconds = |seconds: f64| (seconds * 1_000.0).round() as i64;
    match value {
        Value::String(text) => text
            .parse::<jiff::Timestamp>()
            .ok()
            .map(jiff::Timestamp::as_millisecond),
        other => other.as_f64().map(of_seconds),
    }
}

/// Instants and values of one result.
type Points = BTreeMap<i64, f64>;

#[async_trait]
impl Source for CloudWatch {
    fn kind(&self) -> &'static str {
        "cloudwatch"
    }

    fn text(&self, question: &Question) -> Result<String, SourceError> {
        self.region(question)?;
        Ok(queries(question, question.scope.step_s)?.to_string())
    }

    async fn fetch(&self, question: &Question) -> Result<Vec<MetricSet>, SourceError> {
        let queries = queries(question, question.scope.step_s)?;
        let query = queries.to_string();
        let about = |error: SourceError| error.about(&question.metric, &query);
        let grid = Grid::of_seconds(&question.scope)?;
        let (from, to) = seconds(&question.scope);
        let region = self.region(question)?;
        let mut body = json!({
            "MetricDataQueries": queries,
            "StartTime": from,
            "EndTime": to,
            "ScanBy": "TimestampAscending",
        });
        // By id and label: an expression may answer several of one id.
        let mut found: BTreeMap<(String, String), Points> = BTreeMap::new();
        for page in 0.. {
            let answer = self
                .call("GetMetricData", &region, &body)
                .await
                .map_err(about)?;
            for result in answer["MetricDataResults"].as_array().into_iter().flatten() {
                let code = result["StatusCode"].as_str().unwrap_or_default();
                if matches!(code, "InternalError" | "Forbidden") {
                    let said = result["Messages"][0]["Value"].as_str().unwrap_or_default();
                    let (class, remedy) = match code {
                        "InternalError" => (Class::Transient, "it is asked again"),
                        _ => (
                            Class::Refused,
                            "let the account's keys do cloudwatch:GetMetricData",
                        ),
                    };
                    let why = format!("it answers {code}: {}", self.door.said(said));
                    return Err(about(self.door.error(class, why, remedy)));
                }
                let name = |key: &str| result[key].as_str().unwrap_or_default().to_owned();
                let points = found.entry((name("Id"), name("Label"))).or_default();
                let times = result["Timestamps"].as_array().into_iter().flatten();
                let values = result["Values"].as_array().into_iter().flatten();
                let new = times
                    .zip(values)
                    .filter_map(|(at, v)| Some((instant(at)?, number(v))));
                points.extend(new);
            }
            let Some(next) = answer["NextToken"].as_str() else {
                break;
            };
            if page + 1 >= MOST_PAGES {
                let why = format!("it has more than {MOST_PAGES} pages of values");
                let remedy = "have the query answer fewer, or a shorter window";
                return Err(about(self.door.error(Class::Invalid, why, remedy)));
            }
            body["NextToken"] = Value::String(next.to_owned());
        }
        self.door.room(found.len(), grid).map_err(about)?;
        let has_several = found.len() > 1;
        let sets = found.into_iter().map(|((_, label), points)| {
            let mut placer = Placer::new(grid, Finer::Refused);
            points
                .iter()
                .for_each(|(at_ms, value)| placer.put(*at_ms, *value));
            let is_empty = points.is_empty();
            let values = placer.finish().map_err(|found| {
                let remedy = "have the query's Period be that of the step";
                about(self.door.other_step(found, grid.step_ms, remedy))
            })?;
            let tags = has_several.then(|| ("label".to_owned(), label));
            let placed = set(
                question,
                grid,
                &query,
                if is_empty { Vec::new() } else { values },
            );
            Ok(MetricSet {
                tags: tags.into_iter().collect(),
                timestamps: if is_empty {
                    Vec::new()
                } else {
                    placed.timestamps
                },
                ..placed
            })
        });
        let mut sets: Vec<_> = sets.collect::<Result<_, SourceError>>()?;
        if sets.is_empty() {
            sets.push(MetricSet {
                timestamps: Vec::new(),
                ..set(question, grid, &query, Vec::new())
            });
        }
        Ok(sets)
    }

    async fn metrics(&self, filter: &str) -> Result<Vec<String>, SourceError> {
        let Some(region) = &self.region else {
            let why = "nobody says which region";
            let remedy = "give the account a region in canary-judge.accounts";
            return Err(self.door.error(Class::Refused, why, remedy));
        };
        let answer = self.call("ListMetrics", region, &json!({})).await?;
        let all = answer["Metrics"].as_array().into_iter().flatten();
        Ok(matching(
            all.filter_map(|metric| metric["MetricName"].as_str()),
            filter,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(fields: &Value, scope: &str, step_s: u64) -> Result<Value, String> {
        let mut question = Question {
            query: fields.as_object().unwrap().clone(),
            ..Question::default()
        };
        question.scope.scope = scope.into();
        queries(&question, step_s).map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_metric_and_its_dimensions_are_asked_for() {
        let fields = json!({"namespace": "AWS/EC2", "metricName": "CPUUtilization",
                            "dimensions": {"AutoScalingGroupName": "${scope}"}, "unit": "Percent"});
        let expected = json!([{"Id": "m1", "ReturnData": true, "MetricStat": {
            "Metric": {"Namespace": "AWS/EC2", "MetricName": "CPUUtilization",
                       "Dimensions": [{"Name": "AutoScalingGroupName", "Value": "app-v001"}]},
            "Period": 60, "Stat": "Average", "Unit": "Percent"}}]);
        assert_eq!(asked(&fields, "app-v001", 60), Ok(expected));
        let fault = asked(&fields, "a", 45).unwrap_err();
        assert!(
            fault.starts_with("scope.step is \"45\": give 1, 5, 10, 30 or whole minutes"),
            "{fault}"
        );
    }

    #[test]
    fn a_scope_is_one_value_of_a_dimension_whatever_it_is() {
        let fields = json!({"namespace": "n", "metricName": "m", "dimensions": {"d": "${scope}"}});
        let scope = "x\"}], \"Stat\": \"Sum";
        let queries = asked(&fields, scope, 60).unwrap();
        let dimensions = &queries[0]["MetricStat"]["Metric"]["Dimensions"];
        assert_eq!(dimensions, &json!([{"Name": "d", "Value": scope}]));
    }

    #[test]
    fn a_scope_cannot_end_a_text_of_an_expression() {
        let search = "SEARCH('{AWS/EC2,InstanceId} ${scope}', 'Average')";
        for template in [
            search.to_owned(),
            json!([{"Id": "a", "Expression": search}]).to_string(),
        ] {
            let fields = json!({"customInlineTemplate": template});
            let found = asked(&fields, "web", 60).unwrap();
            let expected = "SEARCH('{AWS/EC2,InstanceId} web', 'Average')";
            assert_eq!(found[0]["Expression"], expected);
            let fault = asked(&fields, "x', 'Sum') + SEARCH('y", 60).unwrap_err();
            assert!(fault.contains("cannot stand within '"), "{fault}");
        }
        let fault = asked(&json!({"customInlineTemplate": "[{"}), "x", 60).unwrap_err();
        assert!(fault.contains("begins as a list in JSON"), "{fault}");
    }
}
