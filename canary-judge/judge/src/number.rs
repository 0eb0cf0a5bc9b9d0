//! Doubles in JSON as Kayenta's mapper has them: what is not finite is a text, `"NaN"`, `"Infinity"`, `"-Infinity"`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Number, Value};

use crate::error::Unreadable;

/// What a number must be.
const REMEDY: &str = "give a number, or one of the texts \"NaN\", \"Infinity\" and \"-Infinity\"";

/// `value` as JSON.
pub(crate) fn to_json(value: f64) -> Value {
    Number::from_f64(value).map_or_else(
        || {
            let text = match value {
                f64::INFINITY => "Infinity",
                f64::NEG_INFINITY => "-Infinity",
                _ => "NaN",
            };
            Value::String(text.to_owned())
        },
        Value::Number,
    )
}

/// A number of JSON, correctly rounded; beyond the largest double it is infinite.
pub(crate) fn of_number(number: &Number) -> f64 {
    let text = number.as_str();
    let value: f64 = text.parse().unwrap_or(f64::NAN);
    // There is no negative zero among whole numbers.
    if value == 0.0 && !is_fraction(number) {
        0.0
    } else {
        value
    }
}

/// Whether a number is written as a fraction or with an exponent.
pub(crate) fn is_fraction(number: &Number) -> bool {
    number.as_str().contains(['.', 'e', 'E'])
}

/// A double at `field`: a number, a text with one, or null, which is none.
pub(crate) fn read(value: &Value, field: &str) -> Result<Option<f64>, Unreadable> {
    let refused = || Unreadable::new(field, Some(value), REMEDY);
    match value {
        Value::Null => Ok(None),
        Value::Number(number) => Ok(Some(of_number(number))),
        Value::String(text) => match text.trim() {
            "" => Ok(None),
            "NaN" => Ok(Some(f64::NAN)),
            "Infinity" | "INF" => Ok(Some(f64::INFINITY)),
            "-Infinity" | "-INF" => Ok(Some(f64::NEG_INFINITY)),
            text if text.contains(|c: char| c.is_ascii_digit()) => {
                text.parse().map(Some).map_err(|_| refused())
            }
            _ => Err(refused()),
        },
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(refused()),
    }
}

/// For `#[serde(with = "number")]`.
pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    to_json(*value).serialize(serializer)
}

/// For `#[serde(with = "number")]`; null is zero.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let read = read(&value, "the number").map_err(serde::de::Error::custom)?;
    Ok(read.unwrap_or(0.0))
}
