//! An HTTP server on loopback that answers as the test says and keeps what it received.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A request as received.
#[derive(Debug, Clone, Default)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) parameters: BTreeMap<String, String>,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// What a request is answered with.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Status and body.
    With(u16, String),
    /// To another address.
    Redirect(String),
    /// The first bytes of a longer body, and the end of the connection.
    Cut(String),
    /// Nothing: the connection stays open.
    Silence,
}

type Answers = dyn Fn(&Received) -> Answer + Send + Sync;

/// The server; it ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    answers: Arc<Answers>,
}

impl Stub {
    pub(crate) async fn new(answers: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stub = Self {
            address: listener.local_addr().unwrap(),
            received: Arc::default(),
            answers: Arc::new(answers),
        };
        let own = stub.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(own.clone().exchange(stream));
            }
        });
        stub
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    async fn exchange(self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            let target = line.split(' ').nth(1).unwrap();
            let url = url::Url::parse(&format!("http://x{target}")).unwrap();
            let mut received = Received {
                path: url.path().to_owned(),
                parameters: url.query_pairs().into_owned().collect(),
                ..Received::default()
            };
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                let Some((name, value)) = line.trim_end().split_once(": ") else {
                    break;
                };
                received
                    .headers
                    .insert(name.to_lowercase(), value.to_owned());
            }
            let length = received.headers.get("content-length");
            let mut body = vec![0; length.map_or(0, |l| l.parse().unwrap())];
            stream.read_exact(&mut body).await.unwrap();
            received.body = String::from_utf8(body).unwrap();
            let answer = (self.answers)(&received);
            self.received.lock().unwrap().push(received);
            let is_cut = matches!(answer, Answer::Cut(_));
            let text = match answer {
                Answer::Silence => std::future::pending().await,
                Answer::With(status, body) => {
                    let length = body.len();
                    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}")
                }
                Answer::Redirect(to) => {
                    format!("HTTP/1.1 302 X\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
                }
                Answer::Cut(body) => {
                    let length = body.len() + 100;
                    format!("HTTP/1.1 200 X\r\ncontent-length: {length}\r\n\r\n{body}")
                }
            };
            stream.write_all(text.as_bytes()).await.unwrap();
            if is_cut {
                return;
            }
        }
    }
}
