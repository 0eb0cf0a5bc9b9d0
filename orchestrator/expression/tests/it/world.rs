//! Scopes to evaluate in.

use expression::{Answers, Evaluated, Options, Scope, evaluate_with};
use serde_json::{Map, Value, json};

/// A moment: 2026-11-24T12:00:00Z.
pub(crate) const NOW: i64 = 1_795_521_600_000;

pub(crate) fn object(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else {
        panic!("not an object: {value}");
    };
    map
}

/// Evaluates a template over a root, with nothing recorded.
pub(crate) fn evaluate(template: &Value, root: &Map<String, Value>) -> Evaluated {
    evaluate_in(template, root, &Options::default())
}

pub(crate) fn evaluate_in(
    template: &Value,
    root: &Map<String, Value>,
    options: &Options<'_>,
) -> Evaluated {
    let answers = Answers::new();
    let scope = Scope {
        root,
        now_ms: NOW,
        answers: &answers,
        place: "stage/1",
    };
    evaluate_with(template, &scope, options)
}

/// What one text became.
pub(crate) fn text(text: &str, root: &Map<String, Value>) -> Evaluated {
    evaluate(&json!(text), root)
}

/// Equality of JSON as numbers: floats within 1e-9, whole numbers by value.
pub(crate) fn alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b): (f64, f64) = (
                a.to_string().parse().unwrap(),
                b.to_string().parse().unwrap(),
            );
            (a - b).abs() <= 1e-9 * a.abs().max(1.0)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| alike(v, w)))
        }
        _ => a == b,
    }
}

/// JSON printed into a text is compared as JSON: the fixture's keys were sorted after
/// the recording.
pub(crate) fn unprinted(value: &Value) -> Value {
    let inner = value.as_str().filter(|t| t.starts_with(['{', '[']));
    inner
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_else(|| value.clone())
}
