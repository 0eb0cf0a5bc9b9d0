//! Real numbers with so many digits. Java rounds the decimal digits it would print, half
//! up, where others round the number itself: `%.1f` of 0.25 is 0.3.

/// A number's shortest decimal digits, and the power of ten of the first.
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    fn new(real: f64) -> Self {
        let text = format!("{:e}", real.abs());
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let digits = mantissa.bytes().filter(u8::is_ascii_digit);
        Self {
            negative: real.is_sign_negative(),
            digits: digits.map(|digit| digit - b'0').collect(),
            exponent: exponent.parse().unwrap_or_default(),
        }
    }

    /// Keeps so many digits.
    fn rounded(mut self, keep: i64) -> Self {
        let Ok(keep) = usize::try_from(keep) else {
            self.digits = vec![0];
            self.exponent = 0;
            return self;
        };
        let up = self.digits.get(keep).is_some_and(|digit| *digit >= 5);
        self.digits.truncate(keep);
        if up {
            for digit in self.digits.iter_mut().rev() {
                if *digit < 9 {
                    *digit += 1;
                    return self;
                }
                *digit = 0;
            }
            self.digits.insert(0, 1);
            self.digits.truncate(keep.max(1));
            self.exponent += 1;
        }
        if self.digits.is_empty() {
            self.digits = vec![0];
            self.exponent = 0;
        }
        self
    }

    fn digit(&self, power: i64) -> char {
        let index = usize::try_from(self.exponent - power).ok();
        let digit = index.and_then(|index| self.digits.get(index).copied());
        char::from(b'0' + digit.unwrap_or(0))
    }

    fn sign(&self) -> &'static str {
        if self.negative { "-" } else { "" }
    }
}

fn signed_len(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

/// `%.<digits>f`
pub(super) fn fixed(real: f64, digits: usize) -> String {
    let places = signed_len(digits);
    let decimal = Decimal::new(real);
    let keep = decimal.exponent + 1 + places;
    let decimal = decimal.rounded(keep);
    let whole: String = (0..=decimal.exponent.max(0))
        .rev()
        .map(|power| decimal.digit(power))
        .collect();
    let sign = decimal.sign();
    if digits == 0 {
        return format!("{sign}{whole}");
    }
    let fraction: String = (1..=places).map(|place| decimal.digit(-place)).collect();
    format!("{sign}{whole}.{fraction}")
}

/// `%.<digits>e`
pub(super) fn exponential(real: f64, digits: usize) -> String {
    let places = signed_len(digits);
    let decimal = Decimal::new(real).rounded(places + 1);
    let first = decimal.digit(decimal.exponent);
    let fraction: String = (1..=places)
        .map(|place| decimal.digit(decimal.exponent - place))
        .collect();
    let point = if digits == 0 { "" } else { "." };
    let sign = if decimal.exponent < 0 { '-' } else { '+' };
    let exponent = decimal.exponent.abs();
    format!(
        "{}{first}{point}{fraction}e{sign}{exponent:02}",
        decimal.sign()
    )
}

/// `%.<digits>g`: so many digits, with an exponent where there would be many zeros.
pub(super) fn general(real: f64, digits: usize) -> String {
    let digits = digits.max(1);
    let decimal = Decimal::new(real).rounded(signed_len(digits));
    let places = signed_len(digits) - 1 - decimal.exponent;
    let plain = real == 0.0 || (-4..signed_len(digits)).contains(&decimal.exponent);
    if plain {
        fixed(real, usize::try_from(places).unwrap_or(0))
    } else {
        exponential(real, digits - 1)
    }
}

/// `%a`, as `Double.toHexString` prints it.
pub(crate) fn hexadecimal(real: f64) -> String {
    let sign = if real.is_sign_negative() { "-" } else { "" };
    let bits = real.to_bits();
    let fraction = bits & ((1 << 52) - 1);
    let biased = (bits >> 52) & 0x7FF;
    if biased == 0 && fraction == 0 {
        return format!("{sign}0x0.0p0");
    }
    let hex = format!("{fraction:013x}");
    let hex = match hex.trim_end_matches('0') {
        "" => "0",
        digits => digits,
    };
    if biased == 0 {
        return format!("{sign}0x0.{hex}p-1022");
    }
    let exponent = i64::try_from(biased).unwrap_or_default() - 1023;
    format!("{sign}0x1.{hex}p{exponent}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_rounded_half_up() {
        for (real, digits, text) in [
            (0.25, 1, "0.3"),
            (1.005, 2, "1.01"),
            (0.5, 0, "1"),
            (2.5, 0, "3"),
            (9.99, 1, "10.0"),
            (0.04, 1, "0.0"),
            (0.05, 1, "0.1"),
            (-1.5, 0, "-2"),
            (1234.5, 2, "1234.50"),
            (0.0, 2, "0.00"),
            (99.5, 0, "100"),
            (1e10, 1, "10000000000.0"),
        ] {
            assert_eq!(fixed(real, digits), text, "{real}");
        }
        assert_eq!(exponential(12345.678, 2), "1.23e+04");
        assert_eq!(exponential(9.99e9, 1), "1.0e+10");
        assert_eq!(general(1234.5, 6), "1234.50");
        assert_eq!(general(0.00001, 3), "1.00e-05");
        assert_eq!(hexadecimal(1.0), "0x1.0p0");
    }
}
