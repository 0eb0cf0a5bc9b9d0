//! A client of HTTP/2 by prior knowledge; it repeats nothing.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// An answer to its end.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Whole {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection.
pub(crate) struct Http2 {
    pub(crate) sender: SendRequest<Bytes>,
    /// Ends with the connection: well, after GOAWAY.
    pub(crate) ended: JoinHandle<Result<(), h2::Error>>,
}

impl Http2 {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream).await
    }

    /// On a stream that is there.
    pub(crate) async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        Self {
            sender,
            ended: tokio::spawn(connection),
        }
    }

    /// Sends a head; the body follows unless it ends here.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        ends: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://shop.test{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut ready = self.sender.clone().ready().await?;
        ready.send_request(request.body(()).unwrap(), ends)
    }

    /// A request without a body, answered.
    pub(crate) async fn get(&self, path: &str) -> Result<Whole, h2::Error> {
        self.ask("GET", path, &[], b"").await
    }

    /// A request, answered.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Whole, h2::Error> {
        let (answer, mut stream) = self.send(method, path, headers, body.is_empty()).await?;
        let upload = async move {
            let mut left = Bytes::copy_from_slice(body);
            while !left.is_empty() {
                stream.reserve_capacity(left.len());
                let Some(capacity) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await
                else {
                    return;
                };
                let Ok(capacity) = capacity else { return };
                let piece = left.split_to(capacity.min(left.len()));
                if stream.send_data(piece, left.is_empty()).is_err() {
                    return;
                }
            }
        };
        let (whole, ()) = tokio::join!(async { read(answer.await?).await }, upload);
        whole
    }
}

/// Reads an answer to its end.
pub(crate) async fn read(answer: http::Response<RecvStream>) -> Result<Whole, h2::Error> {
    let (parts, mut stream) = answer.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = piece?;
        let _ = stream.flow_control().release_capacity(piece.len());
        body.extend_from_slice(&piece);
    }
    Ok(Whole {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
    })
}
