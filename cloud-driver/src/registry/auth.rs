//! How a registry wants to be convinced: the challenge and the token.
//!
//! Follows the distribution specification's token scheme: the first answer is
//! 401 with `WWW-Authenticate: Bearer realm=…,service=…,scope=…`, the realm
//! gives a token for the scope, the question is asked again with it.

use serde_json::Value;

/// What a 401 asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password with every request.
    Basic,
    /// A token from elsewhere.
    Bearer {
        /// Where to get it.
        realm: String,
        /// For which service.
        service: Option<String>,
        /// For which rights.
        scope: Option<String>,
    },
}

impl Challenge {
    /// Reads a `WWW-Authenticate` header; none for schemes we do not know.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header
            .trim()
            .split_once(' ')
            .unwrap_or_else(|| (header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (None, None, None);
        for (key, value) in parameters(rest) {
            match key.to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value),
                "service" => service = Some(value),
                "scope" => scope = Some(value),
                _ => {}
            }
        }
        realm.map(|realm| Self::Bearer {
            realm,
            service,
            scope,
        })
    }
}

/// `key="value with, commas",key2=value2`
fn parameters(mut rest: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.trim_matches([',', ' ']).to_owned();
        let value;
        if let Some(quoted) = after.strip_prefix('"') {
            let Some((inner, further)) = quoted.split_once('"') else {
                break;
            };
            (value, rest) = (inner, further);
        } else {
            (value, rest) = after.split_once(',').unwrap_or((after, ""));
        }
        found.push((key, value.trim().to_owned()));
    }
    found
}

/// The token in a token server's answer: whichever of the three names it uses.
pub(super) fn token(answer: &Value) -> Option<&str> {
    ["bearer_token", "token", "access_token"]
        .iter()
        .find_map(|name| answer.get(name)?.as_str())
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn challenges_are_read_with_and_without_quotes() {
        let bearer = |service: Option<&str>, scope: Option<&str>| {
            Some(Challenge::Bearer {
                realm: "https://a/token".into(),
                service: service.map(Into::into),
                scope: scope.map(Into::into),
            })
        };
        for (header, expected) in [
            (
                r#"Bearer realm="https://a/token",service="r",scope="repository:x:pull,push""#,
                bearer(Some("r"), Some("repository:x:pull,push")),
            ),
            (
                r#"bearer realm=https://a/token, service=r"#,
                bearer(Some("r"), None),
            ),
            (r#"Bearer service="r""#, None),
            (r#"Bearer realm="unclosed"#, None),
            (r#"Basic realm="x""#, Some(Challenge::Basic)),
            ("Negotiate", None),
        ] {
            assert_eq!(Challenge::parse(header), expected, "{header}");
        }
    }

    #[test]
    fn a_token_goes_by_any_of_its_three_names() {
        assert_eq!(token(&json!({"access_token": "a"})), Some("a"));
        assert_eq!(
            token(&json!({"token": "t", "access_token": "a"})),
            Some("t")
        );
        assert_eq!(token(&json!({"token": ""})), None);
    }
}
