//! The one HTTP client for addresses that users control.
//!
//! A name is resolved once; every address it has is checked; the connection
//! goes to a checked address; each redirect is checked again. Loopback,
//! link-local, unspecified, multicast and this machine's own addresses are
//! refused unless host (and port) are on the operator's allow-list. Size and
//! time of an answer are bounded. Nothing here retries.

mod address;

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;
use url::{Host, Url};

/// Redirects followed at most.
const REDIRECTS: usize = 5;

/// Headers that may follow a redirect to somebody else.
const NEUTRAL: [HeaderName; 2] = [header::ACCEPT, header::ACCEPT_LANGUAGE];

/// Why a request was not made or not answered.
#[derive(Debug, Error)]
pub enum Error {
    /// The URL is not one we send to.
    #[error("url \"{url}\" is refused: {reason}")]
    Url {
        /// As given, without credentials.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// An address behind the host must not be reached.
    #[error(
        "host {host} is refused: {address} is {reason}; \
         an operator can allow it with --egress-allow {host}:{port}"
    )]
    Address {
        /// Host of the URL.
        host: String,
        /// Its port.
        port: u16,
        /// The address it leads to.
        address: IpAddr,
        /// `a loopback address`, …
        reason: &'static str,
    },
    /// The answer is larger than allowed.
    #[error("the answer of {host} is larger than the {limit} bytes allowed")]
    TooLarge {
        /// Host of the URL.
        host: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// Too many redirects.
    #[error("{host} redirected more than {REDIRECTS} times")]
    Redirects {
        /// Host of the last URL.
        host: String,
    },
    /// No answer within the time.
    #[error("no answer from {host} within {millis} ms")]
    Timeout {
        /// Host of the URL.
        host: String,
        /// The limit.
        millis: u128,
    },
    /// The connection failed before or during the answer.
    #[error("request to {host} failed: {reason}")]
    Transport {
        /// Host of the URL.
        host: String,
        /// Root cause first.
        reason: String,
        /// True when no byte of the request can have reached the other side.
        unsent: bool,
    },
    /// The client could not be set up.
    #[error("cannot set up the HTTP client: {0}")]
    Setup(String),
}

impl Error {
    /// Whether the same request may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::Transport { .. })
    }
}

/// A host, with a port or for every port, that may be reached whatever its address is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    host: String,
    port: Option<u16>,
}

impl FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("\"{text}\" is not HOST or HOST:PORT, such as 127.0.0.1:9000");
        let url = Url::parse(&format!("http://{text}/")).map_err(|_| fault())?;
        let bare = url.path() == "/" && url.query().is_none() && url.username().is_empty();
        let host = url
            .host_str()
            .filter(|h| bare && !h.is_empty())
            .ok_or_else(fault)?;
        // The parser drops a default port; one that was written must count.
        let port = if text.ends_with(":80") {
            Some(80)
        } else {
            url.port()
        };
        Ok(Self {
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

/// Limits and exceptions of an [`Egress`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// Hosts that may be reached whatever their address is.
    pub allow: Vec<Allowed>,
    /// From the first byte sent to the last byte received.
    pub timeout: Duration,
    /// Largest body of an answer, in bytes.
    pub max_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            timeout: Duration::from_secs(30),
            max_bytes: 1 << 20,
        }
    }
}

/// A request to an address that a user chose.
#[derive(Debug, Clone)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// The whole URL, `http` or `https`.
    pub url: String,
    /// Headers beside those of the transport.
    pub headers: HeaderMap,
    /// Body; empty for none.
    pub body: Bytes,
    /// Instead of the settings' timeout.
    pub timeout: Option<Duration>,
    /// Whether redirects are followed (GET and HEAD only).
    pub follow_redirects: bool,
}

impl Request {
    /// A GET that follows redirects.
    pub fn get(url: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            url: url.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            timeout: None,
            follow_redirects: true,
        }
    }
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, at most the settings' size.
    pub body: Bytes,
}

/// The client. Cheap to clone; connections are pooled.
#[derive(Debug, Clone)]
pub struct Egress {
    guarded: reqwest::Client,
    open: reqwest::Client,
    settings: Arc<Settings>,
}

/// Resolves and refuses the whole name if any of its addresses is refused.
struct GuardedResolver;

#[derive(Debug, Error)]
#[error("{address} is {reason}")]
struct Refused {
    address: IpAddr,
    reason: &'static str,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            for address in &found {
                let address = address.ip();
                if let Some(reason) = address::refusal(address) {
                    return Err(Box::new(Refused { address, reason }) as _);
                }
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn client() -> reqwest::ClientBuilder {
    // Installing the provider twice is an error that means it is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(Duration::from_secs(5))
        .pool_idle_timeout(Duration::from_secs(20))
        .pool_max_idle_per_host(32)
        .tcp_nodelay(true)
        .user_agent(concat!("gennaker/", env!("CARGO_PKG_VERSION")))
        .tls_certs_only(certificates())
}

fn certificates() -> Vec<reqwest::Certificate> {
    webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .filter_map(|der| reqwest::Certificate::from_der(der).ok())
        .collect()
}

/// A plain client for addresses the *operator* configured (registries, peers):
/// no guard, the same limits of connecting, no redirects.
///
/// # Errors
/// When TLS cannot be set up.
pub fn operator_client() -> Result<reqwest::Client, Error> {
    client().build().map_err(|e| Error::Setup(e.to_string()))
}

impl Egress {
    /// A client with the given limits.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let setup = |e: reqwest::Error| Error::Setup(e.to_string());
        Ok(Self {
            guarded: client()
                .dns_resolver(Arc::new(GuardedResolver))
                .build()
                .map_err(setup)?,
            open: client().build().map_err(setup)?,
            settings: Arc::new(settings),
        })
    }

    /// Checks a URL without sending anything: scheme, host, literal address.
    ///
    /// # Errors
    /// [`Error::Url`] or [`Error::Address`].
    pub fn check(&self, url: &str) -> Result<Url, Error> {
        let fault = |reason: &str| Error::Url {
            url: redact(url),
            reason: reason.to_owned(),
        };
        let parsed = Url::parse(url).map_err(|e| fault(&format!("{e}; write http://host/path")))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(fault("only http and https are sent to"));
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(fault("credentials in a URL end up in logs; send a header"));
        }
        let port = parsed.port_or_known_default().unwrap_or(80);
        let host = match parsed.host() {
            None => return Err(fault("it has no host")),
            Some(Host::Domain(_)) => return Ok(parsed),
            Some(Host::Ipv4(ip)) => IpAddr::V4(ip),
            Some(Host::Ipv6(ip)) => IpAddr::V6(ip),
        };
        match address::refusal(host) {
            Some(reason) if !self.is_allowed(&parsed) => Err(Error::Address {
                host: parsed.host_str().unwrap_or_default().to_owned(),
                port,
                address: host,
                reason,
            }),
            _ => Ok(parsed),
        }
    }

    fn is_allowed(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default();
        self.settings
            .allow
            .iter()
            .any(|a| a.host == host && (a.port.is_none() || a.port == port))
    }

    /// Sends a request and reads the answer whole.
    ///
    /// # Errors
    /// Every way it can be refused, fail or exceed a limit; an HTTP error
    /// status is an answer, not an error.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        let timeout = request.timeout.unwrap_or(self.settings.timeout);
        let mut url = self.check(&request.url)?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let exchange = async {
            let mut headers = request.headers.clone();
            headers.remove(header::HOST);
            for _ in 0..=REDIRECTS {
                let response = self.once(&url, &request, &headers).await?;
                let follow = request.follow_redirects
                    && matches!(request.method, Method::GET | Method::HEAD)
                    && response.status.is_redirection();
                let target = response.headers.get(header::LOCATION).filter(|_| follow);
                let Some(target) = target else {
                    return Ok(response);
                };
                let next = self.redirect(&url, target)?;
                if next.origin() != url.origin() {
                    // They were meant for whom they were written to: any may be a secret.
                    let neutral = |(name, _): &(&HeaderName, &HeaderValue)| NEUTRAL.contains(name);
                    let kept = headers.iter().filter(neutral);
                    headers = kept.map(|(n, v)| (n.clone(), v.clone())).collect();
                }
                url = next;
            }
            Err(Error::Redirects {
                host: url.host_str().unwrap_or_default().to_owned(),
            })
        };
        tokio::time::timeout(timeout, exchange)
            .await
            .unwrap_or(Err(Error::Timeout {
                host,
                millis: timeout.as_millis(),
            }))
    }

    fn redirect(&self, from: &Url, target: &HeaderValue) -> Result<Url, Error> {
        let fault = |reason: &str| Error::Url {
            url: redact(from.as_str()),
            reason: reason.into(),
        };
        let target = target
            .to_str()
            .map_err(|_| fault("its redirect is not text"))?;
        let joined = from
            .join(target)
            .map_err(|_| fault("its redirect is not a URL"))?;
        self.check(joined.as_str())
    }

    async fn once(
        &self,
        url: &Url,
        request: &Request,
        headers: &HeaderMap,
    ) -> Result<Response, Error> {
        let client = if self.is_allowed(url) {
            &self.open
        } else {
            &self.guarded
        };
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or(80);
        let fail = |error: reqwest::Error| classify(host, port, &error);
        let mut response = client
            .request(request.method.clone(), url.clone())
            .headers(headers.clone())
            .body(request.body.clone())
            .send()
            .await
            .map_err(fail)?;
        let limit = self.settings.max_bytes;
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(fail)? {
            if body.len() + chunk.len() > limit {
                return Err(Error::TooLarge {
                    host: host.to_owned(),
                    limit,
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response {
            status: response.status(),
            headers: std::mem::take(response.headers_mut()),
            body: body.freeze(),
        })
    }
}

fn classify(host: &str, port: u16, error: &reqwest::Error) -> Error {
    let mut reason = error.to_string();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(refused) = inner.downcast_ref::<Refused>() {
            return Error::Address {
                host: host.to_owned(),
                port,
                address: refused.address,
                reason: refused.reason,
            };
        }
        reason = inner.to_string();
        cause = inner.source();
    }
    Error::Transport {
        host: host.to_owned(),
        reason,
        unsent: error.is_connect(),
    }
}

/// A URL without its credentials and query, for messages.
pub fn redact(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut url) => {
            let _ = url.set_username("");
            let _ = url.set_password(None);
            if url.query().is_some() {
                url.set_query(Some("…"));
            }
            url.to_string()
        }
        Err(_) => url.chars().take(200).collect(),
    }
}

#[cfg(test)]
mod tests;
