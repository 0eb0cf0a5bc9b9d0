//! `java.lang.String`, `UUID` and `URLEncoder`.

use super::{Static, row};
use crate::error::{Fault, ILLEGAL_ARGUMENT, Stop};
use crate::eval::{Eval, Machine, bounded};
use crate::limits::TEXT_BYTES;
use crate::method::{
    Component, MANY, arg, exact, format, long_arg, text_arg, url_encoded, variable,
};
use crate::types::JavaType::{Text, UrlEncoder, Uuid};
use crate::value::{SeqKind, Val};

/// Every method.
pub(super) const METHODS: &[Static] = &[
    row(Text, "format", 1, MANY, |m, _, a| {
        let pattern = text_arg(m, a, 0)?;
        format(m, &pattern, a.get(1..).unwrap_or_default())
    }),
    row(Text, "join", 1, MANY, |m, _, a| join(m, a)),
    row(Text, "valueOf", 1, 1, value_of),
    row(Text, "copyValueOf", 1, 1, |_, _, a| {
        unpacked(arg(a, 0)?).map(Val::text).ok_or(Stop::Mismatch)
    }),
    row(Uuid, "randomUUID", 0, 0, |m, _, _| {
        let bits = (u128::from(m.random()) << 64) | u128::from(m.random());
        // Version 4, variant 2, as RFC 9562 wants it.
        let version = bits & !(0xF << 76) | (0x4 << 76);
        Ok(Val::Uuid(version & !(0x3 << 62) | (0x2 << 62)))
    }),
    row(Uuid, "fromString", 1, 1, |m, _, a| {
        let text = text_arg(m, a, 0)?;
        uuid(&text).map(Val::Uuid).ok_or_else(|| {
            Fault::java(ILLEGAL_ARGUMENT, format!("Invalid UUID string: {text}")).into()
        })
    }),
    row(UrlEncoder, "encode", 1, 2, |m, _, a| {
        let text = text_arg(m, a, 0)?;
        let charset = if a.len() > 1 { exact(a, 1)? } else { "UTF-8" };
        m.charge(text.len())?;
        bounded(url_encoded(&text, charset)?)
    }),
];

/// The text of an array of characters or bytes.
pub(super) fn unpacked(value: &Val<'_>) -> Option<String> {
    let Val::Seq(seq) = value else {
        return None;
    };
    if seq.kind != SeqKind::Primitive {
        return None;
    }
    if let Some(bytes) = seq.bytes() {
        return Some(String::from_utf8_lossy(&bytes).into_owned());
    }
    let characters = seq.iter().all(|item| matches!(item, Val::Char(_)));
    characters.then(|| seq.iter().map(|item| item.printed()).collect())
}

fn value_of<'a>(m: &mut Machine<'a>, _: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let value = arg(args, 0)?;
    if value.is_null() {
        // Java takes a bare null for an array of characters.
        let text = "Cannot read the array length because \"value\" is null";
        return Err(Fault::java("java.lang.NullPointerException", text).into());
    }
    m.charge_for(value)?;
    match unpacked(value) {
        Some(text) => bounded(text),
        None => bounded(value.printed()),
    }
}

/// `String.join`: a list's texts, or the texts that are given; only texts.
pub(crate) fn join<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let separator = exact(args, 0)?;
    let rest = args.get(1..).unwrap_or_default();
    let (items, listed): (Vec<Val<'a>>, bool) = match rest {
        [Val::Null] => {
            return Err(Fault::java("java.lang.NullPointerException", "null").into());
        }
        [Val::Seq(seq)] if seq.kind.is_array() => {
            return Err(Fault::java(ILLEGAL_ARGUMENT, "array element type mismatch")
                .suggest("write {…} or a projection of a list, not an array")
                .into());
        }
        [Val::Seq(seq)] => (seq.iter().collect(), true),
        rest => (variable(m, rest, Component::Any)?, false),
    };
    m.charge(items.len())?;
    let mut out = String::new();
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push_str(separator);
        }
        if item.is_null() {
            out.push_str("null");
        } else if let Ok(text) = exact(std::slice::from_ref(item), 0) {
            m.charge(text.len() / 16)?;
            out.push_str(text);
        } else if listed {
            let class = item.class();
            let text = format!("class {class} cannot be cast to class java.lang.CharSequence");
            return Err(Fault::java("java.lang.ClassCastException", text)
                .suggest("make texts of the elements first: list.![toString()]")
                .into());
        } else {
            return Err(Stop::Mismatch);
        }
        if out.len() > TEXT_BYTES {
            break;
        }
    }
    bounded(out)
}

fn uuid(text: &str) -> Option<u128> {
    let parts: Vec<&str> = text.split('-').collect();
    let widths = [8, 4, 4, 4, 12];
    let fits = parts.len() == widths.len()
        && parts.iter().zip(widths).all(|(part, width)| {
            !part.is_empty() && part.len() <= width && part.bytes().all(|b| b.is_ascii_hexdigit())
        });
    if !fits {
        return None;
    }
    let hex: String = parts
        .iter()
        .zip(widths)
        .map(|(part, width)| format!("{part:0>width$}"))
        .collect();
    u128::from_str_radix(&hex, 16).ok()
}

/// A UUID from its halves.
pub(super) fn halves<'a>(args: &[Val<'a>]) -> Eval<'a> {
    let half = |i| Ok::<_, Stop>(u128::from(long_arg(args, i)?.cast_unsigned()));
    Ok(Val::Uuid((half(0)? << 64) | half(1)?))
}
