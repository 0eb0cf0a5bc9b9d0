//! An instance of the tests that speaks HTTP/2 only.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) uri: String,
    pub(crate) headers: HeaderMap,
}

#[derive(Default)]
struct Shared {
    name: String,
    seen: Mutex<Vec<Seen>>,
    open: AtomicUsize,
    accepted: AtomicUsize,
    refuses: AtomicBool,
}

/// A running instance; it accepts nothing more once this is dropped.
pub(crate) struct Http2Backend {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    held: Arc<Semaphore>,
    accepting: JoinHandle<()>,
}

impl Http2Backend {
    pub(crate) async fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            ..Shared::default()
        });
        let held = Arc::new(Semaphore::new(0));
        let accepting = tokio::spawn({
            let (shared, held) = (shared.clone(), held.clone());
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(connection(stream, shared.clone(), held.clone()));
                }
            }
        });
        Self {
            address,
            shared,
            held,
            accepting,
        }
    }

    /// Lets so many requests for `/hold` go on.
    pub(crate) fn release(&self, count: usize) {
        self.held.add_permits(count);
    }

    /// Every stream is refused from now on, or none.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::SeqCst);
    }

    /// Requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Connections that are open, of HTTP/2.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Connections of HTTP/2 so far.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Http2Backend {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, held: Arc<Semaphore>) {
    // A probe says nothing and goes away.
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    shared.open.fetch_add(1, Ordering::SeqCst);
    shared.accepted.fetch_add(1, Ordering::SeqCst);
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        if shared.refuses.load(Ordering::SeqCst) {
            respond.send_reset(Reason::REFUSED_STREAM);
            continue;
        }
        tokio::spawn(answer(request, respond, shared.clone(), held.clone()));
    }
    shared.open.fetch_sub(1, Ordering::SeqCst);
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    shared: Arc<Shared>,
    held: Arc<Semaphore>,
) -> Option<()> {
    shared.seen.lock().unwrap().push(Seen {
        method: request.method().to_string(),
        uri: request.uri().to_string(),
        headers: request.headers().clone(),
    });
    let path = request.uri().path().to_owned();
    let mut body = request.into_body();
    let kind = HeaderValue::from_static("application/grpc");
    let mut head = Response::new(());
    match path.as_str() {
        "/hold" => {
            held.acquire().await.ok()?.forget();
            let mut stream = respond.send_response(head, false).ok()?;
            let name = Bytes::from(shared.name.clone());
            stream.send_data(name, true).ok()?;
        }
        // Each piece comes back as it came, the trailers last, as a server of gRPC does it.
        "/echo" => {
            head.headers_mut().insert("content-type", kind);
            let mut stream = respond.send_response(head, false).ok()?;
            while let Some(piece) = body.data().await {
                let piece = piece.ok()?;
                let _ = body.flow_control().release_capacity(piece.len());
                stream.send_data(piece, false).ok()?;
            }
            let sent = body.trailers().await.ok()?;
            let mut trailers = sent.unwrap_or_default();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            stream.send_trailers(trailers).ok()?;
        }
        // Nothing but trailers: how gRPC tells of an error.
        "/error" => {
            let headers = head.headers_mut();
            headers.insert("content-type", kind);
            headers.insert("grpc-status", HeaderValue::from_static("5"));
            respond.send_response(head, true).ok()?;
        }
        _ => {
            let mut stream = respond.send_response(head, false).ok()?;
            let name = Bytes::from(shared.name.clone());
            stream.send_data(name, true).ok()?;
        }
    }
    Some(())
}
