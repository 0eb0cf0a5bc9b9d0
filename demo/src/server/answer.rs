//! The paths of the demonstration server.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use tokio::sync::{mpsc, watch};

use super::{Settings, echo, socket};
use crate::trickle::Trickle;

/// The longest `/slow` answer.
const SLOWEST: Duration = Duration::from_secs(60);
/// The pieces a `/slow` answer is sent in.
const SLOW_PIECES: u32 = 16;
/// The largest content file.
const CONTENT_LIMIT: u64 = 1024 * 1024;

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Answers requests as the settings say. One for the whole process, since the error rate is spread
/// over all connections.
pub struct Answers {
    version: String,
    base_path: String,
    version_header: HeaderValue,
    content: Bytes,
    latency: Duration,
    errors_per_million: u64,
    refuse_health: bool,
    answered: AtomicU64,
    draining: watch::Receiver<bool>,
    talking: mpsc::Sender<()>,
}

impl Answers {
    /// Reads the content file once, so that what is served cannot change under a running instance.
    /// `talking` is held by every conversation that has left its connection.
    ///
    /// # Errors
    /// The content file cannot be read or is above 1 MiB, or the version is not a header value.
    pub fn new(settings: &Settings, talking: mpsc::Sender<()>) -> Result<Self> {
        let path = settings.content.display();
        let content = match std::fs::metadata(&settings.content) {
            Ok(found) if found.len() > CONTENT_LIMIT => {
                anyhow::bail!(
                    "content file {path} has {} bytes, the limit is {CONTENT_LIMIT}",
                    found.len()
                )
            }
            Ok(_) => std::fs::read(&settings.content)
                .with_context(|| format!("cannot read content file {path}"))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read content file {path}"));
            }
        };
        Ok(Self {
            version: settings.version.clone(),
            base_path: settings.base_path.clone(),
            version_header: HeaderValue::from_str(&settings.version).with_context(|| {
                format!("VERSION {:?} cannot be sent as a header", settings.version)
            })?,
            content: Bytes::from(content),
            latency: settings.latency,
            errors_per_million: settings.errors_per_million,
            refuse_health: settings.refuse_health,
            answered: AtomicU64::new(0),
            draining: settings.draining(),
            talking,
        })
    }

    /// Answers one request. `closing` says that the server drains: `/health` then answers 503.
    pub async fn answer(&self, request: Request<Incoming>, closing: bool) -> Response<Body> {
        let mut response = self.route(request, closing).await;
        response
            .headers_mut()
            .insert("x-version", self.version_header.clone());
        response
    }

    async fn route(&self, request: Request<Incoming>, closing: bool) -> Response<Body> {
        let whole = request.uri().path();
        let path = match whole.strip_prefix(self.base_path.as_str()) {
            Some("") => "/".to_owned(),
            Some(rest) if rest.starts_with('/') => rest.to_owned(),
            Some(_) | None => whole.to_owned(),
        };
        match path.as_str() {
            "/health" if self.refuse_health => {
                return text(StatusCode::SERVICE_UNAVAILABLE, "refused as configured\n");
            }
            "/health" if closing => return text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            "/health" => return text(StatusCode::OK, "ok\n"),
            "/version" => return text(StatusCode::OK, &self.version),
            _ => {}
        }
        if self.fails() {
            return text(StatusCode::INTERNAL_SERVER_ERROR, "failed as configured\n");
        }
        tokio::time::sleep(self.latency).await;
        if echo::is_grpc(&request) {
            return echo::answer(request);
        }
        let query = parameters(request.uri().query().unwrap_or_default());
        match (request.method(), path.as_str()) {
            (&Method::GET | &Method::HEAD, "/") => html(self.page()),
            (&Method::GET | &Method::HEAD, "/content") => body(
                StatusCode::OK,
                "application/octet-stream",
                self.content.clone(),
            ),
            (&Method::GET | &Method::HEAD, "/version.json") => self.version_json(),
            (&Method::GET, "/slow") => slow(query.get("ms").map(String::as_str)),
            (&Method::POST | &Method::PUT, "/upload") => count(request).await,
            (&Method::GET, "/socket") => {
                let conversation = socket::Conversation {
                    version: self.version.clone(),
                    draining: self.draining.clone(),
                    _talking: self.talking.clone(),
                };
                match conversation.accept(request) {
                    Some(response) => response,
                    None => text(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket\n"),
                }
            }
            (_, "/" | "/content" | "/version.json" | "/slow" | "/upload" | "/socket") => {
                text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n")
            }
            _ => text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }

    /// Whether this request is one of those that fail: evenly spread, so that a rate of 0.25 fails
    /// every fourth.
    fn fails(&self) -> bool {
        let number = self.answered.fetch_add(1, Ordering::Relaxed);
        let failures = |requests: u64| requests.saturating_mul(self.errors_per_million) / 1_000_000;
        failures(number.saturating_add(1)) > failures(number)
    }

    /// Unlike `/version` this one is slow and fails as configured: it is what a smoke test asks.
    fn version_json(&self) -> Response<Body> {
        let escaped = self.version.replace('\\', "\\\\").replace('"', "\\\"");
        let content = format!("{{\"version\":\"{escaped}\"}}\n");
        body(StatusCode::OK, "application/json", Bytes::from(content))
    }

    fn page(&self) -> String {
        let version = escape(&self.version);
        let content = escape(&String::from_utf8_lossy(&self.content));
        format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Demo {version}</title>\
             <body style=\"font-family:sans-serif;text-align:center;padding-top:20vh\">\
             <h1>Version {version}</h1><p>{content}</p></body></html>\n"
        )
    }
}

fn slow(milliseconds: Option<&str>) -> Response<Body> {
    let Ok(total) = milliseconds
        .unwrap_or("3000")
        .parse()
        .map(Duration::from_millis)
    else {
        return text(
            StatusCode::BAD_REQUEST,
            "ms must be a whole number of milliseconds\n",
        );
    };
    if total > SLOWEST {
        return text(StatusCode::BAD_REQUEST, "ms must be at most 60000\n");
    }
    let piece = Bytes::from_static(b"a piece of a slow answer........");
    let mut response = Response::new(Trickle::new(piece, SLOW_PIECES, total).boxed_unsync());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

async fn count(request: Request<Incoming>) -> Response<Body> {
    let mut incoming = request.into_body();
    let mut bytes: usize = 0;
    while let Some(frame) = incoming.frame().await {
        match frame {
            Ok(frame) => bytes += frame.data_ref().map_or(0, Bytes::len),
            Err(_) => return text(StatusCode::BAD_REQUEST, "the body ended too early\n"),
        }
    }
    body(
        StatusCode::OK,
        "application/json",
        Bytes::from(format!("{{\"bytes\":{bytes}}}\n")),
    )
}

fn text(status: StatusCode, content: &str) -> Response<Body> {
    body(
        status,
        "text/plain; charset=utf-8",
        Bytes::copy_from_slice(content.as_bytes()),
    )
}

fn html(content: String) -> Response<Body> {
    body(
        StatusCode::OK,
        "text/html; charset=utf-8",
        Bytes::from(content),
    )
}

fn body(status: StatusCode, content_type: &'static str, content: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(content).boxed_unsync());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn parameters(query: &str) -> BTreeMap<String, String> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
