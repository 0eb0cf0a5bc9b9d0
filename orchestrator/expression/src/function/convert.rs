//! Functions from values to values: numbers, JSON, YAML, Base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Fault, ILLEGAL_ARGUMENT, NUMBER_FORMAT, Stop};
use crate::eval::{Eval, Machine, bounded, too_much};
use crate::limits::{TEXT_BYTES, VALUE_DEPTH};
use crate::method::arg;
use crate::number::{Num, written};
use crate::operator;
use crate::value::Val;

/// An argument declared as a text; null stays null.
pub(super) fn text<'a>(
    machine: &mut Machine<'a>,
    args: &[Val<'a>],
    index: usize,
) -> Result<Option<String>, Stop> {
    let value = arg(args, index)?;
    if value.is_null() {
        return Ok(None);
    }
    operator::text(machine, value).map(Some)
}

/// The exception for a null where a value must be.
pub(super) fn null_pointer() -> Stop {
    Fault::java("java.lang.NullPointerException", "null").into()
}

pub(super) fn alphanumerical<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = text(m, args, 0)?.ok_or_else(null_pointer)?;
    let kept: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    Ok(Val::text(kept))
}

pub(super) fn to_int<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text =
        text(m, args, 0)?.ok_or_else(|| Fault::java(NUMBER_FORMAT, "Cannot parse null string"))?;
    Ok(Val::int(operator::parse_int(&text)?))
}

pub(super) fn to_float<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = text(m, args, 0)?.ok_or_else(null_pointer)?;
    let digits = text.trim().trim_end_matches(['f', 'F', 'd', 'D']);
    // Rust takes words such as `inf` for numbers, Java other ones.
    let number = digits
        .chars()
        .all(|c| c.is_ascii_digit() || "+-.eE".contains(c));
    let parsed = if number {
        digits.parse::<f32>().ok()
    } else {
        None
    };
    match parsed {
        Some(value) => Ok(Val::Num(Num::Float(value))),
        None => Err(operator::bad_number(&text).into()),
    }
}

pub(super) fn to_boolean<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = text(m, args, 0)?;
    Ok(Val::Bool(
        text.is_some_and(|text| text.eq_ignore_ascii_case("true")),
    ))
}

pub(super) fn to_base64<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = text(m, args, 0)?.ok_or_else(null_pointer)?;
    bounded(STANDARD.encode(text))
}

pub(super) fn from_base64<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = text(m, args, 0)?.ok_or_else(null_pointer)?;
    // Java takes it without its padding as well.
    let padded = format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4));
    let bytes = STANDARD
        .decode(padded)
        .map_err(|_| Fault::java(ILLEGAL_ARGUMENT, "Illegal base64 text"))?;
    Ok(Val::text(String::from_utf8_lossy(&bytes)))
}

pub(super) fn do_not_eval<'a>(_: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    Ok(Val::NotEval(std::rc::Rc::new(arg(args, 0)?.clone())))
}

pub(super) fn to_json<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let value = arg(args, 0)?;
    m.charge_for(value)?;
    let (value, checked) = if let Val::NotEval(inner) = value {
        (&**inner, false)
    } else {
        (value, true)
    };
    let json = json_text(value)?;
    if checked && json.contains("${") {
        return Err(
            Fault::helper("result for toJson cannot contain an expression")
                .suggest("write #toJson(#doNotEval(…)) if the text is meant to stay")
                .into(),
        );
    }
    bounded(json)
}

/// JSON text of a value, as long as it may be.
pub(super) fn json_text(value: &Val<'_>) -> Result<String, Stop> {
    value
        .extent(TEXT_BYTES, VALUE_DEPTH)
        .ok_or_else(|| too_much("bytes of text", TEXT_BYTES))?;
    serde_json::to_string(&value.to_json())
        .map_err(|e| Fault::helper(format!("#toJson failed: {e}")).into())
}

pub(super) fn read_json<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = text(m, args, 0)?
        .ok_or_else(|| Fault::java(ILLEGAL_ARGUMENT, "argument \"content\" is null"))?;
    m.charge(text.len() / 16)?;
    json(&text)
}

/// A JSON object or list; nothing else is read.
pub(super) fn json<'a>(text: &str) -> Eval<'a> {
    let value: Value = serde_json::from_str(text).map_err(|e| {
        Fault::java(
            "com.fasterxml.jackson.core.JsonParseException",
            format!("not JSON: {e}"),
        )
    })?;
    if !matches!(value, Value::Array(_) | Value::Object(_)) {
        let text = "neither a JSON object nor a list";
        let class = "com.fasterxml.jackson.databind.exc.MismatchedInputException";
        return Err(Fault::java(class, text).into());
    }
    Ok(Val::from_owned(value))
}

pub(super) fn read_yaml<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = text(m, args, 0)?.ok_or_else(null_pointer)?;
    m.charge(text.len() / 16)?;
    let documents = yaml(&text)?;
    Ok(documents
        .into_iter()
        .next()
        .map_or(Val::Null, Val::from_owned))
}

pub(super) fn read_all_yaml<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = text(m, args, 0)?.ok_or_else(null_pointer)?;
    m.charge(text.len() / 16)?;
    Ok(Val::list(
        yaml(&text)?.into_iter().map(Val::from_owned).collect(),
    ))
}

/// The documents of a YAML text.
pub(super) fn yaml(text: &str) -> Result<Vec<Value>, Stop> {
    serde_yaml_ng::Deserializer::from_str(text)
        .map(|document| {
            let value = serde_yaml_ng::Value::deserialize(document).map_err(|e| {
                Fault::java(
                    "org.yaml.snakeyaml.parser.ParserException",
                    format!("not YAML: {e}"),
                )
            })?;
            from_yaml(value)
        })
        .collect()
}

fn from_yaml(value: serde_yaml_ng::Value) -> Result<Value, Stop> {
    use serde_yaml_ng::Value as Yaml;
    Ok(match value {
        Yaml::Null => Value::Null,
        Yaml::Bool(truth) => Value::Bool(truth),
        Yaml::Number(number) => {
            let text = number.to_string();
            written(&text).unwrap_or(Value::String(text))
        }
        Yaml::String(text) => Value::String(text),
        Yaml::Sequence(items) => {
            Value::Array(items.into_iter().map(from_yaml).collect::<Result<_, _>>()?)
        }
        Yaml::Mapping(entries) => {
            let mut map = serde_json::Map::new();
            for (key, value) in entries {
                let key = from_yaml(key)?;
                let name = key
                    .as_str()
                    .map_or_else(|| key.to_string(), ToOwned::to_owned);
                map.insert(name, from_yaml(value)?);
            }
            Value::Object(map)
        }
        Yaml::Tagged(tagged) => {
            let text = format!(
                "could not determine a constructor for the tag {}",
                tagged.tag
            );
            let class = "org.yaml.snakeyaml.constructor.ConstructorException";
            return Err(Fault::java(class, text).into());
        }
    })
}
