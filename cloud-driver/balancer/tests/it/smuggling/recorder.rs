//! The instance behind a proxy under trial: answers everything, and keeps what arrived by the address
//! of the client that the proxy says it is from.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::strict::{Message, Read, faults_of_beginning, read};

/// The header that tells a proxy's requests from what was smuggled through it.
pub(crate) const STAMP: &str = "x-forwarded-for";

/// What is said of a request without that.
pub(crate) const SMUGGLED: &str = "smuggled, no proxy has seen it";

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

#[derive(Default)]
struct Shared {
    arrived: Mutex<HashMap<Ipv4Addr, Vec<Message>>>,
    /// What a strict instance finds fault with, by client.
    faults: Mutex<HashMap<Ipv4Addr, Vec<String>>>,
    /// Connections in the middle of a request.
    reading: AtomicUsize,
}

impl Shared {
    fn keep(&self, client: Ipv4Addr, message: Message) {
        let mut arrived = self.arrived.lock().unwrap();
        arrived.entry(client).or_default().push(message);
    }
}

/// A running instance.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Recorder {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let accepting = tokio::spawn({
            let shared = shared.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let shared = shared.clone();
                    tokio::spawn(async move { serve(stream, &shared).await });
                }
            }
        });
        Self {
            address,
            shared,
            accepting,
        }
    }

    /// Whether no connection is in the middle of a request.
    pub(crate) fn rests(&self) -> bool {
        self.shared.reading.load(Ordering::SeqCst) == 0
    }

    /// Whole requests of a client, in order, and what is wrong with what came of it.
    pub(crate) fn take(&self, client: Ipv4Addr) -> (Vec<Message>, Vec<String>) {
        let arrived = self.shared.arrived.lock().unwrap().remove(&client);
        let faults = self.shared.faults.lock().unwrap().remove(&client);
        (arrived.unwrap_or_default(), faults.unwrap_or_default())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The client that a proxy says a request is from: the last of the list, which it wrote itself.
fn client(message: &Message) -> Option<Ipv4Addr> {
    let value = message.values(STAMP).last()?;
    let last = value.rsplit(|&byte| byte == b',').next()?;
    std::str::from_utf8(last.trim_ascii()).ok()?.parse().ok()
}

/// The same of bytes that are no message.
fn client_in(bytes: &[u8]) -> Option<Ipv4Addr> {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let mut stamps = text.lines().filter_map(|line| line.strip_prefix(STAMP));
    let last = stamps
        .next_back()?
        .rsplit([',', ':'])
        .next()?
        .trim()
        .to_owned();
    last.parse().ok()
}

async fn serve(mut stream: TcpStream, shared: &Shared) {
    let mut buffer = Vec::new();
    // Whose request came last on this connection: what has no stamp was smuggled behind that.
    let mut last = Ipv4Addr::UNSPECIFIED;
    let fault = |client: Ipv4Addr, what: &str, bytes: &[u8]| {
        let shown = &bytes[..bytes.len().min(2_000)];
        let what = format!("{what}: {}", shown.escape_ascii());
        let mut faults = shared.faults.lock().unwrap();
        faults.entry(client).or_default().push(what);
    };
    loop {
        match read(&buffer) {
            Read::Beginning => {}
            Read::Senseless(why) => {
                fault(client_in(&buffer).unwrap_or(last), why, &buffer);
                return;
            }
            Read::Whole(message, taken) => {
                let bytes: Vec<u8> = buffer.drain(..taken).collect();
                match client(&message) {
                    Some(client) => last = client,
                    None => fault(last, SMUGGLED, &bytes),
                }
                for what in &message.faults {
                    fault(last, what, &bytes);
                }
                shared.keep(last, *message);
                if stream.write_all(ANSWER).await.is_err() {
                    return;
                }
                continue;
            }
        }
        let busy = usize::from(!buffer.is_empty());
        shared.reading.fetch_add(busy, Ordering::SeqCst);
        let read = stream.read_buf(&mut buffer).await;
        if !matches!(read, Ok(1..)) {
            // Never whole, so it counts for nothing; but an instance has begun to read it.
            for what in faults_of_beginning(&buffer) {
                fault(client_in(&buffer).unwrap_or(last), what, &buffer);
            }
        }
        shared.reading.fetch_sub(busy, Ordering::SeqCst);
        if !matches!(read, Ok(1..)) {
            return;
        }
    }
}
