//! `Double` and `Boolean`.

use super::{Static, double, row};
use crate::error::Stop;
use crate::eval::{Eval, Machine};
use crate::method::{ambiguous, arg, double_arg, hash_code, hexadecimal, long_arg, text_arg};
use crate::number::{Num, parse_real};
use crate::operator::{bad_number, truth};
use crate::types::JavaType::{Boolean, Double};
use crate::value::Val;

/// Every method.
pub(super) const METHODS: &[Static] = &[
    row(Double, "parseDouble", 1, 1, parse_double),
    row(Double, "valueOf", 1, 1, |m, t, a| {
        match arg(a, 0)?.as_num() {
            Some(Num::Double(value)) => Ok(double(value)),
            Some(_) => Err(ambiguous()),
            None => parse_double(m, t, a),
        }
    }),
    row(Double, "toString", 1, 1, |_, _, a| {
        Ok(Val::text(double(double_arg(a, 0)?).printed()))
    }),
    row(Double, "toHexString", 1, 1, |_, _, a| {
        Ok(Val::text(hexadecimal(double_arg(a, 0)?)))
    }),
    row(Double, "max", 2, 2, |_, _, a| reals(a, f64::max)),
    row(Double, "min", 2, 2, |_, _, a| reals(a, f64::min)),
    row(Double, "sum", 2, 2, |_, _, a| reals(a, |a, b| a + b)),
    row(Double, "compare", 2, 2, |_, _, a| {
        Ok(Val::int(
            double_arg(a, 0)?.total_cmp(&double_arg(a, 1)?) as i32
        ))
    }),
    row(Double, "isNaN", 1, 1, |_, _, a| {
        Ok(Val::Bool(double_arg(a, 0)?.is_nan()))
    }),
    row(Double, "isInfinite", 1, 1, |_, _, a| {
        Ok(Val::Bool(double_arg(a, 0)?.is_infinite()))
    }),
    row(Double, "isFinite", 1, 1, |_, _, a| {
        Ok(Val::Bool(double_arg(a, 0)?.is_finite()))
    }),
    row(Double, "doubleToLongBits", 1, 1, |_, _, a| {
        Ok(Val::long(double_arg(a, 0)?.to_bits().cast_signed()))
    }),
    row(Double, "longBitsToDouble", 1, 1, |_, _, a| {
        Ok(double(f64::from_bits(long_arg(a, 0)?.cast_unsigned())))
    }),
    row(Double, "hashCode", 1, 1, |_, _, a| {
        hash_code(&double(double_arg(a, 0)?)).map(Val::int)
    }),
    row(Boolean, "parseBoolean", 1, 1, parse_boolean),
    row(Boolean, "valueOf", 1, 1, |m, t, a| {
        if let Val::Bool(truth) = arg(a, 0)? {
            return Ok(Val::Bool(*truth));
        }
        parse_boolean(m, t, a)
    }),
    row(Boolean, "toString", 1, 1, |_, _, a| {
        Ok(Val::text(flag(a, 0)?.to_string()))
    }),
    row(Boolean, "logicalAnd", 2, 2, |_, _, a| {
        Ok(Val::Bool(flag(a, 0)? & flag(a, 1)?))
    }),
    row(Boolean, "logicalOr", 2, 2, |_, _, a| {
        Ok(Val::Bool(flag(a, 0)? | flag(a, 1)?))
    }),
    row(Boolean, "logicalXor", 2, 2, |_, _, a| {
        Ok(Val::Bool(flag(a, 0)? ^ flag(a, 1)?))
    }),
    row(Boolean, "compare", 2, 2, |_, _, a| {
        Ok(Val::int(flag(a, 0)?.cmp(&flag(a, 1)?) as i32))
    }),
    row(Boolean, "hashCode", 1, 1, |_, _, a| {
        hash_code(&Val::Bool(flag(a, 0)?)).map(Val::int)
    }),
];

fn reals<'a>(args: &[Val<'a>], compute: fn(f64, f64) -> f64) -> Eval<'a> {
    Ok(double(compute(double_arg(args, 0)?, double_arg(args, 1)?)))
}

fn flag(args: &[Val<'_>], index: usize) -> Result<bool, Stop> {
    truth(arg(args, index)?).map_err(|_| Stop::Mismatch)
}

fn parse_double<'a>(m: &mut Machine<'a>, _: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = text_arg(m, args, 0)?;
    let parsed = parse_real(&text);
    parsed.map(double).ok_or_else(|| bad_number(&text).into())
}

fn parse_boolean<'a>(m: &mut Machine<'a>, _: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    if arg(args, 0)?.is_null() {
        return Ok(Val::Bool(false));
    }
    Ok(Val::Bool(
        text_arg(m, args, 0)?.eq_ignore_ascii_case("true"),
    ))
}
