//! Users: requests over kept-alive and new connections that nobody repeats.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::world::HOST;

/// What the users saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) answered: u64,
    pub(crate) failures: Vec<String>,
    pub(crate) versions: BTreeSet<String>,
}

impl Seen {
    fn note(&mut self, kind: &str, answer: Result<(u16, String, String), String>) {
        match answer {
            Ok((200, version, _)) => {
                self.answered += 1;
                self.versions.insert(version);
            }
            Ok((status, _, body)) => self.failures.push(format!("{kind}: {status} {body}")),
            Err(error) => self.failures.push(format!("{kind}: {error}")),
        }
    }
}

pub(crate) struct Users {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    tasks: JoinSet<()>,
}

/// One request on a connection of its own: status, version, body.
pub(crate) async fn visit(port: u16, path: &str) -> Result<(u16, String, String), String> {
    let mut connection = Connection::open(port).await?;
    connection.get(path).await
}

struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
}

impl Connection {
    async fn open(port: u16) -> Result<Self, String> {
        let stream = TcpStream::connect(("127.0.0.1", port))
            .await
            .map_err(|e| e.to_string())?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| e.to_string())?;
        tokio::spawn(async move {
            let _ended = connection.await;
        });
        Ok(Self { sender })
    }

    async fn get(&mut self, path: &str) -> Result<(u16, String, String), String> {
        let request = hyper::Request::get(path).header("host", HOST);
        let request = request.body(Full::new(Bytes::new())).unwrap();
        let answer = self
            .sender
            .send_request(request)
            .await
            .map_err(|e| format!("{e:?}"))?;
        let status = answer.status().as_u16();
        let version = answer.headers().get("x-version");
        let version = version
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let body = answer
            .into_body()
            .collect()
            .await
            .map_err(|e| format!("{e:?}"))?;
        Ok((
            status,
            version,
            String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        ))
    }
}

impl Users {
    /// Two that keep their connection, one that opens a new one each time, two
    /// that ask for answers of 400 ms.
    pub(crate) fn come(port: u16) -> Self {
        let mut users = Self {
            stop: Arc::default(),
            seen: Arc::default(),
            tasks: JoinSet::new(),
        };
        for kind in ["keep", "keep", "new", "slow", "slow"] {
            let (stop, seen) = (users.stop.clone(), users.seen.clone());
            users.tasks.spawn(async move {
                let mut kept = None;
                while !stop.load(Ordering::Relaxed) {
                    let path = if kind == "slow" { "/slow?ms=400" } else { "/" };
                    let answer = async {
                        if kept.is_none() || kind == "new" {
                            kept = Some(Connection::open(port).await?);
                        }
                        kept.as_mut().unwrap().get(path).await
                    }
                    .await;
                    if answer.is_err() {
                        kept = None;
                    }
                    seen.lock().unwrap().note(kind, answer);
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
            });
        }
        users
    }

    /// They leave when their last request has been answered.
    pub(crate) async fn leave(mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}
