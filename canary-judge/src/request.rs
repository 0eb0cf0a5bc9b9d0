//! Kayenta's execution request: scopes and thresholds, read strictly where a judgement depends on them
//! (`kayenta: CanaryExecutionRequest`, `ExecutionMapper`). The original's checks come in its order, in its words.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use judge::run::Window;
use judge::{CanaryConfig, Thresholds};
use proto::status::Failure;
use serde_json::{Map, Value};

use crate::query::Scope;

/// Seconds between two values, if a scope does not say.
const STEP_S: u64 = 60;
/// A step is no longer, in seconds: a week.
const MOST_STEP_S: u64 = 7 * 24 * 3600;

/// What is looked at on one side.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CanaryScope {
    scope: String,
    location: String,
    window: Option<Window>,
    step_s: u64,
    extended: BTreeMap<String, String>,
}

/// The scopes of one name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sides {
    pub(crate) control: CanaryScope,
    pub(crate) experiment: CanaryScope,
}

/// An execution request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ExecutionRequest {
    /// By name, in the request's order.
    scopes: Vec<(String, Sides)>,
    /// What the score is compared with.
    pub(crate) thresholds: Thresholds,
}

/// A side of a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Control,
    Experiment,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Control, Self::Experiment];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Experiment => "experiment",
        }
    }
}

impl CanaryScope {
    /// The scope that a metric store is asked about, over these times or else its own.
    pub(crate) fn over(&self, window: Option<Window>) -> Scope {
        let window = window.or(self.window).unwrap_or(Window {
            start_ms: 0,
            end_ms: 0,
        });
        Scope {
            scope: self.scope.clone(),
            location: self.location.clone(),
            start_ms: window.start_ms,
            end_ms: window.end_ms,
            step_s: self.step_s,
            extended: self.extended.clone(),
        }
    }
}

impl ExecutionRequest {
    /// Reads a request for `config`; with `planned` the times come from a plan, and scopes need none of their own.
    ///
    /// # Errors
    /// `Invalid`, with the original's words where it has some.
    pub(crate) fn read(
        config: &CanaryConfig,
        request: &Value,
        planned: bool,
    ) -> Result<Self, Failure> {
        judge::validate::for_judging(config).map_err(refused)?;
        let wanted: BTreeSet<&str> = config
            .metrics
            .iter()
            .filter_map(|metric| metric.scope_name.as_deref())
            .collect();
        let empty = Map::new();
        let given = object(request.get("scopes"), "scopes")?.unwrap_or(&empty);
        if given.is_empty() && !wanted.is_empty() {
            let message = "Canary metrics require scopes, but no scopes were provided in the execution request.";
            return Err(Failure::field("scopes", message));
        }
        let missing: Vec<&str> = wanted
            .into_iter()
            .filter(|name| !given.contains_key(*name))
            .collect();
        if !missing.is_empty() {
            let message = format!(
                "Canary metrics require scopes which were not provided in the execution request: [{}]",
                missing.join(", ")
            );
            return Err(Failure::field("scopes", message));
        }
        if let Some(metric) = config.metrics.iter().find(|m| m.scope_name.is_none()) {
            let name = metric.name.as_deref().unwrap_or_default();
            let message = format!("Canary scope for metric named '{name}' is null.");
            return Err(Failure::field("canaryConfig.metrics", message));
        }
        let scopes = given
            .iter()
            .map(|(name, sides)| Ok((name.clone(), Sides::read(name, sides, planned)?)));
        let scopes = scopes.collect::<Result<Vec<_>, Failure>>()?;
        let thresholds = request.get("thresholds").filter(|t| !t.is_null());
        let Some(thresholds) = thresholds else {
            let message = "Execution request must contain thresholds";
            return Err(Failure::field("thresholds", message));
        };
        let thresholds = Thresholds::read(thresholds).map_err(refused)?;
        Ok(Self { scopes, thresholds })
    }

    /// The scope of a metric on a side.
    pub(crate) fn scope(&self, name: &str, side: Side) -> Option<&CanaryScope> {
        let (_, sides) = self.scopes.iter().find(|(known, _)| known == name)?;
        Some(match side {
            Side::Control => &sides.control,
            Side::Experiment => &sides.experiment,
        })
    }

    /// The step of the first scope, ms.
    pub(crate) fn step_ms(&self) -> u64 {
        let first = self.scopes.first();
        first.map_or(STEP_S, |(_, sides)| sides.experiment.step_s) * 1_000
    }

    /// How long what is judged lasts, ms, if that is the same for every scope on both sides.
    pub(crate) fn duration_ms(&self) -> Option<i64> {
        let sides = self.scopes.iter().map(|(_, sides)| sides);
        let mut all = sides.flat_map(|sides| [&sides.control, &sides.experiment]);
        let first = all.next()?.length()?;
        all.all(|scope| scope.length() == Some(first))
            .then_some(first)
    }
}

impl Sides {
    fn read(name: &str, sides: &Value, planned: bool) -> Result<Self, Failure> {
        let side = |key: &str| {
            let path = format!("scopes.{name}.{key}");
            match sides.get(key).filter(|scope| !scope.is_null()) {
                Some(scope) => CanaryScope::read(&path, scope, planned),
                None => Err(Failure::field(&path, "it is missing: give the scope")),
            }
        };
        Ok(Self {
            control: side("controlScope")?,
            experiment: side("experimentScope")?,
        })
    }
}

impl CanaryScope {
    fn length(&self) -> Option<i64> {
        self.window.map(|window| window.end_ms - window.start_ms)
    }

    fn read(path: &str, scope: &Value, planned: bool) -> Result<Self, Failure> {
        let Value::Object(scope) = scope else {
            return Err(Failure::field(path, format!("{scope} is no object")));
        };
        let at = |key: &str| format!("{path}.{key}");
        let start = instant(scope.get("start"), &at("start"))?;
        let end = instant(scope.get("end"), &at("end"))?;
        let missing = |key: &str| {
            let message = "it is missing: give an instant such as 2026-01-01T00:00:00Z";
            Err(Failure::field(at(key), message))
        };
        let window = match (start, end) {
            (Some(start_ms), Some(end_ms)) if start_ms < end_ms => {
                Some(Window { start_ms, end_ms })
            }
            (Some(_), Some(_)) => {
                let message = "it is not after start: give a later instant";
                return Err(Failure::field(at("end"), message));
            }
            _ if planned => None,
            (None, _) => return missing("start"),
            (_, None) => return missing("end"),
        };
        Ok(Self {
            scope: text(scope.get("scope"), &at("scope"))?,
            location: text(scope.get("location"), &at("location"))?,
            window,
            step_s: step(scope.get("step"), &at("step"))?,
            extended: extended(scope.get("extendedScopeParams"), &at("extendedScopeParams"))?,
        })
    }
}

/// What the judge's crate refuses, as a failure of the request.
pub(crate) fn refused(error: impl std::fmt::Display) -> Failure {
    Failure::invalid(error.to_string(), Vec::new())
}

fn object<'a>(
    value: Option<&'a Value>,
    path: &str,
) -> Result<Option<&'a Map<String, Value>>, Failure> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(other) => Err(Failure::field(path, format!("{other} is no object"))),
    }
}

fn text(value: Option<&Value>, path: &str) -> Result<String, Failure> {
    match value {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other @ (Value::Number(_) | Value::Bool(_))) => Ok(other.to_string()),
        Some(_) => Err(Failure::field(path, "it is no text: give one")),
    }
}

fn extended(value: Option<&Value>, path: &str) -> Result<BTreeMap<String, String>, Failure> {
    let given = object(value, path)?.into_iter().flatten();
    given
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| Ok((key.clone(), text(Some(value), &format!("{path}.{key}"))?)))
        .collect()
}

/// Whole seconds, as a number or as a text with one.
fn step(value: Option<&Value>, path: &str) -> Result<u64, Failure> {
    let read = match value {
        None | Some(Value::Null) => return Ok(STEP_S),
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(_) => None,
    };
    read.filter(|step| (1..=MOST_STEP_S).contains(step))
        .ok_or_else(|| {
            let value = value.cloned().unwrap_or_default();
            Failure::field(
                path,
                format!("{value} is no step: give whole seconds from 1 to {MOST_STEP_S}"),
            )
        })
}

/// An instant, Unix ms.
fn instant(value: Option<&Value>, path: &str) -> Result<Option<i64>, Failure> {
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let read = value.as_str().and_then(parse_instant);
    read.map(Some).ok_or_else(|| {
        Failure::field(
            path,
            format!("{value} is no instant: write 2026-01-01T00:00:00Z"),
        )
    })
}

/// An instant as text, Unix ms.
pub(crate) fn parse_instant(text: &str) -> Option<i64> {
    text.trim()
        .parse::<Timestamp>()
        .ok()
        .map(Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(scope: Option<&str>) -> CanaryConfig {
        CanaryConfig::read(json!({
            "metrics": [{"name": "m", "scopeName": scope, "query": {"type": "prometheus"}}],
            "classifier": {"groupWeights": {}}
        }))
        .unwrap()
    }

    fn scope() -> Value {
        json!({"scope": "s", "location": null, "start": "2024-01-01T00:00:00Z",
               "end": "2024-01-01T01:00:00.500Z", "step": "10", "extendedScopeParams": null})
    }

    #[test]
    fn what_a_request_lacks_is_said_in_the_originals_words_and_order() {
        let none = CanaryConfig::read(json!({"metrics": []})).unwrap();
        let thresholds = json!({"pass": 95, "marginal": 75});
        let both = json!({"controlScope": scope(), "experimentScope": scope()});
        let told = |config: &CanaryConfig, request: Value| {
            ExecutionRequest::read(config, &request, false)
                .unwrap_err()
                .message
        };
        let default = config(Some("default"));
        for (config, request, expected) in [
            (
                &none,
                json!({}),
                "The canary config must specify at least one metric.",
            ),
            (
                &default,
                json!({"thresholds": thresholds}),
                "require scopes, but no scopes",
            ),
            (
                &default,
                json!({"scopes": {"other": both}}),
                "not provided in the execution request: [default]",
            ),
            (
                &config(None),
                json!({"scopes": {"a": both}}),
                "Canary scope for metric named 'm' is null.",
            ),
            (
                &default,
                json!({"scopes": {"default": {"controlScope": scope()}}}),
                "scopes.default.experimentScope",
            ),
            (
                &default,
                json!({"scopes": {"default": both}}),
                "Execution request must contain thresholds",
            ),
        ] {
            let message = told(config, request);
            assert!(message.contains(expected), "{message}");
        }
        let request = json!({"scopes": {"default": both}, "thresholds": thresholds});
        let read = ExecutionRequest::read(&default, &request, false).unwrap();
        assert_eq!(
            (read.step_ms(), read.duration_ms()),
            (10_000, Some(3_600_500))
        );
    }

    #[test]
    fn a_faulty_field_is_named_with_its_value_and_the_remedy() {
        let config = config(Some("default"));
        for (field, value, expected) in [
            (
                "step",
                json!(0),
                "experimentScope.step: 0 is no step: give whole seconds",
            ),
            ("step", json!("x"), "\"x\" is no step"),
            ("start", json!("yesterday"), "\"yesterday\" is no instant"),
            ("start", json!(null), "it is missing: give an instant"),
            (
                "end",
                json!("2023-01-01T00:00:00Z"),
                "it is not after start",
            ),
            ("scope", json!([]), "experimentScope.scope: it is no text"),
            ("extendedScopeParams", json!(7), "7 is no object"),
        ] {
            let mut bad = scope();
            bad[field] = value;
            let request = json!({"thresholds": {"pass": 1, "marginal": 0},
                "scopes": {"default": {"controlScope": scope(), "experimentScope": bad}}});
            let error = ExecutionRequest::read(&config, &request, false).unwrap_err();
            assert!(error.message.contains(expected), "{}", error.message);
        }
    }
}
