//! Whether an artifact is what is asked for, and which field says it is not.
//!
//! Java's patterns are nearer to `fancy-regex` (look-around, back-references) than to
//! `regex`. They are bounded: their length and the steps one match may take.

use fancy_regex::RegexBuilder;
use serde_json::Value;

/// Steps one match may take.
const BACKTRACKS: usize = 100_000;
/// Longest pattern, in bytes.
const MAX_PATTERN: usize = 2_000;
/// What is compared.
const FIELDS: [&str; 5] = ["type", "name", "version", "location", "reference"];

/// A field in which an artifact is not what is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Miss {
    /// The field.
    pub field: &'static str,
    /// The text or pattern that it should match.
    pub wanted: String,
    /// What it is; none if it has no such field.
    pub came: Option<String>,
    /// Why the pattern cannot be used, if it cannot.
    pub fault: Option<String>,
}

impl std::fmt::Display for Miss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            field,
            wanted,
            came,
            fault,
        } = self;
        match (came, fault) {
            (_, Some(fault)) => write!(
                f,
                "its {field} pattern \"{wanted}\" cannot be used: {fault}"
            ),
            (Some(came), None) => write!(f, "its {field} is \"{came}\", not \"{wanted}\""),
            (None, None) => write!(f, "it has no {field}, which should be \"{wanted}\""),
        }
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

fn whole(pattern: &str, text: &str) -> Result<bool, String> {
    if pattern.len() > MAX_PATTERN {
        return Err(format!("it is longer than {MAX_PATTERN} bytes"));
    }
    let regex = RegexBuilder::new(&format!("\\A(?:{pattern})\\z"))
        .backtrack_limit(BACKTRACKS)
        .build()
        .map_err(|e| e.to_string())?;
    regex.is_match(text).map_err(|e| e.to_string())
}

/// The fields in which an artifact is not what `wanted` asks for; none: it is.
pub fn misses(wanted: &Value, artifact: &Value) -> Vec<Miss> {
    let embedded = |text: &str| matches!(text, "embedded/base64" | "remote/base64");
    let mut found = Vec::new();
    for field in FIELDS {
        let pattern = text(wanted, field).unwrap_or_default();
        if pattern.is_empty() {
            continue;
        }
        let mut miss = Miss {
            field,
            wanted: pattern.to_owned(),
            came: text(artifact, field).map(ToOwned::to_owned),
            fault: None,
        };
        if let Some(came) = text(artifact, field) {
            if pattern == came || (field == "type" && embedded(pattern) && embedded(came)) {
                continue;
            }
            match whole(pattern, came) {
                Ok(true) => continue,
                Ok(false) => {}
                Err(fault) => miss.fault = Some(fault),
            }
        }
        found.push(miss);
    }
    found
}

/// Whether an artifact is what an expected one asks for.
pub fn fits(expected: &Value, artifact: &Value) -> bool {
    let wanted = expected.get("matchArtifact").unwrap_or(&Value::Null);
    misses(wanted, artifact).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn artifacts_fit_by_equality_or_whole_pattern_and_empty_means_any() {
        let image =
            json!({"type": "docker/image", "name": "h/a", "version": "1", "reference": "h/a:1"});
        for (wanted, artifact, expected) in [
            (json!({}), image.clone(), true),
            (json!({"name": ""}), image.clone(), true),
            (json!({"name": "h/.*"}), image.clone(), true),
            (json!({"name": "h"}), image.clone(), false),
            (json!({"location": "x"}), image.clone(), false),
            (json!({"reference": "h/a:1"}), image.clone(), true),
            (json!({"name": "("}), image.clone(), false),
            (json!({"uuid": "x"}), image, true),
            (
                json!({"type": "embedded/base64"}),
                json!({"type": "remote/base64"}),
                true,
            ),
            (json!({"name": "abc"}), json!({"name": "abcde"}), false),
            (json!({"name": "bc.*"}), json!({"name": "abcde"}), false),
            (json!({"name": ".*bc.*"}), json!({"name": "abcde"}), true),
            (json!({"name": "^abcde$"}), json!({"name": "abcde"}), true),
            (json!({"name": "abc"}), json!({"name": ""}), false),
            (
                json!({"reference": "+++"}),
                json!({"reference": "+++"}),
                true,
            ),
        ] {
            let expectation = json!({"matchArtifact": wanted});
            assert_eq!(fits(&expectation, &artifact), expected, "{wanted}");
        }
    }

    #[test]
    fn a_miss_names_field_pattern_and_value() {
        let wanted =
            json!({"type": "docker/image", "version": "rel-.*", "location": "x", "name": "("});
        let came = json!({"type": "docker/image", "version": "dev-7", "name": "a"});
        let told: Vec<String> = misses(&wanted, &came)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(
            told[0].starts_with("its name pattern \"(\" cannot be used"),
            "{told:?}"
        );
        assert_eq!(told[1], "its version is \"dev-7\", not \"rel-.*\"");
        assert_eq!(told[2], "it has no location, which should be \"x\"");
    }
}
