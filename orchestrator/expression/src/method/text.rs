//! Methods of texts. Positions are in UTF-16 units, as in Java.

use super::{
    MANY, Method, arg, exact, int_arg, row, text_arg, utf16_len, utf16_position, utf16_slice,
};
use crate::error::{Fault, Stop};
use crate::eval::{Eval, Machine, bounded, bounded_seq};
use crate::number::Num;
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
    row("contains", 1, 1, |_, t, a| {
        Ok(Val::Bool(own(t)?.contains(exact(a, 0)?)))
    }),
    row("contentEquals", 1, 1, |_, t, a| {
        Ok(Val::Bool(own(t)? == exact(a, 0)?))
    }),
    row("startsWith", 1, 2, starts_with),
    row("endsWith", 1, 1, |m, t, a| {
        Ok(Val::Bool(own(t)?.ends_with(&text_arg(m, a, 0)?)))
    }),
    row("indexOf", 1, 2, index_of),
    row("lastIndexOf", 1, 2, last_index_of),
    row("substring", 1, 2, substring),
    row("charAt", 1, 1, char_at),
    row("toCharArray", 0, 0, |m, t, _| {
        let text = own(t)?;
        m.charge(text.len())?;
        bounded_seq(SeqKind::Primitive, text.chars().map(Val::Char).collect())
    }),
    row("codePointAt", 1, 1, code_point_at),
    row("getBytes", 0, 1, get_bytes),
    row("intern", 0, 0, |_, t, _| Ok(t.clone())),
    row("stripIndent", 0, 0, |_, t, _| {
        Ok(Val::text(strip_indent(own(t)?)))
    }),
    row("indent", 1, 1, indent),
    row("translateEscapes", 0, 0, |_, t, _| {
        translate_escapes(own(t)?)
    }),
    row("regionMatches", 4, 5, region_matches),
    row("join", 1, MANY, |m, _, a| crate::statics::join(m, a)),
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

/// What to look for: a text, or a number for the character of this code.
fn wanted<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Result<String, Stop> {
    let Val::Num(num) = arg(args, 0)? else {
        return text_arg(m, args, 0);
    };
    let code = u32::try_from(num.to_i128()).ok().and_then(char::from_u32);
    // No text holds a character that does not exist.
    Ok(code.map_or_else(|| "\u{10FFFF}\u{10FFFF}".to_owned(), String::from))
}

fn index_of<'a>(m: &mut Machine<'a>, target: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = own(target)?;
    let wanted = wanted(m, args)?;
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
    let wanted = wanted(m, args)?;
    let within = if args.len() > 1 {
        let Ok(from) = usize::try_from(int_arg(args, 1)?) else {
            return Ok(Val::int(-1));
        };
        let end = from.saturating_add(utf16_len(&wanted)).min(utf16_len(text));
        utf16_slice(text, 0, end).unwrap_or_default()
    } else {
        text.to_owned()
    };
    let found = within.rfind(&wanted);
    Ok(found.map_or_else(|| Val::int(-1), |at| Val::count(utf16_position(text, at))))
}

fn code_point_at<'a>(_: &mut Machine<'a>, target: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = own(target)?;
    let at = int_arg(args, 0)?;
    let rest = usize::try_from(at)
        .ok()
        .and_then(|i| utf16_slice(text, i, utf16_len(text)));
    match rest.and_then(|rest| rest.chars().next()) {
        Some(c) => Ok(Val::int(i32::try_from(u32::from(c)).unwrap_or_default())),
        None => Err(out_of_bounds(format!(
            "index {at}, length {}",
            utf16_len(text)
        ))),
    }
}

/// The bytes of a text in one of the encodings people name.
fn get_bytes<'a>(m: &mut Machine<'a>, target: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = own(target)?;
    m.charge(text.len())?;
    let charset = if args.is_empty() {
        "UTF-8".to_owned()
    } else {
        text_arg(m, args, 0)?
    };
    let bytes = encoded(text, &charset)?.into_iter();
    let byte = |byte: u8| Val::Num(Num::Byte(byte.cast_signed()));
    bounded_seq(SeqKind::Primitive, bytes.map(byte).collect())
}

/// A text in an encoding, by the encoding's name.
pub(crate) fn encoded(text: &str, charset: &str) -> Result<Vec<u8>, Stop> {
    let most = match charset.to_ascii_uppercase().as_str() {
        "UTF-8" | "UTF8" => return Ok(text.as_bytes().to_vec()),
        "ISO-8859-1" | "ISO8859_1" | "LATIN1" => 0xFF,
        "US-ASCII" | "ASCII" => 0x7F,
        _ => {
            return Err(Fault::java("java.io.UnsupportedEncodingException", charset)
                .suggest("use 'UTF-8'")
                .into());
        }
    };
    let byte = |c| u8::try_from(u32::from(c)).ok().filter(|byte| *byte <= most);
    Ok(text.chars().map(|c| byte(c).unwrap_or(b'?')).collect())
}

/// Takes away the indentation that all lines share.
fn strip_indent(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let last_counts = text.ends_with('\n');
    let blank = |line: &str| line.trim().is_empty();
    let width = |line: &str| line.chars().take_while(|c| c.is_whitespace()).count();
    let last = lines.len().saturating_sub(1);
    let kept = lines
        .iter()
        .enumerate()
        .filter(|(i, line)| !blank(line) || *i == last);
    let shared = kept.map(|(_, line)| width(line)).min().unwrap_or(0);
    let shared = if last_counts { 0 } else { shared };
    let cut = |line: &&str| {
        let rest: String = line.chars().skip(shared).collect();
        if blank(line) {
            String::new()
        } else {
            rest.trim_end().to_owned()
        }
    };
    let mut joined = lines.iter().map(cut).collect::<Vec<_>>().join("\n");
    if last_counts {
        joined.push('\n');
    }
    joined
}

/// Each line moved by so many blanks, each ended.
fn indent<'a>(m: &mut Machine<'a>, target: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = own(target)?;
    let by = int_arg(args, 0)?;
    let blanks = usize::try_from(by).unwrap_or(0);
    let lines = text.lines().count();
    m.charge(lines)?;
    if lines.saturating_mul(blanks) > crate::limits::TEXT_BYTES {
        return Err(crate::eval::too_much(
            "bytes of text",
            crate::limits::TEXT_BYTES,
        ));
    }
    let most = usize::try_from(by.unsigned_abs()).unwrap_or(0);
    let moved = text.lines().map(|line| {
        if by >= 0 {
            return format!("{}{line}\n", " ".repeat(blanks));
        }
        let white = line.chars().take_while(|c| c.is_whitespace()).count();
        let rest: String = line.chars().skip(white.min(most)).collect();
        format!("{rest}\n")
    });
    bounded(moved.collect())
}

fn translate_escapes<'a>(text: &str) -> Eval<'a> {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('s') => out.push(' '),
            Some('\n') => {}
            Some(same @ ('\\' | '\'' | '"')) => out.push(same),
            Some(digit @ '0'..='7') => {
                let most = if digit <= '3' { 2 } else { 1 };
                let mut code = digit.to_digit(8).unwrap_or_default();
                for _ in 0..most {
                    let Some(next) = chars.peek().and_then(|c| c.to_digit(8)) else {
                        break;
                    };
                    code = code * 8 + next;
                    chars.next();
                }
                out.extend(char::from_u32(code));
            }
            other => {
                let text = format!("Invalid escape sequence: \\{}", other.unwrap_or(' '));
                return Err(Fault::java(crate::error::ILLEGAL_ARGUMENT, text).into());
            }
        }
    }
    Ok(Val::text(out))
}

fn region_matches<'a>(m: &mut Machine<'a>, target: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let (any_case, args) = match args {
        [Val::Bool(any_case), rest @ ..] if args.len() == 5 => (*any_case, rest),
        _ => (false, args),
    };
    let other = text_arg(m, args, 1)?;
    let at = |i| usize::try_from(int_arg(args, i)?).map_err(|_| Stop::Mismatch);
    let (Ok(from), Ok(other_from), length) = (at(0), at(2), int_arg(args, 3)?) else {
        return Ok(Val::Bool(false));
    };
    let length = usize::try_from(length).unwrap_or(0);
    let part = |text: &str, from: usize| utf16_slice(text, from, from.checked_add(length)?);
    let (Some(a), Some(b)) = (part(own(target)?, from), part(&other, other_from)) else {
        return Ok(Val::Bool(false));
    };
    Ok(Val::Bool(
        a == b || any_case && a.to_lowercase() == b.to_lowercase(),
    ))
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

/// A value as Spring makes a `char` of it.
pub(crate) fn char_of(value: &Val<'_>) -> Result<char, Stop> {
    let found = if let Val::Char(c) = value {
        Some(*c)
    } else if let Val::Text(text) = value {
        let mut chars = text.chars();
        chars.next().filter(|_| chars.next().is_none())
    } else {
        let code = value.as_num().map(Num::to_i128);
        code.and_then(|code| u32::try_from(code).ok())
            .and_then(char::from_u32)
    };
    found.ok_or(Stop::Mismatch)
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
    if let Replacing::Text = how {
        let char_arg = |i| char_of(arg(args, i)?);
        let texts = |value: &Val<'_>| exact(std::slice::from_ref(value), 0).is_ok();
        if !args.iter().all(|value| texts(value) || value.is_null()) {
            return bounded(text.replace(char_arg(0)?, &char_arg(1)?.to_string()));
        }
    }
    let from = text_arg(m, args, 0)?;
    if arg(args, 1)?.is_null() && !matches!(how, Replacing::Text) {
        // Java looks at the replacement only once something is to be replaced.
        if !Pattern::new(&from)?.is_in(text)? {
            return Ok(target.clone());
        }
    }
    let to = text_arg(m, args, 1)?;
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

/// `URLEncoder.encode(text, charset)`.
pub(crate) fn url_encoded(text: &str, charset: &str) -> Result<String, Stop> {
    let mut out = String::new();
    for byte in encoded(text, charset)? {
        match byte {
            b' ' => out.push('+'),
            b'.' | b'-' | b'*' | b'_' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    Ok(out)
}
