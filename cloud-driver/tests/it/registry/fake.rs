//! A registry of canned answers: what the real one cannot be made to do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// An answer: status, headers, body.
pub(super) type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) line: String,
    pub(super) authorization: Option<String>,
}

type Rule = dyn Fn(&str, Option<&str>) -> Answer + Send + Sync;

/// The server; ends with the test's runtime.
pub(super) struct Fake {
    pub(super) address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    /// Serves `rule(path with query, authorization)` on a free port.
    pub(super) async fn start(
        rule: impl Fn(&str, Option<&str>) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (rule, seen): (Arc<Rule>, _) = (Arc::new(rule), asked.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, rule.clone(), seen.clone()));
            }
        });
        Self { address, asked }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, rule: Arc<Rule>, seen: Arc<Mutex<Vec<Asked>>>) {
    let mut buffer = Vec::new();
    while !buffer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte).await {
            Ok(1) => buffer.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8(buffer).unwrap();
    let line = head.lines().next().unwrap().to_owned();
    let headers: BTreeMap<String, String> = head
        .lines()
        .skip(1)
        .filter_map(|l| l.split_once(": "))
        .map(|(k, v)| (k.to_lowercase(), v.to_owned()))
        .collect();
    let authorization = headers.get("authorization").cloned();
    let path = line.split(' ').nth(1).unwrap().to_owned();
    seen.lock().unwrap().push(Asked {
        line: line.clone(),
        authorization: authorization.clone(),
    });
    let (status, headers, body) = rule(&path, authorization.as_deref());
    let mut text = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n");
    let length = headers.iter().all(|(name, _)| *name != "content-length");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if length {
        text.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    let _ = stream.write_all(text.as_bytes()).await;
    if !line.starts_with("HEAD") {
        let _ = stream.write_all(&body).await;
    }
    let _ = stream.shutdown().await;
}
