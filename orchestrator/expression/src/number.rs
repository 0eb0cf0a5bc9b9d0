//! Numbers as Java has them: int, long, float, double, and integers beyond; wrapping,
//! widening and printing as Java does.

use std::cmp::Ordering;

use serde_json::{Number, Value};

/// A number.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Num<'a> {
    Byte(i8),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    /// An integer that is no long.
    Big(i128),
    /// As written in JSON and not yet computed with.
    Written(&'a Number),
}

/// A JSON number from its digits.
pub(crate) fn written(digits: &str) -> Option<Value> {
    digits.parse::<Number>().ok().map(Value::Number)
}

impl<'a> Num<'a> {
    pub(crate) fn from_json(number: &'a Number) -> Self {
        let Some(long) = number.as_i64() else {
            return Self::Written(number);
        };
        i32::try_from(long).map_or(Self::Long(long), Self::Int)
    }

    /// The number itself, whatever its digits.
    pub(crate) fn plain(&self) -> Num<'static> {
        match self {
            Num::Byte(value) => Num::Byte(*value),
            Num::Int(value) => Num::Int(*value),
            Num::Long(value) => Num::Long(*value),
            Num::Float(value) => Num::Float(*value),
            Num::Double(value) => Num::Double(*value),
            Num::Big(value) => Num::Big(*value),
            Num::Written(number) => {
                let digits = number.to_string();
                digits.parse().map_or_else(
                    |_| Num::Double(digits.parse().unwrap_or(f64::NAN)),
                    Num::Big,
                )
            }
        }
    }

    pub(crate) fn class(&self) -> &'static str {
        match self.plain() {
            Num::Byte(_) => "java.lang.Byte",
            Num::Int(_) => "java.lang.Integer",
            Num::Long(_) => "java.lang.Long",
            Num::Float(_) => "java.lang.Float",
            Num::Double(_) | Num::Written(_) => "java.lang.Double",
            Num::Big(_) => "java.math.BigInteger",
        }
    }

    pub(crate) fn to_json(self) -> Value {
        match self {
            Num::Byte(value) => value.into(),
            Num::Int(value) => value.into(),
            Num::Long(value) => value.into(),
            Num::Big(value) => written(&value.to_string()).unwrap_or(Value::Null),
            // Where JSON has no number, its name: `"NaN"`.
            Num::Float(_) | Num::Double(_) => {
                let text = self.printed();
                written(&text).unwrap_or(Value::String(text))
            }
            Num::Written(number) => Value::Number(number.clone()),
        }
    }

    /// As Java prints it: `7.0`, `1.0E10`.
    pub(crate) fn printed(&self) -> String {
        match self {
            Num::Byte(value) => value.to_string(),
            Num::Int(value) => value.to_string(),
            Num::Long(value) => value.to_string(),
            Num::Big(value) => value.to_string(),
            Num::Float(value) => {
                let real = f64::from(*value);
                java_real(real, &scientific(real, &format!("{value:e}"), 24))
            }
            Num::Double(value) => java_real(*value, &scientific(*value, &format!("{value:e}"), 53)),
            Num::Written(_) => self.plain().printed(),
        }
    }

    /// Java's `equals`: same class, same value.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (self.plain(), other.plain()) {
            (Num::Byte(a), Num::Byte(b)) => a == b,
            (Num::Int(a), Num::Int(b)) => a == b,
            (Num::Long(a), Num::Long(b)) => a == b,
            (Num::Big(a), Num::Big(b)) => a == b,
            (Num::Float(a), Num::Float(b)) => a.total_cmp(&b) == Ordering::Equal,
            (Num::Double(a), Num::Double(b)) => a.total_cmp(&b) == Ordering::Equal,
            _ => false,
        }
    }

    pub(crate) fn to_f64(self) -> f64 {
        match self.plain() {
            Num::Byte(value) => f64::from(value),
            Num::Int(value) => f64::from(value),
            Num::Float(value) => f64::from(value),
            Num::Double(value) => value,
            Num::Long(value) => value as f64,
            Num::Big(value) => value as f64,
            Num::Written(_) => f64::NAN,
        }
    }

    /// As a whole number; fractions are cut off.
    pub(crate) fn to_i128(self) -> i128 {
        match self.plain() {
            Num::Byte(value) => value.into(),
            Num::Int(value) => value.into(),
            Num::Long(value) => value.into(),
            Num::Big(value) => value,
            Num::Float(value) => i128::from(narrow_long(f64::from(value))),
            Num::Double(value) => i128::from(narrow_long(value)),
            Num::Written(_) => 0,
        }
    }

    fn width(&self) -> Width {
        match self {
            Num::Byte(_) | Num::Int(_) => Width::Int,
            Num::Long(_) => Width::Long,
            Num::Big(_) => Width::Big,
            Num::Float(_) => Width::Float,
            Num::Double(_) | Num::Written(_) => Width::Double,
        }
    }

    /// The order, whatever the classes; none if one is not a number.
    pub(crate) fn order(&self, other: &Self) -> Option<Ordering> {
        let (a, b) = (self.plain(), other.plain());
        if a.width().max(b.width()) < Width::Float {
            return Some(a.to_i128().cmp(&b.to_i128()));
        }
        a.to_f64().partial_cmp(&b.to_f64())
    }
}

/// Spring's order of widening; a float with a big integer becomes a double here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Width {
    Int,
    Long,
    Big,
    Float,
    Double,
}

/// Operations on two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
}

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetically {
    /// A whole number divided by zero.
    DividedByZero,
    /// A whole number beyond 127 bits.
    TooLarge,
}

/// Computes as Java does: the wider class wins, ints and longs wrap.
pub(crate) fn compute(
    op: Arithmetic,
    left: Num<'_>,
    right: Num<'_>,
) -> Result<Num<'static>, Arithmetically> {
    let (left, right) = (left.plain(), right.plain());
    let width = left.width().max(right.width());
    if op == Arithmetic::Power && width < Width::Big {
        return Ok(power(left, right, width));
    }
    match width {
        Width::Double => Ok(Num::Double(real(op, left.to_f64(), right.to_f64()))),
        Width::Float => {
            let value = real(op, left.to_f64(), right.to_f64());
            Ok(if op == Arithmetic::Power {
                Num::Double(value)
            } else {
                Num::Float(narrow_float(value))
            })
        }
        Width::Int => whole(op, left, right).map(|v| Num::Int(wrap_int(v))),
        Width::Long => whole(op, left, right).map(|v| Num::Long(wrap_long(v))),
        Width::Big => whole(op, left, right).map(Num::Big),
    }
}

fn real(op: Arithmetic, left: f64, right: f64) -> f64 {
    match op {
        Arithmetic::Add => left + right,
        Arithmetic::Subtract => left - right,
        Arithmetic::Multiply => left * right,
        Arithmetic::Divide => left / right,
        Arithmetic::Modulo => left % right,
        Arithmetic::Power => left.powf(right),
    }
}

fn whole(op: Arithmetic, left: Num<'_>, right: Num<'_>) -> Result<i128, Arithmetically> {
    let (a, b) = (left.to_i128(), right.to_i128());
    if b == 0 && matches!(op, Arithmetic::Divide | Arithmetic::Modulo) {
        return Err(Arithmetically::DividedByZero);
    }
    let result = match op {
        Arithmetic::Add => a.checked_add(b),
        Arithmetic::Subtract => a.checked_sub(b),
        Arithmetic::Multiply => a.checked_mul(b),
        Arithmetic::Divide => a.checked_div(b),
        Arithmetic::Modulo => a.checked_rem(b),
        Arithmetic::Power => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
    };
    result.ok_or(Arithmetically::TooLarge)
}

fn power(left: Num<'_>, right: Num<'_>, width: Width) -> Num<'static> {
    let value = left.to_f64().powf(right.to_f64());
    if width == Width::Long || value > f64::from(i32::MAX) {
        Num::Long(narrow_long(value))
    } else {
        Num::Int(narrow_int(value))
    }
}

/// `Double.parseDouble`: digits with a suffix, `NaN` and `Infinity`, hexadecimal; not the
/// other words that Rust knows.
pub(crate) fn parse_real(text: &str) -> Option<f64> {
    let text = text.trim_matches(|c| c <= ' ');
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let signed = |value: f64| if negative { -value } else { value };
    if unsigned == "NaN" || unsigned == "Infinity" {
        return Some(signed(if unsigned == "NaN" {
            f64::NAN
        } else {
            f64::INFINITY
        }));
    }
    let digits = unsigned
        .strip_suffix(['f', 'F', 'd', 'D'])
        .unwrap_or(unsigned);
    if let Some(hex) = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
    {
        let hex = hex.to_ascii_lowercase();
        let (mantissa, exponent) = hex.split_once('p')?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let bits = u64::from_str_radix(&format!("{whole}{fraction}"), 16).ok()?;
        let exponent: i32 = exponent.parse().ok()?;
        let below = i32::try_from(fraction.len() * 4).ok()?;
        return Some(signed(
            bits as f64 * 2f64.powi(exponent.checked_sub(below)?),
        ));
    }
    let known = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits
            .chars()
            .all(|c| c.is_ascii_digit() || "+-.eE".contains(c));
    let value = if known {
        digits.parse::<f64>().ok()?
    } else {
        return None;
    };
    Some(signed(value))
}

/// The negative; ints and longs wrap.
pub(crate) fn negate(num: Num<'_>) -> Num<'static> {
    match num.plain() {
        Num::Byte(value) => Num::Int(-i32::from(value)),
        Num::Int(value) => Num::Int(value.wrapping_neg()),
        Num::Long(value) => Num::Long(value.wrapping_neg()),
        Num::Float(value) => Num::Float(-value),
        Num::Double(value) => Num::Double(-value),
        Num::Big(value) => Num::Big(value.wrapping_neg()),
        Num::Written(_) => Num::Double(f64::NAN),
    }
}

/// Java's `(byte) long`.
#[allow(
    clippy::cast_possible_truncation,
    reason = "wrapping is what Java does"
)]
pub(crate) fn wrap_byte(value: i128) -> i8 {
    value as i8
}

/// Java's `(short) long`.
#[allow(
    clippy::cast_possible_truncation,
    reason = "wrapping is what Java does"
)]
pub(crate) fn wrap_short(value: i128) -> i16 {
    value as i16
}

/// Java's `(int) long`.
#[allow(
    clippy::cast_possible_truncation,
    reason = "wrapping is what Java does"
)]
pub(crate) fn wrap_int(value: i128) -> i32 {
    value as i32
}

/// Java's `(long) BigInteger`.
#[allow(
    clippy::cast_possible_truncation,
    reason = "wrapping is what Java does"
)]
pub(crate) fn wrap_long(value: i128) -> i64 {
    value as i64
}

/// Java's `(int) double`: saturating, NaN is 0.
#[allow(
    clippy::cast_possible_truncation,
    reason = "saturating is what Java does"
)]
pub(crate) fn narrow_int(value: f64) -> i32 {
    value as i32
}

/// Java's `(long) double`: saturating, NaN is 0.
#[allow(
    clippy::cast_possible_truncation,
    reason = "saturating is what Java does"
)]
pub(crate) fn narrow_long(value: f64) -> i64 {
    value as i64
}

/// Java's `(float) double`.
#[allow(
    clippy::cast_possible_truncation,
    reason = "rounding is what Java does"
)]
pub(crate) fn narrow_float(value: f64) -> f32 {
    value as f32
}

/// Decimal digits that a whole number loses when only its upper bits count, by how many
/// bits are below them (`jdk: FloatingDecimal.insignificantDigitsNumber`).
const INSIGNIFICANT: &[u32] = &[
    0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 8, 8, 8, 9, 9,
    9, 9, 10, 10, 10, 11, 11, 11, 12, 12,
];

/// The digits Java 17 prints, as in `{:e}`: the shortest ones, but of large whole
/// numbers those above its precision.
fn scientific(value: f64, shortest: &str, bits: usize) -> String {
    let whole = value.abs();
    if value.fract() != 0.0 || !(1e7..9.2e18).contains(&whole) {
        return shortest.to_owned();
    }
    let whole = narrow_long(whole).unsigned_abs();
    let exponent = 63 - usize::try_from(whole.leading_zeros()).unwrap_or_default();
    let below = exponent.saturating_sub(bits + 1);
    let lost = INSIGNIFICANT.get(below).copied().unwrap_or_default();
    let unit = 10u64.pow(lost);
    let rounded = whole / unit + u64::from(whole % unit >= unit / 2 && lost > 0);
    let digits = rounded.to_string();
    let magnitude = digits.len() - 1 + usize::try_from(lost).unwrap_or_default();
    format!("{}e{magnitude}", digits.trim_end_matches('0'))
}

/// `Double.toString`, from the digits as in Rust's `{:e}`.
fn java_real(value: f64, scientific: &str) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    if value.is_infinite() {
        return format!("{sign}Infinity");
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let text = match exponent {
        -3..=-1 if value != 0.0 => {
            let zeros = usize::try_from(-exponent - 1).unwrap_or_default();
            format!("0.{}{digits}", "0".repeat(zeros))
        }
        0..=6 => {
            let point = usize::try_from(exponent + 1).unwrap_or_default();
            let whole: String = digits
                .chars()
                .chain(std::iter::repeat('0'))
                .take(point)
                .collect();
            let fraction: String = digits.chars().skip(point).collect();
            format!(
                "{whole}.{}",
                if fraction.is_empty() { "0" } else { &fraction }
            )
        }
        _ => {
            let (first, rest) = digits.split_at_checked(1).unwrap_or(("0", ""));
            format!(
                "{first}.{}E{exponent}",
                if rest.is_empty() { "0" } else { rest }
            )
        }
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_printed_as_java_prints_them() {
        let cases = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (7.0, "7.0"),
            (0.1 + 0.2, "0.30000000000000004"),
            (100.0 / 7.0, "14.285714285714286"),
            (0.001, "0.001"),
            (0.000_12, "1.2E-4"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (1.5e300, "1.5E300"),
            (-123.25, "-123.25"),
            (f64::INFINITY, "Infinity"),
        ];
        for (value, text) in cases {
            assert_eq!(Num::Double(value).printed(), text);
        }
        assert_eq!(Num::Float(2.75).printed(), "2.75");
        assert_eq!(Num::Float(0.1).printed(), "0.1");
    }

    #[test]
    fn ints_wrap_and_widen() {
        let add = |a, b| compute(Arithmetic::Add, a, b).unwrap().printed();
        assert_eq!(add(Num::Int(i32::MAX), Num::Int(1)), "-2147483648");
        assert_eq!(add(Num::Int(i32::MAX), Num::Long(1)), "2147483648");
        assert_eq!(
            add(Num::Big(1 << 70), Num::Int(1)),
            "1180591620717411303425"
        );
        assert_eq!(add(Num::Int(1), Num::Float(1.5)), "2.5");
    }
}
