//! Operators and the conversions they make: when numbers widen, what a condition
//! takes for true, how values are ordered. Truth: `spring: OpPlus`, `OpEQ`,
//! `StandardTypeComparator` and so on.

use std::cmp::Ordering;

use crate::ast::{Compare, Expr, Infix};
use crate::error::{Fault, ILLEGAL_ARGUMENT, NUMBER_FORMAT, Stop};
use crate::eval::{Eval, Machine, bounded, too_much};
use crate::limits::TEXT_BYTES;
use crate::number::{Arithmetic, Arithmetically, Num, compute, negate, wrap_int};
use crate::pattern::Pattern;
use crate::time::Time;
use crate::value::{EnumKind, Val};

/// A conversion nobody can make.
fn no_conversion(value: &Val<'_>, to: &str) -> Fault {
    let class = described(value);
    if value.is_null() {
        let text = format!("Type conversion problem, cannot convert from null to {to}");
        return Fault::spel("EL1001E", text);
    }
    let text =
        format!("No converter found capable of converting from type [{class}] to type [{to}]");
    unconverted(value, to, CONVERTER_NOT_FOUND, text)
}

const CONVERTER_NOT_FOUND: &str = "org.springframework.core.convert.ConverterNotFoundException";

/// A class as conversions name it.
fn described(value: &Val<'_>) -> String {
    let class = value.class();
    match value {
        Val::Map(_) => format!("{class}<?, ?>"),
        Val::Seq(seq) if !seq.kind.is_array() => format!("{class}<?>"),
        Val::Type(_) => format!("{class}<?>"),
        Val::Null
        | Val::Bool(_)
        | Val::Num(_)
        | Val::Char(_)
        | Val::Text(_)
        | Val::Seq(_)
        | Val::Entry(_)
        | Val::Bean(_)
        | Val::Enum(..)
        | Val::Time(_)
        | Val::Uuid(_)
        | Val::DateFormat(_)
        | Val::Random(_)
        | Val::NotEval(_) => class,
    }
}

/// A conversion that was tried and failed.
fn unconverted(value: &Val<'_>, to: &str, java: &'static str, cause: String) -> Fault {
    let class = described(value);
    let text = format!("Type conversion problem, cannot convert from {class} to {to}");
    Fault::java(java, cause).around("EL1001E", text)
}

/// A condition: a boolean, or a text that names one (`true`, `on`, `yes`, `1`, …).
pub(crate) fn truth(value: &Val<'_>) -> Result<bool, Stop> {
    if let Val::Bool(truth) = value {
        return Ok(*truth);
    }
    if let Some(text) = value.as_text() {
        let word = text.trim().to_lowercase();
        if ["true", "on", "yes", "1"].contains(&word.as_str()) {
            return Ok(true);
        }
        if ["false", "off", "no", "0"].contains(&word.as_str()) {
            return Ok(false);
        }
        let cause = format!("Invalid boolean value '{text}'");
        return Err(unconverted(value, "java.lang.Boolean", ILLEGAL_ARGUMENT, cause).into());
    }
    let to = if value.is_null() {
        "boolean"
    } else {
        "java.lang.Boolean"
    };
    Err(no_conversion(value, to).into())
}

/// A whole number: an index or an int argument.
pub(crate) fn whole(value: &Val<'_>) -> Result<i32, Stop> {
    if let Some(num) = value.as_num() {
        return i32::try_from(num.to_i128())
            .map_err(|_| no_conversion(value, "java.lang.Integer").into());
    }
    if let Some(number) = value.as_text().and_then(|text| text.trim().parse().ok()) {
        return Ok(number);
    }
    if let Some(text) = value.as_text() {
        let cause = format!("For input string: \"{text}\"");
        return Err(unconverted(value, "java.lang.Integer", NUMBER_FORMAT, cause).into());
    }
    Err(no_conversion(value, "java.lang.Integer").into())
}

/// A text, as Spring converts to one: a list's elements joined by commas; neither maps
/// nor the classes of `java.time`. Null has no text.
pub(crate) fn text<'a>(machine: &mut Machine<'a>, value: &Val<'a>) -> Result<String, Stop> {
    match value {
        Val::Seq(seq) => {
            machine.charge(seq.len())?;
            let mut joined = String::new();
            for (i, item) in seq.iter().enumerate() {
                if i > 0 {
                    joined.push(',');
                }
                if item.is_null() {
                    joined.push_str("null");
                } else {
                    let part = text(machine, &item).map_err(|stop| in_list(stop, value))?;
                    joined.push_str(&part);
                }
                if joined.len() > TEXT_BYTES {
                    return Err(too_much("bytes of text", TEXT_BYTES));
                }
            }
            Ok(joined)
        }
        Val::Bool(_)
        | Val::Num(_)
        | Val::Char(_)
        | Val::Text(_)
        | Val::Enum(..)
        | Val::Time(Time::Date(_))
        | Val::Uuid(_) => {
            machine.charge_for(value)?;
            Ok(if let Val::Enum(_, name) = value {
                name.to_string()
            } else {
                value.printed()
            })
        }
        Val::Null
        | Val::Time(_)
        | Val::Type(_)
        | Val::Map(_)
        | Val::Entry(_)
        | Val::Bean(_)
        | Val::DateFormat(_)
        | Val::Random(_)
        | Val::NotEval(_) => Err(no_conversion(value, "java.lang.String").into()),
    }
}

/// The failure of an element is told as the failure of the whole list.
fn in_list(stop: Stop, list: &Val<'_>) -> Stop {
    let Stop::Fault(fault) = stop else {
        return stop;
    };
    let class = described(list);
    let text = format!("Type conversion problem, cannot convert from {class} to java.lang.String");
    fault.instead("EL1001E", text).into()
}

fn unsupported(name: &str, left: &Val<'_>, right: Option<&Val<'_>>) -> Fault {
    let right = right.map_or_else(|| "null".to_owned(), Val::class);
    let text = format!(
        "The operator '{name}' is not supported between objects of type '{}' and '{right}'",
        left.class()
    );
    Fault::spel("EL1030E", text)
}

fn failed(problem: Arithmetically) -> Stop {
    match problem {
        Arithmetically::DividedByZero => {
            Fault::java("java.lang.ArithmeticException", "/ by zero").into()
        }
        Arithmetically::TooLarge => too_much("bits of an integer", 127),
    }
}

/// `-a`, `+a`.
pub(crate) fn signed<'a>(value: &Val<'a>, minus: bool) -> Eval<'a> {
    match value.as_num() {
        Some(num) if minus => Ok(Val::Num(negate(num))),
        Some(num) => Ok(Val::Num(num)),
        None => Err(unsupported(if minus { "SUBTRACT" } else { "ADD" }, value, None).into()),
    }
}

/// `a++`, `a--`: what the name would hold afterwards.
pub(crate) fn step<'a>(value: &Val<'a>, by: i32, operand: &Expr) -> Eval<'a> {
    let Some(num) = value.as_num() else {
        let (code, word) = if by > 0 {
            ("EL1066E", "increment")
        } else {
            ("EL1067E", "decrement")
        };
        return Err(Fault::spel(
            code,
            format!("The expression component '{operand}' does not support {word}"),
        )
        .into());
    };
    compute(Arithmetic::Add, num, Num::Int(by))
        .map(Val::Num)
        .map_err(failed)
}

/// `a ^ b`
pub(crate) fn power<'a>(base: &Val<'a>, exponent: &Val<'a>) -> Eval<'a> {
    let (Some(left), Some(right)) = (base.as_num(), exponent.as_num()) else {
        return Err(unsupported("POWER", base, Some(exponent)).into());
    };
    compute(Arithmetic::Power, left, right)
        .map(Val::Num)
        .map_err(failed)
}

/// Operators of one level, from left to right; `and` and `or` stop as soon as they can.
pub(crate) fn infix<'a>(
    machine: &mut Machine<'a>,
    first: &Expr,
    rest: &[(Infix, Expr)],
) -> Eval<'a> {
    let mut value = machine.eval(first)?;
    for (op, operand) in rest {
        value = match op {
            Infix::And => Val::Bool(truth(&value)? && truth(&machine.eval(operand)?)?),
            Infix::Or => Val::Bool(truth(&value)? || truth(&machine.eval(operand)?)?),
            Infix::Add | Infix::Subtract | Infix::Multiply | Infix::Divide | Infix::Modulo => {
                let right = machine.eval(operand)?;
                arithmetic(machine, *op, &value, &right)?
            }
        };
    }
    Ok(value)
}

fn arithmetic<'a>(
    machine: &mut Machine<'a>,
    op: Infix,
    left: &Val<'a>,
    right: &Val<'a>,
) -> Eval<'a> {
    let arithmetic = match op {
        Infix::Add => Arithmetic::Add,
        Infix::Subtract => Arithmetic::Subtract,
        Infix::Multiply => Arithmetic::Multiply,
        Infix::Divide => Arithmetic::Divide,
        Infix::Modulo => Arithmetic::Modulo,
        Infix::And | Infix::Or => return Err(unsupported(op.java(), left, Some(right)).into()),
    };
    if let (Some(a), Some(b)) = (left.as_num(), right.as_num()) {
        return compute(arithmetic, a, b).map(Val::Num).map_err(failed);
    }
    match (op, left.as_text(), right.as_text()) {
        (Infix::Add, Some(a), _) => {
            let b = joined(machine, right)?;
            bounded(format!("{a}{b}"))
        }
        (Infix::Add, None, Some(b)) => {
            let a = joined(machine, left)?;
            bounded(format!("{a}{b}"))
        }
        (Infix::Multiply, Some(text), None) => match right.as_num() {
            Some(Num::Int(times)) => repeated(machine, text, times),
            _ => Err(unsupported("MULTIPLY", left, Some(right)).into()),
        },
        // As in Spring: 'b' - 1 is 'a'.
        (Infix::Subtract, Some(text), None) => {
            let mut chars = text.chars();
            match (chars.next(), chars.next(), right.as_num()) {
                (Some(c), None, Some(Num::Int(by))) => {
                    let code = i64::from(u32::from(c)) - i64::from(by);
                    let c = u32::try_from(code).ok().and_then(char::from_u32);
                    let c = c.ok_or_else(|| unsupported("SUBTRACT", left, Some(right)))?;
                    Ok(Val::text(c.to_string()))
                }
                _ => Err(unsupported("SUBTRACT", left, Some(right)).into()),
            }
        }
        _ => Err(unsupported(op.java(), left, Some(right)).into()),
    }
}

/// What stands beside a text in a sum: converted if it can be, else printed.
fn joined<'a>(machine: &mut Machine<'a>, value: &Val<'a>) -> Result<String, Stop> {
    let printed = matches!(
        value,
        Val::Null | Val::Map(_) | Val::Bean(_) | Val::Entry(_) | Val::Time(_) | Val::Type(_)
    );
    if printed {
        machine.charge_for(value)?;
        return Ok(value.printed());
    }
    text(machine, value)
}

const NEGATIVE_SIZE: &str = "java.lang.NegativeArraySizeException";

/// A text so many times over.
pub(crate) fn repeated<'a>(machine: &mut Machine<'a>, text: &str, times: i32) -> Eval<'a> {
    if times < 0 {
        return Err(Fault::java(NEGATIVE_SIZE, times.to_string()).into());
    }
    let times = usize::try_from(times).unwrap_or(0);
    if text.len().saturating_mul(times) > TEXT_BYTES {
        return Err(too_much("bytes of text", TEXT_BYTES));
    }
    machine.charge(text.len() * times / 16)?;
    Ok(Val::text(text.repeat(times)))
}

/// `==`: numbers by value, texts by characters, an enum by its name.
pub(crate) fn equal(left: &Val<'_>, right: &Val<'_>) -> bool {
    match (left, right) {
        (Val::Num(a), Val::Num(b)) => a.order(b) == Some(Ordering::Equal),
        // A status is a text to Java, other enumerations are not.
        (Val::Enum(EnumKind::Status, name), Val::Text(text))
        | (Val::Text(text), Val::Enum(EnumKind::Status, name)) => **name == **text,
        _ => left.same(right),
    }
}

/// The order of two values; null is the lowest.
pub(crate) fn order(left: &Val<'_>, right: &Val<'_>) -> Result<Ordering, Stop> {
    let found = match (left, right) {
        (Val::Null, Val::Null) => Some(Ordering::Equal),
        (Val::Null, _) => Some(Ordering::Less),
        (_, Val::Null) => Some(Ordering::Greater),
        (Val::Num(a), Val::Num(b)) => a.order(b),
        (
            Val::Text(a) | Val::Enum(EnumKind::Status, a),
            Val::Text(b) | Val::Enum(EnumKind::Status, b),
        ) => Some(a.encode_utf16().cmp(b.encode_utf16())),
        (Val::Enum(kind, a), Val::Enum(other, b)) if kind == other => {
            Some(kind.ordinal(a).cmp(&kind.ordinal(b)))
        }
        (Val::Char(a), Val::Char(b)) => Some(a.cmp(b)),
        (Val::Bool(a), Val::Bool(b)) => Some(a.cmp(b)),
        (Val::Time(a), Val::Time(b)) => a.order(*b),
        (Val::Uuid(a), Val::Uuid(b)) => Some(a.cmp(b)),
        _ => None,
    };
    found.ok_or_else(|| {
        let (a, b) = (left.class(), right.class());
        Fault::spel(
            "EL1013E",
            format!("Cannot compare instances of class {a} and class {b}"),
        )
        .suggest("convert one of them, for example with #toInt(…)")
        .into()
    })
}

/// A comparison.
pub(crate) fn compare<'a>(
    machine: &mut Machine<'a>,
    op: Compare,
    left: &Val<'a>,
    right: &Val<'a>,
) -> Result<bool, Stop> {
    // Not-a-number is neither less nor greater than anything.
    let unordered = |value: &Val<'a>| value.as_num().is_some_and(|num| num.to_f64().is_nan());
    let numbers = left.as_num().is_some() && right.as_num().is_some();
    let nan = numbers && (unordered(left) || unordered(right));
    match op {
        Compare::Equal | Compare::NotEqual => {
            machine.charge_for(left)?;
            Ok(equal(left, right) == (op == Compare::Equal))
        }
        Compare::Less => Ok(!nan && order(left, right)?.is_lt()),
        Compare::LessOrEqual => Ok(!nan && order(left, right)?.is_le()),
        Compare::Greater => Ok(!nan && order(left, right)?.is_gt()),
        Compare::GreaterOrEqual => Ok(!nan && order(left, right)?.is_ge()),
        Compare::InstanceOf => {
            let Val::Type(java) = right else {
                let text = format!(
                    "The operator instanceof needs the right operand to be a class, not a '{}'",
                    right.class()
                );
                return Err(Fault::spel("EL1028E", text).into());
            };
            Ok(left.class() == java.name())
        }
        Compare::Matches => matches(machine, left, right),
        Compare::Between => between(left, right),
    }
}

fn matches<'a>(machine: &mut Machine<'a>, left: &Val<'a>, right: &Val<'a>) -> Result<bool, Stop> {
    if left.is_null() {
        let text = "First operand to matches operator must be a string. 'null' is not";
        return Err(Fault::spel("EL1037E", text).into());
    }
    let Some(pattern) = right.as_text() else {
        let text = format!(
            "Second operand to matches operator must be a string. '{}' is not",
            right.class()
        );
        return Err(Fault::spel("EL1038E", text).into());
    };
    let text = text(machine, left)?;
    machine.charge(text.len())?;
    Pattern::new(pattern)?.matches_whole(&text)
}

fn between(value: &Val<'_>, range: &Val<'_>) -> Result<bool, Stop> {
    if let Val::Seq(seq) = range
        && seq.kind.is_list()
        && let (Some(low), Some(high), 2) = (seq.get(0), seq.get(1), seq.len())
    {
        return Ok(order(value, &low)?.is_ge() && order(value, &high)?.is_le());
    }
    let text = "Right operand for the between operator has to be a two-element list";
    Err(Fault::spel("EL1017E", text)
        .suggest("write between {1,10}")
        .into())
}

/// `Integer.parseInt`: a sign and decimal digits.
pub(crate) fn parse_int(text: &str) -> Result<i32, Fault> {
    parse_digits(text)
}

/// `Long.parseLong`.
pub(crate) fn parse_long(text: &str) -> Result<i64, Fault> {
    parse_digits(text)
}

fn parse_digits<T: std::str::FromStr>(text: &str) -> Result<T, Fault> {
    let digits: String = text
        .chars()
        .map(|c| {
            decimal(c)
                .and_then(|d| char::from_digit(d, 10))
                .unwrap_or(c)
        })
        .collect();
    digits.parse().map_err(|_| bad_number(text))
}

/// The value of a digit of some other script, for those whose digits Java reads.
fn decimal(c: char) -> Option<u32> {
    const ZEROS: &[u32] = &[0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0E50, 0xFF10];
    let code = u32::from(c);
    let zero = ZEROS
        .iter()
        .find(|zero| (**zero..**zero + 10).contains(&code))?;
    Some(code - zero)
}

/// The exception for a text that is no number.
pub(crate) fn bad_number(text: &str) -> Fault {
    Fault::java(NUMBER_FORMAT, format!("For input string: \"{text}\""))
}

/// A 32-bit hash, as `hashCode` has it.
pub(crate) fn hash(units: impl Iterator<Item = u16>) -> i32 {
    units.fold(0, |hash: i32, unit| {
        wrap_int(i128::from(hash) * 31 + i128::from(unit))
    })
}
