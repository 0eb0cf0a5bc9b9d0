//! Constraints on what an event carries: names or JSONPaths with regular
//! expressions. Source: `echo: TriggerEventHandler.isConstraintInPayload`.
//!
//! Pure. Differs from Spinnaker: what is not a text is compared as compact JSON.

use serde_json::{Map, Value};
use serde_json_path::JsonPath;

use crate::pattern;
use crate::refusal::Refusal;

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// What a key names: a field on top, else what its JSONPath finds.
fn named(payload: &Value, key: &str) -> Result<Vec<String>, String> {
    if let Some(value) = payload.get(key).filter(|v| !v.is_null()) {
        return Ok(vec![text(value)]);
    }
    let Some(path) = path(key)? else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for value in path.query(payload).all() {
        match value {
            Value::Null => {}
            Value::Array(list) => found.extend(list.iter().map(text)),
            one => found.push(text(one)),
        }
    }
    Ok(found)
}

/// The JSONPath that a key is; as Jayway does, one without `$` begins at the payload. None for the name of a
/// field that is no path.
fn path(key: &str) -> Result<Option<JsonPath>, String> {
    if key.starts_with('$') {
        return JsonPath::parse(key)
            .map(Some)
            .map_err(|error| format!("\"{key}\" is no JSONPath: {error}"));
    }
    Ok(JsonPath::parse(&format!("$.{key}")).ok())
}

/// Whether every key of the map of constraints under `field` can be read.
///
/// # Errors
/// The first that cannot.
pub(crate) fn readable(trigger: &Map<String, Value>, field: &str) -> Result<(), Refusal> {
    let constraints = trigger.get(field).and_then(Value::as_object);
    for (key, wanted) in constraints.into_iter().flatten() {
        let at = format!("{field}.{key}");
        path(key).map_err(|reason| {
            let remedy = "name a field, or write a JSONPath such as $.a.b";
            Refusal::new(&at, "a field or JSONPath", key, &reason, remedy)
        })?;
        if !wanted.is_null() {
            let pattern = text(wanted);
            pattern::part(&pattern, "")
                .map_err(|reason| Refusal::unusable(&at, &pattern, &reason))?;
        }
    }
    Ok(())
}

/// Checks the map of constraints that a trigger has under `field`.
///
/// # Errors
/// The first constraint that does not hold.
pub(crate) fn check(
    trigger: &Map<String, Value>,
    field: &str,
    payload: &Value,
) -> Result<(), Refusal> {
    let Some(Value::Object(constraints)) = trigger.get(field) else {
        return Ok(());
    };
    for (key, wanted) in constraints {
        let at = format!("{field}.{key}");
        let found = named(payload, key).map_err(|reason| {
            let remedy = "name a field, or write a JSONPath such as $.a.b";
            Refusal::new(&at, "a field or JSONPath", key, &reason, remedy)
        })?;
        let Some(first) = found.first() else {
            let message = format!("{key} is not in the payload");
            let remedy = format!("send {key}, or remove the constraint");
            return Err(Refusal::new(&at, &text(wanted), "", &message, &remedy));
        };
        if wanted.is_null() {
            continue;
        }
        let pattern = text(wanted);
        let mut any = false;
        for value in &found {
            any |= pattern::part(&pattern, value)
                .map_err(|reason| Refusal::unusable(&at, &pattern, &reason))?;
        }
        if !any {
            let actual = if found.len() == 1 {
                first.clone()
            } else {
                found.join(", ")
            };
            return Err(Refusal::pattern(&at, &pattern, &actual));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn constraints_hold_on_fields_and_paths() {
        let payload = json!({"a": "main-1", "n": 7, "o": {"list": ["x", "y"], "deep": {"v": "z"}},
            "commits": [{"message": "one", "by": "ann"}, {"message": "two", "by": "bob"}],
            "empty": null});
        for (constraints, expected) in [
            (json!({}), None),
            (json!({"a": "main"}), None),
            (json!({"a": "^ain"}), Some("does not match")),
            (json!({"n": "^7$"}), None),
            (json!({"$.o.deep.v": "z"}), None),
            (json!({"$.o.list": "^y$"}), None),
            (json!({"$.o.list": "^w$"}), Some("does not match")),
            (json!({"$.o.none": ".*"}), Some("is not in the payload")),
            (json!({"empty": ".*"}), Some("is not in the payload")),
            (json!({"missing": null}), Some("is not in the payload")),
            (json!({"a": null}), None),
            (json!({"a": "("}), Some("cannot be used")),
            (json!({"$.x[*]": "a"}), Some("is not in the payload")),
            (json!({"$.commits[*].message": "^two$"}), None),
            (
                json!({"$.commits[*].message": "^six$"}),
                Some("does not match"),
            ),
            (json!({"$..v": "z"}), None),
            (
                json!({"$.commits[?(@.by == 'bob')].message": "^two$"}),
                None,
            ),
            (json!({"o.deep.v": "z"}), None),
            (json!({"commits[0].by": "ann"}), None),
            (json!({"$.a[": "x"}), Some("is no JSONPath")),
        ] {
            let trigger = json!({"payloadConstraints": constraints});
            let trigger = trigger.as_object().unwrap();
            let outcome = check(trigger, "payloadConstraints", &payload);
            match expected {
                None => assert_eq!(outcome, Ok(()), "{constraints}"),
                Some(fragment) => {
                    let reason = outcome.unwrap_err();
                    assert!(reason.message.contains(fragment), "{constraints}: {reason}");
                    assert!(reason.field.starts_with("payloadConstraints."));
                }
            }
        }
    }
}
