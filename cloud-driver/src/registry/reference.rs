//! Names of images: `registry/repository:tag@digest`, both directions.
//!
//! A pure grammar (that of the distribution specification), so that nothing
//! which came from a user reaches a URL or a path without having passed it.

use std::fmt;

use super::Error;

/// The registry meant by a reference without a host.
pub const DOCKER_HUB: &str = "docker.io";

/// An image as a user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Host and port: `127.0.0.1:5000`; [`DOCKER_HUB`] when none was written.
    pub registry: String,
    /// Path below it: `team/demo`.
    pub repository: String,
    /// Tag; absent when only a digest was written.
    pub tag: Option<String>,
    /// Digest: `sha256:…`; wins over the tag.
    pub digest: Option<String>,
}

impl Reference {
    /// Reads a reference. Without tag and digest the tag is `latest`, as Docker reads it.
    ///
    /// # Errors
    /// [`Error::Name`] when a part does not fit the grammar.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let fault = |reason| Error::Name {
            what: "image",
            value: text.chars().take(300).collect(),
            reason,
        };
        let text = text.strip_prefix("docker://").unwrap_or(text);
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        let (host, path) = match name.split_once('/') {
            Some((first, rest)) if is_host(first) => (first, rest),
            _ => (DOCKER_HUB, name),
        };
        let (repository, tag) = match path.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (path, None),
        };
        let mut repository = repository.to_owned();
        if host == DOCKER_HUB && !repository.contains('/') {
            repository.insert_str(0, "library/");
        }
        if !is_repository(&repository) {
            return Err(fault("write registry/repository:tag in lower case"));
        }
        if !tag.is_none_or(is_tag) {
            return Err(fault(
                "a tag has letters, digits, '.', '_', '-', at most 128",
            ));
        }
        if !digest.is_none_or(is_digest) {
            return Err(fault(
                "a digest is sha256: and 64 hexadecimal digits in lower case",
            ));
        }
        let tag = match (tag, digest) {
            (None, None) => Some("latest".to_owned()),
            _ => tag.map(ToOwned::to_owned),
        };
        Ok(Self {
            registry: host.to_owned(),
            repository,
            tag,
            digest: digest.map(ToOwned::to_owned),
        })
    }

    /// What a manifest is asked for by: the digest, else the tag.
    pub fn target(&self) -> &str {
        self.digest
            .as_deref()
            .or(self.tag.as_deref())
            .unwrap_or("latest")
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

fn is_host(text: &str) -> bool {
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']'));
    plain && (text == "localhost" || text.contains(['.', ':']))
}

/// Whether a repository fits the distribution specification's grammar.
pub fn is_repository(text: &str) -> bool {
    let part = |part: &str| {
        let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        ends(part.as_bytes().first())
            && ends(part.as_bytes().last())
            && part.bytes().all(|b| {
                b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-')
            })
            && !part.contains("..")
    };
    (1..=255).contains(&text.len()) && text.split('/').all(part)
}

/// Whether a tag fits the grammar.
pub fn is_tag(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Whether a text is a sha256 digest, the only kind we verify.
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_read_as_docker_reads_them() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, registry, repository, target) in [
            ("127.0.0.1:5000/demo:2", "127.0.0.1:5000", "demo", "2"),
            ("docker://localhost/a/b", "localhost", "a/b", "latest"),
            ("nginx:1.29", DOCKER_HUB, "library/nginx", "1.29"),
            ("team/app", DOCKER_HUB, "team/app", "latest"),
            (
                &format!("r.example:443/x@{digest}"),
                "r.example:443",
                "x",
                &digest,
            ),
            (
                &format!("r.example/x:1@{digest}"),
                "r.example",
                "x",
                &digest,
            ),
        ] {
            let read = Reference::parse(text).unwrap();
            assert_eq!(
                (&*read.registry, &*read.repository, read.target()),
                (registry, repository, target),
                "{text}"
            );
        }
    }

    #[test]
    fn what_could_leave_its_place_in_a_url_or_path_is_refused() {
        for text in [
            "",
            "h:1/",
            "h:1/../x",
            "h:1/a..b",
            "h:1/a//b",
            "h:1/A",
            "h:1/a:.x",
            "h:1/a:x/y",
            "h:1/a?b",
            "h:1/a@sha256:zz",
            "h:1/a@sha512:aa",
            "h:1/a b",
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_reference_is_written_as_it_was_read() {
        let text = format!("h:1/a/b:1@sha256:{}", "0".repeat(64));
        assert_eq!(Reference::parse(&text).unwrap().to_string(), text);
    }
}
