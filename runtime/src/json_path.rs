//! The part of JSONPath that names one value: `$.a.b[0]['c d']`. Wildcards and
//! filters, which name several, are refused with that reason.

use serde_json::Value;

/// One step into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A field of an object.
    Field(String),
    /// A place in a list, negative ones from its end.
    Index(i64),
}

/// Reads a path.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(path: &str) -> Result<Vec<Step>, String> {
    let fault = |reason: &str| {
        Err(format!(
            "json path \"{path}\" {reason}; write it as $.field, $['field'] or $.list[0]"
        ))
    };
    let Some(mut rest) = path.trim().strip_prefix('$') else {
        return fault("does not begin with $");
    };
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (name, left) = after.split_at(end);
            if name.is_empty() {
                return fault("has an empty step");
            }
            if name.contains('*') || name.ends_with("()") {
                return fault("names several values or a function");
            }
            steps.push(Step::Field(name.to_owned()));
            rest = left;
        } else if let Some(after) = rest.strip_prefix('[') {
            let Some(end) = closing(after) else {
                return fault("has a bracket that is not closed");
            };
            let (inside, left) = (after[..end].trim(), &after[end + 1..]);
            let quoted = ['\'', '"']
                .iter()
                .find_map(|q| inside.strip_prefix(*q)?.strip_suffix(*q));
            match (quoted, inside.parse()) {
                (Some(name), _) => steps.push(Step::Field(name.to_owned())),
                (None, Ok(index)) => steps.push(Step::Index(index)),
                (None, Err(_)) => return fault("names several values"),
            }
            rest = left;
        } else {
            return fault("has a step that begins with neither . nor [");
        }
    }
    Ok(steps)
}

/// Where the bracket that is open ends, quoted brackets left out.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, ']') => return Some(at),
            (None, _) => {}
        }
    }
    None
}

/// The value at a path; none if there is none.
pub fn find(value: &Value, path: &str) -> Result<Option<Value>, String> {
    let mut at = value;
    for step in parse(path)? {
        let next = match &step {
            Step::Field(name) => at.get(name),
            Step::Index(index) => at.as_array().and_then(|list| {
                let length = i64::try_from(list.len()).ok()?;
                let index = if *index < 0 { length + index } else { *index };
                list.get(usize::try_from(index).ok()?)
            }),
        };
        match next {
            Some(found) => at = found,
            None => return Ok(None),
        }
    }
    Ok(Some(at.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_value_is_found_by_fields_and_positions() {
        let value = json!({"a": {"b c": [1, {"d": "x"}]}, "s": "DONE"});
        for (path, expected) in [
            ("$", Some(value.clone())),
            ("$.s", Some(json!("DONE"))),
            ("$.a['b c'][1].d", Some(json!("x"))),
            ("$['a'][\"b c\"][-2]", Some(json!(1))),
            ("$.a.missing", None),
            ("$.a['b c'][7]", None),
            ("$.s[0]", None),
        ] {
            assert_eq!(find(&value, path), Ok(expected), "{path}");
        }
        for path in ["a", "$.*", "$..a", "$[?(@.x)]", "$[0", "$x", "$.a.length()"] {
            assert!(parse(path).is_err(), "{path}");
        }
    }
}
