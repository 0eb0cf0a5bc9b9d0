//! `java.lang.Math`.

use super::{Static, double, row};
use crate::error::{Fault, Stop};
use crate::eval::Eval;
use crate::method::{Wide, double_arg, float_arg, int_arg, long_arg, overload};
use crate::number::{Num, narrow_float, narrow_int, narrow_long, wrap_int, wrap_long};
use crate::types::JavaType::Math;
use crate::value::Val;

const ONE: &[&[Wide]] = &[&[Wide::Int], &[Wide::Long], &[Wide::Float], &[Wide::Double]];
const TWO: &[&[Wide]] = &[
    &[Wide::Int, Wide::Int],
    &[Wide::Long, Wide::Long],
    &[Wide::Float, Wide::Float],
    &[Wide::Double, Wide::Double],
];
const REALS: &[&[Wide]] = &[&[Wide::Float], &[Wide::Double]];
const WHOLE: &[&[Wide]] = &[&[Wide::Int], &[Wide::Long]];
const PAIRS: &[&[Wide]] = &[&[Wide::Int, Wide::Int], &[Wide::Long, Wide::Long]];
const MIXED: &[&[Wide]] = &[
    &[Wide::Int, Wide::Int],
    &[Wide::Long, Wide::Int],
    &[Wide::Long, Wide::Long],
];

/// Every method.
pub(super) const METHODS: &[Static] = &[
    row(Math, "max", 2, 2, |_, _, a| extreme(a, true)),
    row(Math, "min", 2, 2, |_, _, a| extreme(a, false)),
    row(Math, "abs", 1, 1, |_, _, a| {
        overload(a, ONE)?;
        let num = a.first().and_then(Val::as_num).ok_or(Stop::Mismatch)?;
        Ok(Val::Num(if let Num::Float(value) = num {
            Num::Float(value.abs())
        } else if let Num::Double(value) = num {
            Num::Double(value.abs())
        } else if num.to_i128() < 0 {
            crate::number::negate(num)
        } else {
            num
        }))
    }),
    row(Math, "absExact", 1, 1, |_, _, a| {
        exactly(a, WHOLE, |a, _| a.checked_abs())
    }),
    row(Math, "round", 1, 1, |_, _, a| {
        let float = overload(a, REALS)? == [Wide::Float];
        let real = double_arg(a, 0)?;
        // Half up; adding a half and cutting off errs just below it.
        let down = real.floor();
        let rounded = if real - down >= 0.5 { down + 1.0 } else { down };
        Ok(if float {
            Val::int(narrow_int(rounded))
        } else {
            Val::long(narrow_long(rounded))
        })
    }),
    row(Math, "rint", 1, 1, |_, _, a| real(a, f64::round_ties_even)),
    row(Math, "ceil", 1, 1, |_, _, a| real(a, f64::ceil)),
    row(Math, "floor", 1, 1, |_, _, a| real(a, f64::floor)),
    row(Math, "sqrt", 1, 1, |_, _, a| real(a, f64::sqrt)),
    row(Math, "cbrt", 1, 1, |_, _, a| real(a, f64::cbrt)),
    row(Math, "exp", 1, 1, |_, _, a| real(a, f64::exp)),
    row(Math, "expm1", 1, 1, |_, _, a| real(a, f64::exp_m1)),
    row(Math, "log", 1, 1, |_, _, a| real(a, f64::ln)),
    row(Math, "log10", 1, 1, |_, _, a| real(a, f64::log10)),
    row(Math, "log1p", 1, 1, |_, _, a| real(a, f64::ln_1p)),
    row(Math, "sin", 1, 1, |_, _, a| real(a, f64::sin)),
    row(Math, "cos", 1, 1, |_, _, a| real(a, f64::cos)),
    row(Math, "tan", 1, 1, |_, _, a| real(a, f64::tan)),
    row(Math, "asin", 1, 1, |_, _, a| real(a, f64::asin)),
    row(Math, "acos", 1, 1, |_, _, a| real(a, f64::acos)),
    row(Math, "atan", 1, 1, |_, _, a| real(a, f64::atan)),
    row(Math, "sinh", 1, 1, |_, _, a| real(a, f64::sinh)),
    row(Math, "cosh", 1, 1, |_, _, a| real(a, f64::cosh)),
    row(Math, "tanh", 1, 1, |_, _, a| real(a, f64::tanh)),
    row(Math, "toRadians", 1, 1, |_, _, a| real(a, f64::to_radians)),
    row(Math, "toDegrees", 1, 1, |_, _, a| real(a, f64::to_degrees)),
    row(Math, "atan2", 2, 2, |_, _, a| reals(a, f64::atan2)),
    row(Math, "pow", 2, 2, |_, _, a| reals(a, f64::powf)),
    row(Math, "hypot", 2, 2, |_, _, a| reals(a, f64::hypot)),
    row(Math, "signum", 1, 1, |_, _, a| {
        let sign = |value: f64| {
            if value == 0.0 || value.is_nan() {
                value
            } else {
                value.signum()
            }
        };
        if overload(a, REALS)? == [Wide::Float] {
            let value = narrow_float(sign(float_arg(a, 0)?.into()));
            return Ok(Val::Num(Num::Float(value)));
        }
        real(a, sign)
    }),
    row(Math, "addExact", 2, 2, |_, _, a| {
        exactly(a, PAIRS, i128::checked_add)
    }),
    row(Math, "subtractExact", 2, 2, |_, _, a| {
        exactly(a, PAIRS, i128::checked_sub)
    }),
    row(Math, "multiplyExact", 2, 2, |_, _, a| {
        exactly(a, MIXED, i128::checked_mul)
    }),
    row(Math, "incrementExact", 1, 1, |_, _, a| {
        exactly(a, WHOLE, |a, _| a.checked_add(1))
    }),
    row(Math, "decrementExact", 1, 1, |_, _, a| {
        exactly(a, WHOLE, |a, _| a.checked_sub(1))
    }),
    row(Math, "negateExact", 1, 1, |_, _, a| {
        exactly(a, WHOLE, |a, _| a.checked_neg())
    }),
    row(Math, "toIntExact", 1, 1, |_, _, a| {
        i32::try_from(long_arg(a, 0)?)
            .map(Val::int)
            .map_err(|_| overflow("integer"))
    }),
    row(Math, "multiplyFull", 2, 2, |_, _, a| {
        let product = i64::from(int_arg(a, 0)?) * i64::from(int_arg(a, 1)?);
        Ok(Val::long(product))
    }),
    row(Math, "floorDiv", 2, 2, |_, _, a| {
        let picked = overload(a, MIXED)?;
        let (divided, by) = divided(a)?;
        let quotient = divided.div_euclid(by);
        // Euclid's remainder is never negative, so below zero the two differ by one.
        let down = by < 0 && divided.rem_euclid(by) != 0;
        Ok(whole(picked, quotient - i128::from(down)))
    }),
    row(Math, "floorMod", 2, 2, |_, _, a| {
        let picked = overload(a, MIXED)?;
        let (divided, by) = divided(a)?;
        let rest = divided.rem_euclid(by);
        let rest = if by < 0 && rest != 0 { rest + by } else { rest };
        let narrow = picked == [Wide::Long, Wide::Int];
        Ok(whole(if narrow { &[Wide::Int] } else { picked }, rest))
    }),
    row(Math, "random", 0, 0, |m, _, _| {
        Ok(double((m.random() >> 11) as f64 / (1u64 << 53) as f64))
    }),
];

fn real<'a>(args: &[Val<'a>], compute: fn(f64) -> f64) -> Eval<'a> {
    Ok(double(compute(double_arg(args, 0)?)))
}

fn reals<'a>(args: &[Val<'a>], compute: fn(f64, f64) -> f64) -> Eval<'a> {
    Ok(double(compute(double_arg(args, 0)?, double_arg(args, 1)?)))
}

/// `max` and `min`.
fn extreme<'a>(args: &[Val<'a>], largest: bool) -> Eval<'a> {
    overload(args, TWO)?;
    let num = |i: usize| args.get(i).and_then(Val::as_num).ok_or(Stop::Mismatch);
    let (a, b) = (num(0)?, num(1)?);
    if a.to_f64().is_nan() {
        return Ok(Val::Num(a));
    }
    if b.to_f64().is_nan() {
        return Ok(Val::Num(b));
    }
    let greater = a.order(&b).is_some_and(std::cmp::Ordering::is_gt);
    Ok(Val::Num(if greater == largest { a } else { b }))
}

fn overflow(what: &str) -> Stop {
    Fault::java("java.lang.ArithmeticException", format!("{what} overflow")).into()
}

/// A whole number as the method that was picked gives it.
fn whole<'a>(picked: &[Wide], value: i128) -> Val<'a> {
    if picked.first() == Some(&Wide::Int) {
        Val::int(wrap_int(value))
    } else {
        Val::long(wrap_long(value))
    }
}

/// Arithmetic that fails where others wrap.
fn exactly<'a>(
    args: &[Val<'a>],
    methods: &[&[Wide]],
    compute: fn(i128, i128) -> Option<i128>,
) -> Eval<'a> {
    let picked = overload(args, methods)?;
    let num = |i: usize| args.get(i).map_or(Ok(0), |_| long_arg(args, i));
    let value = compute(num(0)?.into(), num(1)?.into()).ok_or_else(|| overflow("long"))?;
    let fits = if picked.first() == Some(&Wide::Int) {
        i32::try_from(value).is_ok()
    } else {
        i64::try_from(value).is_ok()
    };
    if fits {
        return Ok(whole(picked, value));
    }
    let ints = picked.first() == Some(&Wide::Int);
    Err(overflow(if ints { "integer" } else { "long" }))
}

fn divided(args: &[Val<'_>]) -> Result<(i128, i128), Stop> {
    let (divided, by) = (long_arg(args, 0)?, long_arg(args, 1)?);
    if by == 0 {
        return Err(Fault::java("java.lang.ArithmeticException", "/ by zero").into());
    }
    Ok((divided.into(), by.into()))
}
