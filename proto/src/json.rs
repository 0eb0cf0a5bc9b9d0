//! The JSON wrapper of the wire against `serde_json` values.
//!
//! Numbers keep the form they were written in and objects the order of their
//! keys; the wrapper is bounded, so that no peer can hand over more than an
//! execution may hold.

use serde_json::Value;
use thiserror::Error;

use crate::common::v1::Json;

/// The largest JSON text accepted from the wire, in bytes: what one execution may hold.
pub const MAX_JSON_BYTES: usize = 10 * 1024 * 1024;

/// Why a JSON wrapper could not be read.
#[derive(Debug, Error)]
pub enum Error {
    /// The field was left out.
    #[error("{field} is missing; send it as JSON text")]
    Missing {
        /// The message field that was expected.
        field: &'static str,
    },
    /// The text is larger than [`MAX_JSON_BYTES`].
    #[error("{field} has {bytes} bytes, more than the {MAX_JSON_BYTES} allowed")]
    TooLarge {
        /// The message field.
        field: &'static str,
        /// Its size.
        bytes: usize,
    },
    /// The text is not JSON.
    #[error("{field} is not JSON: {source}")]
    Malformed {
        /// The message field.
        field: &'static str,
        /// Position and cause.
        #[source]
        source: serde_json::Error,
    },
}

impl Json {
    /// Wraps a value.
    pub fn of(value: &Value) -> Self {
        Self {
            text: value.to_string(),
        }
    }

    /// The value inside, `Null` for an empty text.
    ///
    /// # Errors
    /// When the text is too large or not JSON; `field` names it in the error.
    pub fn value(&self, field: &'static str) -> Result<Value, Error> {
        if self.text.is_empty() {
            return Ok(Value::Null);
        }
        if self.text.len() > MAX_JSON_BYTES {
            return Err(Error::TooLarge {
                field,
                bytes: self.text.len(),
            });
        }
        serde_json::from_str(&self.text).map_err(|source| Error::Malformed { field, source })
    }
}

/// The value of an optional wrapper that must be there.
///
/// # Errors
/// As [`Json::value`], and when the wrapper is absent.
pub fn required(json: Option<&Json>, field: &'static str) -> Result<Value, Error> {
    json.ok_or(Error::Missing { field })?.value(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_key_order_survive_the_wire() {
        let text = r#"{"b":1.0,"a":1180591620717411303424,"c":[1,1e3]}"#;
        let value = Json { text: text.into() }.value("x").unwrap();
        assert_eq!(
            Json::of(&value).text,
            r#"{"b":1.0,"a":1180591620717411303424,"c":[1,1e+3]}"#
        );
    }

    #[test]
    fn an_absent_wrapper_names_its_field() {
        assert!(
            required(None, "body")
                .unwrap_err()
                .to_string()
                .starts_with("body is missing")
        );
    }
}
