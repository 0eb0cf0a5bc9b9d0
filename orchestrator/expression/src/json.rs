//! Values as JSON: what becomes of a template, and what `#toJson` prints.
//!
//! The two differ as Orca's two mappers do: the one that stores leaves out keys whose
//! value is null and writes dates as numbers; the other keeps nulls and knows no
//! `java.time`.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::error::{Fault, Stop};
use crate::eval::too_much;
use crate::limits::{TEXT_BYTES, VALUE_DEPTH};
use crate::number::written;
use crate::value::{Seq, SeqKind, Val};

/// A value as it is stored.
pub(crate) fn stored(value: &Val<'_>) -> Value {
    match value {
        Val::Null => Value::Null,
        Val::Bool(value) => Value::Bool(*value),
        Val::Num(num) => num.to_json(),
        Val::Enum(_, name) => Value::String(name.to_string()),
        Val::Char(_) | Val::Text(_) | Val::Uuid(_) => Value::String(value.printed()),
        Val::Seq(seq) => match packed(seq) {
            Some(text) => Value::String(text),
            None => seq.iter().map(|item| stored(&item)).collect(),
        },
        Val::Map(map) => {
            let entries = map.iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                entries
                    .map(|(key, value)| (key.printed(), stored(&value)))
                    .collect(),
            )
        }
        Val::Entry(entry) => {
            let one = (entry.0.printed(), stored(&entry.1));
            Value::Object(std::iter::once(one).collect())
        }
        Val::Bean(bean) => {
            let kept = |(key, value): (&str, Val<'_>)| {
                (!value.is_null()).then(|| (key.to_owned(), stored(&value)))
            };
            Value::Object(bean.written().into_iter().filter_map(kept).collect())
        }
        Val::Type(java) => Value::String(java.name().to_owned()),
        Val::Time(time) => time.to_json(),
        Val::DateFormat(_) | Val::Random(_) => Value::Object(Map::new()),
        Val::NotEval(inner) if inner.is_null() => Value::Object(Map::new()),
        Val::NotEval(inner) => {
            let one = ("expression".to_owned(), stored(inner));
            Value::Object(std::iter::once(one).collect())
        }
    }
}

/// Java writes an array of characters as a text, one of bytes as Base64.
fn packed(seq: &Seq<'_>) -> Option<String> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    if seq.kind != SeqKind::Primitive {
        return None;
    }
    if seq.iter().any(|item| matches!(item, Val::Char(_))) {
        return Some(seq.iter().map(|item| item.printed()).collect());
    }
    seq.bytes().map(|bytes| STANDARD.encode(bytes))
}

/// The text `#toJson` gives, as long as it may be.
pub(crate) fn printed(value: &Val<'_>) -> Result<String, Stop> {
    value
        .extent(TEXT_BYTES, VALUE_DEPTH)
        .ok_or_else(|| too_much("bytes of text", TEXT_BYTES))?;
    let mut out = String::new();
    print(value, &mut out)?;
    Ok(out)
}

fn print(value: &Val<'_>, out: &mut String) -> Result<(), Stop> {
    if out.len() > TEXT_BYTES {
        return Err(too_much("bytes of text", TEXT_BYTES));
    }
    match value {
        Val::Null => out.push_str("null"),
        Val::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Val::Num(num) => {
            let text = num.printed();
            if written(&text).is_some() {
                out.push_str(&text);
            } else {
                quoted(&text, out);
            }
        }
        Val::Enum(_, name) => quoted(name, out),
        Val::Char(_) | Val::Text(_) | Val::Uuid(_) => quoted(&value.printed(), out),
        Val::Type(java) => quoted(java.name(), out),
        Val::Seq(seq) => {
            if let Some(text) = packed(seq) {
                quoted(&text, out);
                return Ok(());
            }
            out.push('[');
            for (i, item) in seq.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                print(&item, out)?;
            }
            out.push(']');
        }
        Val::Map(map) => object(map.iter().map(|(key, value)| (key.printed(), value)), out)?,
        Val::Entry(entry) => {
            object(std::iter::once((entry.0.printed(), entry.1.clone())), out)?;
        }
        Val::Bean(bean) => object(
            bean.written()
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value)),
            out,
        )?,
        Val::Time(time) => match time.epoch_ms() {
            Some(ms) => out.push_str(&ms.to_string()),
            None => {
                let class = time.class();
                let text = format!("Java 8 date/time type `{class}` not supported by default");
                let fault = Fault::java(INVALID_DEFINITION, text);
                return Err(fault.suggest("write .toString() after it").into());
            }
        },
        Val::DateFormat(_) | Val::Random(_) => out.push_str("{}"),
        Val::NotEval(inner) => object(
            std::iter::once(("expression".to_owned(), (**inner).clone())),
            out,
        )?,
    }
    Ok(())
}

const INVALID_DEFINITION: &str = "com.fasterxml.jackson.databind.exc.InvalidDefinitionException";

fn object<'a>(
    entries: impl Iterator<Item = (String, Val<'a>)>,
    out: &mut String,
) -> Result<(), Stop> {
    out.push('{');
    for (i, (key, value)) in entries.enumerate() {
        if i > 0 {
            out.push(',');
        }
        quoted(&key, out);
        out.push(':');
        print(&value, out)?;
    }
    out.push('}');
    Ok(())
}

fn quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
