//! Methods that every value has, and those of numbers, booleans, enumerations and
//! UUIDs.

use super::{Method, arg, int_arg, long_arg, row, time};
use crate::error::{Fault, Stop};
use crate::eval::{Eval, Machine};
use crate::number::{Num, narrow_float, wrap_byte, wrap_int, wrap_long, wrap_short};
use crate::operator;
use crate::value::{EnumKind, Val};

/// Of `java.lang.Object` only these; no way to a class.
pub(crate) const ANY: &[Method] = &[
    row("toString", 0, 0, |m, t, _| {
        m.charge_for(t)?;
        crate::eval::bounded(t.printed())
    }),
    row("equals", 1, 1, |m, t, a| {
        m.charge_for(t)?;
        Ok(Val::Bool(t.same(arg(a, 0)?)))
    }),
    row("hashCode", 0, 0, |m, t, _| {
        m.charge_for(t)?;
        hash_code(t).map(Val::int)
    }),
];

/// Methods of numbers.
pub(crate) const NUMBER: &[Method] = &[
    row("byteValue", 0, 0, |_, t, _| {
        Ok(Val::Num(Num::Byte(wrap_byte(num(t)?.to_i128()))))
    }),
    row("shortValue", 0, 0, |_, t, _| {
        Ok(Val::int(wrap_short(num(t)?.to_i128()).into()))
    }),
    row("intValue", 0, 0, |_, t, _| {
        let num = num(t)?;
        Ok(Val::int(if matches!(num, Num::Float(_) | Num::Double(_)) {
            crate::number::narrow_int(num.to_f64())
        } else {
            wrap_int(num.to_i128())
        }))
    }),
    row("longValue", 0, 0, |_, t, _| {
        Ok(Val::long(wrap_long(num(t)?.to_i128())))
    }),
    row("doubleValue", 0, 0, |_, t, _| {
        Ok(Val::Num(Num::Double(num(t)?.to_f64())))
    }),
    row("floatValue", 0, 0, |_, t, _| {
        Ok(Val::Num(Num::Float(narrow_float(num(t)?.to_f64()))))
    }),
    row("compareTo", 1, 1, |_, t, a| {
        let own = num(t)?;
        let other = converted(own, a)?;
        operator::order(t, &Val::Num(other)).map(|order| Val::int(order as i32))
    }),
];

/// Methods of `Double` and `Float` beyond those.
pub(crate) const REAL: &[Method] = &[
    row("isNaN", 0, 0, |_, t, _| {
        Ok(Val::Bool(num(t)?.to_f64().is_nan()))
    }),
    row("isInfinite", 0, 0, |_, t, _| {
        Ok(Val::Bool(num(t)?.to_f64().is_infinite()))
    }),
];

/// Methods of `java.lang.Boolean`.
pub(crate) const BOOLEAN: &[Method] = &[
    row("booleanValue", 0, 0, |_, t, _| Ok(t.clone())),
    row("compareTo", 1, 1, |_, t, a| {
        let other = Val::Bool(operator::truth(arg(a, 0)?).map_err(|_| Stop::Mismatch)?);
        operator::order(t, &other).map(|order| Val::int(order as i32))
    }),
];

/// Methods of a status, which is a text to Java.
pub(crate) const STATUS: &[Method] = &[
    row("name", 0, 0, |_, t, _| {
        constant(t).map(|(_, n)| Val::text(n))
    }),
    row("ordinal", 0, 0, |_, t, _| ordinal(t)),
    row("compareTo", 1, 1, compare_constants),
    row("length", 0, 0, |_, t, _| {
        constant(t).map(|(_, name)| Val::count(name.len()))
    }),
    row("isComplete", 0, 0, |_, t, _| status(t, COMPLETE)),
    row("isHalt", 0, 0, |_, t, _| status(t, HALT)),
    row("isSuccessful", 0, 0, |_, t, _| status(t, SUCCESSFUL)),
    row("isFailure", 0, 0, |_, t, _| status(t, FAILURE)),
    row("isSkipped", 0, 0, |_, t, _| status(t, &["SKIPPED"])),
];

const COMPLETE: &[&str] = &[
    "CANCELED",
    "SUCCEEDED",
    "STOPPED",
    "SKIPPED",
    "TERMINAL",
    "FAILED_CONTINUE",
];
const HALT: &[&str] = &["TERMINAL", "CANCELED", "STOPPED"];
const SUCCESSFUL: &[&str] = &["SUCCEEDED", "STOPPED", "SKIPPED"];
const FAILURE: &[&str] = &["TERMINAL", "STOPPED", "FAILED_CONTINUE"];

/// Methods of `java.time.DayOfWeek`.
pub(crate) const DAY_OF_WEEK: &[Method] = &[
    row("name", 0, 0, |_, t, _| {
        constant(t).map(|(_, n)| Val::text(n))
    }),
    row("ordinal", 0, 0, |_, t, _| ordinal(t)),
    row("compareTo", 1, 1, compare_constants),
    row("getValue", 0, 0, |_, t, _| {
        let (kind, name) = constant(t)?;
        Ok(Val::count(kind.ordinal(name) + 1))
    }),
    row("plus", 1, 1, |_, t, a| day_after(t, long_arg(a, 0)?)),
    row("minus", 1, 1, |_, t, a| {
        day_after(t, long_arg(a, 0)?.wrapping_neg())
    }),
];

/// Methods of `java.time.temporal.ChronoUnit`.
pub(crate) const CHRONO_UNIT: &[Method] = &[
    row("name", 0, 0, |_, t, _| {
        constant(t).map(|(_, n)| Val::text(n))
    }),
    row("ordinal", 0, 0, |_, t, _| ordinal(t)),
    row("compareTo", 1, 1, compare_constants),
    row("isDateBased", 0, 0, |_, t, _| {
        let (kind, name) = constant(t)?;
        let ordinal = kind.ordinal(name);
        Ok(Val::Bool(
            (kind.ordinal("DAYS")..=kind.ordinal("ERAS")).contains(&ordinal),
        ))
    }),
    row("isTimeBased", 0, 0, |_, t, _| {
        let (kind, name) = constant(t)?;
        Ok(Val::Bool(kind.ordinal(name) < kind.ordinal("DAYS")))
    }),
    row("between", 2, 2, |_, t, a| {
        time::between(arg(a, 0)?, arg(a, 1)?, constant(t)?.1)
    }),
];

/// Methods of `java.util.UUID`.
pub(crate) const UUID: &[Method] = &[
    row("getMostSignificantBits", 0, 0, |_, t, _| {
        Ok(Val::long(wrap_long((bits(t)? >> 64).cast_signed())))
    }),
    row("getLeastSignificantBits", 0, 0, |_, t, _| {
        Ok(Val::long(wrap_long(bits(t)?.cast_signed())))
    }),
    row("version", 0, 0, |_, t, _| {
        Ok(Val::int(wrap_int(((bits(t)? >> 76) & 0xF).cast_signed())))
    }),
    row("variant", 0, 0, |_, t, _| {
        Ok(Val::int(match (bits(t)? >> 61) & 0x7 {
            0..=3 => 0,
            4 | 5 => 2,
            6 => 6,
            _ => 7,
        }))
    }),
    row("compareTo", 1, 1, |_, t, a| {
        let Val::Uuid(other) = arg(a, 0)? else {
            return Err(Stop::Mismatch);
        };
        // Java compares the halves as signed numbers.
        let halves = |bits: u128| {
            let bits = bits.cast_signed();
            (wrap_long(bits >> 64), wrap_long(bits))
        };
        Ok(Val::int(halves(bits(t)?).cmp(&halves(*other)) as i32))
    }),
];

fn num(target: &Val<'_>) -> Result<Num<'static>, Stop> {
    target.as_num().ok_or(Stop::Mismatch)
}

/// An argument as a number of the class of another.
fn converted(own: Num<'_>, args: &[Val<'_>]) -> Result<Num<'static>, Stop> {
    Ok(match own {
        Num::Int(_) => Num::Int(int_arg(args, 0)?),
        Num::Long(_) => Num::Long(long_arg(args, 0)?),
        Num::Double(_) => Num::Double(super::double_arg(args, 0)?),
        Num::Float(_) => Num::Float(super::float_arg(args, 0)?),
        Num::Byte(_) | Num::Big(_) | Num::Written(_) => num(arg(args, 0)?)?,
    })
}

fn constant<'v>(target: &'v Val<'_>) -> Result<(EnumKind, &'v str), Stop> {
    if let Val::Enum(kind, name) = target {
        Ok((*kind, name))
    } else {
        Err(Stop::Mismatch)
    }
}

fn ordinal<'a>(target: &Val<'a>) -> Eval<'a> {
    let (kind, name) = constant(target)?;
    Ok(Val::count(kind.ordinal(name)))
}

fn compare_constants<'a>(_: &mut Machine<'a>, target: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let ((kind, name), (other_kind, other)) = (constant(target)?, constant(arg(args, 0)?)?);
    if kind != other_kind {
        return Err(Stop::Mismatch);
    }
    let place = |name| i32::try_from(kind.ordinal(name)).unwrap_or_default();
    Ok(Val::int(place(name) - place(other)))
}

fn status<'a>(target: &Val<'a>, among: &[&str]) -> Eval<'a> {
    constant(target).map(|(_, name)| Val::Bool(among.contains(&name)))
}

fn day_after<'a>(target: &Val<'a>, days: i64) -> Eval<'a> {
    let (kind, name) = constant(target)?;
    let today = i64::try_from(kind.ordinal(name)).unwrap_or_default();
    let index = usize::try_from((today + days.rem_euclid(7)).rem_euclid(7)).unwrap_or_default();
    let day = kind.names().get(index).and_then(|name| kind.named(name));
    day.ok_or(Stop::Mismatch)
}

fn bits(target: &Val<'_>) -> Result<u128, Stop> {
    if let Val::Uuid(bits) = target {
        Ok(*bits)
    } else {
        Err(Stop::Mismatch)
    }
}

/// `hashCode`, where it does not depend on an address.
pub(crate) fn hash_code(value: &Val<'_>) -> Result<i32, Stop> {
    let wide = |value: i64| {
        wrap_int(i128::from(
            value ^ wrap_long(i128::from(value.cast_unsigned() >> 32)),
        ))
    };
    Ok(match value {
        Val::Null => 0,
        Val::Bool(true) => 1231,
        Val::Bool(false) => 1237,
        Val::Text(text) => operator::hash(text.encode_utf16()),
        Val::Char(_) => operator::hash(value.printed().encode_utf16()),
        Val::Num(_) => match num(value)? {
            Num::Byte(value) => value.into(),
            Num::Int(value) => value,
            Num::Long(value) => wide(value),
            Num::Double(value) => wide(value.to_bits().cast_signed()),
            Num::Float(value) => value.to_bits().cast_signed(),
            Num::Big(_) | Num::Written(_) => return Err(unknown()),
        },
        Val::Seq(seq) if seq.kind.is_list() => {
            let mut hash = 1i32;
            for item in seq.iter() {
                hash = hash.wrapping_mul(31).wrapping_add(hash_code(&item)?);
            }
            hash
        }
        Val::Seq(seq) if seq.kind == crate::value::SeqKind::Set => {
            let mut hash = 0i32;
            for item in seq.iter() {
                hash = hash.wrapping_add(hash_code(&item)?);
            }
            hash
        }
        Val::Map(map) => {
            let mut hash = 0i32;
            for (key, value) in map.iter() {
                hash = hash.wrapping_add(hash_code(&key.value())? ^ hash_code(&value)?);
            }
            hash
        }
        Val::Entry(entry) => hash_code(&entry.0.value())? ^ hash_code(&entry.1)?,
        Val::Time(time) => time.hash_code().ok_or_else(unknown)?,
        Val::Uuid(bits) => {
            let bits = bits.cast_signed();
            wide(wrap_long(bits >> 64) ^ wrap_long(bits))
        }
        Val::Seq(_)
        | Val::Bean(_)
        | Val::Enum(..)
        | Val::Type(_)
        | Val::DateFormat(_)
        | Val::Random(_)
        | Val::NotEval(_) => return Err(unknown()),
    })
}

/// Java makes this hash from where the object lies in memory.
fn unknown() -> Stop {
    Fault::java(
        crate::error::ILLEGAL_ARGUMENT,
        "hashCode() of this class is another in every process",
    )
    .into()
}
