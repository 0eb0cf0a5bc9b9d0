//! A small HTTP client for talking to the programs under test, over TCP or a unix socket.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};

/// No single request takes longer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A response that was read to its end.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Response {
    /// The body as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// It is none; the error carries status and text.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("not JSON: {} {}", self.status, self.text()))
    }

    /// The response itself when its status is the expected one.
    ///
    /// # Errors
    /// Another status; the error carries it and the text.
    pub fn expect(self, status: u16) -> Result<Self> {
        ensure!(
            self.status.as_u16() == status,
            "answered {} instead of {status}: {}",
            self.status,
            self.text()
        );
        Ok(self)
    }
}

/// Where a program listens.
#[derive(Debug, Clone)]
pub enum Address {
    /// A port at 127.0.0.1.
    Port(u16),
    /// A unix socket.
    Socket(PathBuf),
}

/// A client without a pool: each request has a connection of its own, so that a program that was
/// killed and started again is no special case.
#[derive(Debug, Clone)]
pub struct Client {
    address: Address,
    host: String,
    headers: Vec<(String, String)>,
}

impl Client {
    /// A client of a program at a port of 127.0.0.1.
    pub fn port(port: u16) -> Self {
        Self {
            address: Address::Port(port),
            host: format!("127.0.0.1:{port}"),
            headers: Vec::new(),
        }
    }

    /// A client of a program at a unix socket.
    pub fn socket(path: &Path) -> Self {
        Self {
            address: Address::Socket(path.to_owned()),
            host: "localhost".to_owned(),
            headers: Vec::new(),
        }
    }

    /// The same with another `Host` header.
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// The same with one more header on every request.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// One request with a JSON body, or none.
    ///
    /// # Errors
    /// There was no complete answer within 30 s.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Response> {
        let bytes = match body {
            Some(body) => Bytes::from(serde_json::to_vec(body).context("cannot write JSON")?),
            None => Bytes::new(),
        };
        self.send_bytes(method, path, bytes).await
    }

    /// One request with a body that need not be JSON; its content type says JSON all the same.
    ///
    /// # Errors
    /// There was no complete answer within 30 s.
    pub async fn send_bytes(&self, method: Method, path: &str, body: Bytes) -> Result<Response> {
        let what = format!("{method} {path} at {:?}", self.address);
        let exchange = async {
            let mut connection = self.connect().await?;
            connection.send(method, path, body).await
        };
        match tokio::time::timeout(TIMEOUT, exchange).await {
            Ok(result) => result.context(what),
            Err(_) => anyhow::bail!("{what}: no answer within {} s", TIMEOUT.as_secs()),
        }
    }

    /// GET.
    ///
    /// # Errors
    /// There was no complete answer within 30 s.
    pub async fn get(&self, path: &str) -> Result<Response> {
        self.send(Method::GET, path, None).await
    }

    /// GET of an endless answer of lines of JSON, read until `enough` says so of one.
    ///
    /// # Errors
    /// It is not answered with 200, or ends too early, or takes longer than 30 s.
    pub async fn lines(
        &self,
        path: &str,
        mut enough: impl FnMut(&Value) -> bool,
    ) -> Result<Vec<Value>> {
        let (mut lines, mut found) = (Vec::new(), Ok(false));
        let reading = self.follow(path, |line| match serde_json::from_str(line) {
            Ok(line) => {
                let last = enough(&line);
                lines.push(line);
                found = Ok(last);
                if last {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            }
            Err(error) => {
                found = Err(error);
                ControlFlow::Break(())
            }
        });
        match tokio::time::timeout(TIMEOUT, reading).await {
            Ok(read) => read?,
            Err(_) => anyhow::bail!(
                "GET {path}: not enough lines within {} s",
                TIMEOUT.as_secs()
            ),
        }
        ensure!(
            found.context("not a line of JSON")?,
            "GET {path} ended after {} lines",
            lines.len()
        );
        Ok(lines)
    }

    /// GET of an endless answer, read line by line until it ends or `see` has enough.
    ///
    /// # Errors
    /// It is not answered with 200, or is cut, or says nothing for 30 s.
    pub async fn follow(
        &self,
        path: &str,
        mut see: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<()> {
        let silent = || format!("GET {path}: nothing within {} s", TIMEOUT.as_secs());
        let opening = async { self.connect().await?.open(path).await };
        let opened = tokio::time::timeout(TIMEOUT, opening).await;
        let (status, mut body) = opened.with_context(silent)??;
        ensure!(status == StatusCode::OK, "GET {path} is answered {status}");
        let mut rest = Vec::new();
        loop {
            let frame = tokio::time::timeout(TIMEOUT, body.frame()).await;
            let Some(frame) = frame.with_context(silent)? else {
                return Ok(());
            };
            rest.extend_from_slice(frame?.data_ref().unwrap_or(&Bytes::new()));
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                if see(String::from_utf8_lossy(&line).trim_end()).is_break() {
                    return Ok(());
                }
            }
        }
    }

    /// POST with a JSON body.
    ///
    /// # Errors
    /// There was no complete answer within 30 s.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Response> {
        self.send(Method::POST, path, Some(body)).await
    }

    /// A connection that is kept for many requests.
    ///
    /// # Errors
    /// Nobody listens.
    pub async fn connect(&self) -> Result<Connection> {
        let sender = match &self.address {
            Address::Port(port) => {
                let stream = TcpStream::connect(("127.0.0.1", *port))
                    .await
                    .context("cannot connect")?;
                stream
                    .set_nodelay(true)
                    .context("cannot set up the connection")?;
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                sender
            }
            Address::Socket(path) => {
                let stream = UnixStream::connect(path).await.context("cannot connect")?;
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                sender
            }
        };
        Ok(Connection {
            sender,
            host: self.host.clone(),
            headers: self.headers.clone(),
        })
    }
}

/// One connection.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    headers: Vec<(String, String)>,
}

impl Connection {
    /// One GET whose answer is left to be read.
    async fn open(&mut self, path: &str) -> Result<(StatusCode, Incoming)> {
        let request = Request::builder().uri(path).header(HOST, &self.host);
        let request = request
            .body(Full::new(Bytes::new()))
            .context("cannot make the request")?;
        let response = self
            .sender
            .send_request(request)
            .await
            .context("no answer")?;
        Ok((response.status(), response.into_body()))
    }

    /// One request and its whole answer.
    ///
    /// # Errors
    /// The connection ended before the answer did.
    pub async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<Response> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.host);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(body))
            .context("cannot make the request")?;
        self.sender
            .ready()
            .await
            .context("the connection is closed")?;
        let response = self
            .sender
            .send_request(request)
            .await
            .context("no answer")?;
        let (parts, body) = response.into_parts();
        let body = body
            .collect()
            .await
            .context("the answer was cut")?
            .to_bytes();
        Ok(Response {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    }
}
