//! The methods an expression may call: lists by kind of value, and no reflection.
//!
//! A new method is a row in one of the lists and a function beside it. What is not in
//! a list does not exist, so neither `getClass` nor anything else that leads out of
//! the values does. Truth: `kork: FilteredMethodResolver` (methods whose declared
//! return type is allowed).

mod collection;
mod format;
mod object;
mod text;
pub(crate) mod time;

pub(crate) use format::format;
pub(crate) use text::url_encoded;

use crate::bean::Bean;
use crate::error::{Fault, Stop};
use crate::eval::{Eval, Machine};
use crate::operator;
use crate::value::{SeqKind, Val};

/// A method: its name, how many arguments it takes, what it does.
pub(crate) struct Method {
    pub(crate) name: &'static str,
    pub(crate) least: usize,
    pub(crate) most: usize,
    pub(crate) call: Native,
}

/// What a method does with its target and arguments.
pub(crate) type Native = for<'a> fn(&mut Machine<'a>, &Val<'a>, &[Val<'a>]) -> Eval<'a>;

/// A row of a list.
pub(crate) const fn row(name: &'static str, least: usize, most: usize, call: Native) -> Method {
    Method {
        name,
        least,
        most,
        call,
    }
}

/// Any number of arguments.
pub(crate) const MANY: usize = usize::MAX;

/// The lists that apply to a value, the particular one first.
fn lists(target: &Val<'_>) -> [&'static [Method]; 2] {
    let own: &[Method] = match target {
        Val::Text(_) => text::METHODS,
        Val::Seq(seq) if seq.kind == SeqKind::Array => &[],
        Val::Seq(_) => collection::LIST,
        Val::Map(_) => collection::MAP,
        Val::Num(_) => object::NUMBER,
        Val::Bool(_) => object::BOOLEAN,
        Val::Enum(..) => object::ENUM,
        Val::Random(_) => object::RANDOM,
        Val::Time(_) => time::METHODS,
        Val::DateFormat(_) => time::FORMAT,
        Val::Null
        | Val::Char(_)
        | Val::Entry(_)
        | Val::Bean(_)
        | Val::Type(_)
        | Val::Uuid(_)
        | Val::NotEval(_) => &[],
    };
    [own, object::ANY]
}

/// Calls a method.
pub(crate) fn call<'a>(
    machine: &mut Machine<'a>,
    target: &Val<'a>,
    name: &str,
    args: &[Val<'a>],
) -> Eval<'a> {
    let signature = || {
        let classes: Vec<String> = args.iter().map(Val::class).collect();
        format!("{name}({})", classes.join(","))
    };
    if target.is_null() {
        let text = format!(
            "Method call: Attempted to call method {} on null context object",
            signature()
        );
        return Err(Fault::spel("EL1011E", text)
            .suggest(format!(
                "write ?.{name}(…) where what is before may be missing"
            ))
            .into());
    }
    machine.charge(1 + weight(target) + args.iter().map(weight).sum::<usize>())?;
    let found: Option<Eval<'a>> = if let Val::Type(java) = target {
        crate::statics::call(machine, *java, name, args)
    } else if let Val::Bean(bean) = target {
        of_bean(bean, name, args)
    } else {
        None
    };
    let result = match found {
        Some(result) => result,
        None => match method(target, name, args.len()) {
            Some(method) => (method.call)(machine, target, args),
            None => Err(Stop::Mismatch),
        },
    };
    result.map_err(|stop| match stop {
        Stop::Mismatch => {
            let text = format!(
                "Method call: Method {} cannot be found on type {}",
                signature(),
                target.class()
            );
            let mut fault = Fault::spel("EL1004E", text);
            if let Some(help) = instead_of(target, name) {
                fault = fault.suggest(help);
            }
            fault.into()
        }
        Stop::Fault(_) | Stop::Need => stop,
    })
}

fn method(target: &Val<'_>, name: &str, count: usize) -> Option<&'static Method> {
    lists(target)
        .into_iter()
        .flatten()
        .find(|m| m.name == name && (m.least..=m.most).contains(&count))
}

/// What people reach for and may not call, and what does the same.
fn instead_of(target: &Val<'_>, name: &str) -> Option<&'static str> {
    match (target, name) {
        (Val::Map(_), "get") => Some("write map['key']"),
        (Val::Map(_), "getOrDefault") => Some("write map['key'] ?: default"),
        (Val::Seq(_), "get") => Some("write list[0]"),
        (Val::Seq(_), "stream" | "iterator") => Some("write list.![…] or list.?[…]"),
        _ => None,
    }
}

/// A property without arguments: `time` is `getTime()`, `empty` is `isEmpty()`.
pub(crate) fn getter<'a>(
    machine: &mut Machine<'a>,
    target: &Val<'a>,
    name: &str,
) -> Option<Eval<'a>> {
    let mut chars = name.chars();
    let first = chars.next()?.to_uppercase();
    let rest = chars.as_str();
    ["get", "is"].into_iter().find_map(|prefix| {
        let method = method(target, &format!("{prefix}{first}{rest}"), 0)?;
        Some((method.call)(machine, target, &[]))
    })
}

/// A method of a bean, or its getter for a property that may be read.
fn of_bean<'a>(bean: &Bean<'a>, name: &str, args: &[Val<'a>]) -> Option<Eval<'a>> {
    let argument = args.first().and_then(Val::as_text);
    if let Some(result) = bean.method(name, argument) {
        return Some(result.map_err(Stop::from));
    }
    let property = property_of(name).filter(|_| args.is_empty())?;
    if bean.kind.rejects(&property).is_some() {
        return None;
    }
    bean.property(&property).map(Ok)
}

/// The property a bean's getter reads.
fn property_of(method: &str) -> Option<String> {
    let name = method
        .strip_prefix("get")
        .or_else(|| method.strip_prefix("is"))?;
    let mut chars = name.chars();
    let first = chars.next()?.to_lowercase();
    Some(format!("{first}{}", chars.as_str()))
}

fn weight(value: &Val<'_>) -> usize {
    match value {
        Val::Text(text) => text.len() / 16,
        Val::Seq(seq) => seq.len() / 16,
        Val::Map(map) => map.len() / 16,
        Val::Null
        | Val::Bool(_)
        | Val::Num(_)
        | Val::Char(_)
        | Val::Entry(_)
        | Val::Bean(_)
        | Val::Enum(..)
        | Val::Type(_)
        | Val::Time(_)
        | Val::Uuid(_)
        | Val::DateFormat(_)
        | Val::Random(_)
        | Val::NotEval(_) => 0,
    }
}

/// An argument, by its number.
pub(crate) fn arg<'v, 'a>(args: &'v [Val<'a>], index: usize) -> Result<&'v Val<'a>, Stop> {
    args.get(index).ok_or(Stop::Mismatch)
}

/// An argument as a text: what Spring can convert, and never null.
pub(crate) fn text_arg<'a>(
    machine: &mut Machine<'a>,
    args: &[Val<'a>],
    index: usize,
) -> Result<String, Stop> {
    let value = arg(args, index)?;
    if value.is_null() {
        return Err(Fault::java("java.lang.NullPointerException", "null").into());
    }
    operator::text(machine, value).map_err(|_| Stop::Mismatch)
}

/// An argument as an int.
pub(crate) fn int_arg(args: &[Val<'_>], index: usize) -> Result<i32, Stop> {
    operator::whole(arg(args, index)?).map_err(|_| Stop::Mismatch)
}

/// An argument as a long.
pub(crate) fn long_arg(args: &[Val<'_>], index: usize) -> Result<i64, Stop> {
    let value = arg(args, index)?;
    if let Some(num) = value.as_num() {
        return i64::try_from(num.to_i128()).map_err(|_| Stop::Mismatch);
    }
    let parsed = value.as_text().and_then(|text| text.trim().parse().ok());
    parsed.ok_or(Stop::Mismatch)
}

/// How long Java takes a text to be.
pub(crate) fn utf16_len(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        text.encode_utf16().count()
    }
}

/// A part of a text, in Java's units.
pub(crate) fn utf16_slice(text: &str, from: usize, to: usize) -> Option<String> {
    if text.is_ascii() {
        return text.get(from..to).map(ToOwned::to_owned);
    }
    let units: Vec<u16> = text.encode_utf16().collect();
    units.get(from..to).map(String::from_utf16_lossy)
}

/// A position in bytes as Java counts it.
pub(crate) fn utf16_position(text: &str, bytes: usize) -> usize {
    utf16_len(text.get(..bytes).unwrap_or_default())
}
