//! Property files of builds: YAML, JSON or Java properties, by their name. Pure.
//! Source: `igor: PropertyParser`, `JenkinsService.getBuildProperties`.

use serde_json::{Map, Value};

/// Largest file that is read, in bytes.
pub(crate) const MAX: usize = 256 * 1024;

/// The properties of a file.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn parse(name: &str, text: &str) -> Result<Map<String, Value>, String> {
    let lower = name.to_lowercase();
    let value: Value = if lower.ends_with(".json") {
        serde_json::from_str(text).map_err(|e| format!("{name} is not JSON: {e}"))?
    } else if lower.ends_with(".yml") || lower.ends_with(".yaml") {
        serde_yaml_ng::from_str(text).map_err(|e| format!("{name} is not YAML: {e}"))?
    } else {
        return Ok(java(text));
    };
    match value {
        Value::Object(map) => Ok(map),
        _ => Err(format!("{name} holds no object")),
    }
}

/// `key=value` lines as Java reads them: comments, continued lines, escapes.
fn java(text: &str) -> Map<String, Value> {
    let mut found = Map::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut line = line.trim_start().to_owned();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        while is_continued(&line) {
            line.pop();
            line.push_str(lines.next().unwrap_or_default().trim_start());
        }
        let (key, value) = split(&line);
        found.insert(unescaped(key), unescaped(value).into());
    }
    found
}

fn is_continued(line: &str) -> bool {
    let slashes = line.bytes().rev().take_while(|b| *b == b'\\').count();
    slashes % 2 == 1
}

fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match c {
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            '=' | ':' if !escaped => return (line[..at].trim_end(), line[at + 1..].trim_start()),
            c if c.is_whitespace() && !escaped => {
                let rest = line[at..].trim_start();
                let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
                return (&line[..at], rest.trim_start());
            }
            _ => {}
        }
        escaped = false;
    }
    (line, "")
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let code: String = chars.by_ref().take(4).collect();
                let decoded = u32::from_str_radix(&code, 16).ok().and_then(char::from_u32);
                out.push(decoded.unwrap_or('\u{fffd}'));
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn properties_are_read_by_the_files_name() {
        for (name, text, expected) in [
            (
                "a.properties",
                "# c\n! c\nimage=h/a:1\nurl : http\\://x\nempty\nlong=a \\\n   b\nk\\ ey=\\u00e4\n",
                json!({"image": "h/a:1", "url": "http://x", "empty": "", "long": "a b", "k ey": "ä"}),
            ),
            (
                "a.yml",
                "image: h/a:1\nn: 1\n",
                json!({"image": "h/a:1", "n": 1}),
            ),
            ("a.json", "{\"image\": \"x\"}", json!({"image": "x"})),
        ] {
            assert_eq!(
                Value::Object(parse(name, text).unwrap()),
                expected,
                "{name}"
            );
        }
        assert!(parse("a.json", "[]").is_err());
        assert!(parse("a.yml", ": :").is_err());
    }
}
