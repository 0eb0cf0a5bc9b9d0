//! Finding `${…}` in a text.
//!
//! It knows brackets and quotes and nothing else of the language, as in Spring: a
//! `}` inside a literal or inside nested braces does not end an expression. Truth:
//! `spring: TemplateAwareExpressionParser`.

use crate::error::Syntax;

/// A stretch of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// Text that stands for itself.
    Literal(String),
    /// What is between `${` and `}`, trimmed.
    Expression {
        /// Where the trimmed text starts, in characters.
        at: usize,
        /// The text.
        text: String,
    },
}

/// Splits a text at its expressions.
pub(crate) fn split(text: &str) -> Result<Vec<Part>, Syntax> {
    let chars: Vec<char> = text.chars().collect();
    let mut parts = Vec::new();
    let mut from = 0;
    while from < chars.len() {
        let Some(prefix) = find_prefix(&chars, from) else {
            parts.push(Part::Literal(slice(&chars, from, chars.len())));
            break;
        };
        if prefix > from {
            parts.push(Part::Literal(slice(&chars, from, prefix)));
        }
        let start = prefix + 2;
        let Some(end) = find_end(text, &chars, start)? else {
            let rest = slice(&chars, prefix, chars.len());
            let problem = format!(
                "No ending suffix '}}' for expression starting at character {prefix}: {rest}"
            );
            return Err(
                Syntax::template(text, prefix, problem).suggest("close the expression with '}'")
            );
        };
        let raw = slice(&chars, start, end);
        let inner = raw.trim_matches(|c| c <= ' ');
        if inner.is_empty() {
            let problem =
                format!("No expression defined within delimiter '${{}}' at character {prefix}");
            return Err(Syntax::template(text, prefix, problem)
                .suggest("write an expression between the braces, or '$' apart from '{'"));
        }
        let skipped = raw.chars().take_while(|c| *c <= ' ').count();
        parts.push(Part::Expression {
            at: start + skipped,
            text: inner.to_owned(),
        });
        from = end + 1;
    }
    Ok(parts)
}

fn slice(chars: &[char], from: usize, to: usize) -> String {
    chars.get(from..to).unwrap_or_default().iter().collect()
}

fn find_prefix(chars: &[char], from: usize) -> Option<usize> {
    let rest = chars.get(from..)?;
    rest.windows(2)
        .position(|pair| pair == ['$', '{'])
        .map(|found| from + found)
}

/// Where the expression's `}` is; none if the text ends first.
fn find_end(text: &str, chars: &[char], start: usize) -> Result<Option<usize>, Syntax> {
    let rest = chars.get(start..).unwrap_or_default();
    if !rest.contains(&'}') {
        return Ok(None);
    }
    let mut open: Vec<(char, usize)> = Vec::new();
    let mut at = start;
    while let Some(&c) = chars.get(at) {
        match c {
            '}' if open.is_empty() => return Ok(Some(at)),
            '{' | '[' | '(' => open.push((c, at)),
            '}' | ']' | ')' => close(text, &mut open, c, at)?,
            '\'' | '"' => {
                let rest = chars.get(at + 1..).unwrap_or_default();
                let Some(length) = rest.iter().position(|&other| other == c) else {
                    let problem =
                        format!("Found non terminating string literal starting at position {at}");
                    return Err(Syntax::template(text, at, problem)
                        .suggest(format!("end the literal with {c}")));
                };
                at += length + 1;
            }
            _ => {}
        }
        at += 1;
    }
    let Some((bracket, position)) = open.pop() else {
        return Ok(None);
    };
    let closing = partner(bracket);
    let problem = format!("Missing closing '{closing}' for '{bracket}' at position {position}");
    Err(Syntax::template(text, position, problem).suggest(format!("add '{closing}'")))
}

fn close(text: &str, open: &mut Vec<(char, usize)>, c: char, at: usize) -> Result<(), Syntax> {
    let Some((bracket, position)) = open.pop() else {
        let opening = partner(c);
        let problem =
            format!("Found closing '{c}' at position {at} without an opening '{opening}'");
        return Err(Syntax::template(text, at, problem).suggest(format!("remove '{c}'")));
    };
    if partner(bracket) == c {
        return Ok(());
    }
    let problem = format!(
        "Found closing '{c}' at position {at} but most recent opening is '{bracket}' at position {position}"
    );
    Err(Syntax::template(text, at, problem).suggest(format!(
        "close '{bracket}' with '{}' first",
        partner(bracket)
    )))
}

fn partner(bracket: char) -> char {
    match bracket {
        '(' => ')',
        ')' => '(',
        '[' => ']',
        ']' => '[',
        '{' => '}',
        _ => '{',
    }
}
