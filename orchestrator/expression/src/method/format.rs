//! `String.format`: the conversions `s S b c d x X o f e n %`.
//!
//! Truth: `java.util.Formatter`, as far as pipelines use it.

use super::utf16_len;
use crate::error::{Fault, Stop};
use crate::eval::{Eval, Machine, bounded};
use crate::number::Num;
use crate::value::{SeqKind, Val};

/// `String.format`: `%[index$][flags][width][.precision]conversion`.
pub(crate) fn format<'a>(m: &mut Machine<'a>, pattern: &str, args: &[Val<'a>]) -> Eval<'a> {
    let args = spread(args);
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
                let index = spec.index.map_or(next, |index| index - 1);
                if spec.index.is_none() {
                    next += 1;
                }
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

/// An array alone stands for its elements, as in a Java call.
fn spread<'a>(args: &[Val<'a>]) -> Vec<Val<'a>> {
    if let [Val::Seq(seq)] = args
        && seq.kind == SeqKind::Array
    {
        return seq.iter().collect();
    }
    args.to_vec()
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
            flags = take(chars, |c| "-#+ 0,(".contains(c));
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
        Some(Self {
            index,
            flags,
            width,
            precision,
            conversion,
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
        if value.is_null() && self.conversion != 'b' {
            return Ok(self.padded("null".to_owned()));
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
            'c' if matches!(value, Val::Char(_)) => value.printed(),
            'c' => return Err(mismatch()),
            'd' => self.grouped(self.signed(match value.as_num() {
                Some(num @ (Num::Int(_) | Num::Long(_) | Num::Big(_))) => num.to_i128().to_string(),
                _ => return Err(mismatch()),
            })),
            'x' | 'o' => {
                let octal = self.conversion.eq_ignore_ascii_case(&'o');
                match value.as_num() {
                    Some(Num::Int(v)) if octal => format!("{v:o}"),
                    Some(Num::Int(v)) => format!("{v:x}"),
                    Some(Num::Long(v)) if octal => format!("{v:o}"),
                    Some(Num::Long(v)) => format!("{v:x}"),
                    _ => return Err(mismatch()),
                }
            }
            'f' | 'e' => {
                let real = match value.as_num() {
                    Some(num @ (Num::Float(_) | Num::Double(_))) => num.to_f64(),
                    _ => return Err(mismatch()),
                };
                let digits = self.precision.unwrap_or(6);
                if self.conversion.eq_ignore_ascii_case(&'f') {
                    self.grouped(self.signed(format!("{real:.digits$}")))
                } else {
                    self.signed(exponential(real, digits))
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

fn exponential(real: f64, digits: usize) -> String {
    let text = format!("{real:.digits$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{exponent:0>2}")
}

fn take(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    wanted: impl Fn(char) -> bool,
) -> String {
    std::iter::from_fn(|| chars.next_if(|c| wanted(*c))).collect()
}
