//! HTTP/1.1 over the balancer's admin socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::provider::local::{Error, unix};

/// Largest answer, in bytes: the state of 4,096 instances.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// How long an answer may take; a configuration waits for every worker.
const LIMIT: Duration = Duration::from_secs(10);

/// A client of the admin socket.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    folder: PathBuf,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    /// It was refused because of its fencing token.
    pub(crate) fenced: bool,
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Balancer(error.to_string())
}

impl Admin {
    /// Of the balancer in this folder.
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: Vec<u8>,
    ) -> Result<http::Response<Incoming>, Error> {
        let stream = unix::connect(&self.folder, balancer::ADMIN_SOCKET)
            .await
            .map_err(|e| {
                let socket = self.folder.join(balancer::ADMIN_SOCKET);
                Error::Balancer(format!("{} does not answer: {e}", socket.display()))
            })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(failed)?;
        tokio::spawn(async move {
            // Its end shows in the answer.
            let _ended = connection.await;
        });
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "balancer")
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(failed)?;
        sender.send_request(request).await.map_err(failed)
    }

    /// One request and its whole answer.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: Vec<u8>,
    ) -> Result<Answer, Error> {
        let whole = async {
            let answer = self.send(method, path, headers, body).await?;
            let status = answer.status();
            let fenced = answer.headers().contains_key(balancer::FENCE_HEADER);
            let body = Limited::new(answer.into_body(), MAX_ANSWER);
            let body = body.collect().await.map_err(failed)?.to_bytes();
            Ok(Answer {
                status,
                body,
                fenced,
            })
        };
        tokio::time::timeout(LIMIT, whole)
            .await
            .unwrap_or_else(|_| Err(failed(format!("no answer to {path} within 10 s"))))
    }

    /// One request whose answer is a stream.
    pub(crate) async fn stream(&self, path: &str) -> Result<http::Response<Incoming>, Error> {
        tokio::time::timeout(LIMIT, self.send(Method::GET, path, &[], Vec::new()))
            .await
            .unwrap_or_else(|_| Err(failed(format!("no answer to {path} within 10 s"))))
    }
}

/// One request through the balancer's own port, the answer thrown away.
pub(crate) async fn visit(
    port: u16,
    host: &str,
    path: &str,
    headers: &[(String, String)],
) -> Result<(), Error> {
    let whole = async {
        let stream = tokio::net::TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, port))
            .await
            .map_err(failed)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(failed)?;
        tokio::spawn(async move {
            let _ended = connection.await;
        });
        let mut request = Request::get(path).header("host", host);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::new())).map_err(failed)?;
        let answer = sender.send_request(request).await.map_err(failed)?;
        // The guard of the request is given back when its body has ended.
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        body.map(drop).map_err(failed)
    };
    tokio::time::timeout(LIMIT, whole)
        .await
        .unwrap_or_else(|_| Err(failed(format!("no answer from {path} within 10 s"))))
}
