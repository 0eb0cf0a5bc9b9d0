//! The methods an expression may call: lists by kind of value, and no reflection.
//!
//! A new method is a row in one of the lists and a function beside it. What is not in
//! a list does not exist, so neither `getClass` nor anything else that leads out of
//! the values does. Truth: `kork: FilteredMethodResolver` (methods whose declared
//! return type is allowed).

mod args;
mod collection;
mod format;
mod object;
mod random;
mod real;
mod text;
pub(crate) mod time;

pub(crate) use args::{
    Component, Wide, ambiguous, arg, double_arg, exact, float_arg, int_arg, long_arg, overload,
    text_arg, variable,
};
pub(crate) use format::format;
pub(crate) use object::hash_code;
pub(crate) use real::hexadecimal;
pub(crate) use text::{char_of, url_encoded};

use crate::bean::Bean;
use crate::error::{Fault, Stop};
use crate::eval::{Eval, Machine};
use crate::number::Num;
use crate::value::{EnumKind, SeqKind, Val};

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
fn lists(target: &Val<'_>) -> [&'static [Method]; 3] {
    let real = |num: &Num<'_>| matches!(num.plain(), Num::Float(_) | Num::Double(_));
    let more: &[Method] = if matches!(target, Val::Seq(seq) if !seq.kind.is_array()) {
        collection::COLLECTION
    } else if matches!(target, Val::Num(num) if real(num)) {
        object::REAL
    } else {
        &[]
    };
    let own: &[Method] = match target {
        Val::Text(_) => text::METHODS,
        Val::Seq(seq) => match seq.kind {
            SeqKind::Array | SeqKind::Primitive => &[],
            SeqKind::List | SeqKind::Constant => collection::LIST,
            SeqKind::Set | SeqKind::Values => &[],
        },
        Val::Map(_) => collection::MAP,
        Val::Num(_) => object::NUMBER,
        Val::Bool(_) => object::BOOLEAN,
        Val::Enum(EnumKind::Status, _) => object::STATUS,
        Val::Enum(EnumKind::DayOfWeek, _) => object::DAY_OF_WEEK,
        Val::Enum(EnumKind::ChronoUnit, _) => object::CHRONO_UNIT,
        // Of a class itself nothing may be called.
        Val::Type(_) => return [&[], &[], &[]],
        Val::Uuid(_) => object::UUID,
        Val::Random(_) => random::RANDOM,
        Val::Time(_) => time::METHODS,
        Val::DateFormat(_) => time::FORMAT,
        Val::Null | Val::Char(_) | Val::Entry(_) | Val::Bean(_) | Val::NotEval(_) => &[],
    };
    [own, more, object::ANY]
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
            let class = if let Val::Type(java) = target {
                java.name().to_owned()
            } else {
                target.class()
            };
            let text = format!(
                "Method call: Method {} cannot be found on type {}",
                signature(),
                class
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

/// A property without arguments: `time` is `getTime()`, `empty` is `isEmpty()`, and
/// `size` is `size()`.
pub(crate) fn getter<'a>(
    machine: &mut Machine<'a>,
    target: &Val<'a>,
    name: &str,
) -> Option<Eval<'a>> {
    let mut chars = name.chars();
    let first = chars.next()?.to_uppercase();
    let rest = chars.as_str();
    let names = [
        format!("get{first}{rest}"),
        format!("is{first}{rest}"),
        name.to_owned(),
    ];
    names.iter().find_map(|name| {
        let found = if let Val::Type(java) = target {
            crate::statics::call(machine, *java, name, &[])
        } else if let Val::Bean(bean) = target {
            of_bean(bean, name, &[])
        } else {
            None
        };
        // One that fits by name and not by class is as good as none.
        found
            .or_else(|| Some((method(target, name, 0)?.call)(machine, target, &[])))
            .filter(|result| !matches!(result, Err(Stop::Mismatch)))
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
    // Half of a pair is no character; written out, Java makes a question mark of it.
    let chars = char::decode_utf16(units.get(from..to)?.iter().copied());
    Some(chars.map(|c| c.unwrap_or('?')).collect())
}

/// A position in bytes as Java counts it.
pub(crate) fn utf16_position(text: &str, bytes: usize) -> usize {
    utf16_len(text.get(..bytes).unwrap_or_default())
}
