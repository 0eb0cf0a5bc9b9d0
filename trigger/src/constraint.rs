//! Constraints on what an event carries: names or JSONPaths with regular
//! expressions. Source: `echo: TriggerEventHandler.isConstraintInPayload`.
//!
//! Pure. Differs from Spinnaker: what is not a text is compared as compact JSON.

use runtime::json_path;
use serde_json::{Map, Value};

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
    if !key.starts_with('$') {
        return Ok(Vec::new());
    }
    Ok(match json_path::find(payload, key)? {
        Some(Value::Array(list)) => list.iter().map(text).collect(),
        Some(Value::Null) | None => Vec::new(),
        Some(value) => vec![text(&value)],
    })
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
            (json!({"$.x[*]": "a"}), Some("names several values")),
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
