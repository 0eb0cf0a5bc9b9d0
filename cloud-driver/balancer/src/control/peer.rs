//! One request to the admin socket of another balancer of this folder.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(2);

/// Most bytes of an answer.
const MOST: usize = 16 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// Nobody listens: the process has ended.
    #[error("nobody listens")]
    Gone,
    /// It listens and does not answer.
    #[error("no answer: {0}")]
    Silent(String),
}

/// Asks.
pub(crate) async fn ask(
    socket: &Path,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<(StatusCode, Bytes), PeerError> {
    let asked = tokio::time::timeout(LIMIT, exchange(socket, method, path, body)).await;
    asked.unwrap_or_else(|_| Err(PeerError::Silent(format!("not within {LIMIT:?}"))))
}

async fn exchange(
    socket: &Path,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<(StatusCode, Bytes), PeerError> {
    let silent = |error: &dyn std::fmt::Display| PeerError::Silent(error.to_string());
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => PeerError::Gone,
            _ => silent(&error),
        })?;
    let made = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = made.map_err(|e| silent(&e))?;
    let driver = tokio::task::spawn_local(async move {
        // What went wrong is the sender's to say.
        let _ended = connection.await;
    });
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::HOST, "balancer")
        .body(Full::new(Bytes::from(body)))
        .map_err(|e| silent(&e))?;
    let response = sender.send_request(request).await.map_err(|e| silent(&e))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MOST).collect().await;
    let body = body.map_err(|e| silent(&e))?.to_bytes();
    driver.abort();
    Ok((status, body))
}
