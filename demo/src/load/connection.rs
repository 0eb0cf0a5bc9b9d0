//! One connection of the load generator, and what it sends.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Kind, Options, shared, socket};
use crate::trickle::Trickle;

/// The bytes of one upload, and the pieces it is sent in.
const UPLOAD: usize = 256 * 1024;
const UPLOAD_PIECES: u32 = 16;
/// The bytes of a large one, and its pieces.
const BIG: usize = 50 * 1024 * 1024;
const BIG_PIECES: u32 = 50;
/// The bytes of a small POST.
const POST: usize = 64;
/// How much of an answer is kept for a check.
const KEPT: usize = 4096;

pub(super) type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// Why an exchange brought no answer.
#[derive(Debug)]
pub(super) enum Error {
    /// The library gave the request back: the connection had been closed before a byte was written.
    Unsent,
    /// The request was under way.
    Failed(anyhow::Error),
}

impl From<Error> for anyhow::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Unsent => {
                anyhow::anyhow!("a new connection was closed before the request was written")
            }
            Error::Failed(error) => error,
        }
    }
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) version: Option<String>,
    pub(super) start: Vec<u8>,
    pub(super) trailers: Option<HeaderMap>,
    /// How often the other side left with a word, and it went on elsewhere.
    pub(super) farewells: u64,
}

pub(super) struct Connection {
    sender: SendRequest<Body>,
}

impl Connection {
    /// Whether the other side has not closed it, as far as is known.
    pub(super) fn is_usable(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Sends a request and reads its whole answer.
    pub(super) async fn exchange(&mut self, request: Request<Body>) -> Result<Answer, Error> {
        if self.sender.ready().await.is_err() {
            return Err(Error::Unsent);
        }
        let response = match self.sender.try_send_request(request).await {
            Ok(response) => response,
            Err(mut error) => {
                if error.take_message().is_some() {
                    return Err(Error::Unsent);
                }
                let error = anyhow::Error::new(error.into_error()).context("no answer");
                return Err(Error::Failed(error));
            }
        };
        read(response).await.map_err(Error::Failed)
    }
}

pub(super) async fn read(response: Response<hyper::body::Incoming>) -> Result<Answer> {
    let status = response.status();
    let version = response
        .headers()
        .get("x-version")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let mut start = Vec::new();
    let mut body = response.into_body();
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.with_context(|| format!("answer {} was cut", status.as_u16()))?;
        if let Some(piece) = frame.data_ref() {
            let room = KEPT.saturating_sub(start.len()).min(piece.len());
            start.extend_from_slice(&piece[..room]);
        } else if let Ok(last) = frame.into_trailers() {
            trailers = Some(last);
        }
    }
    Ok(Answer {
        status,
        version,
        start,
        trailers,
        farewells: 0,
    })
}

/// Where requests go and what they look like.
pub(super) struct Target {
    pub(super) address: String,
    host: HeaderValue,
    paths: [String; Kind::ALL.len()],
    upload: Duration,
    big: Duration,
    stream: Duration,
    socket: Duration,
}

impl Target {
    pub(super) fn new(options: &Options) -> Result<Self> {
        ensure!(
            options.url.scheme_str() == Some("http"),
            "url {} is not http",
            options.url
        );
        let authority = options.url.authority().context("url has no address")?;
        let prefix = options.url.path().trim_end_matches('/');
        let host = options.host.as_deref().unwrap_or(authority.as_str());
        let milliseconds = options.slow.as_millis();
        let path = |kind| match kind {
            Kind::Get | Kind::New | Kind::Http2 => format!("{prefix}{}", options.path),
            Kind::Post | Kind::Upload | Kind::Big => format!("{prefix}/upload"),
            Kind::Grpc => format!("{prefix}/demo.Echo/Talk"),
            Kind::Socket => format!("{prefix}/socket"),
            Kind::Slow => format!("{prefix}/slow?ms={milliseconds}"),
        };
        Ok(Self {
            address: format!(
                "{}:{}",
                authority.host(),
                authority.port_u16().unwrap_or(80)
            ),
            host: HeaderValue::from_str(host)
                .with_context(|| format!("host {host:?} is not a header value"))?,
            paths: Kind::ALL.map(path),
            upload: options.upload,
            big: options.big,
            stream: options.stream,
            socket: options.socket,
        })
    }

    pub(super) async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(&self.address)
            .await
            .context("cannot connect")?;
        stream
            .set_nodelay(true)
            .context("cannot set up the connection")?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .context("cannot set up the connection")?;
        // Its errors reach the request through the sender.
        tokio::spawn(connection);
        Ok(Connection { sender })
    }

    /// A conversation on a WebSocket.
    pub(super) async fn converse(&self) -> Result<Answer> {
        let host = self.host.to_str().unwrap_or_default();
        let path = &self.paths[Kind::Socket.index()];
        socket::converse(&self.address, host, path, self.socket).await
    }

    pub(super) fn request(&self, kind: Kind) -> Request<Body> {
        let path = self.paths[kind.index()].as_str();
        let empty = || Empty::new().boxed_unsync();
        let (method, body) = match kind {
            Kind::Http2 => return shared::request(Method::GET, path, &self.host, empty()),
            Kind::Grpc => return shared::grpc(path, &self.host, self.stream),
            Kind::Get | Kind::New | Kind::Slow | Kind::Socket => (Method::GET, empty()),
            Kind::Big => {
                let piece = Bytes::from_static(&[b'b'; BIG / BIG_PIECES as usize]);
                let body = Trickle::new(piece, BIG_PIECES, self.big);
                (Method::POST, body.boxed_unsync())
            }
            Kind::Post => (
                Method::POST,
                Full::new(Bytes::from_static(&[b'p'; POST])).boxed_unsync(),
            ),
            Kind::Upload => {
                let piece = Bytes::from_static(&[b'u'; UPLOAD / UPLOAD_PIECES as usize]);
                (
                    Method::POST,
                    Trickle::new(piece, UPLOAD_PIECES, self.upload).boxed_unsync(),
                )
            }
        };
        let mut request = Request::new(body);
        *request.method_mut() = method;
        // Every path was made of a parsed URL and a checked option; one that is not a URI after all
        // is sent as "/" and answered with something unexpected, which is counted as a failure.
        *request.uri_mut() = path.parse().unwrap_or_default();
        request.headers_mut().insert(HOST, self.host.clone());
        if !kind.keeps_connection() {
            request
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        request
    }

    /// Whether the answer is the one the request asked for.
    pub(super) fn check(&self, kind: Kind, answer: &Answer) -> Result<()> {
        let text = || {
            String::from_utf8_lossy(&answer.start)
                .trim()
                .chars()
                .take(200)
                .collect::<String>()
        };
        ensure!(
            answer.status.is_success() || kind == Kind::Socket,
            "answered {}: {}",
            answer.status.as_u16(),
            text()
        );
        let expected = match kind {
            Kind::Get | Kind::New | Kind::Slow | Kind::Http2 | Kind::Socket => return Ok(()),
            Kind::Grpc => return shared::check_grpc(answer),
            Kind::Post => POST,
            Kind::Upload => UPLOAD,
            Kind::Big => BIG,
        };
        if answer.start != format!("{{\"bytes\":{expected}}}\n").as_bytes() {
            bail!("sent {expected} bytes, the answer is {:?}", text());
        }
        Ok(())
    }
}
