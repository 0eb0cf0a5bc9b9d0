//! What may be called on a type (`T(Math).max(1,2)`) and constructed (`new
//! java.util.Date(0L)`). A new one is a row and, where it is long, a function.

mod integers;
mod math;
mod reals;
mod texts;
mod times;

pub(crate) use texts::join;

use std::cell::Cell;
use std::rc::Rc;

use crate::dates::format_date;
use crate::error::{Fault, ILLEGAL_ARGUMENT, Stop};
use crate::eval::{Eval, Machine, refused};
use crate::limits::LIST_LEN;
use crate::method::{Native, arg, double_arg, float_arg, int_arg, long_arg, text_arg};
use crate::number::Num;
use crate::operator::truth;
use crate::time::Time;
use crate::types::{self, JavaType, Named, full_name};
use crate::value::{Seq, SeqKind, Val};

/// A method of a type: its name, how many arguments it takes, what it does.
struct Static {
    java: JavaType,
    name: &'static str,
    least: usize,
    most: usize,
    call: Native,
}

const fn row(
    java: JavaType,
    name: &'static str,
    least: usize,
    most: usize,
    call: Native,
) -> Static {
    Static {
        java,
        name,
        least,
        most,
        call,
    }
}

/// The lists, one a file.
const LISTS: &[&[Static]] = &[
    integers::METHODS,
    reals::METHODS,
    math::METHODS,
    texts::METHODS,
    times::METHODS,
];

/// Calls a method of a type; none if there is no such.
pub(crate) fn call<'a>(
    machine: &mut Machine<'a>,
    java: JavaType,
    name: &str,
    args: &[Val<'a>],
) -> Option<Eval<'a>> {
    let found = LISTS.iter().copied().flatten().find(|row| {
        row.java == java && row.name == name && (row.least..=row.most).contains(&args.len())
    });
    found.map(|row| (row.call)(machine, &Val::Type(java), args))
}

/// `new name(args)`
pub(crate) fn construct<'a>(machine: &mut Machine<'a>, name: &str, args: &[Val<'a>]) -> Eval<'a> {
    let classes: Vec<String> = args.iter().map(Val::class).collect();
    let problem = format!(
        "A problem occurred whilst attempting to construct an object of type '{name}' using arguments '({})'",
        classes.join(",")
    );
    let java = match types::named(name) {
        Named::Type(java) => java,
        Named::Refused(full) => return Err(refused(&full).around("EL1003E", problem).into()),
        Named::Unknown => {
            let mut fault = Fault::spel("EL1005E", format!("Type cannot be found '{name}'"));
            if let Some(full) = full_name(name) {
                fault = fault.suggest(format!("write new {full}(…)"));
            }
            return Err(fault.around("EL1003E", problem).into());
        }
    };
    built(machine, java, args).map_err(|stop| match stop {
        Stop::Mismatch => {
            let text = format!(
                "Constructor call: No suitable constructor found on type {name} for arguments ({})",
                classes.join(",")
            );
            Fault::spel("EL1002E", text).into()
        }
        Stop::Fault(fault) => fault.around("EL1003E", problem).into(),
        Stop::Need => stop,
    })
}

fn built<'a>(m: &mut Machine<'a>, java: JavaType, args: &[Val<'a>]) -> Eval<'a> {
    match (java, args.len()) {
        (JavaType::Text, 0) => Ok(Val::text("")),
        (JavaType::Text, 1) => match texts::unpacked(arg(args, 0)?) {
            Some(text) => Ok(Val::text(text)),
            None => text_arg(m, args, 0).map(Val::text),
        },
        (JavaType::Integer, 1) => int_arg(args, 0).map(Val::int),
        (JavaType::Long, 1) => long_arg(args, 0).map(Val::long),
        (JavaType::Double, 1) => double_arg(args, 0).map(double),
        (JavaType::Byte, 1) => integers::byte_arg(args).map(|byte| Val::Num(Num::Byte(byte))),
        (JavaType::Boolean, 1) => truth(arg(args, 0)?).map(Val::Bool),
        (JavaType::Date, 0) => Ok(Val::Time(Time::Date(m.scope.now_ms))),
        // A text is for the parser that few know of, not a number of milliseconds.
        (JavaType::Date, 1) if arg(args, 0)?.as_text().is_some() => {
            let text = text_arg(m, args, 0)?;
            let ms = crate::dates::parse_loose(&text, m.scope.now_ms);
            let ms = ms.ok_or_else(|| Fault::java(ILLEGAL_ARGUMENT, text))?;
            Ok(Val::Time(Time::Date(ms)))
        }
        (JavaType::Date, 1) => long_arg(args, 0).map(|ms| Val::Time(Time::Date(ms))),
        (JavaType::Date, 3 | 5 | 6) => times::date_of(args),
        (JavaType::Random, 0) => Ok(random(m.random())),
        (JavaType::Random, 1) => Ok(random(long_arg(args, 0)?.cast_unsigned())),
        (JavaType::Uuid, 2) => texts::halves(args),
        (JavaType::DateFormat, 0) => Ok(Val::DateFormat("M/d/yy, h:mm a".into())),
        (JavaType::DateFormat, 1 | 2) => {
            let pattern = text_arg(m, args, 0)?;
            if format_date(0, &pattern).is_none() {
                let text = format!("Illegal pattern '{pattern}'");
                return Err(Fault::java(ILLEGAL_ARGUMENT, text).into());
            }
            Ok(Val::DateFormat(pattern.into()))
        }
        _ => Err(Stop::Mismatch),
    }
}

/// `new name[]{items}`
pub(crate) fn array<'a>(machine: &mut Machine<'a>, name: &str, items: Vec<Val<'a>>) -> Eval<'a> {
    let primitive = [
        "int", "long", "double", "float", "boolean", "char", "byte", "short",
    ];
    let is_primitive = primitive.contains(&name);
    if !is_primitive {
        match types::named(name) {
            Named::Type(_) => {}
            Named::Refused(full) => return Err(refused(&full).into()),
            Named::Unknown => {
                return Err(
                    Fault::spel("EL1005E", format!("Type cannot be found '{name}'")).into(),
                );
            }
        }
    }
    let mut convert = |item: Val<'a>| -> Eval<'a> {
        let one = std::slice::from_ref(&item);
        match name {
            "int" | "Integer" | "java.lang.Integer" => int_arg(one, 0).map(Val::int),
            "short" => int_arg(one, 0).map(Val::int),
            "long" | "Long" | "java.lang.Long" => long_arg(one, 0).map(Val::long),
            "boolean" | "Boolean" | "java.lang.Boolean" => truth(&item).map(Val::Bool),
            "double" | "Double" | "java.lang.Double" => double_arg(one, 0).map(double),
            "float" => float_arg(one, 0).map(|value| Val::Num(Num::Float(value))),
            "byte" => integers::byte_arg(one).map(|byte| Val::Num(Num::Byte(byte))),
            "char" => crate::method::char_of(&item).map(Val::Char),
            "String" | "java.lang.String" if !item.is_null() => {
                text_arg(machine, one, 0).map(Val::text)
            }
            _ => Ok(item),
        }
    };
    let converted: Result<Vec<_>, Stop> = items.into_iter().map(&mut convert).collect();
    let items = converted.map_err(|_| {
        Fault::spel(
            "EL1001E",
            format!("Type conversion problem, cannot convert to {name}"),
        )
    })?;
    let kind = if is_primitive {
        SeqKind::Primitive
    } else {
        SeqKind::Array
    };
    Ok(Val::Seq(Seq::new(kind, items)))
}

/// `new name[size]`: zeros, falses or nulls.
pub(crate) fn sized<'a>(machine: &mut Machine<'a>, name: &str, size: i32) -> Eval<'a> {
    let size = usize::try_from(size).ok().filter(|size| *size <= LIST_LEN);
    let Some(size) = size else {
        let text = format!("an array may have 0 to {LIST_LEN} elements");
        return Err(Fault::java("java.lang.NegativeArraySizeException", text).into());
    };
    machine.charge(size)?;
    let Val::Seq(empty) = array(machine, name, Vec::new())? else {
        return Err(Stop::Mismatch);
    };
    let one = match name {
        "int" | "short" => Val::int(0),
        "byte" => Val::Num(Num::Byte(0)),
        "long" => Val::long(0),
        "float" => Val::Num(Num::Float(0.0)),
        "double" => double(0.0),
        "boolean" => Val::Bool(false),
        "char" => Val::Char('\0'),
        _ => Val::Null,
    };
    Ok(Val::Seq(Seq::new(empty.kind, vec![one; size])))
}

/// Java scrambles the seed so that small ones do not look alike.
fn random<'a>(seed: u64) -> Val<'a> {
    Val::Random(Rc::new(Cell::new((seed ^ 0x5_DEEC_E66D) & ((1 << 48) - 1))))
}

fn double<'a>(value: f64) -> Val<'a> {
    Val::Num(Num::Double(value))
}
