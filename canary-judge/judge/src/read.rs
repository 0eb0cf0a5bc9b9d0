//! Reading JSON by hand: what is there, what it must be, and where it stands.

use serde_json::{Map, Value};

use crate::error::Unreadable;

/// The field `name` of `object`; null is none.
pub(crate) fn field<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

/// An object at `path`.
pub(crate) fn object<'a>(
    value: Option<&'a Value>,
    path: &str,
) -> Result<&'a Map<String, Value>, Unreadable> {
    let object = value.and_then(Value::as_object);
    object.ok_or_else(|| Unreadable::new(path, value, "give an object"))
}

/// A list at `path`.
pub(crate) fn list<'a>(value: Option<&'a Value>, path: &str) -> Result<&'a [Value], Unreadable> {
    let list = value.and_then(Value::as_array);
    let list = list.ok_or_else(|| Unreadable::new(path, value, "give a list"));
    Ok(list?.as_slice())
}

/// A text at `path`; numbers and truth values are taken as they are written, as Kayenta's mapper does.
pub(crate) fn text(value: Option<&Value>, path: &str) -> Result<Option<String>, Unreadable> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(Value::Bool(truth)) => Ok(Some(truth.to_string())),
        Some(Value::Array(_) | Value::Object(_)) => {
            Err(Unreadable::new(path, value, "give a text"))
        }
    }
}

/// A list of texts at `path`, none if it is not there.
pub(crate) fn texts(value: Option<&Value>, path: &str) -> Result<Option<Vec<String>>, Unreadable> {
    if value.is_none_or(Value::is_null) {
        return Ok(None);
    }
    let read = |(index, value): (usize, &Value)| {
        let path = format!("{path}[{index}]");
        text(Some(value), &path)?.ok_or_else(|| Unreadable::new(&path, Some(value), "give a text"))
    };
    let list = list(value, path)?.iter().enumerate();
    list.map(read).collect::<Result<_, _>>().map(Some)
}
