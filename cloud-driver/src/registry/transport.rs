//! How a registry is reached: headers, redirects, tokens, sizes and times.
//!
//! This is the one file of the crate that connects to registries: addresses that
//! the operator configured, hence not through the egress guard. Credentials go
//! to the registry and to the token server it names, never further: a redirect
//! to another host (object storage) is followed without them. Every answer is
//! bounded.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, StatusCode};
use reqwest::Response;
use runtime::config::SecretRef;
use serde_json::Value;
use url::Url;

use super::auth::{self, Challenge};
use super::manifest;
use super::{Account, Error};

/// From sending a question to the end of its answer, blobs excepted.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest manifest or listing page, in bytes: the distribution specification's own limit.
const MAX_BODY: usize = 4 * 1024 * 1024;
/// Redirects followed for one question.
const REDIRECTS: usize = 5;
/// Tokens remembered; a registry has one per repository.
const MAX_TOKENS: usize = 1_000;

/// The way to one registry.
#[derive(Debug)]
pub(crate) struct Transport {
    /// Host and port, for messages.
    pub(super) registry: String,
    /// The root of its API.
    pub(super) base: Url,
    credentials: Option<(String, SecretRef)>,
    http: reqwest::Client,
    tokens: Mutex<BTreeMap<String, String>>,
}

impl Transport {
    pub(super) fn new(account: &Account, http: reqwest::Client) -> Result<Self, Error> {
        Ok(Self {
            registry: account.registry().to_owned(),
            base: account.base()?,
            credentials: account.username.clone().zip(account.password.clone()),
            http,
            tokens: Mutex::new(BTreeMap::new()),
        })
    }

    /// A failure of the connection while an answer is read.
    pub(crate) fn broken(&self, error: &reqwest::Error) -> Error {
        let mut reason = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            reason = inner.to_string();
            cause = inner.source();
        }
        self.unreachable(reason)
    }

    /// The registry cannot be reached, for this reason.
    pub(crate) fn unreachable(&self, reason: impl Into<String>) -> Error {
        Error::Transport {
            registry: self.registry.clone(),
            reason: reason.into(),
        }
    }

    /// Asks, convincing the registry when it wants that, and follows redirects.
    pub(super) async fn send(
        &self,
        method: &Method,
        url: Url,
        repository: &str,
        what: &str,
    ) -> Result<Response, Error> {
        let known = self
            .tokens
            .lock()
            .ok()
            .and_then(|t| t.get(repository).cloned());
        let first = match known {
            Some(token) => Some(format!("Bearer {token}")),
            None => self.basic()?,
        };
        let response = self.follow(method, url.clone(), first).await?;
        // Whom a redirect leads to may not name the server that gets the credentials.
        let is_registry = response.url().origin() == self.base.origin();
        if response.status() != StatusCode::UNAUTHORIZED || !is_registry {
            return self.checked(response, what).await;
        }
        let challenge = response
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|v| Challenge::parse(v.to_str().ok()?))
            .find(|c| matches!(c, Challenge::Bearer { .. }));
        let Some(Challenge::Bearer {
            realm,
            service,
            scope,
        }) = challenge
        else {
            return self.checked(response, what).await;
        };
        let token = self.fetch_token(&realm, service, scope, what).await?;
        if let Ok(mut tokens) = self.tokens.lock() {
            if tokens.len() >= MAX_TOKENS {
                tokens.clear();
            }
            tokens.insert(repository.to_owned(), token.clone());
        }
        let again = self
            .follow(method, url, Some(format!("Bearer {token}")))
            .await?;
        self.checked(again, what).await
    }

    async fn follow(
        &self,
        method: &Method,
        mut url: Url,
        authorization: Option<String>,
    ) -> Result<Response, Error> {
        for _ in 0..=REDIRECTS {
            let mut request = self
                .http
                .request(method.clone(), url.clone())
                .header(ACCEPT, manifest::accept())
                .header("docker-distribution-api-version", "registry/2.0");
            if let Some(authorization) = authorization
                .as_deref()
                .filter(|_| url.origin() == self.base.origin())
            {
                request = request.header(AUTHORIZATION, sensitive(authorization));
            }
            let response = tokio::time::timeout(TIMEOUT, request.send())
                .await
                .map_err(|_| self.unreachable(format!("no answer in {} s", TIMEOUT.as_secs())))?
                .map_err(|e| self.broken(&e))?;
            let target = response
                .headers()
                .get(LOCATION)
                .and_then(|v| v.to_str().ok());
            let Some(target) = target.filter(|_| response.status().is_redirection()) else {
                return Ok(response);
            };
            let next = url
                .join(target)
                .map_err(|e| self.unreachable(format!("its redirect is no URL: {e}")))?;
            if !matches!(next.scheme(), "http" | "https")
                || (self.base.scheme() == "https" && next.scheme() == "http")
            {
                return Err(self.unreachable("it redirects from https to an unencrypted address"));
            }
            url = next;
        }
        Err(self.unreachable(format!("more than {REDIRECTS} redirects")))
    }

    /// Turns a status that is no success into its error.
    async fn checked(&self, response: Response, what: &str) -> Result<Response, Error> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let (registry, what) = (self.registry.clone(), what.to_owned());
        if status == StatusCode::NOT_FOUND {
            return Err(Error::NotFound { registry, what });
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            let seconds = response
                .headers()
                .get("retry-after")
                .and_then(|v| v.to_str().ok()?.trim().parse().ok());
            return Err(Error::Throttled {
                registry,
                retry_after: seconds.map(Duration::from_secs),
            });
        }
        let body = self.read(response, &what).await.unwrap_or_default();
        let reason = serde_json::from_slice::<Value>(&body)
            .ok()
            .and_then(|v| Some(v.pointer("/errors/0/message")?.as_str()?.to_owned()))
            .unwrap_or_else(|| status.canonical_reason().unwrap_or("no reason").to_owned())
            .chars()
            .take(300)
            .collect();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(Error::Denied {
                registry,
                what,
                reason,
            });
        }
        Err(Error::Status {
            registry,
            what,
            status: status.as_u16(),
            reason,
        })
    }

    async fn fetch_token(
        &self,
        realm: &str,
        service: Option<String>,
        scope: Option<String>,
        what: &str,
    ) -> Result<String, Error> {
        let denied = |reason: String| Error::Denied {
            registry: self.registry.clone(),
            what: what.to_owned(),
            reason,
        };
        let mut url = Url::parse(realm)
            .map_err(|e| denied(format!("its token server \"{realm}\" is no URL: {e}")))?;
        if self.base.scheme() == "https" && url.scheme() != "https" {
            return Err(denied(
                "its token server is not asked over https".to_owned(),
            ));
        }
        if let Some(service) = service {
            url.query_pairs_mut().append_pair("service", &service);
        }
        if let Some(scope) = scope {
            url.query_pairs_mut().append_pair("scope", &scope);
        }
        let mut request = self.http.get(url);
        if let Some(basic) = self.basic()? {
            request = request.header(AUTHORIZATION, sensitive(&basic));
        }
        let response = tokio::time::timeout(TIMEOUT, request.send())
            .await
            .map_err(|_| self.unreachable("no answer of its token server"))?
            .map_err(|e| self.broken(&e))?;
        let status = response.status();
        let body = self.read(response, "token").await?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        match auth::token(&answer) {
            Some(token) if status.is_success() => Ok(token.to_owned()),
            _ => Err(denied(format!(
                "its token server answered {}",
                status.as_u16()
            ))),
        }
    }

    /// Reads a small answer whole.
    pub(super) async fn read(&self, mut response: Response, what: &str) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        let whole = async {
            while let Some(chunk) = response.chunk().await.map_err(|e| self.broken(&e))? {
                if body.len() + chunk.len() > MAX_BODY {
                    return Err(Error::TooLarge {
                        registry: self.registry.clone(),
                        what: what.to_owned(),
                        limit: MAX_BODY as u64,
                        unit: "bytes",
                    });
                }
                body.extend_from_slice(&chunk);
            }
            Ok(())
        };
        tokio::time::timeout(TIMEOUT, whole).await.map_err(|_| {
            self.unreachable(format!("no whole answer in {} s", TIMEOUT.as_secs()))
        })??;
        Ok(body)
    }

    fn basic(&self) -> Result<Option<String>, Error> {
        use base64::Engine as _;
        let Some((user, secret)) = &self.credentials else {
            return Ok(None);
        };
        let password = secret.read().map_err(|e| Error::Denied {
            registry: self.registry.clone(),
            what: "credentials".to_owned(),
            reason: e.to_string(),
        })?;
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        Ok(Some(format!("Basic {pair}")))
    }
}

/// A header value that logs leave out.
fn sensitive(text: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}
