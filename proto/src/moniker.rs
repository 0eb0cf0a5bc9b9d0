//! Names of clusters and server groups: Frigga's grammar, both directions.
//!
//! A pure rule that several services must agree on. Source of the behaviour:
//! `frigga: Names.parseName` and `clouddriver: AbstractServerGroupNameResolver`.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a name says about the thing it names; every part may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moniker {
    /// Application: the first token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// `app-stack-detail` without the sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Everything after the stack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Second token, such as `staging`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// 0 to 999 in names we make; up to 999,999 in names we read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u32>,
}

/// Why a name could not be built.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// A part holds characters Frigga would not read back.
    #[error("{field} \"{value}\" may hold only {allowed}; choose another {field}")]
    Characters {
        /// `application`, `stack` or `detail`.
        field: &'static str,
        /// The offending value.
        value: String,
        /// What is allowed instead.
        allowed: &'static str,
    },
    /// The application is empty.
    #[error("application is empty; a server group name begins with it")]
    NoApplication,
    /// Every sequence number is in use.
    #[error("all 1000 sequence numbers of cluster {cluster} are taken; destroy old server groups")]
    Exhausted {
        /// The cluster without a free number.
        cluster: String,
    },
}

fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '.' || c == '_'
}

fn in_detail(c: char) -> bool {
    plain(c) || matches!(c, '-' | '~' | '^')
}

impl Moniker {
    /// Reads a server group or cluster name. A name outside the grammar gives
    /// a moniker without any part, as Frigga does.
    pub fn parse(name: &str) -> Self {
        let (cluster, sequence) = match name.rfind("-v") {
            Some(at) => {
                let (front, digits) = (&name[..at], &name[at + 2..]);
                let is_push = (3..=6).contains(&digits.len())
                    && digits.bytes().all(|b| b.is_ascii_digit())
                    && front.chars().all(in_detail);
                match digits.parse() {
                    Ok(sequence) if is_push => (front, Some(sequence)),
                    _ => (name, None),
                }
            }
            None => (name, None),
        };
        let mut parts = cluster.splitn(3, '-');
        let app = parts.next().unwrap_or_default();
        let stack = parts.next().unwrap_or_default();
        let detail = parts.next().unwrap_or_default();
        let fits = !app.is_empty()
            && app.chars().all(plain)
            && stack.chars().all(plain)
            && detail.chars().all(in_detail);
        if !fits {
            return Self::default();
        }
        let part = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Self {
            app: part(app),
            cluster: part(cluster),
            detail: part(detail),
            stack: part(stack),
            sequence,
        }
    }
}

/// The cluster name of application, stack and free-form detail; empty parts count as absent.
///
/// # Errors
/// When a part holds characters that would not be read back as that part.
pub fn cluster_name(app: &str, stack: Option<&str>, detail: Option<&str>) -> Result<String, Error> {
    let stack = stack.filter(|s| !s.is_empty());
    let detail = detail.filter(|s| !s.is_empty());
    if app.is_empty() {
        return Err(Error::NoApplication);
    }
    let check = |field, value: &str, fits: fn(char) -> bool, allowed| {
        if value.chars().all(fits) {
            Ok(())
        } else {
            Err(Error::Characters {
                field,
                value: value.to_owned(),
                allowed,
            })
        }
    };
    check("application", app, plain, "letters, digits, '.' and '_'")?;
    check(
        "stack",
        stack.unwrap_or_default(),
        plain,
        "letters, digits, '.' and '_'",
    )?;
    check(
        "detail",
        detail.unwrap_or_default(),
        in_detail,
        "letters, digits, '.', '_', '-', '~' and '^'",
    )?;
    let mut name = app.to_owned();
    if stack.is_some() || detail.is_some() {
        name.push('-');
        name.push_str(stack.unwrap_or_default());
    }
    if let Some(detail) = detail {
        name.push('-');
        name.push_str(detail);
    }
    Ok(name)
}

/// The server group name with its three-digit sequence.
pub fn server_group_name(cluster: &str, sequence: u32) -> String {
    format!("{cluster}-v{sequence:03}")
}

/// The next free sequence of a cluster: one after `newest` (the sequence of the
/// server group created last, not the highest), wrapping at 1000 and passing
/// over those in `taken`.
///
/// # Errors
/// When all thousand are taken.
pub fn next_sequence(cluster: &str, newest: Option<u32>, taken: &[u32]) -> Result<u32, Error> {
    let first = newest.map_or(0, |n| (n + 1) % 1000);
    (0..1000)
        .map(|step| (first + step) % 1000)
        .find(|candidate| !taken.contains(candidate))
        .ok_or_else(|| Error::Exhausted {
            cluster: cluster.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(
        name: &str,
    ) -> (
        Option<&'static str>,
        Option<String>,
        Option<String>,
        Option<u32>,
    ) {
        let m = Moniker::parse(name);
        let app = m.app.map(|a| &*Box::leak(a.into_boxed_str()));
        (app, m.stack, m.detail, m.sequence)
    }

    #[test]
    fn names_parse_as_frigga_parses_them() {
        let some = |s: &str| Some(s.to_owned());
        for (name, expected) in [
            ("myapp", (Some("myapp"), None, None, None)),
            (
                "myapp-prod-v003",
                (Some("myapp"), some("prod"), None, Some(3)),
            ),
            (
                "myapp--canary-v010",
                (Some("myapp"), None, some("canary"), Some(10)),
            ),
            (
                "myapp-prod-eu-west",
                (Some("myapp"), some("prod"), some("eu-west"), None),
            ),
            ("myapp-v1", (Some("myapp"), some("v1"), None, None)),
            ("my:app", (None, None, None, None)),
            ("", (None, None, None, None)),
        ] {
            assert_eq!(parts(name), expected, "{name}");
        }
        assert_eq!(
            Moniker::parse("myapp--canary-v010").cluster,
            some("myapp--canary")
        );
    }

    #[test]
    fn built_names_read_back_as_their_parts() {
        for (app, stack, detail) in [
            ("a", None, None),
            ("a", Some("b"), None),
            ("a", None, Some("c-d")),
            ("a.b", Some("s"), Some("x~1")),
        ] {
            let cluster = cluster_name(app, stack, detail).unwrap();
            let m = Moniker::parse(&server_group_name(&cluster, 7));
            assert_eq!(
                (
                    m.app.as_deref(),
                    m.stack.as_deref(),
                    m.detail.as_deref(),
                    m.sequence
                ),
                (Some(app), stack, detail, Some(7))
            );
        }
    }

    #[test]
    fn sequences_wrap_and_pass_over_what_is_taken() {
        assert_eq!(next_sequence("c", None, &[]), Ok(0));
        assert_eq!(next_sequence("c", Some(999), &[999]), Ok(0));
        assert_eq!(next_sequence("c", Some(3), &[3, 4]), Ok(5));
        let all: Vec<u32> = (0..1000).collect();
        assert!(next_sequence("c", Some(1), &all).is_err());
    }

    #[test]
    fn a_stack_with_a_dash_is_refused_by_name() {
        let error = cluster_name("a", Some("b-c"), None).unwrap_err();
        assert!(error.to_string().starts_with("stack \"b-c\""));
    }
}
