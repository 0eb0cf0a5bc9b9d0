//! Parameters of a start: what was given, what a pipeline's definition adds.
//!
//! Pure. Source: `gate: PipelineService.trigger`, `orca: OperationsController`.

use std::cmp::Ordering;

use proto::status::{Failure, FieldError};
use serde_json::{Map, Value};

/// The parameters an execution starts with: the given ones, and defaults for the rest. One
/// that is given as null stays so, as in Orca.
///
/// # Errors
/// Every required parameter without value and default, unless its condition hides it.
pub(crate) fn complete(
    pipeline: &Map<String, Value>,
    mut given: Map<String, Value>,
) -> Result<Map<String, Value>, Failure> {
    let mut missing = Vec::new();
    for (name, parameter) in configured(pipeline) {
        let default = parameter.get("default").filter(|value| !value.is_null());
        match (given.get(name), default) {
            // What was given counts, even that it is nothing.
            (Some(value), _) if !value.is_null() => {}
            (None, Some(default)) => {
                let default = default.clone();
                given.insert(name.to_owned(), default);
            }
            (_, None) if parameter.get("required") == Some(&Value::Bool(true)) => {
                missing.push((name, parameter));
            }
            (Some(_) | None, _) => {}
        }
    }
    // A condition is about what the other parameter is in the end.
    let missing: Vec<FieldError> = missing
        .into_iter()
        .filter(|(_, parameter)| is_shown(parameter, &given))
        .map(|(name, _)| FieldError {
            path: format!("parameters.{name}"),
            message: format!("Required parameter {name} is missing"),
        })
        .collect();
    if missing.is_empty() {
        return Ok(given);
    }
    let sentences: Vec<_> = missing.iter().map(|f| f.message.as_str()).collect();
    Err(Failure::invalid(sentences.join("; "), missing))
}

/// Whether each given parameter is one that may be: one of its options, a date.
///
/// Differs from Spinnaker: only its page offers nothing else; whoever starts a pipeline by
/// hand in another way could give anything, and stages found out.
///
/// # Errors
/// Every parameter that may not be so.
pub(crate) fn check(
    pipeline: &Map<String, Value>,
    given: &Map<String, Value>,
) -> Result<(), Failure> {
    let mut faults = Vec::new();
    for (name, parameter) in configured(pipeline) {
        let Some(value) = given.get(name).map(written) else {
            continue;
        };
        let message = match () {
            () if value.is_empty() => continue,
            () if !is_offered(parameter, &value) => {
                let options: Vec<String> = options(parameter).collect();
                format!("it is \"{value}\"; give one of {}", options.join(", "))
            }
            () if is_date(parameter) && value.parse::<jiff::civil::Date>().is_err() => {
                format!("it is \"{value}\"; give a date such as 2026-01-31")
            }
            () => continue,
        };
        faults.push(FieldError {
            path: format!("parameters.{name}"),
            message,
        });
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(Failure::invalid("", faults))
}

fn configured(pipeline: &Map<String, Value>) -> impl Iterator<Item = (&str, &Map<String, Value>)> {
    let all = pipeline.get("parameterConfig").and_then(Value::as_array);
    all.into_iter().flatten().filter_map(|parameter| {
        let parameter = parameter.as_object()?;
        Some((parameter.get("name")?.as_str()?, parameter))
    })
}

/// A value as text: `3` and `"3"` are the same to whoever fills in a form.
fn written(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn options(parameter: &Map<String, Value>) -> impl Iterator<Item = String> {
    let all = parameter.get("options").and_then(Value::as_array);
    let all = all.into_iter().flatten();
    all.filter_map(|option| option.get("value")).map(written)
}

fn is_offered(parameter: &Map<String, Value>, value: &str) -> bool {
    let limited = parameter.get("hasOptions") == Some(&Value::Bool(true));
    let mut offered = options(parameter).peekable();
    // An option may be an expression: what it will be is not known yet.
    !limited || offered.peek().is_none() || offered.any(|o| o == value || o.contains("${"))
}

fn is_date(parameter: &Map<String, Value>) -> bool {
    parameter.get("constraint").and_then(Value::as_str) == Some("date")
}

/// Whether the page would show a parameter: its condition is about another one.
fn is_shown(parameter: &Map<String, Value>, given: &Map<String, Value>) -> bool {
    if parameter.get("conditional") != Some(&Value::Bool(true)) {
        return true;
    }
    let condition = parameter.get("condition");
    let field = |key: &str| condition.and_then(|c| c.get(key)).map(written);
    let (Some(other), Some(wanted)) = (field("parameter"), field("comparatorValue")) else {
        return true;
    };
    let value = given.get(&other).map(written).unwrap_or_default();
    let order = match (value.parse::<f64>(), wanted.parse::<f64>()) {
        (Ok(value), Ok(wanted)) => value.partial_cmp(&wanted),
        _ => Some(value.cmp(&wanted)),
    };
    match field("comparator").as_deref() {
        Some("=") => order == Some(Ordering::Equal),
        Some("!=") => order != Some(Ordering::Equal),
        Some(">") => order == Some(Ordering::Greater),
        Some("<") => order == Some(Ordering::Less),
        Some(">=") => order.is_some_and(Ordering::is_ge),
        Some("<=") => order.is_some_and(Ordering::is_le),
        Some(_) | None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_fill_what_is_missing_and_required_ones_must_be_there() {
        let config = |parameter: Value| {
            let pipeline = json!({"parameterConfig": [parameter]});
            pipeline.as_object().cloned().unwrap()
        };
        let given = |value: Value| value.as_object().cloned().unwrap();
        for (parameter, start, expected) in [
            (
                json!({"name": "a", "default": "1"}),
                json!({}),
                Some(json!({"a": "1"})),
            ),
            (
                json!({"name": "a", "default": "1"}),
                json!({"a": 2.0}),
                Some(json!({"a": 2.0})),
            ),
            (
                json!({"name": "a", "default": "1"}),
                json!({"a": null}),
                Some(json!({"a": null})),
            ),
            (
                json!({"name": "a", "required": true, "default": ""}),
                json!({}),
                Some(json!({"a": ""})),
            ),
            (json!({"name": "a"}), json!({"b": 1}), Some(json!({"b": 1}))),
            (
                json!({"name": "a", "required": true}),
                json!({"a": false}),
                Some(json!({"a": false})),
            ),
            (json!({"name": "a", "required": true}), json!({}), None),
            (
                json!({"name": "a", "required": true}),
                json!({"a": null}),
                None,
            ),
        ] {
            let outcome = complete(&config(parameter.clone()), given(start));
            match expected {
                Some(expected) => {
                    assert_eq!(Value::Object(outcome.unwrap()), expected, "{parameter}")
                }
                None => {
                    let failure = outcome.unwrap_err();
                    assert_eq!(failure.message, "Required parameter a is missing");
                    assert_eq!(failure.fields[0].path, "parameters.a");
                }
            }
        }
    }

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn a_value_that_is_not_offered_is_refused_with_its_field() {
        let pipeline = object(&json!({"parameterConfig": [
            {"name": "zone", "hasOptions": true, "options": [{"value": "a"}, {"value": 2}]},
            {"name": "free", "hasOptions": false, "options": [{"value": "a"}]},
            {"name": "late", "hasOptions": true, "options": [{"value": "${x}"}]},
            {"name": "day", "constraint": "date"},
        ]}));
        for (given, faulty) in [
            (
                json!({"zone": "a", "free": "b", "late": "c", "day": "2026-01-31"}),
                None,
            ),
            (json!({"zone": "2"}), None),
            (json!({"zone": "", "day": null}), None),
            (json!({"zone": "b"}), Some("parameters.zone")),
            (json!({"day": "31.1.2026"}), Some("parameters.day")),
        ] {
            let outcome = check(&pipeline, &object(&given));
            let path = outcome.err().map(|failure| failure.fields[0].path.clone());
            assert_eq!(path.as_deref(), faulty, "{given}");
        }
    }

    #[test]
    fn a_required_parameter_that_its_condition_hides_need_not_be_given() {
        let pipeline = |comparator: &str| {
            object(&json!({"parameterConfig": [
                {"name": "a", "required": true, "conditional": true,
                 "condition": {"parameter": "n", "comparator": comparator, "comparatorValue": "9"}},
                {"name": "n", "default": "10"},
            ]}))
        };
        for (comparator, shown) in [
            (">", true),
            ("<", false),
            (">=", true),
            ("<=", false),
            ("=", false),
            ("!=", true),
            ("~", true),
        ] {
            let outcome = complete(&pipeline(comparator), Map::new());
            assert_eq!(outcome.is_err(), shown, "{comparator}");
        }
    }
}
