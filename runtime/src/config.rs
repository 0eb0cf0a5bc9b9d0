//! Configuration: YAML with environment overrides, unknown keys refused, every
//! faulty section reported at once, secrets by reference.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_yaml_ng::{Mapping, Value};
use thiserror::Error;

/// The largest configuration file read, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// It is not YAML, or not a mapping.
    #[error("configuration {path} is not a YAML mapping: {reason}")]
    Yaml {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// Sections that do not fit; one line each.
    #[error("configuration is faulty:\n{}", .0.join("\n"))]
    Sections(Vec<String>),
    /// A secret's reference leads nowhere.
    #[error("secret {reference} cannot be read: {reason}; set it or correct the reference")]
    Secret {
        /// `file:/…` or `env:…`.
        reference: String,
        /// Cause.
        reason: String,
    },
}

/// A configuration as sections, each read by the service it belongs to.
#[derive(Debug, Default, Clone)]
pub struct Document {
    sections: Mapping,
    faults: Vec<String>,
    known: Vec<String>,
}

impl Document {
    /// Reads a file; a file that is not there is an empty configuration.
    ///
    /// # Errors
    /// When it is there and cannot be read, or is no YAML mapping.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let read = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        match std::fs::metadata(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(read(e)),
            Ok(meta) if meta.len() > MAX_BYTES => {
                return Err(read(std::io::Error::other(format!(
                    "larger than {MAX_BYTES} bytes"
                ))));
            }
            Ok(_) => {}
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        Self::parse(&text).map_err(|reason| Error::Yaml {
            path: path.to_owned(),
            reason,
        })
    }

    /// Reads a text.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        match serde_yaml_ng::from_str(text).map_err(|e| e.to_string())? {
            Value::Mapping(sections) => Ok(Self {
                sections,
                ..Self::default()
            }),
            Value::Null => Ok(Self::default()),
            _ => Err("the top level is not a mapping".to_owned()),
        }
    }

    /// Sets values from variables such as `GENNAKER_TRIGGER__POLL__INTERVAL`:
    /// section, then the path, in kebab case (`_` becomes `-`).
    pub fn override_from<I>(&mut self, variables: I)
    where
        I: IntoIterator<Item = (String, String)>,
    {
        let sorted: BTreeMap<_, _> = variables.into_iter().collect();
        for (name, value) in sorted {
            let Some(path) = name.strip_prefix("GENNAKER_").filter(|p| p.contains("__")) else {
                continue;
            };
            let keys: Vec<String> = path
                .split("__")
                .map(|k| k.to_lowercase().replace('_', "-"))
                .collect();
            let parsed = serde_yaml_ng::from_str(&value).unwrap_or(Value::String(value));
            set(&mut self.sections, &keys, parsed);
        }
    }

    /// Reads one section; an absent one has its defaults. A fault is kept for
    /// [`Document::finish`], so that all of them are reported together.
    pub fn section<T: DeserializeOwned + Default>(&mut self, name: &str) -> T {
        self.known.push(name.to_owned());
        let Some(value) = self.sections.get(name).filter(|v| !v.is_null()) else {
            return T::default();
        };
        serde_path_to_error::deserialize(value.clone()).unwrap_or_else(|error| {
            let fault = match error.path().iter().next() {
                Some(_) => format!("  {name}.{}: {}", error.path(), error.inner()),
                None => format!("  {name}: {}", error.inner()),
            };
            self.faults.push(fault);
            T::default()
        })
    }

    /// Ends the reading by somebody who asked for some sections only.
    ///
    /// # Errors
    /// Every section that was asked for and did not fit.
    pub fn finish_some(self) -> Result<(), Error> {
        if self.faults.is_empty() {
            Ok(())
        } else {
            Err(Error::Sections(self.faults))
        }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Every section that did not fit, and every one nobody asked for.
    pub fn finish(mut self) -> Result<(), Error> {
        for key in self.sections.keys() {
            let key = key.as_str().unwrap_or("?");
            if !self.known.iter().any(|k| k == key) {
                self.faults.push(format!(
                    "  {key}: there is no such section; known are {}",
                    self.known.join(", ")
                ));
            }
        }
        self.finish_some()
    }
}

fn set(mapping: &mut Mapping, keys: &[String], value: Value) {
    let Some((first, rest)) = keys.split_first() else {
        return;
    };
    let key = Value::String(first.clone());
    if rest.is_empty() {
        mapping.insert(key, value);
        return;
    }
    let inner = mapping
        .entry(key)
        .or_insert_with(|| Value::Mapping(Mapping::new()));
    if !inner.is_mapping() {
        *inner = Value::Mapping(Mapping::new());
    }
    if let Value::Mapping(inner) = inner {
        set(inner, rest, value);
    }
}

/// A duration written as `250ms`, `30s`, `5m`, `2h` or `1d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number
            .parse()
            .map_err(|_| format!("\"{text}\" is no duration; write 30s or 5m"))?;
        let millis = match unit.trim() {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => {
                return Err(format!(
                    "\"{text}\" has no unit of ms, s, m, h or d; write 30s"
                ));
            }
        };
        number
            .checked_mul(millis)
            .map(|ms| Self(Duration::from_millis(ms)))
            .ok_or_else(|| format!("\"{text}\" is too long"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        if ms.is_multiple_of(1000) {
            write!(f, "{}s", ms / 1000)
        } else {
            write!(f, "{ms}ms")
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A reference to a secret: `file:/path` or `env:NAME`. Never holds the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SecretRef(String);

impl SecretRef {
    /// The secret, without a trailing line break.
    ///
    /// # Errors
    /// When the file or variable is not there; the secret is never in the error.
    pub fn read(&self) -> Result<String, Error> {
        let fail = |reason: String| Error::Secret {
            reference: self.0.clone(),
            reason,
        };
        let found = if let Some(path) = self.0.strip_prefix("file:") {
            std::fs::read_to_string(path).map_err(|e| fail(e.to_string()))?
        } else if let Some(name) = self.0.strip_prefix("env:") {
            std::env::var(name).map_err(|e| fail(e.to_string()))?
        } else {
            return Err(fail("it is neither file:/… nor env:…".to_owned()));
        };
        Ok(found.trim_end_matches(['\r', '\n']).to_owned())
    }
}

impl std::str::FromStr for SecretRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("file:/") || text.len() > 4 && text.starts_with("env:") {
            Ok(Self(text.to_owned()))
        } else {
            // The text may be the secret itself, so it is not repeated.
            Err("a secret is given by reference: file:/path or env:NAME".to_owned())
        }
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    struct Poll {
        #[serde(default)]
        interval: Option<Span>,
        #[serde(default)]
        secret: Option<SecretRef>,
    }

    #[test]
    fn faults_of_all_sections_are_reported_together() {
        let mut document =
            Document::parse("poll: {interval: 5}\nother: {intervall: 5s}\nnobody: 1").unwrap();
        document.section::<Poll>("poll");
        document.section::<Poll>("other");
        let text = document.finish().unwrap_err().to_string();
        assert!(text.contains("\n  poll.interval: invalid type"), "{text}");
        assert!(
            text.contains("\n  other.intervall: unknown field"),
            "{text}"
        );
        assert!(
            text.contains("nobody: there is no such section; known are poll, other"),
            "{text}"
        );
    }

    #[test]
    fn who_reads_some_sections_judges_those_alone() {
        let mut document = Document::parse("poll: {interval: 5s}\nnobody: 1").unwrap();
        document.section::<Poll>("poll");
        document.clone().finish_some().unwrap();
        assert!(document.clone().finish().is_err());
        document.section::<Poll>("nobody");
        let text = document.finish_some().unwrap_err().to_string();
        assert!(text.contains("\n  nobody: "), "{text}");
    }

    #[test]
    fn variables_override_the_file() {
        let mut document = Document::parse("poll: {interval: 5s}").unwrap();
        document.override_from([
            ("GENNAKER_POLL__INTERVAL".to_owned(), "250ms".to_owned()),
            ("HOME".to_owned(), "/x".to_owned()),
        ]);
        let poll: Poll = document.section("poll");
        assert_eq!(poll.interval, Some(Span(Duration::from_millis(250))));
        document.finish().unwrap();
    }

    #[test]
    fn a_secret_in_the_open_is_refused_without_repeating_it() {
        let mut document = Document::parse("poll: {secret: hunter2}").unwrap();
        document.section::<Poll>("poll");
        let text = document.finish().unwrap_err().to_string();
        assert!(
            text.contains("by reference") && !text.contains("hunter2"),
            "{text}"
        );
    }
}
