//! Whether an execution's trigger has what a search asks for: pure.
//! Source: `orca: TaskController` (`trigger` of `executions/search`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use regex::RegexBuilder;
use serde_json::Value;

use crate::error::Error;

/// The largest pattern, in bytes when compiled: no search may take the memory of others.
const MAX_PATTERN: usize = 1 << 20;

/// The trigger in a query: base64 of a JSON object.
///
/// # Errors
/// 400 naming `trigger`.
pub(crate) fn parse(encoded: &str) -> Result<Value, Error> {
    let fault = |reason: String| {
        let message = format!("is no base64 of a JSON object: {reason}");
        Error::field("trigger", message)
    };
    let bytes = STANDARD
        // What is no `+` in a query is a space.
        .decode(encoded.trim().replace(' ', "+"))
        .map_err(|e| fault(e.to_string()))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|e| fault(e.to_string()))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(fault("it is another kind of JSON".to_owned()))
    }
}

/// Whether `found` has all of `wanted`: texts equal in any case or as a whole by the pattern,
/// lists with an element of their own for each wanted one, anything else equal.
pub(crate) fn has(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::String(found), Value::String(wanted)) => {
            found.eq_ignore_ascii_case(wanted) || matches(found, wanted)
        }
        (Value::Object(found), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, value)| found.get(key).is_some_and(|f| has(f, value))),
        (Value::Array(found), Value::Array(wanted)) => {
            let mut free: Vec<&Value> = found.iter().collect();
            wanted.iter().all(|value| {
                let place = free.iter().position(|f| has(f, value));
                place.map(|place| free.swap_remove(place)).is_some()
            })
        }
        _ => found == wanted,
    }
}

fn matches(text: &str, pattern: &str) -> bool {
    let whole = format!("^(?:{pattern})$");
    let built = RegexBuilder::new(&whole).size_limit(MAX_PATTERN).build();
    built.is_ok_and(|regex| regex.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_trigger_has_what_is_asked_for() {
        let trigger = json!({"type": "docker", "tag": "v1.2.3", "n": 1,
            "payload": {"a": {"b": "X"}}, "list": [{"k": "1"}, {"k": "2"}]});
        for (wanted, expected) in [
            (json!({}), true),
            (json!({"type": "DOCKER"}), true),
            (json!({"tag": "v1\\..*"}), true),
            (json!({"tag": "v1"}), false),
            (json!({"tag": "("}), false),
            (json!({"n": 1}), true),
            (json!({"n": "1"}), false),
            (json!({"payload": {"a": {"b": "x"}}}), true),
            (json!({"payload": {"c": 1}}), false),
            (json!({"list": [{"k": "2"}, {"k": "1"}]}), true),
            (json!({"list": [{"k": "2"}, {"k": "2"}]}), false),
        ] {
            assert_eq!(has(&trigger, &wanted), expected, "{wanted}");
        }
    }

    #[test]
    fn what_is_no_trigger_is_refused() {
        let encoded = STANDARD.encode(r#"{"type":"x"}"#);
        assert_eq!(parse(&encoded).unwrap(), json!({"type": "x"}));
        for bad in ["%", "bnVsbA==", "e30x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
