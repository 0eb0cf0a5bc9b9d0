//! Functions from values to values: numbers, JSON, YAML, Base64.

use base64::Engine;
use base64::alphabet::STANDARD as STANDARD_ALPHABET;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde_json::Value;

use crate::error::{Fault, ILLEGAL_ARGUMENT, NUMBER_FORMAT, Stop};
use crate::eval::{Eval, Machine, bounded};
use crate::json::printed;
use crate::method::arg;
use crate::number::{Num, narrow_float, parse_real};
use crate::operator;
use crate::value::Val;

/// As Java reads it: with or without padding, whatever the bits after the last byte.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD_ALPHABET,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

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
    match parse_real(&text) {
        Some(value) => Ok(Val::Num(Num::Float(narrow_float(value)))),
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
    let bytes = BASE64
        .decode(text)
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
    let json = printed(value)?;
    if checked && json.contains("${") {
        return Err(
            Fault::helper("result for toJson cannot contain an expression")
                .suggest("write #toJson(#doNotEval(…)) if the text is meant to stay")
                .into(),
        );
    }
    bounded(json)
}

pub(super) fn read_json<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = text(m, args, 0)?
        .ok_or_else(|| Fault::java(ILLEGAL_ARGUMENT, "argument \"content\" is null"))?;
    m.charge(text.len() / 16)?;
    json(&text)
}

/// The first value of a text that begins with `[` and is a list, or is an object or
/// null; what follows it is not read.
pub(super) fn json<'a>(text: &str) -> Eval<'a> {
    let first = serde_json::Deserializer::from_str(text)
        .into_iter::<Value>()
        .next();
    let value: Value = match first {
        Some(Ok(value)) => value,
        Some(Err(e)) => {
            let class = "com.fasterxml.jackson.core.JsonParseException";
            return Err(Fault::java(class, format!("not JSON: {e}")).into());
        }
        None => {
            let text = "No content to map due to end-of-input";
            return Err(Fault::java(MISMATCHED, text).into());
        }
    };
    let wanted = match &value {
        Value::Null => true,
        Value::Array(_) => text.starts_with('['),
        Value::Object(_) => !text.starts_with('['),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    if !wanted {
        let fault = Fault::java(MISMATCHED, "neither a JSON object nor a list");
        return Err(if matches!(value, Value::Array(_)) {
            fault.suggest("trim the text: a list begins with '['")
        } else {
            fault
        }
        .into());
    }
    Ok(Val::from_owned(value))
}

const MISMATCHED: &str = "com.fasterxml.jackson.databind.exc.MismatchedInputException";
