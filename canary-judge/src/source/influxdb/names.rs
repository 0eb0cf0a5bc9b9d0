//! Names of measurements and fields in InfluxQL: read as the language has them, and written anew.
//!
//! Kayenta sends them as they are, so that a config may have them with quotes or without, qualified or with a type
//! behind. Each part is read by the language's own rules and written with quotes and escapes of ours, so that it stays
//! one name; what is more than a name is refused, for as one name it would be another.
//! Rules: https://docs.influxdata.com/influxdb/v1/query_language/spec/#identifiers

use crate::query::Fault;
use crate::template::{INFLUXQL, quoted};

/// What may stand behind a field.
const TYPES: [&str; 7] = [
    "field", "tag", "float", "integer", "unsigned", "string", "boolean",
];
/// Database, policy and measurement.
const MOST_PARTS: usize = 3;

/// Whether a name needs no quotes.
pub(super) fn is_simple(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

/// What stands between two dots.
#[derive(Debug)]
struct Part {
    text: String,
    is_quoted: bool,
}

impl Part {
    fn write(&self, field: &str) -> Result<String, Fault> {
        if !self.is_quoted && is_simple(&self.text) {
            return Ok(self.text.clone());
        }
        Ok(format!(
            "\"{}\"",
            quoted(&self.text, field, '"', &INFLUXQL)?
        ))
    }
}

/// What is between quotes, without its escapes, and what follows; `text` begins after the first quote.
fn unquoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => return Ok((out, characters.as_str())),
            '\\' => match characters.next() {
                Some('n') => out.push('\n'),
                Some(escaped @ ('"' | '\'' | '\\')) => out.push(escaped),
                _ => return Err("write two backslashes within quotes, or \\\" for a quote"),
            },
            c => out.push(c),
        }
    }
    Err("close the quote \"")
}

/// The parts that `text` begins with, and what follows them. Without quotes a part has letters, digits, `_` and what
/// `bare` has.
fn parts<'t>(text: &'t str, bare: &str) -> Result<(Vec<Part>, &'t str), &'static str> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(within) => {
                let (text, after) = unquoted(within)?;
                let is_quoted = true;
                (Part { text, is_quoted }, after)
            }
            None => {
                let may = |c: char| c.is_alphanumeric() || c == '_' || bare.contains(c);
                let end = rest.find(|c| !may(c)).unwrap_or(rest.len());
                let (text, after) = rest.split_at(end);
                let (text, is_quoted) = (text.to_owned(), false);
                (Part { text, is_quoted }, after)
            }
        };
        parts.push(part);
        match after.strip_prefix('.') {
            Some(after) => rest = after,
            None => return Ok((parts, after)),
        }
    }
}

/// A measurement, perhaps with its policy and its database before it.
///
/// # Errors
/// What is no name.
pub(super) fn measurement(name: &str, field: &str) -> Result<String, Fault> {
    const REMEDY: &str = "write a measurement such as cpu, policy.cpu or database.policy.cpu, each part that has \
                          anything but letters and digits within double quotes; what is no name goes into a whole \
                          query as customInlineTemplate";
    let fault = |remedy: &str| Fault::new(field, name, remedy);
    // Without a dot it is one name, and without quotes these have no meaning of their own there.
    let (parts, rest) = parts(name.trim(), "-: ").map_err(fault)?;
    // A policy that is left out is the database's default one.
    let is_empty = |(at, part): (usize, &Part)| {
        part.text.is_empty() && !(at == 1 && parts.len() == MOST_PARTS && !part.is_quoted)
    };
    if !rest.is_empty() || parts.len() > MOST_PARTS || parts.iter().enumerate().any(is_empty) {
        return Err(fault(REMEDY));
    }
    let parts = parts.iter().map(|part| match part.text.as_str() {
        "" => Ok(String::new()),
        _ => part.write(field),
    });
    Ok(parts.collect::<Result<Vec<_>, _>>()?.join("."))
}

/// A field, perhaps with its type behind it, or all of them.
///
/// # Errors
/// What is no field; functions and sums are none.
pub(super) fn selected(name: &str, field: &str) -> Result<String, Fault> {
    const REMEDY: &str = "write a field such as usage or usage::field, within double quotes if it has anything but \
                          letters and digits; what computes, such as mean(usage), goes into a whole query as \
                          customInlineTemplate";
    let fault = |remedy: &str| Fault::new(field, name, remedy);
    let (own, rest) = match name.trim().strip_prefix('*') {
        Some(rest) => ("*".to_owned(), rest),
        None => {
            let (parts, rest) = parts(name.trim(), "").map_err(fault)?;
            if parts.iter().any(|part| part.text.is_empty()) {
                return Err(fault(REMEDY));
            }
            let own = match parts.as_slice() {
                [one] => one.write(field)?,
                // Dots are a part of a field's name, with quotes around its parts or without.
                several => {
                    let texts: Vec<_> = several.iter().map(|part| part.text.as_str()).collect();
                    let (text, is_quoted) = (texts.join("."), true);
                    Part { text, is_quoted }.write(field)?
                }
            };
            (own, rest)
        }
    };
    if rest.is_empty() {
        return Ok(own);
    }
    let behind = rest.strip_prefix("::").map(str::to_ascii_lowercase);
    let behind = behind.filter(|behind| TYPES.contains(&behind.as_str()));
    let behind = behind.ok_or_else(|| fault(REMEDY))?;
    Ok(format!("{own}::{behind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: fn(&str, &str) -> Result<String, Fault>, text: &str, expected: Result<&str, &str>) {
        match (name(text, "f"), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
            (Err(fault), Err(expected)) => {
                let fault = fault.to_string();
                assert!(fault.starts_with("f is \""), "{fault}");
                assert!(fault.contains(expected), "{text}: {fault}");
            }
            (found, expected) => panic!("{text}: {found:?} and not {expected:?}"),
        }
    }

    #[test]
    fn measurements_are_named_as_the_language_names_them() {
        for (text, expected) in [
            ("cpu", "cpu"),
            (" cpu ", "cpu"),
            ("\"cpu\"", "\"cpu\""),
            ("rp.cpu", "rp.cpu"),
            ("db.rp.cpu", "db.rp.cpu"),
            ("db..cpu", "db..cpu"),
            ("\"autogen\".\"cpu\"", "\"autogen\".\"cpu\""),
            ("\"my db\"..cpu", "\"my db\"..cpu"),
            ("\"30 days\".cpu-load", "\"30 days\".\"cpu-load\""),
            ("\"cpu.load\"", "\"cpu.load\""),
            ("my cpu", "\"my cpu\""),
            ("5xx", "\"5xx\""),
            ("größe", "\"größe\""),
            ("\"a\\\"b\\\\c\"", "\"a\\\"b\\\\c\""),
        ] {
            of(measurement, text, Ok(expected));
        }
    }

    #[test]
    fn fields_are_named_as_the_language_names_them() {
        for (text, expected) in [
            ("value", "value"),
            ("*", "*"),
            ("*::field", "*::field"),
            ("*::tag", "*::tag"),
            ("value::field", "value::field"),
            ("\"my value\"::FLOAT", "\"my value\"::float"),
            ("\"value::field\"", "\"value::field\""),
            ("cpu.user", "\"cpu.user\""),
            ("\"cpu\".\"user\"::tag", "\"cpu.user\"::tag"),
            ("5xx", "\"5xx\""),
        ] {
            of(selected, text, Ok(expected));
        }
    }

    #[test]
    fn what_is_more_than_a_name_is_refused_with_a_remedy() {
        for text in [
            "",
            ".cpu",
            "cpu.",
            "a.b.c.d",
            "a..b.c",
            "\"\"",
            "db.\"\".cpu",
            "/cpu.*/",
            "cpu, mem",
            "(SELECT a FROM b)",
            "cpu; DROP DATABASE d",
            "\"cpu\"; DROP DATABASE d; SELECT * FROM \"cpu\"",
            "\"cpu\" WHERE a = 'b'",
            "cpu\"x",
            "cpu\nmem",
        ] {
            of(measurement, text, Err("customInlineTemplate"));
        }
        for text in [
            "mean(usage)",
            "a, b",
            "a - b",
            "a AS b",
            "/a/",
            "a::text",
            "a::field, b",
            "\"a\"\"b\"",
            "*::field::tag",
            "\"a\" FROM secrets; --",
            "a\"b",
            "",
        ] {
            of(selected, text, Err("such as mean(usage), goes into"));
        }
        for (text, remedy) in [
            ("\"cpu", "close the quote"),
            ("\"cpu\\\"", "close the quote"),
            ("\"c\\pu\"", "write two backslashes"),
            ("\"cpu\u{0}\"", "cannot stand within"),
        ] {
            of(measurement, text, Err(remedy));
            of(selected, text, Err(remedy));
        }
    }
}
