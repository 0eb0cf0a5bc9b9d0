//! Clients of every kind over TLS, until told to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use crate::client::Connection;
use crate::stand::{eventually, soon};
use crate::tls_client::TlsClient;

/// What they saw.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) answered: AtomicU64,
    /// Connections of each kind: kept ones of HTTP/1.1, new ones, HTTP/2, tunnels.
    pub(crate) connections: [AtomicU64; 4],
    pub(crate) failed: std::sync::Mutex<Vec<String>>,
}

impl Findings {
    fn failed(&self, what: impl std::fmt::Display) {
        self.failed.lock().unwrap().push(what.to_string());
    }

    /// What failed; each kind of client has done something.
    pub(crate) fn failures(&self) -> Vec<String> {
        for (kind, connections) in self.connections.iter().enumerate() {
            assert!(
                connections.load(Ordering::SeqCst) > 0,
                "no client of kind {kind}"
            );
        }
        self.failed.lock().unwrap().clone()
    }
}

/// The clients.
pub(crate) struct TlsLoad {
    pub(crate) findings: Arc<Findings>,
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

#[derive(Clone)]
struct One {
    client: TlsClient,
    address: SocketAddr,
    name: &'static str,
    findings: Arc<Findings>,
    stop: Arc<AtomicBool>,
}

impl TlsLoad {
    pub(crate) fn start(client: &TlsClient, address: SocketAddr, name: &'static str) -> Self {
        let one = One {
            client: client.clone(),
            address,
            name,
            findings: Arc::default(),
            stop: Arc::default(),
        };
        let mut clients = JoinSet::new();
        clients.spawn(one.clone().keep(true));
        clients.spawn(one.clone().keep(true));
        clients.spawn(one.clone().keep(false));
        clients.spawn(one.clone().share());
        clients.spawn(one.clone().tunnel());
        Self {
            findings: one.findings,
            stop: one.stop,
            clients,
        }
    }

    pub(crate) async fn more(&self, count: u64) {
        let wanted = self.findings.answered.load(Ordering::SeqCst) + count;
        eventually("the load goes on", async || {
            let answered = self.findings.answered.load(Ordering::SeqCst);
            let failed = self.findings.failed.lock().unwrap().len();
            if answered >= wanted {
                Ok(())
            } else {
                Err((answered, failed))
            }
        })
        .await;
    }

    pub(crate) async fn stop(mut self) -> Arc<Findings> {
        self.stop.store(true, Ordering::SeqCst);
        soon("the clients end", async {
            while self.clients.join_next().await.is_some() {}
        })
        .await;
        self.findings
    }
}

impl One {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }

    fn connected(&self, kind: usize) {
        self.findings.connections[kind].fetch_add(1, Ordering::SeqCst);
    }

    fn answered(&self) {
        self.findings.answered.fetch_add(1, Ordering::SeqCst);
    }

    async fn keep(self, keep: bool) {
        while self.goes_on() {
            let client = self.client.speaking(&["http/1.1"]);
            let stream = match client.connect(self.address, self.name).await {
                Ok(stream) => stream,
                Err(error) => {
                    self.findings.failed(format!("handshake: {error}"));
                    continue;
                }
            };
            self.connected(usize::from(!keep));
            let mut connection = Connection::over(stream);
            while self.goes_on() {
                match connection.ask("POST /length", &[], &[b'x'; 20_000]).await {
                    Ok(answer) if answer.status == 200 && answer.text() == "20000" => {
                        self.answered();
                        if answer.closes() || !keep {
                            break;
                        }
                    }
                    failed => {
                        self.findings
                            .failed(format!("http/1.1, kept {keep}: {failed:?}"));
                        break;
                    }
                }
            }
        }
    }

    async fn share(self) {
        while self.goes_on() {
            let client = self.client.speaking(&["h2"]);
            let stream = match client.connect(self.address, self.name).await {
                Ok(stream) => stream,
                Err(error) => {
                    self.findings.failed(format!("handshake: {error}"));
                    continue;
                }
            };
            self.connected(2);
            let connection = crate::http2_client::Http2::over(stream).await;
            while self.goes_on() {
                match connection.get("/x").await {
                    Ok(answer) if answer.status == 200 => self.answered(),
                    // It was told to go elsewhere, and its request was not looked at.
                    Err(error) if error.is_go_away() && error.is_remote() => break,
                    failed => {
                        self.findings.failed(format!("http/2: {failed:?}"));
                        break;
                    }
                }
            }
        }
    }

    async fn tunnel(self) {
        let headers = [("connection", "upgrade"), ("upgrade", "echo")];
        while self.goes_on() {
            let client = self.client.speaking(&["http/1.1"]);
            let stream = match client.connect(self.address, self.name).await {
                Ok(stream) => stream,
                Err(error) => {
                    self.findings.failed(format!("handshake: {error}"));
                    continue;
                }
            };
            let mut connection = Connection::over(stream);
            match connection.ask("GET /tunnel", &headers, b"").await {
                Ok(answer) if answer.status == 101 => self.connected(3),
                failed => {
                    self.findings.failed(format!("tunnel: {failed:?}"));
                    continue;
                }
            }
            for number in 0..50 {
                let message = format!("message {number:04}");
                let sent = async {
                    connection.stream.write_all(message.as_bytes()).await?;
                    connection.stream.flush().await
                };
                if let Err(error) = sent.await {
                    self.findings.failed(format!("tunnel: {error}"));
                    break;
                }
                match connection.exactly(message.len()).await {
                    Ok(echo) if echo == message.as_bytes() => self.answered(),
                    failed => {
                        self.findings.failed(format!("tunnel: {failed:?}"));
                        break;
                    }
                }
            }
        }
    }
}
