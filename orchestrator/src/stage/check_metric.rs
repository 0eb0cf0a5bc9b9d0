//! `checkMetric`: one query of a metric store over one window, compared with one threshold. Ours.
//!
//! The window ends when the stage begins, or `windowEndsBefore` earlier. Every series that the query gives must
//! satisfy the comparison; data that are missing fail it, because nothing was measured.

use async_trait::async_trait;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, ErrorClass, PlanError, Stage, StageDefinition, StageView, TaskError, TaskPolicy,
    TaskResult, TaskSpec,
};
use proto::status::Failure;
use serde_json::{Map, Value, json};

use super::kayenta_canary::duration::{count_ms, iso_ms};
use super::kayenta_canary::settings::{iso, short, text};
use super::kayenta_canary::verdict::shown;
use super::kayenta_canary::{in_words, on_behalf};
use super::{StageType, schema};
use crate::services::MetricQuestion;
use crate::task::{Pool, Task, TaskContext, failed, number};

/// The type.
pub(super) static STAGE: CheckMetric = CheckMetric;

/// What was measured, or why nothing was, in the context.
const MESSAGE: &str = "metricMessage";
const OPERATORS: [&str; 4] = ["<", "<=", ">", ">="];
const AGGREGATIONS: [&str; 6] = ["mean", "median", "sum", "min", "max", "last"];
/// Points of one window at the most.
const MOST_POINTS: u64 = 50_000;

/// See the module.
#[derive(Debug)]
pub(super) struct CheckMetric;

impl StageDefinition for CheckMetric {
    fn kind(&self) -> &'static str {
        "checkMetric"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Check metric",
            text: "Compares one metric over a window with a threshold, and fails if it is beyond.",
            category: "flow",
        }
    }

    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Check::of(&stage.stage.context)
            .map_err(|(field, message)| format!("{field}: {message}"))?;
        Ok(vec![TaskSpec::new("checkMetric", Measure.kind())])
    }

    fn prepare_restart(&self, stage: &mut Stage) {
        for key in ["measured", "measuredSeries", "metricQuery", MESSAGE] {
            stage.context.shift_remove(key);
        }
    }

    /// What the store says of its query is no expression.
    fn own_expressions(&self) -> &'static [&'static str] {
        &["measuredSeries", "metricQuery", MESSAGE]
    }

    fn overdue(&self, stage: StageView<'_>) -> Option<String> {
        let said = stage.stage.context.get(MESSAGE).and_then(text);
        said.map(ToOwned::to_owned)
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let own = [
            "account",
            "query",
            "scope",
            "window",
            "operator",
            "threshold",
            "aggregation",
            "step",
        ];
        let written = own.iter().filter_map(|key| context.get(*key));
        if written
            .into_iter()
            .any(orchestrator_core::context::has_template)
        {
            return Vec::new();
        }
        let fault = Check::of(context).err();
        fault
            .map(|(field, message)| Fault::new(format!("{path}.{field}"), message))
            .into_iter()
            .collect()
    }

    fn schema(&self) -> Value {
        schema(
            &json!({
                "account": {"type": "string", "title": "Metric store"},
                "query": {
                    "type": "object", "title": "Query, as in a canary config's metric",
                    "properties": {"type": {"type": "string"}},
                },
                "scope": {"type": "string", "title": "What to look at, such as a server group"},
                "location": {"type": "string", "title": "Region or namespace"},
                "window": {"type": "string", "title": "How long, as in PT5M", "default": "PT5M"},
                "windowEndsBefore": {"type": "string", "title": "How long before now it ends"},
                "step": {"type": "integer", "title": "Seconds between points", "default": 60},
                "aggregation": {"type": "string", "enum": AGGREGATIONS, "default": "mean"},
                "operator": {"type": "string", "enum": OPERATORS, "default": "<="},
                "threshold": {"type": "number", "title": "Threshold"},
                "extendedScopeParams": {"type": "object"},
            }),
            &["query", "scope", "threshold"],
        )
    }
}

impl StageType for CheckMetric {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Measure]
    }
}

/// What a stage asks for.
#[derive(Debug, Clone, PartialEq)]
struct Check {
    account: String,
    query: Value,
    scope: Value,
    window_ms: u64,
    before_ms: u64,
    step_s: u64,
    operator: &'static str,
    aggregation: &'static str,
    threshold: f64,
}

impl Check {
    fn of(context: &Map<String, Value>) -> Result<Self, (&'static str, String)> {
        let given = |key: &str| context.get(key).filter(|v| !v.is_null());
        let query = match given("query") {
            Some(query) if query.get("type").and_then(text).is_some() => query.clone(),
            Some(Value::Object(_)) => {
                return Err((
                    "query.type",
                    "it is missing; name the type of the metric store".to_owned(),
                ));
            }
            _ => {
                return Err((
                    "query",
                    "it is missing; set {type, …} as in a canary config's metric".to_owned(),
                ));
            }
        };
        let threshold = given("threshold")
            .and_then(number)
            .filter(|t| t.is_finite());
        let threshold = threshold.ok_or_else(|| {
            let found = given("threshold").map_or_else(|| "missing".to_owned(), short);
            ("threshold", format!("it is {found}; set a number"))
        })?;
        let length = |key: &'static str, default: u64| match given(key).and_then(text) {
            None => Ok(default),
            Some(text) => iso_ms(text).map_err(|message| (key, message)),
        };
        let (window_ms, before_ms) = (length("window", 300_000)?, length("windowEndsBefore", 0)?);
        let step_s = match count_ms(given("step"), 1.0) {
            Ok(None) => 60,
            Ok(Some(step)) if step > 0 => step,
            Ok(Some(_)) | Err(_) => {
                return Err((
                    "step",
                    "it is no number of seconds of at least 1; correct it".to_owned(),
                ));
            }
        };
        if window_ms < 1_000 || window_ms / 1_000 / step_s > MOST_POINTS {
            let points = window_ms / 1_000 / step_s;
            return Err((
                "window",
                format!(
                    "it has {points} points of {step_s} s; choose one of 1 s to {MOST_POINTS} points"
                ),
            ));
        }
        let one_of =
            |key: &'static str, all: &[&'static str], default: &'static str| match given(key) {
                None => Ok(default),
                Some(value) => {
                    let found = all.iter().find(|known| value.as_str() == Some(**known));
                    found.copied().ok_or_else(|| {
                        (
                            key,
                            format!("{} is unknown; use one of {}", short(value), all.join(", ")),
                        )
                    })
                }
            };
        Ok(Self {
            account: given("account")
                .and_then(text)
                .unwrap_or_default()
                .to_owned(),
            query,
            scope: scope(context)?,
            window_ms,
            before_ms,
            step_s,
            operator: one_of("operator", &OPERATORS, "<=")?,
            aggregation: one_of("aggregation", &AGGREGATIONS, "mean")?,
            threshold,
        })
    }

    fn holds(&self, value: f64) -> bool {
        match self.operator {
            "<" => value < self.threshold,
            ">" => value > self.threshold,
            ">=" => value >= self.threshold,
            _ => value <= self.threshold,
        }
    }

    /// The value of one series; none without a point.
    fn value(&self, points: &[f64]) -> Option<f64> {
        let mut sorted = points.to_vec();
        sorted.sort_by(f64::total_cmp);
        let count = f64::from(u32::try_from(points.len()).unwrap_or(u32::MAX));
        let sum: f64 = points.iter().sum();
        match self.aggregation {
            "sum" => (count > 0.0).then_some(sum),
            "min" => sorted.first().copied(),
            "max" => sorted.last().copied(),
            "last" => points.last().copied(),
            "median" => {
                let middle = sorted.len() / 2;
                let upper = *sorted.get(middle)?;
                let lower = if sorted.len().is_multiple_of(2) {
                    *sorted.get(middle - 1)?
                } else {
                    upper
                };
                Some(f64::midpoint(lower, upper))
            }
            _ => (count > 0.0).then_some(sum / count),
        }
    }
}

/// The scope without its times: a text, or as a canary config's.
fn scope(context: &Map<String, Value>) -> Result<Value, (&'static str, String)> {
    let mut scope = match context.get("scope") {
        Some(Value::Object(scope)) => scope.clone(),
        Some(Value::String(name)) => {
            let mut scope = Map::new();
            scope.insert("scope".to_owned(), name.as_str().into());
            scope
        }
        None | Some(Value::Null) => Map::new(),
        Some(other) => {
            let message = format!(
                "{} is no text; name what to look at, such as a server group",
                short(other)
            );
            return Err(("scope", message));
        }
    };
    for key in ["location", "extendedScopeParams"] {
        if let Some(value) = context.get(key).filter(|v| !v.is_null()) {
            scope.insert(key.to_owned(), value.clone());
        }
    }
    Ok(scope.into())
}

#[derive(Debug)]
struct Measure;

#[async_trait]
impl Task for Measure {
    fn kind(&self) -> &'static str {
        "checkMetric"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(5_000, 600_000)
    }

    fn pool(&self) -> Pool {
        Pool::Http
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let check = Check::of(&ctx.stage.context)
            .map_err(|(field, message)| TaskError::user(format!("{field}: {message}")))?;
        let mut scope = check.scope.clone();
        // A repeat measures the same window.
        let begun = ctx.stage.start_time.unwrap_or(ctx.now);
        let before = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let end = begun.saturating_sub(before(check.before_ms));
        let start = end.saturating_sub(before(check.window_ms));
        scope["start"] = iso(start).into();
        scope["end"] = iso(end).into();
        scope["step"] = check.step_s.into();
        let question = MetricQuestion {
            application: ctx.execution.application.clone(),
            account: check.account.clone(),
            query: check.query.clone(),
            scope,
            templates: ctx.own("templates").cloned().unwrap_or_else(|| json!({})),
        };
        let by = on_behalf(ctx).await?;
        let judge = ctx.services.canary_judge();
        let reply = judge.query(&by, question).await;
        in_words(
            reply
                .map_err(kept)
                .and_then(|reply| answer(ctx, &check, &reply)),
        )
    }
}

/// A failure that may pass is kept in the context, so that the end tells of it when it does not.
fn kept(failure: Failure) -> TaskError {
    let mut error = failed(failure);
    if error.class == ErrorClass::Transient {
        let message = error.message.clone().into();
        error.context.insert(MESSAGE.to_owned(), message);
    }
    error
}

/// What the store's answer means.
fn answer(ctx: &TaskContext<'_>, check: &Check, reply: &Value) -> Result<TaskResult, TaskError> {
    let sent = reply.get("query").cloned().unwrap_or_default();
    let sets = reply.get("metricSets").and_then(Value::as_array);
    let mut series: Vec<(String, f64, usize)> = Vec::new();
    for set in sets.into_iter().flatten() {
        let values = set.get("values").and_then(Value::as_array);
        let values = values.into_iter().flatten().filter_map(number);
        let points: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        if let Some(value) = check.value(&points) {
            series.push((tags(set), value, points.len()));
        }
    }
    let what = ctx.text("name").unwrap_or(&ctx.stage.name);
    let window = ctx.text("window").unwrap_or("PT5M");
    if series.is_empty() {
        let mut error = TaskError::user(format!(
            "{what}: no data in {window}; look whether the metric store has the metric for scope {}, or take a longer \
             window",
            short(check.scope.get("scope").unwrap_or(&Value::Null))
        ));
        error
            .details
            .push(format!("asked was: {}", short_text(&sent)));
        error.context.insert("metricQuery".to_owned(), sent);
        return Err(error);
    }
    // The one that is furthest on the wrong side speaks for all.
    let distance = |value: f64| match check.operator {
        ">" | ">=" => check.threshold - value,
        _ => value - check.threshold,
    };
    let worst = series
        .iter()
        .max_by(|a, b| distance(a.1).total_cmp(&distance(b.1)));
    let Some((of, value, points)) = worst else {
        return Err(TaskError::permanent("no series was measured"));
    };
    let measured = format!(
        "{what}: {}{} is {} ({points} points in {window}), asked was {} {}",
        check.aggregation,
        if of.is_empty() {
            String::new()
        } else {
            format!(" of {of}")
        },
        shown(*value),
        check.operator,
        shown(check.threshold)
    );
    let listed: Vec<Value> = series
        .iter()
        .take(20)
        .map(|(of, value, points)| json!({"series": of, "value": value, "points": points}))
        .collect();
    let mut context = Map::new();
    context.insert("measured".to_owned(), json!(value));
    context.insert("measuredSeries".to_owned(), listed.into());
    context.insert("metricQuery".to_owned(), sent);
    context.insert(MESSAGE.to_owned(), measured.clone().into());
    if series.iter().all(|(_, value, _)| check.holds(*value)) {
        let result = TaskResult {
            context,
            ..TaskResult::succeeded()
        };
        return Ok(result.with_output("measured", json!(value)));
    }
    let mut error = TaskError::permanent(measured);
    error.context = context;
    Err(error)
}

fn tags(set: &Value) -> String {
    let tags = set.get("tags").and_then(Value::as_object);
    let tags = tags.into_iter().flatten();
    let tags: Vec<String> = tags
        .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)))
        .collect();
    tags.join(", ")
}

fn short_text(value: &Value) -> String {
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), ToOwned::to_owned);
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(more: Value) -> Result<Check, (&'static str, String)> {
        let mut all = json!({"query": {"type": "local"}, "scope": "a-v000", "threshold": "0.5"});
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        Check::of(all.as_object().unwrap())
    }

    #[test]
    fn series_become_one_value() {
        for (aggregation, expected) in [
            ("mean", 2.5),
            ("median", 2.5),
            ("sum", 10.0),
            ("min", 1.0),
            ("max", 4.0),
            ("last", 2.0),
        ] {
            let check = check(json!({"aggregation": aggregation})).unwrap();
            assert_eq!(check.value(&[4.0, 1.0, 3.0, 2.0]), Some(expected));
            assert_eq!(check.value(&[]), None);
        }
    }

    #[test]
    fn comparisons_are_what_is_asked_for() {
        for (operator, below, equal) in [
            ("<", true, false),
            ("<=", true, true),
            (">", false, false),
            (">=", false, true),
        ] {
            let check = check(json!({ "operator": operator })).unwrap();
            assert_eq!(
                (check.holds(0.4), check.holds(0.5)),
                (below, equal),
                "{operator}"
            );
        }
    }

    #[test]
    fn a_field_that_is_wrong_is_named() {
        for (more, field) in [
            (json!({"query": {}}), "query.type"),
            (json!({"query": null}), "query"),
            (json!({"threshold": "much"}), "threshold"),
            (json!({"window": "5m"}), "window"),
            (json!({"window": "P30D", "step": 1}), "window"),
            (json!({"step": 0}), "step"),
            (json!({"operator": "=="}), "operator"),
            (json!({"aggregation": "p99"}), "aggregation"),
            (json!({"scope": 5}), "scope"),
        ] {
            assert_eq!(check(more.clone()).unwrap_err().0, field, "{more}");
        }
    }
}
