//! Parameters of a start: what was given, what a pipeline's definition adds.
//!
//! Pure. Source: `gate: PipelineService.trigger`, `orca: OperationsController`.

use proto::status::{Failure, FieldError};
use serde_json::{Map, Value};

/// The parameters an execution starts with: the given ones, and defaults for the rest. One
/// that is given as null stays so, as in Orca.
///
/// # Errors
/// Every required parameter without value and default.
pub(crate) fn complete(
    pipeline: &Map<String, Value>,
    mut given: Map<String, Value>,
) -> Result<Map<String, Value>, Failure> {
    let configured = pipeline.get("parameterConfig").and_then(Value::as_array);
    let mut missing = Vec::new();
    for parameter in configured.into_iter().flatten() {
        let Some(name) = parameter.get("name").and_then(Value::as_str) else {
            continue;
        };
        let default = parameter.get("default").filter(|value| !value.is_null());
        match (given.get(name), default) {
            // What was given counts, even that it is nothing.
            (Some(value), _) if !value.is_null() => {}
            (None, Some(default)) => {
                let default = default.clone();
                given.insert(name.to_owned(), default);
            }
            (_, None) if parameter.get("required") == Some(&Value::Bool(true)) => {
                missing.push(FieldError {
                    path: format!("parameters.{name}"),
                    message: format!("Required parameter {name} is missing"),
                });
            }
            (Some(_) | None, _) => {}
        }
    }
    if missing.is_empty() {
        return Ok(given);
    }
    let sentences: Vec<_> = missing.iter().map(|f| f.message.as_str()).collect();
    Err(Failure::invalid(sentences.join("; "), missing))
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
}
