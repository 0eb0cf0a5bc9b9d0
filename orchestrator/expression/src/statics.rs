//! What may be called on a type (`T(Math).max(1,2)`) and constructed (`new
//! java.util.Date(0L)`). A new one is a row and, where it is long, a function.

use std::cell::Cell;
use std::rc::Rc;

use jiff::civil::{Date, DateTime};
use jiff::{Timestamp, tz::TimeZone};

use crate::error::{Fault, ILLEGAL_ARGUMENT, Stop};
use crate::eval::{Eval, Machine, refused};
use crate::limits::LIST_LEN;
use crate::method::{MANY, Native, arg, format, int_arg, long_arg, text_arg, time, url_encoded};
use crate::number::{Num, narrow_int, narrow_long};
use crate::operator::{bad_number, parse_int, truth};
use crate::time::{DAYS, Time, format_date, unit};
use crate::types::{self, JavaType, Named, full_name};
use crate::value::{EnumKind, Seq, SeqKind, Text, Val};

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

/// Every method of a type.
const METHODS: &[Static] = &[
    row(JavaType::Text, "format", 1, MANY, |m, _, a| {
        let pattern = text_arg(m, a, 0)?;
        format(m, &pattern, a.get(1..).unwrap_or_default())
    }),
    row(JavaType::Text, "join", 1, MANY, join),
    row(JavaType::Text, "valueOf", 1, 1, |m, _, a| {
        m.charge_for(arg(a, 0)?)?;
        crate::eval::bounded(arg(a, 0)?.printed())
    }),
    row(JavaType::Integer, "parseInt", 1, 2, parse_integer),
    row(JavaType::Integer, "valueOf", 1, 2, parse_integer),
    row(JavaType::Integer, "toString", 1, 1, |_, _, a| {
        Ok(Val::text(int_arg(a, 0)?.to_string()))
    }),
    row(JavaType::Integer, "toHexString", 1, 1, |_, _, a| {
        Ok(Val::text(format!("{:x}", int_arg(a, 0)?)))
    }),
    row(JavaType::Integer, "max", 2, 2, |_, _, a| {
        Ok(Val::int(int_arg(a, 0)?.max(int_arg(a, 1)?)))
    }),
    row(JavaType::Integer, "min", 2, 2, |_, _, a| {
        Ok(Val::int(int_arg(a, 0)?.min(int_arg(a, 1)?)))
    }),
    row(JavaType::Long, "parseLong", 1, 1, parse_long),
    row(JavaType::Long, "valueOf", 1, 1, parse_long),
    row(JavaType::Long, "toString", 1, 1, |_, _, a| {
        Ok(Val::text(long_arg(a, 0)?.to_string()))
    }),
    row(JavaType::Double, "parseDouble", 1, 1, parse_double),
    row(JavaType::Double, "valueOf", 1, 1, parse_double),
    row(JavaType::Boolean, "parseBoolean", 1, 1, parse_boolean),
    row(JavaType::Boolean, "valueOf", 1, 1, parse_boolean),
    row(JavaType::Math, "max", 2, 2, |_, _, a| extreme(a, true)),
    row(JavaType::Math, "min", 2, 2, |_, _, a| extreme(a, false)),
    row(JavaType::Math, "abs", 1, 1, |_, _, a| {
        let num = num_arg(a, 0)?;
        let negative = num
            .order(&Num::Int(0))
            .is_some_and(std::cmp::Ordering::is_lt);
        Ok(Val::Num(if negative {
            crate::number::negate(num)
        } else {
            num
        }))
    }),
    row(JavaType::Math, "round", 1, 1, |_, _, a| {
        let num = num_arg(a, 0)?;
        let rounded = (num.to_f64() + 0.5).floor();
        Ok(if matches!(num, Num::Float(_)) {
            Val::int(narrow_int(rounded))
        } else {
            Val::long(narrow_long(rounded))
        })
    }),
    row(JavaType::Math, "ceil", 1, 1, |_, _, a| {
        Ok(double(num_arg(a, 0)?.to_f64().ceil()))
    }),
    row(JavaType::Math, "floor", 1, 1, |_, _, a| {
        Ok(double(num_arg(a, 0)?.to_f64().floor()))
    }),
    row(JavaType::Math, "sqrt", 1, 1, |_, _, a| {
        Ok(double(num_arg(a, 0)?.to_f64().sqrt()))
    }),
    row(JavaType::Math, "pow", 2, 2, |_, _, a| {
        Ok(double(
            num_arg(a, 0)?.to_f64().powf(num_arg(a, 1)?.to_f64()),
        ))
    }),
    row(JavaType::Math, "random", 0, 0, |m, _, _| {
        Ok(double((m.random() >> 11) as f64 / (1u64 << 53) as f64))
    }),
    row(JavaType::Uuid, "randomUUID", 0, 0, |m, _, _| {
        let bits = (u128::from(m.random()) << 64) | u128::from(m.random());
        // Version 4, variant 2, as RFC 9562 wants it.
        let version = bits & !(0xF << 76) | (0x4 << 76);
        Ok(Val::Uuid(version & !(0x3 << 62) | (0x2 << 62)))
    }),
    row(JavaType::Uuid, "fromString", 1, 1, |m, _, a| {
        let text = text_arg(m, a, 0)?;
        uuid(&text).map(Val::Uuid).ok_or_else(|| {
            Fault::java(ILLEGAL_ARGUMENT, format!("Invalid UUID string: {text}")).into()
        })
    }),
    row(JavaType::LocalDate, "now", 0, 0, |m, _, _| {
        Ok(local_date(time::now(m)?.1.date()))
    }),
    row(JavaType::LocalDate, "of", 3, 3, |_, _, a| {
        date_args(a).map(local_date)
    }),
    row(JavaType::LocalDate, "ofEpochDay", 1, 1, |_, _, a| {
        let seconds = long_arg(a, 0)?.checked_mul(86_400);
        let at = seconds.and_then(|s| Timestamp::from_second(s).ok());
        at.map(|at| local_date(TimeZone::UTC.to_datetime(at).date()))
            .ok_or_else(time::unusable)
    }),
    row(JavaType::LocalDate, "parse", 1, 1, |m, _, a| {
        let text = text_arg(m, a, 0)?;
        let date = text
            .parse()
            .ok()
            .filter(|_| text.len() == "2020-01-31".len());
        date.map(local_date).ok_or_else(|| unparsed(&text))
    }),
    row(JavaType::LocalDateTime, "now", 0, 0, |m, _, _| {
        Ok(local_date_time(time::now(m)?.1))
    }),
    row(JavaType::LocalDateTime, "of", 5, 7, local_date_time_of),
    row(JavaType::LocalDateTime, "parse", 1, 1, |m, _, a| {
        let text = text_arg(m, a, 0)?;
        let time = text.parse().ok().filter(|_| text.contains('T'));
        time.map(local_date_time).ok_or_else(|| unparsed(&text))
    }),
    row(JavaType::Instant, "now", 0, 0, |m, _, _| {
        Ok(instant(time::now(m)?.0))
    }),
    row(JavaType::Instant, "ofEpochMilli", 1, 1, |_, _, a| {
        let at = Timestamp::from_millisecond(long_arg(a, 0)?);
        at.map(instant).map_err(|_| time::unusable())
    }),
    row(JavaType::Instant, "ofEpochSecond", 1, 1, |_, _, a| {
        let at = Timestamp::from_second(long_arg(a, 0)?);
        at.map(instant).map_err(|_| time::unusable())
    }),
    row(JavaType::Instant, "parse", 1, 1, |m, _, a| {
        let text = text_arg(m, a, 0)?;
        text.parse().map(instant).map_err(|_| unparsed(&text))
    }),
    row(JavaType::DayOfWeek, "valueOf", 1, 1, |m, _, a| {
        let name = text_arg(m, a, 0)?;
        let day = DAYS.iter().copied().find(|day| *day == name);
        constant(EnumKind::DayOfWeek, "java.time.DayOfWeek", day, &name)
    }),
    row(JavaType::DayOfWeek, "of", 1, 1, |_, _, a| {
        let index = usize::try_from(int_arg(a, 0)?)
            .ok()
            .and_then(|day| day.checked_sub(1));
        let day = index.and_then(|index| DAYS.get(index).copied());
        let day = day.ok_or_else(time::unusable)?;
        Ok(Val::Enum(EnumKind::DayOfWeek, Text::Ref(day)))
    }),
    row(JavaType::ChronoUnit, "valueOf", 1, 1, |m, _, a| {
        let name = text_arg(m, a, 0)?;
        constant(
            EnumKind::ChronoUnit,
            "java.time.temporal.ChronoUnit",
            unit(&name),
            &name,
        )
    }),
    row(JavaType::UrlEncoder, "encode", 1, 2, |m, _, a| {
        let text = text_arg(m, a, 0)?;
        let utf8 = match a.get(1) {
            Some(Val::Text(charset)) => {
                charset.eq_ignore_ascii_case("UTF-8") || charset.eq_ignore_ascii_case("UTF8")
            }
            Some(_) => return Err(Stop::Mismatch),
            None => true,
        };
        if !utf8 {
            let text = text_arg(m, a, 1)?;
            return Err(Fault::java("java.io.UnsupportedEncodingException", text)
                .suggest("use 'UTF-8'")
                .into());
        }
        m.charge(text.len())?;
        crate::eval::bounded(url_encoded(&text))
    }),
];

/// Calls a method of a type; none if there is no such.
pub(crate) fn call<'a>(
    machine: &mut Machine<'a>,
    java: JavaType,
    name: &str,
    args: &[Val<'a>],
) -> Option<Eval<'a>> {
    let found = METHODS.iter().find(|row| {
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
        (JavaType::Text, 1) => text_arg(m, args, 0).map(Val::text),
        (JavaType::Integer, 1) => int_arg(args, 0).map(Val::int),
        (JavaType::Long, 1) => long_arg(args, 0).map(Val::long),
        (JavaType::Double, 1) => match arg(args, 0)?.as_num() {
            Some(num) => Ok(double(num.to_f64())),
            None => parse_double(m, &Val::Null, args),
        },
        (JavaType::Boolean, 1) => truth(arg(args, 0)?).map(Val::Bool),
        (JavaType::Date, 0) => Ok(Val::Time(Time::Date(m.scope.now_ms))),
        (JavaType::Date, 1) => long_arg(args, 0).map(|ms| Val::Time(Time::Date(ms))),
        (JavaType::Random, 0) => Ok(random(m.random())),
        (JavaType::Random, 1) => Ok(random(long_arg(args, 0)?.cast_unsigned())),
        (JavaType::Uuid, 2) => {
            let half = |i| Ok::<_, Stop>(u128::from(long_arg(args, i)?.cast_unsigned()));
            Ok(Val::Uuid((half(0)? << 64) | half(1)?))
        }
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
pub(crate) fn array<'a>(name: &str, items: Vec<Val<'a>>) -> Eval<'a> {
    let primitive = [
        "int", "long", "double", "float", "boolean", "char", "byte", "short",
    ];
    if !primitive.contains(&name) {
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
    let convert = |item: Val<'a>| -> Eval<'a> {
        let one = std::slice::from_ref(&item);
        match name {
            "int" => int_arg(one, 0).map(Val::int),
            "long" => long_arg(one, 0).map(Val::long),
            "boolean" => truth(&item).map(Val::Bool),
            "double" => item
                .as_num()
                .map(|n| double(n.to_f64()))
                .ok_or(Stop::Mismatch),
            _ => Ok(item),
        }
    };
    let converted: Result<Vec<_>, Stop> = items.into_iter().map(convert).collect();
    let items = converted.map_err(|_| {
        Fault::spel(
            "EL1001E",
            format!("Type conversion problem, cannot convert to {name}"),
        )
    })?;
    Ok(Val::Seq(Seq::new(SeqKind::Array, items)))
}

/// `new name[size]`: zeros, falses or nulls.
pub(crate) fn sized<'a>(machine: &mut Machine<'a>, name: &str, size: i32) -> Eval<'a> {
    let size = usize::try_from(size).ok().filter(|size| *size <= LIST_LEN);
    let Some(size) = size else {
        let text = format!("an array may have 0 to {LIST_LEN} elements");
        return Err(Fault::java("java.lang.NegativeArraySizeException", text).into());
    };
    machine.charge(size)?;
    array(name, Vec::new())?;
    let one = match name {
        "int" | "byte" | "short" => Val::int(0),
        "long" => Val::long(0),
        "double" | "float" => double(0.0),
        "boolean" => Val::Bool(false),
        "char" => Val::Char('\0'),
        _ => Val::Null,
    };
    Ok(Val::Seq(Seq::new(SeqKind::Array, vec![one; size])))
}

/// Java scrambles the seed so that small ones do not look alike.
fn random<'a>(seed: u64) -> Val<'a> {
    Val::Random(Rc::new(Cell::new((seed ^ 0x5_DEEC_E66D) & ((1 << 48) - 1))))
}

fn double<'a>(value: f64) -> Val<'a> {
    Val::Num(Num::Double(value))
}

fn local_date<'a>(date: Date) -> Val<'a> {
    Val::Time(Time::Day(date))
}

fn local_date_time<'a>(time: DateTime) -> Val<'a> {
    Val::Time(Time::Civil(time))
}

fn instant<'a>(at: Timestamp) -> Val<'a> {
    Val::Time(Time::Instant(at))
}

fn unparsed(text: &str) -> Stop {
    let text = format!("Text '{text}' could not be parsed");
    Fault::java("java.time.format.DateTimeParseException", text).into()
}

fn constant<'a>(kind: EnumKind, class: &str, found: Option<&'static str>, name: &str) -> Eval<'a> {
    match found {
        Some(name) => Ok(Val::Enum(kind, Text::Ref(name))),
        None => {
            let text = format!("No enum constant {class}.{name}");
            Err(Fault::java(ILLEGAL_ARGUMENT, text).into())
        }
    }
}

fn num_arg(args: &[Val<'_>], index: usize) -> Result<Num<'static>, Stop> {
    arg(args, index)?.as_num().ok_or(Stop::Mismatch)
}

/// `max` and `min`; ints stay ints, else the wider class, as overloads have it.
fn extreme<'a>(args: &[Val<'a>], largest: bool) -> Eval<'a> {
    let (a, b) = (num_arg(args, 0)?, num_arg(args, 1)?);
    let greater = a.order(&b).is_some_and(std::cmp::Ordering::is_gt);
    let (chosen, other) = if greater == largest { (a, b) } else { (b, a) };
    // Adding nothing of the other's class widens without changing the value.
    let nothing = match other {
        Num::Double(_) => Num::Double(0.0),
        Num::Float(_) => Num::Float(0.0),
        Num::Long(_) => Num::Long(0),
        Num::Int(_) | Num::Big(_) | Num::Written(_) => Num::Int(0),
    };
    crate::number::compute(crate::number::Arithmetic::Add, chosen, nothing)
        .map(Val::Num)
        .map_err(|_| Stop::Mismatch)
}

fn join<'a>(m: &mut Machine<'a>, _: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let separator = text_arg(m, args, 0)?;
    let items: Vec<Val<'a>> = match args.get(1..).unwrap_or_default() {
        [Val::Seq(seq)] => seq.iter().collect(),
        rest => rest.to_vec(),
    };
    m.charge(items.len())?;
    let mut out = String::new();
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push_str(&separator);
        }
        m.charge_for(item)?;
        out.push_str(&item.printed());
        if out.len() > crate::limits::TEXT_BYTES {
            break;
        }
    }
    crate::eval::bounded(out)
}

fn parse_integer<'a>(m: &mut Machine<'a>, _: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = text_arg(m, args, 0)?;
    if args.len() == 1 {
        return Ok(Val::int(parse_int(&text)?));
    }
    let radix = u32::try_from(int_arg(args, 1)?)
        .ok()
        .filter(|r| (2..=36).contains(r));
    let parsed = radix.and_then(|radix| i32::from_str_radix(&text, radix).ok());
    parsed.map(Val::int).ok_or_else(|| bad_number(&text).into())
}

fn parse_long<'a>(m: &mut Machine<'a>, _: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = text_arg(m, args, 0)?;
    text.parse()
        .map(Val::long)
        .map_err(|_| bad_number(&text).into())
}

fn parse_double<'a>(m: &mut Machine<'a>, _: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = text_arg(m, args, 0)?;
    text.trim()
        .parse()
        .map(double)
        .map_err(|_| bad_number(&text).into())
}

fn parse_boolean<'a>(m: &mut Machine<'a>, _: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    if arg(args, 0)?.is_null() {
        return Ok(Val::Bool(false));
    }
    Ok(Val::Bool(
        text_arg(m, args, 0)?.eq_ignore_ascii_case("true"),
    ))
}

fn date_args(args: &[Val<'_>]) -> Result<Date, Stop> {
    let year = i16::try_from(int_arg(args, 0)?).map_err(|_| time::unusable())?;
    let small = |i| i8::try_from(int_arg(args, i)?).map_err(|_| time::unusable());
    Date::new(year, small(1)?, small(2)?).map_err(|_| time::unusable())
}

fn local_date_time_of<'a>(_: &mut Machine<'a>, _: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let small = |i: usize| {
        if i < args.len() {
            i8::try_from(int_arg(args, i)?).map_err(|_| time::unusable())
        } else {
            Ok(0)
        }
    };
    let nanos = if args.len() > 6 { int_arg(args, 6)? } else { 0 };
    let clock = jiff::civil::Time::new(small(3)?, small(4)?, small(5)?, nanos)
        .map_err(|_| time::unusable())?;
    Ok(local_date_time(date_args(args)?.to_datetime(clock)))
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
