//! Java's regular expressions, as far as they differ from ours: classes are ASCII,
//! `\Q…\E` quotes, POSIX classes have names of their own, replacements refer to groups
//! with `$1`. Bounded: the length of a pattern and the steps back it may take.

use fancy_regex::{Captures, Regex, RegexBuilder};

use crate::error::{Fault, ILLEGAL_ARGUMENT, Stop};
use crate::eval::too_much;
use crate::limits::{PATTERN_BACKTRACKS, PATTERN_CHARS, TEXT_BYTES};

/// A compiled pattern.
pub(crate) struct Pattern {
    regex: Regex,
    whole: Regex,
}

impl Pattern {
    pub(crate) fn new(java: &str) -> Result<Self, Stop> {
        if java.chars().count() > PATTERN_CHARS {
            return Err(too_much("characters of a pattern", PATTERN_CHARS));
        }
        let invalid = || {
            let text = format!("Pattern is not valid '{java}'");
            Stop::from(Fault::spel("EL1018E", text))
        };
        let translated = translate(java).ok_or_else(invalid)?;
        let compile = |pattern: &str| {
            RegexBuilder::new(pattern)
                .backtrack_limit(PATTERN_BACKTRACKS)
                .delegate_size_limit(1 << 20)
                .delegate_dfa_size_limit(1 << 20)
                .build()
                .map_err(|_| invalid())
        };
        let regex = compile(&translated)?;
        let whole = compile(&format!(r"\A(?:{translated})\z"))?;
        Ok(Self { regex, whole })
    }

    pub(crate) fn matches_whole(&self, text: &str) -> Result<bool, Stop> {
        self.whole.is_match(text).map_err(|_| exhausted())
    }

    pub(crate) fn is_in(&self, text: &str) -> Result<bool, Stop> {
        self.regex.is_match(text).map_err(|_| exhausted())
    }

    /// Every match, as Java finds them: an empty one may follow right after another that
    /// is not. Visiting ends with the first that is answered with false.
    fn visit(
        &self,
        text: &str,
        mut visit: impl FnMut(&Captures<'_, str>, usize, usize) -> Result<bool, Stop>,
    ) -> Result<(), Stop> {
        let mut from = 0;
        while from <= text.len() {
            let found = self.regex.captures_from_pos(text, from);
            let Some(captures) = found.map_err(|_| exhausted())? else {
                break;
            };
            let Some(found) = captures.get(0) else { break };
            let (start, end) = (found.start(), found.end());
            if !visit(&captures, start, end)? {
                break;
            }
            from = end;
            if start == end {
                let next = text.get(end..).and_then(|rest| rest.chars().next());
                from += next.map_or(1, char::len_utf8);
            }
        }
        Ok(())
    }

    /// Replaces the first or every match.
    pub(crate) fn replace(&self, text: &str, with: &str, all: bool) -> Result<String, Stop> {
        let mut result = String::new();
        let mut from = 0;
        self.visit(text, |captures, start, end| {
            result.push_str(text.get(from..start).unwrap_or_default());
            self.expand(captures, with, &mut result)?;
            if result.len() > TEXT_BYTES {
                return Err(too_much("bytes of text", TEXT_BYTES));
            }
            from = end;
            Ok(all)
        })?;
        result.push_str(text.get(from..).unwrap_or_default());
        Ok(result)
    }

    /// `String.split`: a limit of 0 drops empty texts at the end.
    pub(crate) fn split(&self, text: &str, limit: i32) -> Result<Vec<String>, Stop> {
        let mut parts: Vec<String> = Vec::new();
        let mut from = 0;
        let most = usize::try_from(limit).unwrap_or(0);
        self.visit(text, |_, start, end| {
            if most > 0 && parts.len() + 1 >= most {
                return Ok(false);
            }
            if end > 0 {
                parts.push(text.get(from..start).unwrap_or_default().to_owned());
                from = end;
            }
            Ok(true)
        })?;
        if parts.is_empty() {
            return Ok(vec![text.to_owned()]);
        }
        parts.push(text.get(from..).unwrap_or_default().to_owned());
        while limit == 0 && parts.last().is_some_and(String::is_empty) {
            parts.pop();
        }
        Ok(parts)
    }

    /// Java's replacement text: `$1`, `${name}`, `\$`.
    fn expand(
        &self,
        captures: &Captures<'_, str>,
        with: &str,
        result: &mut String,
    ) -> Result<(), Stop> {
        let group = |found: Option<fancy_regex::Match<'_>>, result: &mut String| {
            result.push_str(found.map_or("", |m| m.as_str()));
        };
        let mut chars = with.chars().peekable();
        while let Some(c) = chars.next() {
            if c == '\\' {
                let next = chars.next();
                result.push(next.ok_or_else(|| illegal("character to be escaped is missing"))?);
            } else if c != '$' {
                result.push(c);
            } else if chars.next_if_eq(&'{').is_some() {
                let name: String = std::iter::from_fn(|| chars.next_if(|c| *c != '}')).collect();
                if chars.next().is_none() || !self.has_group(&name) {
                    return Err(illegal(&format!("No group with name {{{name}}}")));
                }
                group(captures.name(&name), result);
            } else {
                let first = chars.next().and_then(|c| c.to_digit(10));
                let mut number = first.ok_or_else(|| illegal("Illegal group reference"))? as usize;
                if number >= captures.len() {
                    let text = format!("No group {number}");
                    return Err(Fault::java("java.lang.IndexOutOfBoundsException", text).into());
                }
                while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
                    let longer = number * 10 + digit as usize;
                    if longer >= captures.len() {
                        break;
                    }
                    number = longer;
                    chars.next();
                }
                group(captures.get(number), result);
            }
        }
        Ok(())
    }

    fn has_group(&self, name: &str) -> bool {
        self.regex
            .capture_names()
            .flatten()
            .any(|known| known == name)
    }
}

fn exhausted() -> Stop {
    too_much("steps of a regular expression", PATTERN_BACKTRACKS)
}

fn illegal(text: &str) -> Stop {
    Fault::java(ILLEGAL_ARGUMENT, text).into()
}

/// Classes by their letter, for outside and inside of brackets.
const CLASSES: &[(char, &str, &str)] = &[
    ('d', "[0-9]", "0-9"),
    ('D', "[^0-9]", "[^0-9]"),
    ('w', "[a-zA-Z0-9_]", "a-zA-Z0-9_"),
    ('W', "[^a-zA-Z0-9_]", "[^a-zA-Z0-9_]"),
    ('s', r"[ \t\n\x0B\f\r]", r" \t\n\x0B\f\r"),
    ('S', r"[^ \t\n\x0B\f\r]", r"[^ \t\n\x0B\f\r]"),
    ('h', r"[ \t\u00A0]", r" \t\u00A0"),
    ('H', r"[^ \t\u00A0]", r"[^ \t\u00A0]"),
    (
        'v',
        r"[\n\x0B\f\r\x{85}\x{2028}\x{2029}]",
        r"\n\x0B\f\r\x{85}\x{2028}\x{2029}",
    ),
    (
        'V',
        r"[^\n\x0B\f\r\x{85}\x{2028}\x{2029}]",
        r"[^\n\x0B\f\r\x{85}\x{2028}\x{2029}]",
    ),
    ('R', r"(?:\r\n|[\n\x0B\f\r\x{85}\x{2028}\x{2029}])", "R"),
    ('e', r"\x1B", r"\x1B"),
];

/// Java's POSIX classes.
const POSIX: &[(&str, &str)] = &[
    ("Lower", "a-z"),
    ("Upper", "A-Z"),
    ("ASCII", r"\x00-\x7F"),
    ("Alpha", "a-zA-Z"),
    ("Digit", "0-9"),
    ("Alnum", "a-zA-Z0-9"),
    ("Punct", r"!-/:-@\[-`{-~"),
    ("Graph", "!-~"),
    ("Print", " -~"),
    ("Blank", r" \t"),
    ("Cntrl", r"\x00-\x1F\x7F"),
    ("XDigit", "0-9a-fA-F"),
    ("Space", r" \t\n\x0B\f\r"),
];

/// Properties of characters that go by other names here.
const PROPERTIES: &[(&str, &str)] = &[
    ("javaLowerCase", "Lowercase"),
    ("javaUpperCase", "Uppercase"),
    ("javaAlphabetic", "Alphabetic"),
    ("javaLetter", "L"),
    ("javaDigit", "Nd"),
    ("javaWhitespace", "White_Space"),
];

/// The same pattern in our syntax; none if Java refuses it where ours would not.
fn translate(java: &str) -> Option<String> {
    let mut out = String::new();
    let mut depth = 0usize;
    let mut rest = java;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        match c {
            '\\' => {
                rest = escape(after, depth > 0, &mut out);
                continue;
            }
            '[' => {
                depth += 1;
                out.push(c);
                // Java knows no [:alpha:]; it is a set of these characters there.
                if depth > 1 && after.starts_with(':') {
                    out.push('\\');
                }
            }
            ']' => {
                depth = depth.saturating_sub(1);
                out.push(c);
            }
            '-' if depth > 0 && after.starts_with('-') => return None,
            '~' if depth > 0 => out.push_str("\\~"),
            '{' if depth == 0 && (out.is_empty() || !is_repetition(after)) => return None,
            '(' if depth == 0 && (after.starts_with("?P") || after.starts_with("?#")) => {
                return None;
            }
            other => out.push(other),
        }
        rest = after;
    }
    Some(out)
}

/// Whether `{` begins a number of times: `2}`, `2,}`, `2,3}`.
fn is_repetition(after: &str) -> bool {
    let Some((times, _)) = after.split_once('}') else {
        return false;
    };
    let (least, most) = times.split_once(',').unwrap_or((times, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    !least.is_empty() && digits(least) && digits(most)
}

/// What follows a backslash; answers what follows that.
fn escape<'t>(rest: &'t str, bracketed: bool, out: &mut String) -> &'t str {
    let Some(c) = rest.chars().next() else {
        out.push('\\');
        return rest;
    };
    let after = rest.get(c.len_utf8()..).unwrap_or_default();
    if c == 'Q' {
        let (quoted, after) = after.split_once("\\E").unwrap_or((after, ""));
        out.push_str(&fancy_regex::escape(quoted));
        return after;
    }
    if let Some((_, outside, inside)) = CLASSES.iter().find(|(letter, ..)| *letter == c) {
        out.push_str(if bracketed { inside } else { outside });
        return after;
    }
    if let Some((name, following)) = after.strip_prefix('{').and_then(|a| a.split_once('}'))
        && "pPxN".contains(c)
    {
        let not = if c == 'P' { "^" } else { "" };
        if c == 'x' || c == 'N' {
            out.push_str(&format!("\\{c}{{{name}}}"));
        } else if let Some((_, set)) = POSIX.iter().find(|(known, _)| *known == name) {
            out.push_str(&format!("[{not}{set}]"));
        } else {
            let known = PROPERTIES.iter().find(|(java, _)| *java == name);
            let script = name.strip_prefix("Is").or_else(|| name.strip_prefix("In"));
            let name = known.map_or_else(|| script.unwrap_or(name), |(_, ours)| ours);
            out.push_str(&format!("\\{c}{{{name}}}"));
        }
        return following;
    }
    match c {
        'Z' => {
            out.push_str(r"(?=\n?\z)");
            return after;
        }
        // A control character, by the letter on its key.
        'c' => {
            let mut chars = after.chars();
            if let Some(key) = chars.next().filter(char::is_ascii) {
                out.push_str(&format!("\\x{:02X}", u32::from(key) ^ 0x40));
                return chars.as_str();
            }
        }
        // A character by its number in base 8.
        '0' => {
            let digits = after
                .bytes()
                .take_while(|b| (b'0'..=b'7').contains(b))
                .count();
            let most = if after.starts_with(['0', '1', '2', '3']) {
                3
            } else {
                2
            };
            let (octal, following) = after.split_at(digits.min(most));
            if let Ok(code) = u32::from_str_radix(octal, 8) {
                out.push_str(&format!("\\x{code:02X}"));
                return following;
            }
        }
        _ => {}
    }
    // Java lets any other sign be escaped, even where that means nothing.
    if c.is_alphanumeric() || "\\.+*?()|[]{}^$#&-~".contains(c) {
        out.push('\\');
    }
    out.push(c);
    after
}
