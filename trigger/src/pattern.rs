//! Regular expressions as Spinnaker's users write them.
//!
//! Java's dialect is nearer to `fancy-regex` (look-around, back-references)
//! than to `regex`. A pattern that does not compile, or would take too long,
//! matches nothing and says why.

use fancy_regex::RegexBuilder;

/// Steps one match may take.
const BACKTRACKS: usize = 100_000;
/// Longest pattern, in bytes.
const MAX_PATTERN: usize = 2_000;

/// Whether the whole text matches.
///
/// # Errors
/// Why the pattern cannot be used, in words.
pub(crate) fn whole(pattern: &str, text: &str) -> Result<bool, String> {
    matches(pattern, &format!("\\A(?:{pattern})\\z"), text)
}

/// Whether some part of the text matches.
///
/// # Errors
/// Why the pattern cannot be used, in words.
pub(crate) fn part(pattern: &str, text: &str) -> Result<bool, String> {
    matches(pattern, pattern, text)
}

fn matches(pattern: &str, expression: &str, text: &str) -> Result<bool, String> {
    if pattern.len() > MAX_PATTERN {
        return Err(format!("it is longer than {MAX_PATTERN} bytes"));
    }
    let regex = RegexBuilder::new(expression)
        .backtrack_limit(BACKTRACKS)
        .build()
        .map_err(|e| e.to_string())?;
    regex.is_match(text).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_text_must_match() {
        for (pattern, text, expected) in [
            ("v.*", "v1", true),
            ("v", "v1", false),
            ("a|b", "b", true),
            ("a|b", "ab", false),
            ("(?!.*-SNAPSHOT).*", "1.0", true),
            ("(?!.*-SNAPSHOT).*", "1.0-SNAPSHOT", false),
            (".*", "a\n", false),
        ] {
            assert_eq!(whole(pattern, text), Ok(expected), "{pattern} on {text:?}");
        }
    }

    #[test]
    fn a_pattern_that_cannot_be_used_says_why() {
        assert!(whole("(", "x").is_err());
        assert!(whole("(a*)*\\1b", &"a".repeat(40)).is_err());
        assert!(whole(&"a".repeat(3_000), "a").is_err());
    }
}
