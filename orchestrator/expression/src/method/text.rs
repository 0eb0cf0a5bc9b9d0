//! Methods of texts. Positions are in UTF-16 units, as in Java.

use super::{MANY, Method, arg, int_arg, row, text_arg, utf16_len, utf16_position, utf16_slice};
use crate::error::{Fault, Stop};
use crate::eval::{Eval, Machine, bounded, bounded_seq};
use crate::operator;
use crate::pattern::Pattern;
use crate::value::{SeqKind, Val};

/// Methods of `java.lang.String`.
pub(crate) const METHODS: &[Method] = &[
    row("length", 0, 0, |_, t, _| Ok(Val::count(utf16_len(own(t)?)))),
    row("isEmpty", 0, 0, |_, t, _| Ok(Val::Bool(own(t)?.is_empty()))),
    row("isBlank", 0, 0, |_, t, _| {
        Ok(Val::Bool(own(t)?.trim().is_empty()))
    }),
    row("trim", 0, 0, |_, t, _| {
        Ok(Val::text(own(t)?.trim_matches(|c| c <= ' ')))
    }),
    row("strip", 0, 0, |_, t, _| Ok(Val::text(own(t)?.trim()))),
    row("stripLeading", 0, 0, |_, t, _| {
        Ok(Val::text(own(t)?.trim_start()))
    }),
    row("stripTrailing", 0, 0, |_, t, _| {
        Ok(Val::text(own(t)?.trim_end()))
    }),
    row("toLowerCase", 0, 0, |_, t, _| {
        bounded(own(t)?.to_lowercase())
    }),
    row("toUpperCase", 0, 0, |_, t, _| {
        bounded(own(t)?.to_uppercase())
    }),
    row("contains", 1, 1, |m, t, a| {
        Ok(Val::Bool(own(t)?.contains(&text_arg(m, a, 0)?)))
    }),
    row("startsWith", 1, 2, starts_with),
    row("endsWith", 1, 1, |m, t, a| {
        Ok(Val::Bool(own(t)?.ends_with(&text_arg(m, a, 0)?)))
    }),
    row("indexOf", 1, 2, index_of),
    row("lastIndexOf", 1, 1, last_index_of),
    row("substring", 1, 2, substring),
    row("charAt", 1, 1, char_at),
    row("toCharArray", 0, 0, |m, t, _| {
        let text = own(t)?;
        m.charge(text.len())?;
        bounded_seq(SeqKind::Array, text.chars().map(Val::Char).collect())
    }),
    row("concat", 1, 1, |m, t, a| {
        bounded(format!("{}{}", own(t)?, text_arg(m, a, 0)?))
    }),
    row("repeat", 1, 1, repeat),
    row("replace", 2, 2, |m, t, a| replace(m, t, a, Replacing::Text)),
    row("replaceAll", 2, 2, |m, t, a| {
        replace(m, t, a, Replacing::All)
    }),
    row("replaceFirst", 2, 2, |m, t, a| {
        replace(m, t, a, Replacing::First)
    }),
    row("split", 1, 2, split),
    row("matches", 1, 1, |m, t, a| {
        Pattern::new(&text_arg(m, a, 0)?)?
            .matches_whole(own(t)?)
            .map(Val::Bool)
    }),
    row("equalsIgnoreCase", 1, 1, |_, t, a| {
        let other = arg(a, 0)?.as_text().map(str::to_lowercase);
        Ok(Val::Bool(other == Some(own(t)?.to_lowercase())))
    }),
    row("compareTo", 1, 1, |m, t, a| {
        Ok(Val::int(compare(own(t)?, &text_arg(m, a, 0)?)))
    }),
    row("compareToIgnoreCase", 1, 1, |m, t, a| {
        let other = text_arg(m, a, 0)?.to_lowercase();
        Ok(Val::int(compare(&own(t)?.to_lowercase(), &other)))
    }),
    row("hashCode", 0, 0, |_, t, _| {
        Ok(Val::int(operator::hash(own(t)?.encode_utf16())))
    }),
    row("formatted", 0, MANY, |m, t, a| super::format(m, own(t)?, a)),
];

fn own<'v>(target: &'v Val<'_>) -> Result<&'v str, Stop> {
    target.as_text().ok_or(Stop::Mismatch)
}

fn out_of_bounds(text: String) -> Stop {
    Fault::java("java.lang.StringIndexOutOfBoundsException", text).into()
}

fn starts_with<'a>(m: &mut Machine<'a>, target: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = own(target)?;
    let prefix = text_arg(m, args, 0)?;
    if args.len() == 1 {
        return Ok(Val::Bool(text.starts_with(&prefix)));
    }
    let from = usize::try_from(int_arg(args, 1)?).ok();
    let rest = from.and_then(|from| utf16_slice(text, from, utf16_len(text)));
    Ok(Val::Bool(
        rest.is_some_and(|rest| rest.starts_with(&prefix)),
    ))
}

fn index_of<'a>(m: &mut Machine<'a>, target: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = own(target)?;
    let wanted = text_arg(m, args, 0)?;
    let from = if args.len() > 1 {
        int_arg(args, 1)?.max(0)
    } else {
        0
    };
    let from = usize::try_from(from).unwrap_or(0).min(utf16_len(text));
    let rest = utf16_slice(text, from, utf16_len(text)).unwrap_or_default();
    let found = rest
        .find(&wanted)
        .map(|at| from + utf16_position(&rest, at));
    Ok(found.map_or_else(|| Val::int(-1), Val::count))
}

fn last_index_of<'a>(m: &mut Machine<'a>, target: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = own(target)?;
    let found = text.rfind(&text_arg(m, args, 0)?);
    Ok(found.map_or_else(|| Val::int(-1), |at| Val::count(utf16_position(text, at))))
}

fn substring<'a>(_: &mut Machine<'a>, target: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = own(target)?;
    let length = utf16_len(text);
    let from = int_arg(args, 0)?;
    let to = if args.len() > 1 {
        int_arg(args, 1)?
    } else {
        i32::try_from(length).unwrap_or(i32::MAX)
    };
    let part = usize::try_from(from)
        .ok()
        .zip(usize::try_from(to).ok())
        .and_then(|(from, to)| utf16_slice(text, from, to));
    part.map(Val::text)
        .ok_or_else(|| out_of_bounds(format!("begin {from}, end {to}, length {length}")))
}

fn char_at<'a>(_: &mut Machine<'a>, target: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = own(target)?;
    let at = int_arg(args, 0)?;
    let found = usize::try_from(at)
        .ok()
        .and_then(|i| utf16_slice(text, i, i + 1));
    match found.and_then(|part| part.chars().next()) {
        Some(c) => Ok(Val::Char(c)),
        None => Err(out_of_bounds(format!("String index out of range: {at}"))),
    }
}

fn repeat<'a>(m: &mut Machine<'a>, target: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let times = int_arg(args, 0)?;
    if times < 0 {
        let text = format!("count is negative: {times}");
        return Err(Fault::java(crate::error::ILLEGAL_ARGUMENT, text).into());
    }
    operator::repeated(m, own(target)?, times)
}

enum Replacing {
    Text,
    All,
    First,
}

fn replace<'a>(
    m: &mut Machine<'a>,
    target: &Val<'a>,
    args: &[Val<'a>],
    how: Replacing,
) -> Eval<'a> {
    let text = own(target)?;
    let (from, to) = (text_arg(m, args, 0)?, text_arg(m, args, 1)?);
    match how {
        Replacing::Text => {
            let grown = text.len().saturating_add(1).saturating_mul(to.len().max(1));
            // Counted before anything is built: each position may be replaced.
            if grown > crate::limits::TEXT_BYTES * 4
                && text.matches(&from).count() * to.len() > crate::limits::TEXT_BYTES
            {
                return Err(crate::eval::too_much(
                    "bytes of text",
                    crate::limits::TEXT_BYTES,
                ));
            }
            bounded(text.replace(&from, &to))
        }
        Replacing::All => bounded(Pattern::new(&from)?.replace(text, &to, true)?),
        Replacing::First => bounded(Pattern::new(&from)?.replace(text, &to, false)?),
    }
}

fn split<'a>(m: &mut Machine<'a>, target: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let limit = if args.len() > 1 { int_arg(args, 1)? } else { 0 };
    let parts = Pattern::new(&text_arg(m, args, 0)?)?.split(own(target)?, limit)?;
    m.charge(parts.len())?;
    bounded_seq(SeqKind::Array, parts.into_iter().map(Val::text).collect())
}

/// `compareTo`: the first difference, else the difference of lengths.
fn compare(a: &str, b: &str) -> i32 {
    let differ = a.encode_utf16().zip(b.encode_utf16()).find(|(a, b)| a != b);
    if let Some((a, b)) = differ {
        return i32::from(a) - i32::from(b);
    }
    let length = |text| i32::try_from(utf16_len(text)).unwrap_or(i32::MAX);
    length(a) - length(b)
}

/// `URLEncoder.encode(text, 'UTF-8')`.
pub(crate) fn url_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'.' | b'-' | b'*' | b'_' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
