//! Instances of the suite behind a load balancer: sockets of this process that know what they have.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Truth;

/// What all instances share: who has begun what, and what may end.
#[derive(Debug, Default)]
pub(super) struct Hub {
    begun: watch::Sender<BTreeMap<u64, String>>,
    released: watch::Sender<BTreeSet<u64>>,
}

impl Hub {
    /// Waits until work of this number has arrived; where.
    pub(super) async fn begun(&self, number: u64) -> String {
        let mut begun = self.begun.subscribe();
        let there = begun.wait_for(|begun| begun.contains_key(&number)).await;
        there.unwrap()[&number].clone()
    }

    /// Lets it end.
    pub(super) fn release(&self, number: u64) {
        self.released.send_modify(|released| {
            released.insert(number);
        });
    }

    async fn wait(&self, number: u64) {
        let mut released = self.released.subscribe();
        let _there = released.wait_for(|r| r.contains(&number)).await;
    }
}

#[derive(Debug)]
struct Shared {
    name: String,
    hub: Arc<Hub>,
    truth: Mutex<Truth>,
    well: AtomicBool,
}

/// One instance; it ends with its connections when this is dropped.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    living: watch::Sender<()>,
    accepting: JoinHandle<()>,
}

impl Backend {
    pub(super) async fn start(name: &str, hub: Arc<Hub>, well: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            hub,
            truth: Mutex::default(),
            well: AtomicBool::new(well),
        });
        let (living, lives) = watch::channel(());
        let accepting = tokio::spawn({
            let shared = shared.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (shared, mut lives) = (shared.clone(), lives.clone());
                    tokio::spawn(async move {
                        let mut works = false;
                        tokio::select! {
                            _ = serve(stream, &shared, &mut works) => {}
                            // The sender is gone: the instance has ended.
                            () = async { while lives.changed().await.is_ok() {} } => {}
                        }
                        if works {
                            shared.change(|truth| truth.connections -= 1);
                        }
                    });
                }
            }
        });
        Self {
            address,
            shared,
            living,
            accepting,
        }
    }

    pub(super) fn set_well(&self, well: bool) {
        self.shared.well.store(well, Ordering::SeqCst);
    }

    pub(super) fn truth(&self) -> Truth {
        *self.shared.truth.lock().unwrap()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.accepting.abort();
        let _ended = self.living.send(());
    }
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut Truth)) {
        change(&mut self.truth.lock().unwrap());
    }

    fn is_well(&self) -> bool {
        self.well.load(Ordering::SeqCst)
    }
}

/// Gives a count back however its work ends.
struct Counted<'a>(&'a Shared, fn(&mut Truth) -> &mut u64);

impl<'a> Counted<'a> {
    fn new(shared: &'a Shared, of: fn(&mut Truth) -> &mut u64) -> Self {
        shared.change(|truth| *of(truth) += 1);
        Self(shared, of)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let of = self.1;
        self.0.change(|truth| *of(truth) -= 1);
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared, works: &mut bool) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let head: Vec<u8> = buffer.drain(..end).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default();
        if path == "/health" {
            let status = if shared.is_well() { 200 } else { 503 };
            answer(&mut stream, status, "").await?;
            continue;
        }
        if !std::mem::replace(works, true) {
            shared.change(|truth| truth.connections += 1);
        }
        shared.change(|truth| truth.taken += 1);
        let number = path.rsplit('/').next().and_then(|n| n.parse().ok());
        let arrived = |number: u64| {
            shared.hub.begun.send_modify(|begun| {
                begun.insert(number, shared.name.clone());
            });
        };
        match number {
            Some(number) if path.starts_with("/hold/") => {
                let counted = Counted::new(shared, |truth| &mut truth.requests);
                arrived(number);
                shared.hub.wait(number).await;
                // The last byte of the answer ends it for both sides.
                drop(counted);
                answer(&mut stream, 200, &shared.name).await?;
            }
            Some(number) if path.starts_with("/tunnel/") => {
                let _counted = Counted::new(shared, |truth| &mut truth.tunnels);
                let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
                stream.write_all(head.as_bytes()).await?;
                arrived(number);
                let (mut reads, mut writes) = stream.split();
                tokio::io::copy(&mut reads, &mut writes).await?;
                return writes.shutdown().await;
            }
            _ => {
                let counted = Counted::new(shared, |truth| &mut truth.requests);
                tokio::task::yield_now().await;
                drop(counted);
                answer(&mut stream, 200, &shared.name).await?;
            }
        }
    }
}

async fn answer(stream: &mut TcpStream, status: u16, body: &str) -> io::Result<()> {
    let text = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await
}
