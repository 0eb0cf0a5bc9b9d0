//! Prometheus, and what answers as it does (`kayenta: PrometheusMetricsService`).
//!
//! Range queries over its HTTP API: https://prometheus.io/docs/prometheus/latest/querying/api/#range-queries

use std::collections::BTreeMap;

use async_trait::async_trait;
use judge::MetricSet;

use super::grid::{Finer, Grid, OtherStep, Placer};
use super::http::{Call, Door, Unreadable};
use super::scan::Scan;
use super::{Class, MOST_SERIES, MOST_VALUES, Source, SourceError, is_room, matching, set};
use crate::account::Account;
use crate::query::{Fault, Question};
use crate::template::{PROMQL, quoted};

/// What a template may use of a scope.
const BASE: [&str; 4] = ["project", "resourceType", "scope", "location"];
/// What begins a template that is the whole query.
const WHOLE: &str = "PromQL:";
/// Values of one series that a range query may have (`prometheus: web/api/v1, exceeded maximum resolution`).
const MOST_POINTS: u64 = 11_000;

/// One account.
#[derive(Debug)]
pub(crate) struct Prometheus {
    door: Door,
    scope_label: String,
}

impl Prometheus {
    pub(super) fn new(account: &Account) -> Result<Self, SourceError> {
        Ok(Self {
            door: Door::new(account)?,
            scope_label: account.scope_label.clone(),
        })
    }

    /// The query.
    fn query(&self, question: &Question) -> Result<String, Fault> {
        let template = question.template(&question.bindings(&BASE), &PROMQL)?;
        if let Some(whole) = template
            .as_deref()
            .and_then(|t| t.trim_start().strip_prefix(WHOLE))
        {
            return Ok(whole.trim().to_owned());
        }
        let name = question.field("metricName").ok_or_else(|| {
            let remedy = "Metric Name is required when query type is Default. \
                          Or begin the template with PromQL: and write the whole query";
            Fault::missing("query.metricName", remedy)
        })?;
        let mut filters = question.list("labelBindings")?;
        match template {
            Some(template) => filters.insert(0, template),
            None => filters.extend(self.filters_of_resource(question)?),
        }
        let filters: Vec<_> = filters
            .iter()
            .map(|f| f.trim())
            .filter(|f| !f.is_empty())
            .collect();
        let groups = question.list("groupByFields")?;
        let is_label = |label: &String| {
            let mut bytes = label.bytes();
            bytes
                .next()
                .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
                && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        if let Some(label) = groups.iter().find(|label| !is_label(label)) {
            let remedy = "give names of labels";
            return Err(Fault::new("query.groupByFields", label, remedy));
        }
        let by = match groups.as_slice() {
            [] => String::new(),
            groups => format!(" by ({})", groups.join(",")),
        };
        Ok(format!("avg({name}{{{}}}){by}", filters.join(",")))
    }

    /// Filters without a template: by the type of what is looked at.
    ///
    /// Differs from Spinnaker: without a type, the scope is looked for in the scope label; there a type or a template
    /// has to be given.
    fn filters_of_resource(&self, question: &Question) -> Result<Vec<String>, Fault> {
        let attribute = |name: &str| {
            let extended = question.scope.extended.get(name).filter(|v| !v.is_empty());
            let given = extended.map(|v| (v.clone(), format!("scope.extendedScopeParams.{name}")));
            let own = question.field(name).map(|v| (v, format!("query.{name}")));
            let found = own.or(given).or_else(|| question.attribute(name));
            let escaped = |(value, field): (String, String)| quoted(&value, &field, '"', &PROMQL);
            found.map(escaped).transpose()
        };
        let label = &self.scope_label;
        let scope = attribute("scope")?;
        let kind = attribute("resourceType")?;
        let Some(kind) = kind else {
            return Ok(scope
                .map(|scope| format!("{label}=\"{scope}\""))
                .into_iter()
                .collect());
        };
        let location = || {
            attribute("location")?.ok_or_else(|| {
                let remedy =
                    format!("resource type {kind} looks for it; give the scope's location");
                Fault::missing("scope.location", remedy)
            })
        };
        match kind.as_str() {
            "gce_instance" => {
                let project = attribute("project")?;
                let project = project
                    .map(|p| format!("projects/{p}/"))
                    .unwrap_or_default();
                let zone = format!("zone=~\".+/{project}zones/{}-.{{1}}\"", location()?);
                let scope = scope.map(|scope| format!("{label}=~\"{scope}-.{{4}}\""));
                Ok(scope.into_iter().chain([zone]).collect())
            }
            "aws_ec2_instance" => {
                let zone = format!("zone=~\"{}.{{1}}\"", location()?);
                let scope = scope.map(|scope| format!("asg_groupName=\"{scope}\""));
                Ok(scope.into_iter().chain([zone]).collect())
            }
            other => {
                let remedy = "there are no filters for this type: use gce_instance or aws_ec2_instance, \
                              or write them as customInlineTemplate";
                Err(Fault::new("query.resourceType", other, remedy))
            }
        }
    }
}

/// One series: its labels without the name, and its values on the grid.
type Series = (BTreeMap<String, String>, Vec<f64>);

/// Why an answer gives no series.
#[derive(Debug, PartialEq)]
enum NoSeries {
    Unreadable(Unreadable),
    OtherStep(OtherStep),
    TooMany,
    NoRange,
}

impl From<Unreadable> for NoSeries {
    fn from(unreadable: Unreadable) -> Self {
        Self::Unreadable(unreadable)
    }
}

/// Reads an answer to a range query.
fn read(body: &[u8], grid: Grid) -> Result<Vec<Series>, NoSeries> {
    let mut scan = Scan::new(body);
    let mut series = Vec::new();
    let mut fault = None;
    let mut has_result = false;
    scan.object(|scan, name| {
        if name != "data" {
            return scan.pass();
        }
        scan.object(|scan, name| {
            if name != "result" {
                return scan.pass();
            }
            has_result = true;
            scan.list(|scan| {
                let (tags, placer) = one(scan, grid)?;
                let placed = placer.ok_or(NoSeries::NoRange);
                let placed = placed.and_then(|p| p.finish().map_err(NoSeries::OtherStep));
                match placed {
                    Ok(_) if !is_room(series.len() + 1, grid) => fault = Some(NoSeries::TooMany),
                    Ok(values) => series.push((tags, values)),
                    Err(error) => fault = Some(error),
                }
                Ok(())
            })
        })
    })?;
    scan.end()?;
    if let Some(fault) = fault {
        return Err(fault);
    }
    if !has_result {
        return Err(Unreadable::Other("there is no data.result in it".to_owned()).into());
    }
    Ok(series)
}

/// One series; no placer if it has no values of a range.
fn one(
    scan: &mut Scan<'_>,
    grid: Grid,
) -> Result<(BTreeMap<String, String>, Option<Placer>), Unreadable> {
    let mut tags = BTreeMap::new();
    let mut placer = None;
    scan.object(|scan, name| match name {
        "metric" => scan.object(|scan, label| {
            let value = scan.text()?;
            if label != "__name__" {
                tags.insert(label.to_owned(), value.into_owned());
            }
            Ok(())
        }),
        "values" => {
            let mut placed = Placer::new(grid, Finer::Refused);
            scan.points(|at_ms, value| placed.put(at_ms, value))?;
            placer = Some(placed);
            Ok(())
        }
        _ => scan.pass(),
    })?;
    Ok((tags, placer))
}

#[async_trait]
impl Source for Prometheus {
    fn kind(&self) -> &'static str {
        "prometheus"
    }

    fn text(&self, question: &Question) -> Result<String, SourceError> {
        Ok(self.query(question)?)
    }

    fn longest_ms(&self, step_ms: u64) -> u64 {
        step_ms.saturating_mul(MOST_POINTS)
    }

    async fn fetch(&self, question: &Question) -> Result<Vec<MetricSet>, SourceError> {
        let query = self.query(question)?;
        let about = |error: SourceError| error.about(&question.metric, &query);
        let grid = Grid::of(&question.scope)?;
        let parameters = [
            ("query", query.as_str()),
            ("start", &judge::iso(grid.start_ms)),
            // Both ends are inside there.
            ("end", &judge::iso(grid.last_ms())),
            ("step", &question.scope.step_s.to_string()),
        ];
        let call = Call::get("/api/v1/query_range", &parameters);
        let body = self.door.send(call).await.map_err(about)?;
        let series = read(&body, grid).map_err(|fault| {
            about(match fault {
                NoSeries::Unreadable(fault) => self.door.unreadable(&body, &fault),
                NoSeries::OtherStep(found) => {
                    let remedy = "ask a store that keeps to the step of a range query";
                    self.door.other_step(found, grid.step_ms, remedy)
                }
                NoSeries::TooMany => self.door.error(
                    Class::Invalid,
                    format!("it answers more than {MOST_SERIES} series, or {MOST_VALUES} values"),
                    "have the query aggregate them, such as by groupByFields, or ask for a longer step",
                ),
                NoSeries::NoRange => self.door.error(
                    Class::Invalid,
                    "it answers no values over time",
                    "have the query give a series for each instant, such as avg(…)",
                ),
            })
        })?;
        if series.is_empty() {
            return Ok(vec![MetricSet {
                values: Vec::new(),
                timestamps: Vec::new(),
                ..set(question, grid, &query, Vec::new())
            }]);
        }
        let sets = series.into_iter().map(|(tags, values)| MetricSet {
            tags,
            ..set(question, grid, &query, values)
        });
        Ok(sets.collect())
    }

    async fn metrics(&self, filter: &str) -> Result<Vec<String>, SourceError> {
        let call = Call::get("/api/v1/label/__name__/values", &[]);
        let answer = self.door.json(call).await?;
        let names = answer["data"].as_array().into_iter().flatten();
        Ok(matching(names.filter_map(|name| name.as_str()), filter))
    }
}

#[cfg(test)]
mod tests;
