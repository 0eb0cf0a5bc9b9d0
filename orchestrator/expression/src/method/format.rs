//! `String.format`: the conversions `s S b h c d x X o f e g a n %` and, with `t`, those
//! of dates.
//!
//! Truth: `java.util.Formatter`, as far as pipelines use it.

use super::real::{exponential, fixed, general, hexadecimal};
use super::{Component, object, utf16_len, variable};
use crate::dates::format_field;
use crate::error::{Fault, Stop};
use crate::eval::{Eval, Machine, bounded};
use crate::number::Num;
use crate::value::Val;

/// `String.format`: `%[index$][flags][width][.precision]conversion`.
pub(crate) fn format<'a>(m: &mut Machine<'a>, pattern: &str, args: &[Val<'a>]) -> Eval<'a> {
    let args = variable(m, args, Component::Any)?;
    let mut last = None;
    let mut out = String::new();
    let mut chars = pattern.chars().peekable();
    let mut next = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let spec = Spec::read(&mut chars).ok_or_else(|| bad_format(pattern))?;
        match spec.conversion {
            'n' => out.push('\n'),
            '%' => out.push_str(&spec.padded("%".to_owned())),
            _ => {
                let index = match (spec.index, last) {
                    (Some(index), _) => index - 1,
                    // As the one before, if there was one.
                    (None, last) if spec.has('<') => last.unwrap_or(usize::MAX),
                    (None, _) => {
                        next += 1;
                        next - 1
                    }
                };
                last = Some(index);
                let value = args.get(index).ok_or_else(|| {
                    let text = format!("Format specifier '%{}'", spec.conversion);
                    Stop::from(Fault::java(
                        "java.util.MissingFormatArgumentException",
                        text,
                    ))
                })?;
                m.charge_for(value)?;
                out.push_str(&spec.write(value)?);
            }
        }
        if out.len() > crate::limits::TEXT_BYTES {
            break;
        }
    }
    bounded(out)
}

fn bad_format(pattern: &str) -> Stop {
    Fault::java(
        "java.util.UnknownFormatConversionException",
        format!("Conversion in '{pattern}'"),
    )
    .into()
}

struct Spec {
    index: Option<usize>,
    flags: String,
    width: usize,
    precision: Option<usize>,
    conversion: char,
    /// After `t` or `T`: the part of a date.
    part: Option<char>,
}

impl Spec {
    fn read(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Self> {
        let mut digits = take(chars, |c| c.is_ascii_digit());
        let mut index = None;
        if !digits.is_empty() && chars.next_if_eq(&'$').is_some() {
            index = Some(digits.parse().ok().filter(|i| *i > 0)?);
            digits.clear();
        }
        let mut flags: String = digits.chars().take_while(|c| *c == '0').collect();
        let mut width: String = digits.chars().skip(flags.len()).collect();
        if digits.is_empty() {
            flags = take(chars, |c| "-#+ 0,(<".contains(c));
            width = take(chars, |c| c.is_ascii_digit());
        }
        let precision = match chars.next_if_eq(&'.') {
            Some(_) => Some(
                take(chars, |c| c.is_ascii_digit())
                    .parse()
                    .ok()
                    .filter(|p| *p <= 1_000)?,
            ),
            None => None,
        };
        let width = if width.is_empty() {
            0
        } else {
            width.parse().ok().filter(|w| *w <= 10_000)?
        };
        let conversion = chars.next()?;
        let part = match conversion {
            't' | 'T' => Some(chars.next()?),
            _ => None,
        };
        // What is filled up must have a width to be filled up to.
        if width == 0 && flags.contains(['-', '0']) {
            return None;
        }
        if precision.is_some() && "cdxXo".contains(conversion) {
            return None;
        }
        Some(Self {
            index,
            flags,
            width,
            precision,
            conversion,
            part,
        })
    }

    fn has(&self, flag: char) -> bool {
        self.flags.contains(flag)
    }

    fn padded(&self, text: String) -> String {
        let missing = self.width.saturating_sub(utf16_len(&text));
        if missing == 0 {
            return text;
        }
        let blanks = |c: &str| c.repeat(missing);
        if self.has('-') {
            return format!("{text}{}", blanks(" "));
        }
        if self.has('0') {
            let (sign, digits) = match text.strip_prefix(['-', '+']) {
                Some(digits) => (text.get(..1).unwrap_or_default(), digits),
                None => ("", text.as_str()),
            };
            return format!("{sign}{}{digits}", blanks("0"));
        }
        format!("{}{text}", blanks(" "))
    }

    fn write(&self, value: &Val<'_>) -> Result<String, Stop> {
        let mismatch = || {
            let text = format!("{} != {}", self.conversion, value.class());
            Stop::from(Fault::java(
                "java.util.IllegalFormatConversionException",
                text,
            ))
        };
        if value.is_null() && !self.conversion.eq_ignore_ascii_case(&'b') {
            let most = self.precision.unwrap_or(usize::MAX);
            return Ok(self.padded("null".chars().take(most).collect()));
        }
        let upper = self.conversion.is_ascii_uppercase();
        let text = match self.conversion.to_ascii_lowercase() {
            's' => {
                let text = value.printed();
                match self.precision {
                    Some(most) => text.chars().take(most).collect(),
                    None => text,
                }
            }
            'b' => (matches!(value, Val::Bool(true))
                || !(value.is_null() || matches!(value, Val::Bool(_))))
            .to_string(),
            'c' => match (value, value.as_num()) {
                (Val::Char(c), _) => c.to_string(),
                (_, Some(Num::Int(code))) => u32::try_from(code)
                    .ok()
                    .and_then(char::from_u32)
                    .map(String::from)
                    .ok_or_else(mismatch)?,
                _ => return Err(mismatch()),
            },
            'h' => format!("{:x}", object::hash_code(value)?),
            't' => {
                let part = self.part.unwrap_or_default();
                format_field(value, part).ok_or_else(mismatch)?
            }
            'd' => self.grouped(self.signed(match value.as_num() {
                Some(num @ (Num::Byte(_) | Num::Int(_) | Num::Long(_) | Num::Big(_))) => {
                    num.to_i128().to_string()
                }
                _ => return Err(mismatch()),
            })),
            'x' | 'o' => {
                let octal = self.conversion.eq_ignore_ascii_case(&'o');
                let digits = match value.as_num() {
                    Some(Num::Byte(v)) if octal => format!("{v:o}"),
                    Some(Num::Byte(v)) => format!("{v:x}"),
                    Some(Num::Int(v)) if octal => format!("{v:o}"),
                    Some(Num::Int(v)) => format!("{v:x}"),
                    Some(Num::Long(v)) if octal => format!("{v:o}"),
                    Some(Num::Long(v)) => format!("{v:x}"),
                    _ => return Err(mismatch()),
                };
                match (self.has('#'), octal) {
                    (false, _) => digits,
                    (true, true) => format!("0{digits}"),
                    (true, false) => format!("0x{digits}"),
                }
            }
            'f' | 'e' | 'g' | 'a' => {
                let real = match value.as_num() {
                    Some(num @ (Num::Float(_) | Num::Double(_))) => num.to_f64(),
                    _ => return Err(mismatch()),
                };
                let digits = self.precision.unwrap_or(6);
                if !real.is_finite() {
                    let name = Num::Double(real).printed();
                    return Ok(self.padded(self.signed(name)));
                }
                match self.conversion.to_ascii_lowercase() {
                    'f' => self.grouped(self.signed(fixed(real, digits))),
                    'e' => self.signed(exponential(real, digits)),
                    'g' => self.grouped(self.signed(general(real, digits))),
                    _ => self.signed(hexadecimal(real)),
                }
            }
            _ => return Err(bad_format(&format!("%{}", self.conversion))),
        };
        let text = self.padded(text);
        Ok(if upper { text.to_uppercase() } else { text })
    }

    fn signed(&self, text: String) -> String {
        if let Some(digits) = text.strip_prefix('-')
            && self.has('(')
        {
            format!("({digits})")
        } else if text.starts_with('-') {
            text
        } else if self.has('+') {
            format!("+{text}")
        } else if self.has(' ') {
            format!(" {text}")
        } else {
            text
        }
    }

    fn grouped(&self, text: String) -> String {
        if !self.has(',') {
            return text;
        }
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let digits = whole.trim_start_matches(['-', '+', ' ']);
        let mut out = whole
            .get(..whole.len() - digits.len())
            .unwrap_or_default()
            .to_owned();
        for (i, c) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                out.push(',');
            }
            out.push(c);
        }
        if fraction.is_empty() {
            out
        } else {
            format!("{out}.{fraction}")
        }
    }
}

fn take(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    wanted: impl Fn(char) -> bool,
) -> String {
    std::iter::from_fn(|| chars.next_if(|c| wanted(*c))).collect()
}
