//! The way to a store: the one place that sends, reads an answer whole and makes an error of what is none.
//!
//! Addresses are the operator's, and no other is reached: the egress guard is told this one host, and redirects are
//! not followed.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use runtime::config::SecretRef;
use runtime::egress::{self, Egress, Request};
use serde_json::Value;
use url::Url;

use super::error::bounded;
use super::grid::Grid;
use super::{Class, MOST_SERIES, MOST_VALUES, SourceError, is_room};
use crate::account::{Account, Kind};

/// How a store is told who asks.
#[derive(Debug, Clone)]
pub(crate) enum Credential {
    /// User and password.
    Basic(String, Option<SecretRef>),
    /// A file with `user:password`.
    File(SecretRef),
    /// `Authorization: Bearer …`.
    Bearer(SecretRef),
    /// A header of the store's own.
    Header(&'static str, SecretRef),
}

/// A store's address, and how to ask there.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    egress: Egress,
    base: String,
    /// Type and name of the account, for errors.
    store: String,
    credentials: Vec<Credential>,
    sent: Sent,
}

/// Secrets that were sent last, none of which an error may repeat.
///
/// They are read anew for each request: only what was sent is what a store can repeat.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<String>>>);

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sent(***)")
    }
}

impl Sent {
    /// How many are remembered: those of several requests, for secrets may change between two of them.
    const MOST: usize = 64;
    /// What is shorter stands in too many texts that are none.
    const SHORTEST: usize = 4;

    fn remember(&self, secrets: Vec<String>) {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for secret in secrets {
            // As it stands within JSON, too.
            let within = Value::from(secret.as_str()).to_string();
            let within = within
                .get(1..within.len() - 1)
                .unwrap_or_default()
                .to_owned();
            for secret in [secret, within] {
                if secret.len() >= Self::SHORTEST && !sent.contains(&secret) {
                    sent.push(secret);
                }
            }
        }
        let old = sent.len().saturating_sub(Self::MOST);
        sent.drain(..old);
    }

    /// `text` without them.
    fn clear(&self, text: &str) -> String {
        let mut sent = (self.0.lock())
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        // The longest first: of one that holds another nothing may be left.
        sent.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        sent.iter().fold(text.to_owned(), |text, secret| {
            text.replace(secret.as_str(), "***")
        })
    }
}

/// What is sent.
#[derive(Debug, Default)]
pub(crate) struct Call {
    /// After the account's address.
    pub(crate) path: String,
    /// Beside those of who asks.
    pub(crate) headers: HeaderMap,
    /// Sent by POST; none by GET.
    pub(crate) body: Option<Bytes>,
    /// Instead of the account's address; never one that a user chose.
    pub(crate) base: Option<String>,
    /// What of it is secret, beside what the account's credentials add.
    pub(crate) secrets: Vec<String>,
}

impl Call {
    /// A GET with parameters.
    pub(crate) fn get(path: &str, parameters: &[(&str, &str)]) -> Self {
        Self {
            path: format!(
                "{path}{}{}",
                if parameters.is_empty() { "" } else { "?" },
                form(parameters)
            ),
            ..Self::default()
        }
    }

    /// A POST of JSON.
    pub(crate) fn json(path: &str, body: &Value) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        Self {
            path: path.to_owned(),
            headers,
            body: Some(body.to_string().into()),
            ..Self::default()
        }
    }
}

/// Parameters, encoded.
pub(crate) fn form(parameters: &[(&str, &str)]) -> String {
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        text.append_pair(name, value);
    }
    // Both mean a space, but not to everybody.
    text.finish().replace('+', "%20")
}

impl Door {
    pub(crate) fn new(account: &Account) -> Result<Self, SourceError> {
        let store = format!("{} account {}", account.kind.as_str(), account.name);
        let refused = |why: String| {
            let remedy = format!("correct account {} in canary-judge.accounts", account.name);
            let mut error = SourceError::new(Class::Refused, why, remedy);
            error.store.clone_from(&store);
            error
        };
        let base = account
            .address()
            .map_err(|error| refused(error.to_string()))?;
        let url = Url::parse(&base).map_err(|error| refused(error.to_string()))?;
        let port = url.port_or_known_default().unwrap_or(80);
        let allowed = format!("{}:{port}", url.host_str().unwrap_or_default());
        let egress = Egress::new(egress::Settings {
            allow: vec![allowed.parse().map_err(refused)?],
            timeout: account.timeout.0,
            max_bytes: account.max_answer_bytes,
        });
        let mut credentials = Vec::new();
        if let Some(user) = &account.username {
            credentials.push(Credential::Basic(user.clone(), account.password.clone()));
        }
        if let Some(file) = &account.username_password_file {
            credentials.push(Credential::File(file.clone()));
        }
        if let Some(token) = &account.bearer_token {
            credentials.push(Credential::Bearer(token.clone()));
        }
        let keys: &[(&'static str, &Option<SecretRef>)] = match account.kind {
            Kind::Datadog => &[
                ("dd-api-key", &account.api_key),
                ("dd-application-key", &account.application_key),
            ],
            Kind::NewRelic if account.nerd_graph => &[("api-key", &account.api_key)],
            Kind::NewRelic => &[("x-query-key", &account.api_key)],
            Kind::Prometheus | Kind::Graphite | Kind::InfluxDb | Kind::CloudWatch | Kind::Local => {
                &[]
            }
        };
        for (name, key) in keys {
            credentials.extend((*key).clone().map(|key| Credential::Header(name, key)));
        }
        Ok(Self {
            egress: egress.map_err(|error| refused(error.to_string()))?,
            base,
            store,
            credentials,
            sent: Sent::default(),
        })
    }

    /// The store's address, without a slash at the end.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// What the store said, on one line and shortened, without the account's secrets: they are cleared first, for of one
    /// that is cut in the middle the rest would be shown.
    pub(crate) fn said(&self, text: &str) -> String {
        bounded(&self.sent.clear(text))
    }

    /// An error of this store, without the account's secrets, whatever of them `why` repeats.
    pub(crate) fn error(
        &self,
        class: Class,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> SourceError {
        let why = self.sent.clear(&why.into());
        let mut error = SourceError::new(class, why, remedy);
        error.store.clone_from(&self.store);
        error
    }

    /// A secret as text.
    pub(crate) fn secret(&self, secret: &SecretRef) -> Result<String, SourceError> {
        secret.read().map_err(|error| {
            self.error(
                Class::Refused,
                error.to_string(),
                "it is read at each request",
            )
        })
    }

    /// Headers that say who asks, and the secrets in them.
    fn who(&self, headers: &mut HeaderMap) -> Result<Vec<String>, SourceError> {
        let mut secrets = Vec::new();
        let basic = |pair: &str| {
            let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
            format!("Basic {encoded}")
        };
        for credential in &self.credentials {
            let (name, value) = match credential {
                Credential::Basic(user, password) => {
                    let password = match password {
                        Some(password) => self.secret(password)?,
                        None => String::new(),
                    };
                    let value = basic(&format!("{user}:{password}"));
                    secrets.push(password);
                    ("authorization", value)
                }
                Credential::File(file) => {
                    let pair = self.secret(file)?;
                    let password = pair.split_once(':').map_or(pair.as_str(), |(_, p)| p);
                    secrets.push(password.to_owned());
                    ("authorization", basic(&pair))
                }
                Credential::Bearer(token) => {
                    let token = self.secret(token)?;
                    secrets.push(token.clone());
                    ("authorization", format!("Bearer {token}"))
                }
                Credential::Header(name, key) => {
                    let key = self.secret(key)?;
                    secrets.push(key.clone());
                    (*name, key)
                }
            };
            let value = HeaderValue::from_str(&value).map_err(|_| {
                let why = format!("the secret for {name} has characters that no header may have");
                self.error(Class::Refused, why, "write the secret anew")
            });
            let mut value = value?;
            value.set_sensitive(true);
            let whole = value.to_str().unwrap_or_default();
            // Without the word before it, too: what is encoded can be decoded.
            secrets.extend(whole.split_once(' ').map(|(_, own)| own.to_owned()));
            secrets.push(whole.to_owned());
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(secrets)
    }

    /// Asks and reads the answer.
    ///
    /// # Errors
    /// Every way in which there is none, in the store's own words.
    pub(crate) async fn send(&self, call: Call) -> Result<Bytes, SourceError> {
        let mut headers = call.headers;
        let mut secrets = self.who(&mut headers)?;
        secrets.extend(call.secrets);
        self.sent.remember(secrets);
        let request = Request {
            method: if call.body.is_some() {
                Method::POST
            } else {
                Method::GET
            },
            url: format!("{}{}", call.base.as_ref().unwrap_or(&self.base), call.path),
            headers,
            body: call.body.unwrap_or_default(),
            timeout: None,
            follow_redirects: false,
        };
        let answer = self
            .egress
            .send(request)
            .await
            .map_err(|error| self.unreachable(&error))?;
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        let to = answer
            .headers
            .get(header::LOCATION)
            .and_then(|to| to.to_str().ok());
        Err(self.refusal(answer.status, to, &answer.body))
    }

    fn unreachable(&self, error: &egress::Error) -> SourceError {
        let (class, remedy) = match error {
            egress::Error::Timeout { .. } => (
                Class::Transient,
                "ask for less, or raise timeout of the account in canary-judge.accounts",
            ),
            egress::Error::Transport { .. } => (
                Class::Transient,
                "see whether the store runs, and whether base-url of the account is right",
            ),
            egress::Error::TooLarge { .. } => (
                Class::Invalid,
                "have the query answer fewer series or values, or raise max-answer-bytes of the account",
            ),
            egress::Error::Url { .. }
            | egress::Error::Address { .. }
            | egress::Error::Redirects { .. }
            | egress::Error::Setup(_) => (Class::Refused, "correct base-url of the account"),
        };
        self.error(class, error.to_string(), remedy)
    }

    fn refusal(&self, status: StatusCode, to: Option<&str>, body: &[u8]) -> SourceError {
        let said = self.said(&words(body));
        let code = status.as_u16();
        let mut why = format!("it answers {code}");
        if let Some(to) = to.filter(|_| status.is_redirection()) {
            why = format!("it redirects ({code}) to {}", egress::redact(to));
        } else if !said.is_empty() {
            why = format!("{why}: {said}");
        }
        let (class, remedy) = match code {
            300..=399 => (
                Class::Refused,
                "give the address where it is as base-url of the account",
            ),
            401 | 403 => (
                Class::Refused,
                "correct how the account authenticates in canary-judge.accounts",
            ),
            404 => (
                Class::Invalid,
                "see whether base-url of the account is that of the store, and the query's names are there",
            ),
            _ if said_throttled(body) => {
                (Class::Transient, "it is asked again; ask for less at once")
            }
            408 | 429 | 500..=599 => (
                Class::Transient,
                "it is asked again; if it stays so, look at the store",
            ),
            _ => (Class::Invalid, "correct the metric's query"),
        };
        self.error(class, why, remedy)
    }

    /// That there is room for so many series.
    pub(crate) fn room(&self, series: usize, grid: Grid) -> Result<(), SourceError> {
        if is_room(series, grid) {
            return Ok(());
        }
        let why = format!(
            "it answers {series} series of {} values each, at most {MOST_SERIES} and {MOST_VALUES} values are read",
            grid.len()
        );
        let remedy = "have the query make fewer series, or ask for a longer step";
        Err(self.error(Class::Invalid, why, remedy))
    }

    /// What is no answer of such a store.
    pub(crate) fn unreadable(&self, body: &[u8], fault: &Unreadable) -> SourceError {
        match fault {
            Unreadable::Cut => {
                let why = format!(
                    "its answer ends after {} bytes, before it is complete",
                    body.len()
                );
                self.error(
                    Class::Transient,
                    why,
                    "it is asked again; if it stays so, look for what cuts it",
                )
            }
            Unreadable::Other(what) => {
                // More than is shown: secrets are cleared before it is cut.
                let begin = body.get(..MOST_WORDS).unwrap_or(body);
                let begin = self.said(&String::from_utf8_lossy(begin));
                let begin: String = begin.chars().take(200).collect();
                let why = format!("its answer cannot be read ({what}); it begins: {begin}");
                let remedy = "see whether base-url of the account is that of such a store";
                self.error(Class::Refused, why, remedy)
            }
        }
    }

    /// An answer in JSON.
    pub(crate) async fn json(&self, call: Call) -> Result<Value, SourceError> {
        let body = self.send(call).await?;
        serde_json::from_slice(&body).map_err(|error| self.unreadable(&body, &error.into()))
    }

    /// The store answers at other instants than asked; `remedy` is how its queries have a step.
    pub(crate) fn other_step(
        &self,
        found: super::grid::OtherStep,
        asked_ms: i64,
        remedy: &str,
    ) -> SourceError {
        #[expect(clippy::cast_precision_loss, reason = "shown in seconds")]
        let seconds = |ms: i64| ms as f64 / 1_000.0;
        let (found, asked) = (seconds(found.found_ms), seconds(asked_ms));
        let why = format!("it answers a value every {found} s, asked was one every {asked} s");
        let remedy = format!("give the scope the step {found}, or {remedy}");
        self.error(Class::Invalid, why, remedy)
    }
}

/// Whether Amazon says so: with a status that otherwise means a faulty request.
fn said_throttled(body: &[u8]) -> bool {
    let answer: Option<Value> = serde_json::from_slice(body).ok();
    let code = answer.as_ref().and_then(|answer| answer["__type"].as_str());
    code.is_some_and(|code| {
        ["Throttl", "TooManyRequests", "RequestLimit"]
            .iter()
            .any(|c| code.contains(c))
    })
}

/// Why an answer cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It ends too early.
    Cut,
    /// It is something else.
    Other(String),
}

impl From<serde_json::Error> for Unreadable {
    fn from(error: serde_json::Error) -> Self {
        if error.is_eof() {
            Self::Cut
        } else {
            Self::Other(error.to_string())
        }
    }
}

/// Bytes of an answer that are looked through for words.
const MOST_WORDS: usize = 64 * 1024;

/// What a store says of an error, out of the shapes that stores use; else the text itself.
fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..MOST_WORDS).unwrap_or(body));
    let Ok(Value::Object(answer)) = serde_json::from_str(&text) else {
        return text.into_owned();
    };
    let said = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(all) => {
            let all = all.iter().map(|one| match one {
                Value::String(text) => text.clone(),
                other => other
                    .get("message")
                    .and_then(Value::as_str)
                    .map_or_else(|| other.to_string(), ToOwned::to_owned),
            });
            Some(all.collect::<Vec<_>>().join("; "))
        }
        _ => None,
    };
    let keys = ["error", "message", "Message", "errors"];
    let found = keys.iter().find_map(|key| answer.get(*key).and_then(said));
    found.unwrap_or_else(|| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stores_own_words_are_found_in_its_answer() {
        for (body, expected) in [
            (
                r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#,
                "parse error",
            ),
            (r#"{"errors":["one","two"]}"#, "one; two"),
            (r#"{"errors":[{"message":"no"}]}"#, "no"),
            (
                r#"{"__type":"Throttling","message":"slow down"}"#,
                "slow down",
            ),
            ("<h1>Bad\nGateway</h1>", "<h1>Bad Gateway</h1>"),
            ("", ""),
            ("[1", "[1"),
        ] {
            assert_eq!(bounded(&words(body.as_bytes())), expected);
        }
    }

    #[test]
    fn parameters_are_encoded() {
        assert_eq!(
            form(&[("q", "a b+c&d=\"é\"")]),
            "q=a%20b%2Bc%26d%3D%22%C3%A9%22"
        );
    }
}
