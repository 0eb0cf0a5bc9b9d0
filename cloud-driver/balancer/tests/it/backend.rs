//! An instance of the tests: answers by path, misbehaves on demand, and tells what it saw.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// `GET /path HTTP/1.1`
    pub(crate) line: String,
    /// Headers, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// Which request of its connection it was, from 1.
    pub(crate) nth: usize,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
struct Shared {
    name: String,
    seen: Mutex<Vec<Seen>>,
    sick: AtomicBool,
    breaks_reused: AtomicBool,
    reads_chunks: AtomicBool,
    open: AtomicUsize,
}

/// A running instance; it ends, connections included, when this is dropped.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    held: Arc<Semaphore>,
    released: AtomicUsize,
    living: watch::Sender<()>,
    accepting: JoinHandle<()>,
}

impl Backend {
    pub(crate) async fn start(name: &str) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), name)
    }

    pub(crate) fn on(listener: TcpListener, name: &str) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            ..Shared::default()
        });
        let held = Arc::new(Semaphore::new(0));
        let (living, lives) = watch::channel(());
        let accepting = tokio::spawn({
            let (shared, held) = (shared.clone(), held.clone());
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (shared, held, mut lives) = (shared.clone(), held.clone(), lives.clone());
                    tokio::spawn(async move {
                        shared.open.fetch_add(1, Ordering::SeqCst);
                        tokio::select! {
                            _ = serve(stream, &shared, &held) => {}
                            // The sender is gone: the instance is dead.
                            _ = async { while lives.changed().await.is_ok() {} } => {}
                        }
                        shared.open.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            }
        });
        Self {
            address,
            shared,
            held,
            released: AtomicUsize::new(0),
            living,
            accepting,
        }
    }

    /// Lets so many requests for `/hold` go on.
    pub(crate) fn release(&self, count: usize) {
        self.released.fetch_add(count, Ordering::SeqCst);
        self.held.add_permits(count);
    }

    /// How many were let go on.
    pub(crate) fn released(&self) -> usize {
        self.released.load(Ordering::SeqCst)
    }

    /// `/health` answers 500 from now on, or 200 again.
    pub(crate) fn set_sick(&self, sick: bool) {
        self.shared.sick.store(sick, Ordering::SeqCst);
    }

    /// Every request but the first of a connection is read and the connection closed.
    pub(crate) fn break_reused(&self) {
        self.shared.breaks_reused.store(true, Ordering::SeqCst);
    }

    /// Bodies in chunks are read to their end before they are answered.
    pub(crate) fn read_chunks(&self) {
        self.shared.reads_chunks.store(true, Ordering::SeqCst);
    }

    /// Requests so far, without probes.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How many requests it saw for a path.
    pub(crate) fn count(&self, path: &str) -> usize {
        let word = format!(" {path} ");
        self.seen()
            .iter()
            .filter(|seen| seen.line.contains(&word))
            .count()
    }

    /// Ends it; nobody accepts there when this returns.
    pub(crate) async fn end(self) {
        let address = self.address;
        drop(self);
        let accepted = async || TcpStream::connect(address).await.err().ok_or("accepted");
        crate::stand::eventually("nobody accepts", accepted).await;
    }

    /// Open connections, probes included.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.accepting.abort();
        let _ = self.living.send(());
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared, held: &Semaphore) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    let mut nth = 0;
    loop {
        let head = loop {
            if let Some(end) = find(&buffer, b"\r\n\r\n") {
                break buffer.drain(..end + 4).collect::<Vec<_>>();
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut lines = text.lines();
        let line = lines.next().unwrap_or_default().to_owned();
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        nth += 1;
        let seen = Seen { line, headers, nth };
        let path = seen.line.split(' ').nth(1).unwrap_or_default().to_owned();
        let length: usize = seen
            .header("content-length")
            .map_or(0, |l| l.parse().unwrap());
        let is_head = seen.line.starts_with("HEAD ");
        if path != "/health" {
            shared.seen.lock().unwrap().push(seen.clone());
        }
        if shared.breaks_reused.load(Ordering::SeqCst) && nth > 1 {
            return Ok(());
        }
        if path == "/early" {
            answer(&mut stream, 200, "early", false).await?;
        }
        let is_chunked = seen.header("transfer-encoding") == Some("chunked");
        if is_chunked && shared.reads_chunks.load(Ordering::SeqCst) {
            skip_chunks(&mut stream, &mut buffer).await?;
        }
        let mut got = buffer.len().min(length);
        buffer.drain(..got);
        while got < length {
            let mut chunk = vec![0; (length - got).min(65_536)];
            let read = stream.read(&mut chunk).await?;
            if read == 0 {
                return Ok(());
            }
            got += read;
        }
        match path.as_str() {
            "/early" => {}
            "/health" if shared.sick.load(Ordering::SeqCst) => {
                answer(&mut stream, 500, "", false).await?
            }
            "/hold" => {
                held.acquire().await.unwrap().forget();
                answer(&mut stream, 200, &shared.name, is_head).await?;
            }
            "/break" => return Ok(()),
            "/half" => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
                    .await?;
                stream.flush().await?;
                held.acquire().await.unwrap().forget();
                return Ok(());
            }
            "/chunked" => {
                let hop = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: X-Own\r\n\
                           x-own: 1\r\nx-other: 2\r\n\r\n";
                stream.write_all(hop.as_bytes()).await?;
                for _ in 0..3 {
                    stream.write_all(b"5\r\nhello\r\n").await?;
                    tokio::task::yield_now().await;
                }
                stream.write_all(b"0\r\n\r\n").await?;
            }
            // More than the buffers of a client that does not read.
            "/big" => {
                let length = 64 * 1024 * 1024;
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
                for _ in 0..length / 65_536 {
                    stream.write_all(&[7; 65_536]).await?;
                }
            }
            "/500" => answer(&mut stream, 500, "broken", is_head).await?,
            "/length" => answer(&mut stream, 200, &length.to_string(), is_head).await?,
            "/tunnel" if seen.header("upgrade").is_some() => {
                let protocol = seen.header("upgrade").unwrap_or_default();
                let head = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n"
                );
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(&buffer).await?;
                let (mut reads, mut writes) = stream.split();
                tokio::io::copy(&mut reads, &mut writes).await?;
                return writes.shutdown().await;
            }
            _ => answer(&mut stream, 200, &shared.name, is_head).await?,
        }
    }
}

/// Reads a body in chunks to its end, its trailers too.
async fn skip_chunks(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<()> {
    let mut is_last = false;
    loop {
        let line = loop {
            if let Some(end) = find(buffer, b"\r\n") {
                break buffer.drain(..end + 2).collect::<Vec<_>>();
            }
            more(stream, buffer).await?;
        };
        if is_last {
            // Trailers, and then an empty line.
            if line == b"\r\n" {
                return Ok(());
            }
            continue;
        }
        let size = std::str::from_utf8(&line[..line.len() - 2]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        is_last = size == 0;
        while !is_last && buffer.len() < size + 2 {
            more(stream, buffer).await?;
        }
        if !is_last {
            buffer.drain(..size + 2);
        }
    }
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<()> {
    match stream.read_buf(buffer).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

async fn answer(
    stream: &mut TcpStream,
    status: u16,
    body: &str,
    head_only: bool,
) -> std::io::Result<()> {
    let body_sent = if head_only { "" } else { body };
    let text = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body_sent}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await
}

pub(crate) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
