//! Servers on sockets of this machine that keep what they are sent: HTTP and SMTP.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::rig::eventually;

/// A request as received.
#[derive(Debug, Clone, Default)]
pub(crate) struct Received {
    /// `POST /path HTTP/1.1`, or the envelope of a mail.
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn key(&self) -> &str {
        self.headers["idempotency-key"].as_str()
    }
}

/// What a request is answered with.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Status and body.
    With(u16, &'static str),
    /// Never: the connection stays open.
    Silence,
}

/// A server that keeps what it received.
#[derive(Clone)]
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
}

impl Sink {
    /// HTTP; without planned answers it answers 200 and `{"ok":true}`.
    pub(crate) async fn http(answers: &[Answer]) -> Self {
        let (sink, listener) = Self::new(answers).await;
        let own = sink.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(own.clone().exchange(stream));
            }
        });
        sink
    }

    /// SMTP without TLS; a planned answer is that to the mail's content.
    pub(crate) async fn smtp(answers: &[Answer]) -> Self {
        let (sink, listener) = Self::new(answers).await;
        let own = sink.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(own.clone().session(stream));
            }
        });
        sink
    }

    async fn new(answers: &[Answer]) -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sink = Self {
            address: listener.local_addr().unwrap(),
            received: Arc::default(),
            answers: Arc::new(Mutex::new(answers.iter().cloned().collect())),
        };
        (sink, listener)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Waits for so many.
    pub(crate) async fn wait(&self, count: usize) -> Vec<Received> {
        let what = format!("{count} received");
        eventually(&what, async || self.received().len() >= count).await;
        self.received()
    }

    fn keep(&self, received: Received) -> Answer {
        self.received.lock().unwrap().push(received);
        let next = self.answers.lock().unwrap().pop_front();
        next.unwrap_or(Answer::With(200, "{\"ok\":true}"))
    }

    async fn exchange(self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        loop {
            let mut received = Received::default();
            if stream.read_line(&mut received.line).await.unwrap_or(0) == 0 {
                return;
            }
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
            match self.keep(received) {
                Answer::Silence => std::future::pending::<()>().await,
                Answer::With(status, body) => {
                    let length = body.len();
                    let answer =
                        format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        }
    }

    async fn session(self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 sink\r\n").await.unwrap();
        let mut mail = Received::default();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end();
            let verb = line.split([' ', ':']).next().unwrap_or_default();
            let answer = match verb.to_uppercase().as_str() {
                "EHLO" | "HELO" => "250 sink".to_owned(),
                "MAIL" | "RCPT" => {
                    mail.line.push_str(line);
                    mail.line.push('\n');
                    "250 ok".to_owned()
                }
                "DATA" => {
                    stream.write_all(b"354 go on\r\n").await.unwrap();
                    read_mail(&mut stream, &mut mail).await;
                    match self.keep(std::mem::take(&mut mail)) {
                        Answer::With(200, _) => "250 kept".to_owned(),
                        Answer::With(status, text) => format!("{status} {text}"),
                        Answer::Silence => std::future::pending().await,
                    }
                }
                "QUIT" => {
                    stream.write_all(b"221 bye\r\n").await.unwrap();
                    return;
                }
                _ => "250 ok".to_owned(),
            };
            stream
                .write_all(format!("{answer}\r\n").as_bytes())
                .await
                .unwrap();
        }
    }
}

async fn read_mail(stream: &mut BufReader<TcpStream>, mail: &mut Received) {
    let mut in_headers = true;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        let line = line.trim_end_matches(['\r', '\n']);
        if line == "." {
            return;
        }
        if line.is_empty() {
            in_headers = false;
        }
        match line.split_once(": ") {
            Some((name, value)) if in_headers => {
                mail.headers.insert(name.to_lowercase(), value.to_owned());
            }
            _ => {
                mail.body.push_str(line);
                mail.body.push('\n');
            }
        }
    }
}
