//! `manual`: a person or program starts one pipeline by name.
//!
//! Pure: a stored pipeline and what the caller sent become the pipeline to
//! start. Source: `gate: PipelineService.trigger`, `echo: ManualEventHandler`.

use proto::status::{Failure, FieldError, Kind};
use serde_json::{Map, Value, json};

use crate::matcher::is_true;
use crate::parameters;

/// The pipeline with its trigger, ready to start.
///
/// # Errors
/// When the pipeline is disabled, the trigger malformed, or a parameter missing or
/// none of those that may be; each names its field.
pub fn prepare(
    mut pipeline: Map<String, Value>,
    trigger: &Value,
    user: &str,
    event_id: &str,
) -> Result<Value, Failure> {
    if is_disabled(&pipeline) {
        return Err(disabled());
    }
    let mut trigger = match trigger {
        Value::Null => Map::new(),
        Value::Object(map) => map.clone(),
        _ => return Err(field("trigger", "is not an object; send {} at least")),
    };
    let given = match trigger.remove("parameters") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(map)) => map,
        Some(_) => return Err(field("parameters", "is not an object of names and values")),
    };
    let received = list(&mut trigger, "artifacts")?;
    let notifications = list(&mut trigger, "notifications")?;
    parameters::check(&pipeline, &given)?;
    let parameters = parameters::complete(&pipeline, given)?;

    if trigger
        .get("type")
        .and_then(Value::as_str)
        .is_none_or(str::is_empty)
    {
        trigger.insert("type".to_owned(), json!("manual"));
    }
    for (key, value) in [
        // Who starts is who asked, whatever the body says.
        ("user", json!(user)),
        ("eventId", json!(event_id)),
        ("parameters", Value::Object(parameters)),
        ("artifacts", Value::from(received)),
        ("notifications", Value::from(notifications.clone())),
    ] {
        trigger.insert(key.to_owned(), value);
    }
    if !notifications.is_empty() {
        let all = pipeline
            .entry("notifications")
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(all) = all {
            all.extend(notifications);
        }
    }
    pipeline.insert("trigger".to_owned(), Value::Object(trigger));
    Ok(Value::Object(pipeline))
}

/// Whether somebody switched the pipeline off.
pub fn is_disabled(pipeline: &Map<String, Value>) -> bool {
    is_true(pipeline.get("disabled"))
}

/// The refusal of a disabled pipeline.
pub fn disabled() -> Failure {
    Failure::new(Kind::Invalid, "Pipeline is disabled and cannot be started.")
}

fn list(trigger: &mut Map<String, Value>, key: &str) -> Result<Vec<Value>, Failure> {
    match trigger.remove(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(field(key, "is not a list")),
    }
}

fn field(path: &str, message: &str) -> Failure {
    Failure::invalid(
        "",
        vec![FieldError {
            path: path.to_owned(),
            message: message.to_owned(),
        }],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(pipeline: Value, trigger: &Value) -> Result<Value, Failure> {
        let Value::Object(pipeline) = pipeline else {
            panic!("no object");
        };
        prepare(pipeline, trigger, "ann", "e1")
    }

    #[test]
    fn the_caller_is_the_user_and_unknown_fields_travel() {
        let started = prepared(
            json!({"name": "p", "parameterConfig": [{"name": "a", "default": "1"}],
                   "notifications": [{"type": "x"}]}),
            &json!({"user": "mallory", "dryRun": true, "notifications": [{"type": "y"}]}),
        )
        .unwrap();
        assert_eq!(
            started["trigger"],
            json!({
                "dryRun": true, "type": "manual", "user": "ann", "eventId": "e1",
                "parameters": {"a": "1"}, "artifacts": [],
                "notifications": [{"type": "y"}],
            })
        );
        assert_eq!(
            started["notifications"],
            json!([{"type": "x"}, {"type": "y"}])
        );
    }

    #[test]
    fn a_start_that_cannot_be_is_refused_with_its_field() {
        for (pipeline, trigger, fragment) in [
            (json!({"disabled": true}), json!({}), "disabled"),
            (json!({}), json!([]), "trigger: is not an object"),
            (
                json!({}),
                json!({"parameters": []}),
                "parameters: is not an object",
            ),
            (
                json!({}),
                json!({"artifacts": {}}),
                "artifacts: is not a list",
            ),
            (
                json!({"parameterConfig": [{"name": "a", "required": true}]}),
                json!({}),
                "Required parameter a is missing",
            ),
            (
                json!({"parameterConfig": [{"name": "a", "hasOptions": true, "options": [{"value": "x"}]}]}),
                json!({"parameters": {"a": "y"}}),
                "parameters.a: it is \"y\"",
            ),
        ] {
            let failure = prepared(pipeline, &trigger).unwrap_err();
            assert_eq!(failure.kind, Kind::Invalid);
            assert!(failure.message.contains(fragment), "{failure}");
        }
    }
}
