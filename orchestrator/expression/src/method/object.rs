//! Methods that every value has, and those of numbers, booleans, enumerations and
//! `Random`.

use std::cell::Cell;

use super::{Method, arg, int_arg, row};
use crate::error::{Fault, ILLEGAL_ARGUMENT, Stop};
use crate::eval::Eval;
use crate::number::{Num, narrow_float, wrap_int, wrap_long};
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
        hash(t)
    }),
];

/// Methods of numbers.
pub(crate) const NUMBER: &[Method] = &[
    row("intValue", 0, 0, |_, t, _| {
        Ok(Val::int(wrap_int(num(t)?.to_i128())))
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
    row("compareTo", 1, 1, compare),
];

/// Methods of `java.lang.Boolean`.
pub(crate) const BOOLEAN: &[Method] = &[
    row("booleanValue", 0, 0, |_, t, _| Ok(t.clone())),
    row("compareTo", 1, 1, compare),
];

/// Methods of enumerations; the questions are those of a status.
pub(crate) const ENUM: &[Method] = &[
    row("name", 0, 0, |_, t, _| Ok(Val::text(t.printed()))),
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

/// Methods of `java.util.Random`.
pub(crate) const RANDOM: &[Method] = &[
    row("nextInt", 0, 1, |_, t, a| {
        let state = state(t)?;
        if a.is_empty() {
            return Ok(Val::int(bits(state, 32)));
        }
        let bound = int_arg(a, 0)?;
        if bound <= 0 {
            return Err(Fault::java(ILLEGAL_ARGUMENT, "bound must be positive").into());
        }
        Ok(Val::int(below(state, bound)))
    }),
    row("nextLong", 0, 0, |_, t, _| {
        let state = state(t)?;
        let high = i64::from(bits(state, 32)) << 32;
        Ok(Val::long(high.wrapping_add(i64::from(bits(state, 32)))))
    }),
    row("nextBoolean", 0, 0, |_, t, _| {
        Ok(Val::Bool(bits(state(t)?, 1) != 0))
    }),
    row("nextDouble", 0, 0, |_, t, _| {
        let state = state(t)?;
        let high = i64::from(bits(state, 26)) << 27;
        let whole = high + i64::from(bits(state, 27));
        Ok(Val::Num(Num::Double(whole as f64 / (1u64 << 53) as f64)))
    }),
];

fn num(target: &Val<'_>) -> Result<Num<'static>, Stop> {
    target.as_num().ok_or(Stop::Mismatch)
}

fn compare<'a>(_: &mut crate::eval::Machine<'a>, target: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let other = arg(args, 0)?;
    if target.class() != other.class() {
        return Err(Stop::Mismatch);
    }
    operator::order(target, other).map(|order| Val::int(order as i32))
}

fn status<'a>(target: &Val<'a>, among: &[&str]) -> Eval<'a> {
    if let Val::Enum(EnumKind::Status, name) = target {
        return Ok(Val::Bool(among.contains(&&**name)));
    }
    Err(Stop::Mismatch)
}

/// `hashCode`, where it does not depend on an address.
fn hash<'a>(value: &Val<'a>) -> Eval<'a> {
    if let Val::Bool(truth) = value {
        return Ok(Val::int(if *truth { 1231 } else { 1237 }));
    }
    if matches!(value, Val::Char(_)) {
        return Ok(Val::int(operator::hash(value.printed().encode_utf16())));
    }
    match num(value)? {
        Num::Int(value) => Ok(Val::int(value)),
        Num::Long(value) => Ok(Val::int(wrap_int(i128::from(value ^ (value >> 32))))),
        Num::Double(_) | Num::Float(_) | Num::Big(_) | Num::Written(_) => Err(Stop::Mismatch),
    }
}

fn state<'v>(target: &'v Val<'_>) -> Result<&'v Cell<u64>, Stop> {
    if let Val::Random(state) = target {
        Ok(state)
    } else {
        Err(Stop::Mismatch)
    }
}

/// Java's generator: 48 bits, of which the upper ones are given out.
fn bits(state: &Cell<u64>, count: u32) -> i32 {
    let next = state.get().wrapping_mul(0x5_DEEC_E66D).wrapping_add(0xB) & ((1 << 48) - 1);
    state.set(next);
    wrap_int(i128::from(next >> (48 - count)))
}

fn below(state: &Cell<u64>, bound: i32) -> i32 {
    if bound.count_ones() == 1 {
        return wrap_int((i128::from(bound) * i128::from(bits(state, 31))) >> 31);
    }
    loop {
        let drawn = bits(state, 31);
        let value = drawn % bound;
        // Draws from the incomplete last stretch are thrown away, so that none is likelier.
        if drawn.wrapping_sub(value).wrapping_add(bound - 1) >= 0 {
            return value;
        }
    }
}
