//! YAML, with the implicit types of version 1.1 as SnakeYAML has them: `yes` is a
//! boolean, `010` is eight, `12:30` is a number in base 60, a date is a date.
//!
//! The parser underneath is of version 1.2. Which of its texts were written without
//! quotes it shows by lending them from the source: what stands before one is no quote.

use std::fmt;

use serde::de::{self, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, Visitor};
use serde_yaml_ng::Deserializer;

use super::convert::{null_pointer, text};
use crate::error::{Fault, Stop};
use crate::eval::{Eval, Machine};
use crate::number::Num;
use crate::time::Time;
use crate::value::{Key, MapVal, Val};

pub(super) fn read_yaml<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = text(m, args, 0)?.ok_or_else(null_pointer)?;
    m.charge(text.len() / 16)?;
    Ok(yaml(&text)?.into_iter().next().unwrap_or(Val::Null))
}

pub(super) fn read_all_yaml<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = text(m, args, 0)?.ok_or_else(null_pointer)?;
    m.charge(text.len() / 16)?;
    yaml(&text).map(Val::list)
}

/// The documents of a YAML text.
pub(super) fn yaml<'a>(text: &str) -> Result<Vec<Val<'a>>, Stop> {
    if !text.lines().any(is_content) {
        return Ok(Vec::new());
    }
    if let Some(tag) = foreign_tag(text) {
        let text = format!("could not determine a constructor for the tag {tag}");
        let class = "org.yaml.snakeyaml.constructor.ConstructorException";
        return Err(Fault::java(class, text).into());
    }
    let documents = Deserializer::from_str(text).map(|document| {
        let node = Node { source: text };
        node.deserialize(document).map_err(|e| {
            let class = "org.yaml.snakeyaml.parser.ParserException";
            Stop::from(Fault::java(class, format!("not YAML: {e}")))
        })
    });
    documents.collect()
}

/// A tag that names a class, which the parser underneath would pass over.
fn foreign_tag(text: &str) -> Option<&str> {
    let words = text.split(|c: char| c.is_whitespace() || "[]{},".contains(c));
    let mut tags = words.filter_map(|word| word.strip_prefix("!!"));
    tags.find(|tag| tag.contains('.'))
}

fn is_content(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

/// One value, read out of a source.
#[derive(Clone, Copy)]
struct Node<'s> {
    source: &'s str,
}

impl Node<'_> {
    /// Whether a lent text was written without quotes.
    fn is_plain(&self, lent: &str) -> bool {
        let base = self.source.as_ptr().addr();
        let Some(at) = lent.as_ptr().addr().checked_sub(base) else {
            return false;
        };
        let before = at
            .checked_sub(1)
            .and_then(|at| self.source.as_bytes().get(at));
        !matches!(before, Some(b'\'' | b'"'))
    }
}

impl<'de> DeserializeSeed<'de> for Node<'de> {
    type Value = Val<'static>;

    fn deserialize<D: de::Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'de> {
    type Value = Val<'static>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Val::Null)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Val::Null)
    }

    fn visit_some<D: de::Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        self.deserialize(from)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Val::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(whole(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(whole(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Self::Value, E> {
        Ok(whole(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Self::Value, E> {
        Ok(i128::try_from(value).map_or_else(|_| Val::text(value.to_string()), whole))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Val::Num(Num::Double(value)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Val::text(text))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        let typed = if self.is_plain(text) {
            implicit(text)
        } else {
            None
        };
        Ok(typed.unwrap_or_else(|| Val::text(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Val::list(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = from.next_key_seed(self)? {
            entries.push((Key::of(&key), from.next_value_seed(self)?));
        }
        Ok(Val::Map(MapVal::own(entries)))
    }

    /// A tag, of which none but the standard ones make anything here.
    fn visit_enum<A: EnumAccess<'de>>(self, from: A) -> Result<Self::Value, A::Error> {
        let (tag, _) = from.variant_seed(self)?;
        Err(de::Error::custom(format!(
            "could not determine a constructor for the tag {}",
            tag.printed()
        )))
    }
}

fn whole(value: i128) -> Val<'static> {
    let number = match (i32::try_from(value), i64::try_from(value)) {
        (Ok(int), _) => Num::Int(int),
        (Err(_), Ok(long)) => Num::Long(long),
        (Err(_), Err(_)) => Num::Big(value),
    };
    Val::Num(number)
}

/// What a text without quotes is in YAML 1.1 where it is none.
fn implicit(text: &str) -> Option<Val<'static>> {
    match text {
        "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Some(Val::Bool(true)),
        "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Some(Val::Bool(false)),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
        return None;
    }
    integer(text)
        .or_else(|| moment(text))
        .or_else(|| real(text))
}

/// Whole numbers: `010` in base 8, `1_000`, `12:30:45` in base 60.
fn integer(text: &str) -> Option<Val<'static>> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let plain = digits.replace('_', "");
    let value = if plain.contains(':') {
        let mut parts = plain.split(':');
        let mut value: i128 = parts.next()?.parse().ok()?;
        for part in parts {
            let part: i128 = part
                .parse()
                .ok()
                .filter(|p| (0..60).contains(p) && part.len() <= 2)?;
            value = value.checked_mul(60)?.checked_add(part)?;
        }
        value
    } else if let Some(hex) = plain.strip_prefix("0x") {
        i128::from_str_radix(hex, 16).ok()?
    } else if let Some(bits) = plain.strip_prefix("0b") {
        i128::from_str_radix(bits, 2).ok()?
    } else if plain.len() > 1 && plain.starts_with('0') {
        i128::from_str_radix(&plain, 8).ok()?
    } else {
        plain.parse().ok()?
    };
    Some(whole(if negative { -value } else { value }))
}

/// Real numbers with signs in between, and those that are none.
fn real(text: &str) -> Option<Val<'static>> {
    let double = |value| Some(Val::Num(Num::Double(value)));
    match text {
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return double(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return double(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return double(f64::NAN),
        _ => {}
    }
    let known = text
        .chars()
        .all(|c| c.is_ascii_digit() || "+-._eE".contains(c));
    if !known || !text.contains('.') || !text.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    double(text.replace('_', "").parse().ok()?)
}

/// `2020-01-01`, or with a time after `T` or a blank and perhaps a zone.
fn moment(text: &str) -> Option<Val<'static>> {
    let bytes = text.as_bytes();
    let date = bytes.get(4) == Some(&b'-') && bytes.iter().filter(|b| **b == b'-').count() >= 2;
    if !date {
        return None;
    }
    let patterns = [
        "yyyy-MM-dd'T'HH:mm:ss",
        "yyyy-MM-dd't'HH:mm:ss",
        "yyyy-MM-dd HH:mm:ss",
    ];
    let ms = if text.len() == "2020-01-01".len() {
        crate::dates::parse_date(text, "yyyy-MM-dd", 0)
    } else {
        patterns.iter().find_map(|pattern| timed(text, pattern))
    }?;
    Some(Val::Time(Time::Date(ms)))
}

fn timed(text: &str, pattern: &str) -> Option<i64> {
    let (stamp, rest) = text.split_at_checked("2020-01-01T00:00:00".len())?;
    let ms = crate::dates::parse_date(stamp, pattern, 0)?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => {
            let end = rest
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len());
            rest.split_at(end)
        }
        None => ("", rest),
    };
    let millis: String = fraction.chars().chain("000".chars()).take(3).collect();
    let ms = ms + millis.parse::<i64>().ok()?;
    let zone = zone.trim();
    if zone.is_empty() || zone == "Z" {
        return Some(ms);
    }
    let sign = match zone.split_at_checked(1)?.0 {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let (hours, minutes) = match zone.get(1..)?.split_once(':') {
        Some((hours, minutes)) => (hours, minutes.parse::<i64>().ok()?),
        None => (zone.get(1..)?, 0),
    };
    let offset = hours.parse::<i64>().ok()? * 60 + minutes;
    Some(ms - sign * offset * 60_000)
}
