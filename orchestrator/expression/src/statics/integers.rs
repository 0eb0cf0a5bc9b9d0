//! `Integer`, `Long` and `Byte`.

use super::{Static, row};
use crate::error::{Fault, Stop};
use crate::eval::{Eval, Machine};
use crate::method::{ambiguous, arg, int_arg, long_arg, text_arg};
use crate::number::{Num, wrap_int};
use crate::operator::{bad_number, parse_int, parse_long};
use crate::types::JavaType::{Byte, Integer, Long};
use crate::value::Val;

/// Every method.
pub(super) const METHODS: &[Static] = &[
    row(Integer, "parseInt", 1, 2, parse_integer),
    row(Integer, "parseUnsignedInt", 1, 2, |m, _, a| {
        let text = text_arg(m, a, 0)?;
        let parsed = u32::from_str_radix(&text, radix(a)?);
        parsed
            .map(|value| Val::int(value.cast_signed()))
            .map_err(|_| bad_number(&text).into())
    }),
    row(Integer, "valueOf", 1, 2, |m, t, a| {
        match arg(a, 0)?.as_num() {
            Some(Num::Int(value)) if a.len() == 1 => Ok(Val::int(value)),
            Some(_) if a.len() == 1 => Err(ambiguous()),
            _ => parse_integer(m, t, a),
        }
    }),
    row(Integer, "decode", 1, 1, |m, _, a| {
        let text = text_arg(m, a, 0)?;
        let value = decoded(&text).and_then(|value| i32::try_from(value).ok());
        value.map(Val::int).ok_or_else(|| bad_number(&text).into())
    }),
    row(Integer, "toString", 1, 2, |_, _, a| {
        Ok(Val::text(digits(int_arg(a, 0)?.into(), radix_or_ten(a)?)))
    }),
    row(Integer, "toUnsignedString", 1, 2, |_, _, a| {
        let value = int_arg(a, 0)?.cast_unsigned();
        Ok(Val::text(digits(value.into(), radix_or_ten(a)?)))
    }),
    row(Integer, "toUnsignedLong", 1, 1, |_, _, a| {
        Ok(Val::long(int_arg(a, 0)?.cast_unsigned().into()))
    }),
    row(Integer, "toHexString", 1, 1, |_, _, a| {
        Ok(Val::text(format!("{:x}", int_arg(a, 0)?)))
    }),
    row(Integer, "toOctalString", 1, 1, |_, _, a| {
        Ok(Val::text(format!("{:o}", int_arg(a, 0)?)))
    }),
    row(Integer, "toBinaryString", 1, 1, |_, _, a| {
        Ok(Val::text(format!("{:b}", int_arg(a, 0)?)))
    }),
    row(Integer, "max", 2, 2, |_, _, a| ints(a, i32::max)),
    row(Integer, "min", 2, 2, |_, _, a| ints(a, i32::min)),
    row(Integer, "sum", 2, 2, |_, _, a| ints(a, i32::wrapping_add)),
    row(Integer, "compare", 2, 2, |_, _, a| {
        ints(a, |a, b| a.cmp(&b) as i32)
    }),
    row(Integer, "compareUnsigned", 2, 2, |_, _, a| {
        ints(a, |a, b| a.cast_unsigned().cmp(&b.cast_unsigned()) as i32)
    }),
    row(Integer, "divideUnsigned", 2, 2, |_, _, a| {
        let (value, by) = (
            int_arg(a, 0)?.cast_unsigned(),
            int_arg(a, 1)?.cast_unsigned(),
        );
        let quotient = value.checked_div(by).ok_or_else(by_zero)?;
        Ok(Val::int(quotient.cast_signed()))
    }),
    row(Integer, "remainderUnsigned", 2, 2, |_, _, a| {
        let (value, by) = (
            int_arg(a, 0)?.cast_unsigned(),
            int_arg(a, 1)?.cast_unsigned(),
        );
        let rest = value.checked_rem(by).ok_or_else(by_zero)?;
        Ok(Val::int(rest.cast_signed()))
    }),
    row(Integer, "signum", 1, 1, |_, _, a| int(a, i32::signum)),
    row(Integer, "hashCode", 1, 1, |_, _, a| int(a, |value| value)),
    row(Integer, "bitCount", 1, 1, |_, _, a| {
        int(a, |value| count(value.count_ones()))
    }),
    row(Integer, "reverse", 1, 1, |_, _, a| {
        int(a, i32::reverse_bits)
    }),
    row(Integer, "reverseBytes", 1, 1, |_, _, a| {
        int(a, i32::swap_bytes)
    }),
    row(Integer, "highestOneBit", 1, 1, |_, _, a| {
        int(a, |value| match value.cast_unsigned().checked_ilog2() {
            Some(bit) => (1u32 << bit).cast_signed(),
            None => 0,
        })
    }),
    row(Integer, "lowestOneBit", 1, 1, |_, _, a| {
        int(a, |value| value & value.wrapping_neg())
    }),
    row(Integer, "numberOfLeadingZeros", 1, 1, |_, _, a| {
        int(a, |value| count(value.leading_zeros()))
    }),
    row(Integer, "numberOfTrailingZeros", 1, 1, |_, _, a| {
        int(a, |value| count(value.trailing_zeros()))
    }),
    row(Integer, "rotateLeft", 2, 2, |_, _, a| {
        ints(a, |value, by| {
            value.rotate_left(by.rem_euclid(32).cast_unsigned())
        })
    }),
    row(Integer, "rotateRight", 2, 2, |_, _, a| {
        ints(a, |value, by| {
            value.rotate_right(by.rem_euclid(32).cast_unsigned())
        })
    }),
    row(Long, "parseLong", 1, 2, parse_long_number),
    row(Long, "valueOf", 1, 2, |m, t, a| match arg(a, 0)?.as_num() {
        Some(Num::Long(value)) if a.len() == 1 => Ok(Val::long(value)),
        Some(_) if a.len() == 1 => Err(ambiguous()),
        _ => parse_long_number(m, t, a),
    }),
    row(Long, "decode", 1, 1, |m, _, a| {
        let text = text_arg(m, a, 0)?;
        let value = decoded(&text).and_then(|value| i64::try_from(value).ok());
        value.map(Val::long).ok_or_else(|| bad_number(&text).into())
    }),
    row(Long, "toString", 1, 2, |_, _, a| {
        Ok(Val::text(digits(long_arg(a, 0)?.into(), radix_or_ten(a)?)))
    }),
    row(Long, "toHexString", 1, 1, |_, _, a| {
        Ok(Val::text(format!("{:x}", long_arg(a, 0)?)))
    }),
    row(Long, "toOctalString", 1, 1, |_, _, a| {
        Ok(Val::text(format!("{:o}", long_arg(a, 0)?)))
    }),
    row(Long, "toBinaryString", 1, 1, |_, _, a| {
        Ok(Val::text(format!("{:b}", long_arg(a, 0)?)))
    }),
    row(Long, "max", 2, 2, |_, _, a| longs(a, i64::max)),
    row(Long, "min", 2, 2, |_, _, a| longs(a, i64::min)),
    row(Long, "sum", 2, 2, |_, _, a| longs(a, i64::wrapping_add)),
    row(Long, "compare", 2, 2, |_, _, a| {
        Ok(Val::int(long_arg(a, 0)?.cmp(&long_arg(a, 1)?) as i32))
    }),
    row(Long, "signum", 1, 1, |_, _, a| {
        Ok(Val::int(wrap_int(long_arg(a, 0)?.signum().into())))
    }),
    row(Long, "hashCode", 1, 1, |_, _, a| {
        let value = Val::long(long_arg(a, 0)?);
        crate::method::hash_code(&value).map(Val::int)
    }),
    row(Long, "bitCount", 1, 1, |_, _, a| {
        Ok(Val::int(count(long_arg(a, 0)?.count_ones())))
    }),
    row(Long, "numberOfLeadingZeros", 1, 1, |_, _, a| {
        Ok(Val::int(count(long_arg(a, 0)?.leading_zeros())))
    }),
    row(Long, "numberOfTrailingZeros", 1, 1, |_, _, a| {
        Ok(Val::int(count(long_arg(a, 0)?.trailing_zeros())))
    }),
    row(Byte, "parseByte", 1, 2, parse_byte),
    row(Byte, "valueOf", 1, 2, |m, t, a| match arg(a, 0)?.as_num() {
        Some(Num::Byte(value)) if a.len() == 1 => Ok(byte(value)),
        Some(_) if a.len() == 1 => Err(ambiguous()),
        _ => parse_byte(m, t, a),
    }),
    row(Byte, "toString", 1, 1, |_, _, a| {
        Ok(Val::text(byte_arg(a)?.to_string()))
    }),
    row(Byte, "compare", 2, 2, |_, _, a| {
        let other = byte_arg(a.get(1..).unwrap_or_default())?;
        Ok(Val::int(i32::from(byte_arg(a)?) - i32::from(other)))
    }),
    row(Byte, "toUnsignedInt", 1, 1, |_, _, a| {
        Ok(Val::int(byte_arg(a)?.cast_unsigned().into()))
    }),
    row(Byte, "hashCode", 1, 1, |_, _, a| {
        Ok(Val::int(byte_arg(a)?.into()))
    }),
];

fn int<'a>(args: &[Val<'a>], compute: fn(i32) -> i32) -> Eval<'a> {
    Ok(Val::int(compute(int_arg(args, 0)?)))
}

fn ints<'a>(args: &[Val<'a>], compute: fn(i32, i32) -> i32) -> Eval<'a> {
    Ok(Val::int(compute(int_arg(args, 0)?, int_arg(args, 1)?)))
}

fn longs<'a>(args: &[Val<'a>], compute: fn(i64, i64) -> i64) -> Eval<'a> {
    Ok(Val::long(compute(long_arg(args, 0)?, long_arg(args, 1)?)))
}

fn count(bits: u32) -> i32 {
    wrap_int(bits.into())
}

fn by_zero() -> Stop {
    Fault::java("java.lang.ArithmeticException", "/ by zero").into()
}

fn byte<'a>(value: i8) -> Val<'a> {
    Val::Num(Num::Byte(value))
}

/// An argument as a byte.
pub(super) fn byte_arg(args: &[Val<'_>]) -> Result<i8, Stop> {
    i8::try_from(int_arg(args, 0)?).map_err(|_| Stop::Mismatch)
}

/// The radix in the second argument.
fn radix(args: &[Val<'_>]) -> Result<u32, Stop> {
    if args.len() < 2 {
        return Ok(10);
    }
    let given = int_arg(args, 1)?;
    let radix = u32::try_from(given)
        .ok()
        .filter(|radix| (2..=36).contains(radix));
    radix.ok_or_else(|| bad_number(&format!("radix {given}")).into())
}

/// The radix to print in: ten where there is no such.
fn radix_or_ten(args: &[Val<'_>]) -> Result<u32, Stop> {
    if args.len() < 2 {
        return Ok(10);
    }
    let radix = u32::try_from(int_arg(args, 1)?).ok();
    Ok(radix.filter(|radix| (2..=36).contains(radix)).unwrap_or(10))
}

fn digits(value: i128, radix: u32) -> String {
    let mut rest = value.unsigned_abs();
    let mut reversed = String::new();
    loop {
        let digit = u32::try_from(rest % u128::from(radix)).unwrap_or_default();
        reversed.extend(char::from_digit(digit, radix));
        rest /= u128::from(radix);
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        reversed.push('-');
    }
    reversed.chars().rev().collect()
}

/// `0x1F`, `#1F`, `017` or decimal, with a sign.
fn decoded(text: &str) -> Option<i128> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hex = ["0x", "0X", "#"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix));
    let value = match (hex, text.strip_prefix('0')) {
        (Some(hex), _) => i128::from_str_radix(hex, 16),
        (None, Some(octal)) if !octal.is_empty() => i128::from_str_radix(octal, 8),
        (None, _) => text.parse(),
    };
    let value = value.ok()?;
    Some(if negative { -value } else { value })
}

fn parse_integer<'a>(m: &mut Machine<'a>, _: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = text_arg(m, args, 0)?;
    if args.len() == 1 {
        return Ok(Val::int(parse_int(&text)?));
    }
    let parsed = i32::from_str_radix(&text, radix(args)?);
    parsed.map(Val::int).map_err(|_| bad_number(&text).into())
}

fn parse_long_number<'a>(m: &mut Machine<'a>, _: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = text_arg(m, args, 0)?;
    if args.len() == 1 {
        return Ok(Val::long(parse_long(&text)?));
    }
    let parsed = i64::from_str_radix(&text, radix(args)?);
    parsed.map(Val::long).map_err(|_| bad_number(&text).into())
}

fn parse_byte<'a>(m: &mut Machine<'a>, _: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = text_arg(m, args, 0)?;
    let parsed = i8::from_str_radix(&text, radix(args)?);
    parsed.map(byte).map_err(|_| bad_number(&text).into())
}
