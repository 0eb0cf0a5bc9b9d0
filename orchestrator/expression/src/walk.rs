//! Walking a template: its maps, their keys, its lists, its texts; and what a text
//! becomes when some of its expressions are null or fail.
//!
//! Truth: `kork: ExpressionTransform`.

use serde_json::{Map, Value};

use crate::ast::Expr;
use crate::error::{Failure, Fault, Level, ParseError, Stop, Syntax};
use crate::eval::{Machine, too_much};
use crate::limits::{EXPRESSION_CHARS, TEMPLATE_DEPTH, TEXT_BYTES, VALUE_DEPTH};
use crate::template::{self, Part};
use crate::{Evaluated, Options, Scope, function, json, operator, parser};

/// Evaluates a template.
pub(crate) fn evaluate(template: &Value, scope: Scope<'_>, options: Options<'_>) -> Evaluated {
    if !has_expression(template, TEMPLATE_DEPTH) {
        return Evaluated {
            value: template.clone(),
            ..Evaluated::default()
        };
    }
    let mut walk = Walk {
        machine: Machine::new(scope, options),
        around: None,
        failures: Vec::new(),
    };
    let value = walk.value(template, TEMPLATE_DEPTH);
    Evaluated {
        value,
        failures: walk.failures,
        needs: walk.machine.needs,
    }
}

fn has_expression(value: &Value, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else {
        return false;
    };
    match value {
        Value::String(text) => text.contains("${"),
        Value::Array(items) => items.iter().any(|item| has_expression(item, depth)),
        Value::Object(fields) => fields
            .iter()
            .any(|(key, value)| key.contains("${") || has_expression(value, depth)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Checks a text without evaluating it.
pub(crate) fn check(text: &str) -> Result<(), ParseError> {
    if !text.contains("${") {
        return Ok(());
    }
    for part in template::split(text).map_err(|syntax| syntax.told(0))? {
        if let Part::Expression { at, text } = part {
            let parsed = within(&text, EXPRESSION_CHARS).and_then(|()| parser::parse(&text));
            let expr = parsed.map_err(|syntax| syntax.told(at))?;
            function::check(&expr).map_err(|syntax| syntax.told(at))?;
        }
    }
    Ok(())
}

/// As Java prints a number in a message: `10,000`.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Refuses an expression that is too long.
fn within(expression: &str, most: usize) -> Result<(), Syntax> {
    if expression.chars().count() <= most {
        return Ok(());
    }
    let most = thousands(most);
    let problem =
        format!("SpEL expression is too long, exceeding the threshold of '{most}' characters");
    Err(Syntax::evaluation("EL1079E", problem).suggest("split it with an evaluateVariables stage"))
}

struct Walk<'t, 'a> {
    machine: Machine<'a>,
    /// The map around the text, whose keys are named where it fails.
    around: Option<&'t Map<String, Value>>,
    failures: Vec<Failure>,
}

/// A part of a text, ready to be evaluated.
enum Ready {
    Literal(String),
    Expression { at: usize, text: String, expr: Expr },
}

impl<'t> Walk<'t, '_> {
    fn value(&mut self, value: &'t Value, depth: usize) -> Value {
        let Some(depth) = depth.checked_sub(1) else {
            return value.clone();
        };
        match value {
            Value::String(text) => self.text(text),
            Value::Array(items) => items.iter().map(|item| self.value(item, depth)).collect(),
            Value::Object(fields) => {
                let mut evaluated = Map::new();
                let outer = self.around.replace(fields);
                for (key, value) in fields {
                    let key = self.text(key);
                    let name = key
                        .as_str()
                        .map_or_else(|| key.to_string(), ToOwned::to_owned);
                    evaluated.insert(name, self.value(value, depth));
                }
                self.around = outer;
                Value::Object(evaluated)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    fn text(&mut self, text: &str) -> Value {
        if !text.contains("${") {
            return Value::String(text.to_owned());
        }
        let unchanged = || Value::String(text.to_owned());
        let Some(parts) = self.prepared(text) else {
            return unchanged();
        };
        let result = match parts.as_slice() {
            [Ready::Expression { at, text, expr }] => self.whole(*at, text, expr),
            parts => self.composite(parts),
        };
        match result {
            Ok(Outcome::Value(value)) => value,
            Ok(Outcome::Null(value)) => {
                let key = key_of(&parts);
                let reason = format!(": {key} not found");
                let keys = self.keys(text);
                self.failures
                    .push(Failure::new(key, &keys, reason, None, Level::Info));
                value.unwrap_or_else(unchanged)
            }
            Err((offset, Stop::Fault(fault))) => {
                self.failed(text, key_of(&parts), offset, *fault);
                unchanged()
            }
            // The text waits for its answers.
            Err((_, Stop::Need)) => unchanged(),
            Err((offset, Stop::Mismatch)) => {
                let fault = Fault::spel("EL1004E", "Method call: the arguments do not fit");
                self.failed(text, key_of(&parts), offset, fault);
                unchanged()
            }
        }
    }

    fn failed(&mut self, text: &str, key: String, offset: usize, fault: Fault) {
        let keys = self.keys(text);
        let class = Some(fault.class.to_owned());
        let failure = Failure::new(key, &keys, fault.reason(), class, Level::Error);
        let position = offset + fault.at.unwrap_or_default();
        self.failures
            .push(failure.located(position, fault.suggestion));
    }

    /// Splits and parses; none if that failed, which is then recorded.
    fn prepared(&mut self, text: &str) -> Option<Vec<Ready>> {
        let most = self.machine.options.longest.unwrap_or(EXPRESSION_CHARS);
        let parts = match template::split(text) {
            Ok(parts) => parts,
            Err(syntax) => {
                self.malformed(text, text, 0, &syntax);
                return None;
            }
        };
        let mut ready = Vec::new();
        for part in parts {
            ready.push(match part {
                Part::Literal(text) => Ready::Literal(text),
                Part::Expression { at, text: inner } => {
                    match within(&inner, most).and_then(|()| parser::parse(&inner)) {
                        Ok(expr) => Ready::Expression {
                            at,
                            text: inner,
                            expr,
                        },
                        Err(syntax) => {
                            self.malformed(text, &inner, at, &syntax);
                            return None;
                        }
                    }
                }
            });
        }
        Some(ready)
    }

    fn malformed(&mut self, text: &str, expression: &str, offset: usize, syntax: &Syntax) {
        let inner = text
            .strip_prefix("${")
            .and_then(|rest| rest.strip_suffix('}'));
        // Orca's pattern for this does not reach across lines.
        let inner = inner.filter(|inner| !inner.contains('\n'));
        let key = match inner {
            Some(inner) => inner.trim().to_owned(),
            None => text.replace('$', ""),
        };
        let (reason, class) = syntax.recorded(expression);
        let class = Some(class.to_owned());
        let failure = Failure::new(key, &self.keys(text), reason, class, Level::Error);
        let position = offset + syntax.at;
        self.failures
            .push(failure.located(position, syntax.suggestion.clone()));
    }

    /// The keys of the map around whose value is or holds this text, else the text.
    fn keys(&self, text: &str) -> String {
        let fields = self.around.into_iter().flatten();
        let mut keys: Vec<&str> = fields
            .filter(|(_, value)| holds(value, text, TEMPLATE_DEPTH))
            .map(|(key, _)| key.as_str())
            .collect();
        if keys.is_empty() {
            return function::with_execution(text);
        }
        keys.sort_by_key(|key| bucket(key));
        format!("[{}]", keys.join(", "))
    }

    /// A text that is one expression: the value as it is.
    fn whole(&mut self, at: usize, _: &str, expr: &Expr) -> Result<Outcome, (usize, Stop)> {
        let value = self.machine.run(expr, at).map_err(|stop| (at, stop))?;
        if value.is_null() {
            return Ok(Outcome::Null(None));
        }
        if value.extent(TEXT_BYTES, VALUE_DEPTH).is_none() {
            return Err((at, too_much("elements in its result", TEXT_BYTES)));
        }
        Ok(Outcome::Value(json::stored(&value)))
    }

    /// Expressions among other text: all converted to texts and joined. A null part
    /// stays as it is written, an error leaves the whole as it is written.
    fn composite(&mut self, parts: &[Ready]) -> Result<Outcome, (usize, Stop)> {
        let mut joined = String::new();
        let mut missing = false;
        let mut waits = false;
        for part in parts {
            match part {
                Ready::Literal(text) => joined.push_str(text),
                Ready::Expression { at, text, expr } => {
                    let value = match self.machine.run(expr, *at) {
                        Ok(value) => value,
                        Err(Stop::Need) => {
                            waits = true;
                            continue;
                        }
                        Err(stop) => return Err((*at, stop)),
                    };
                    if value.is_null() {
                        missing = true;
                        joined.push_str(&format!("${{{text}}}"));
                    } else {
                        let part = operator::text(&mut self.machine, &value);
                        joined.push_str(&part.map_err(|stop| (*at, stop))?);
                    }
                    if joined.len() > TEXT_BYTES {
                        return Err((*at, too_much("bytes of text", TEXT_BYTES)));
                    }
                }
            }
        }
        if waits {
            return Err((0, Stop::Need));
        }
        let value = Value::String(joined);
        Ok(if missing {
            Outcome::Null(Some(value))
        } else {
            Outcome::Value(value)
        })
    }
}

/// What a text became.
enum Outcome {
    Value(Value),
    /// Something in it was null: what it is now, none if it stays as it was.
    Null(Option<Value>),
}

/// The key in a summary: literals and expressions one after the other.
fn key_of(parts: &[Ready]) -> String {
    let parts = parts.iter().map(|part| match part {
        Ready::Literal(text) => text.clone(),
        Ready::Expression { text, .. } => function::with_execution(text),
    });
    parts.collect()
}

/// Whether a value is the text, or a map that has it as a key or value. Lists are not
/// looked into, as in Orca.
fn holds(value: &Value, text: &str, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else {
        return false;
    };
    match value {
        Value::String(found) => found == text,
        Value::Object(fields) => fields
            .iter()
            .any(|(key, value)| key == text || holds(value, text, depth)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => false,
    }
}

/// Where Java's hash set of so few keys has this one: keys are named in that order.
fn bucket(key: &str) -> i32 {
    let hash = operator::hash(key.encode_utf16());
    (hash ^ ((hash >> 16) & 0xFFFF)) & 15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_in_the_order_of_javas_hash_set() {
        let mut keys = ["a", "b", "zz", "key", "value", "name", "description"];
        keys.sort_by_key(|key| bucket(key));
        assert_eq!(
            keys,
            ["zz", "a", "b", "name", "description", "value", "key"]
        );
    }
}
