//! One connection of HTTP/2, which all requests of a kind share until it takes no more.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HeaderValue, TE};
use hyper::{Method, Request, Uri, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::connection::{Answer, Body, Error, read};
use crate::trickle::Trickle;

/// Messages of one stream of gRPC.
const MESSAGES: u32 = 10;
/// A message: not compressed, its length, and so many bytes.
const MESSAGE: [u8; 5 + 27] = *b"\0\0\0\0\x1ba message that is numbered ";

/// A connection; clones share it.
#[derive(Clone)]
pub(super) struct Shared {
    sender: SendRequest<Body>,
}

impl Shared {
    pub(super) async fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .context("cannot connect")?;
        stream
            .set_nodelay(true)
            .context("cannot set up the connection")?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .context("cannot set up the connection")?;
        // Its errors reach the requests through the sender.
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// Whether it takes requests, as far as is known.
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
                let error = error.into_error();
                if is_unprocessed(&error) {
                    return Err(Error::Unsent);
                }
                let error = anyhow::Error::new(error).context("no answer");
                return Err(Error::Failed(error));
            }
        };
        read(response).await.map_err(Error::Failed)
    }
}

/// Whether the other side said that it has not touched the request: it left before it came to it.
fn is_unprocessed(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    let error = source.and_then(|source| source.downcast_ref::<h2::Error>());
    error.is_some_and(|error| error.is_remote() && error.is_go_away())
}

/// What a request of HTTP/2 looks like.
pub(super) fn request(method: Method, path: &str, host: &HeaderValue, body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.version_mut() = Version::HTTP_2;
    let authority = host.to_str().unwrap_or_default();
    // See `Target::request`: what is no URI is sent all the same, and counted as a failure.
    let uri = format!("http://{authority}{path}");
    *request.uri_mut() = uri
        .parse()
        .unwrap_or_else(|_| Uri::from_static("http://invalid/"));
    request
}

/// A stream of gRPC, its messages spread over some time.
pub(super) fn grpc(path: &str, host: &HeaderValue, total: std::time::Duration) -> Request<Body> {
    let body = Trickle::new(Bytes::from_static(&MESSAGE), MESSAGES, total).boxed_unsync();
    let mut request = request(Method::POST, path, host, body);
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    request
}

/// Whether all messages came back, and then the status.
pub(super) fn check_grpc(answer: &Answer) -> Result<()> {
    let expected = MESSAGE.repeat(MESSAGES as usize);
    ensure!(
        answer.start == expected,
        "sent {} bytes of messages, {} came back",
        expected.len(),
        answer.start.len()
    );
    match answer.trailers.as_ref().and_then(|t| t.get("grpc-status")) {
        Some(status) if status == "0" => Ok(()),
        Some(status) => bail!("grpc-status {status:?}"),
        None => bail!("no grpc-status at the end"),
    }
}
