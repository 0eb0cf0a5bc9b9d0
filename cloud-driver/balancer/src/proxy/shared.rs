//! HTTP/2 connections to an instance, which requests share.
//!
//! A request takes a stream of a connection that has room, or has one made; those that come meanwhile
//! wait for the same. A connection leaves the pool when it has ended, is idle for long, or the instance
//! drains; it is closed once its last stream has ended, and counts as open until then.
//!
//! A request that must not be repeated shares a connection too: an instance that closes one says up to
//! which stream it went (RFC 9113, section 6.8), so what came later is known not to have been touched.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{HOST, HeaderName, TE, TRANSFER_ENCODING};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Uri, Version};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;

use super::body::RequestBody;
use super::pipe::{ConnectError, MOST_HEAD, Sent, Watched, connect};
use super::table::Upstream;
use super::target::Target;

/// Requests on one connection; servers' own limits are at this number or above.
const MOST_STREAMS: u32 = 100;
/// An idle or silent connection is asked for a sign of life after this time.
const PING: Duration = Duration::from_secs(20);
/// Bytes of a body that one stream, and all of a connection, may have under way.
const WINDOW: (u32, u32) = (256 * 1024, 1024 * 1024);

/// Runs what hyper wants to run beside a connection on the thread of its worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Local;

impl<F> hyper::rt::Executor<F> for Local
where
    F: Future<Output: 'static> + 'static,
{
    fn execute(&self, task: F) {
        // It ends with its connection.
        drop(tokio::task::spawn_local(task));
    }
}

/// One connection.
#[derive(Debug)]
struct Shared {
    sender: http2::SendRequest<RequestBody>,
    target: Arc<Target>,
    streams: Cell<u32>,
    /// Whether it waits for requests.
    pooled: Cell<bool>,
    since: Cell<Instant>,
}

impl Shared {
    fn is_idle(&self) -> bool {
        self.pooled.get() && self.streams.get() == 0
    }
}

/// A stream that one request uses.
#[derive(Debug)]
pub(crate) struct Stream(Rc<Shared>);

impl Stream {
    fn of(shared: &Rc<Shared>) -> Self {
        if shared.is_idle() {
            shared.target.unkeep();
        }
        shared.streams.set(shared.streams.get() + 1);
        Self(shared.clone())
    }

    /// Sends a request and waits for the head of its answer, or until its instance is cut off.
    pub(crate) async fn send(
        &self,
        request: Box<Request<RequestBody>>,
        upstream: &Upstream,
        cuts: u32,
    ) -> Sent {
        let mut sender = self.0.sender.clone();
        let cut = upstream.cut.notified();
        if upstream.cuts.get() != cuts {
            return Sent::Cut;
        }
        let sent = tokio::select! {
            biased;
            sent = sender.try_send_request(*request) => sent,
            () = cut => return Sent::Cut,
        };
        let mut error = match sent {
            Ok(response) => return Sent::Answer(response),
            Err(error) => error,
        };
        if let Some(mut request) = error.take_message() {
            from_http2(&mut request);
            return Sent::Unsent(Box::new(request));
        }
        let error = error.into_error();
        let why = error.to_string();
        if is_unprocessed(&error) {
            return Sent::Unprocessed { why };
        }
        Sent::Lost { seen: false, why }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let shared = &self.0;
        shared.streams.set(shared.streams.get().saturating_sub(1));
        shared.since.set(Instant::now());
        if shared.is_idle() {
            shared.target.keep();
        }
    }
}

/// Whether an instance refused a stream, or left before it came to it (RFC 9113, section 8.7).
fn is_unprocessed(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
            return error.is_remote() && (error.is_go_away() || error.is_reset() && refused);
        }
        source = error.source();
    }
    false
}

type Opened = Option<Result<Rc<Shared>, Rc<ConnectError>>>;

/// One worker's shared connections to an instance.
#[derive(Debug)]
pub(crate) struct Pool {
    target: Arc<Target>,
    all: Rc<RefCell<Vec<Rc<Shared>>>>,
    /// The connection that is being made.
    opening: Rc<RefCell<Option<watch::Receiver<Opened>>>>,
}

impl Pool {
    /// None yet.
    pub(crate) fn new(target: Arc<Target>) -> Self {
        Self {
            target,
            all: Rc::default(),
            opening: Rc::default(),
        }
    }

    /// A stream of a connection that has room; whether the connection is new beside it.
    ///
    /// # Errors
    /// When no connection can be made.
    pub(crate) async fn stream(
        &self,
        limit: Duration,
        fresh: bool,
    ) -> Result<(Stream, bool), Rc<ConnectError>> {
        loop {
            if !fresh && let Some(stream) = self.there() {
                return Ok((stream, false));
            }
            let under_way = self.opening.borrow().clone();
            let mut opening = under_way.unwrap_or_else(|| self.open(limit));
            let opened = match opening.wait_for(Opened::is_some).await {
                Ok(opened) => opened.clone(),
                Err(_) => None,
            };
            let address = self.target.address;
            let shared =
                opened.unwrap_or_else(|| Err(Rc::new(ConnectError::Timeout { address, limit })))?;
            // Those that waited with this one may have filled it.
            if shared.streams.get() < MOST_STREAMS {
                return Ok((Stream::of(&shared), true));
            }
        }
    }

    fn there(&self) -> Option<Stream> {
        let all = self.all.borrow();
        let has_room = |s: &&Rc<Shared>| !s.sender.is_closed() && s.streams.get() < MOST_STREAMS;
        all.iter().find(has_room).map(Stream::of)
    }

    /// Opens a connection in a task of its own: whoever asked for it may go away, others wait too.
    fn open(&self, limit: Duration) -> watch::Receiver<Opened> {
        let (tell, told) = watch::channel(None);
        *self.opening.borrow_mut() = Some(told.clone());
        let (target, all) = (self.target.clone(), self.all.clone());
        let opening = self.opening.clone();
        drop(tokio::task::spawn_local(async move {
            let opened = match shared(&target, limit).await {
                Ok(sender) => {
                    let shared = Rc::new(Shared {
                        sender,
                        streams: Cell::new(0),
                        pooled: Cell::new(!target.is_draining()),
                        since: Cell::new(Instant::now()),
                        target,
                    });
                    if shared.pooled.get() {
                        shared.target.keep();
                        all.borrow_mut().push(shared.clone());
                    }
                    Ok(shared)
                }
                Err(error) => Err(Rc::new(error)),
            };
            // What it holds would keep the connection open.
            *opening.borrow_mut() = None;
            // Nobody waits any more when all of them went away.
            let _ = tell.send(Some(opened));
        }));
        told
    }

    /// Lets go of connections that ended or were idle since before `old`; of all when the instance
    /// drains.
    pub(crate) fn sweep(&self, drains: bool, old: Option<Instant>) {
        self.all.borrow_mut().retain(|shared| {
            let idle = shared.streams.get() == 0 && old.is_some_and(|old| shared.since.get() < old);
            let goes = drains || idle || shared.sender.is_closed();
            if goes {
                leave(shared);
            }
            !goes
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for shared in self.all.borrow_mut().drain(..) {
            leave(&shared);
        }
    }
}

fn leave(shared: &Shared) {
    if shared.is_idle() {
        shared.target.unkeep();
    }
    shared.pooled.set(false);
}

async fn shared(
    target: &Arc<Target>,
    limit: Duration,
) -> Result<http2::SendRequest<RequestBody>, ConnectError> {
    let watched = Watched::new(connect(target, limit).await?);
    let made = http2::Builder::new(Local)
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .initial_stream_window_size(WINDOW.0)
        .initial_connection_window_size(WINDOW.1)
        .max_header_list_size(u32::try_from(MOST_HEAD).unwrap_or(u32::MAX))
        .handshake(TokioIo::new(watched))
        .await;
    let (sender, connection) = made.map_err(|source| ConnectError::Setup {
        address: target.address,
        source,
    })?;
    drop(tokio::task::spawn_local(async move {
        // Whoever waits for an answer is told of its end.
        let _ended = connection.await;
    }));
    Ok(sender)
}

/// A head that was prepared for HTTP/1.1, as HTTP/2 has it.
pub(crate) fn to_http2(request: &mut Request<RequestBody>, grpc: bool) {
    *request.version_mut() = Version::HTTP_2;
    let host = request.headers_mut().remove(HOST);
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = authority.or_else(|| Some(Authority::from_static("localhost")));
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    // HTTP/2 has lengths and ends of its own.
    request.headers_mut().remove(TRANSFER_ENCODING);
    if grpc {
        // Servers tell by it that nothing on the way took the trailers out.
        let headers = request.headers_mut();
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// The same back.
fn from_http2(request: &mut Request<RequestBody>) {
    *request.version_mut() = Version::HTTP_11;
    let host = request.uri().authority().map(ToString::to_string);
    super::headers::origin_form(request.uri_mut());
    if let Some(host) = host.and_then(|host| HeaderValue::try_from(host).ok()) {
        request.headers_mut().insert(HOST, host);
    }
}

static CONTENT_TYPE: HeaderName = http::header::CONTENT_TYPE;

/// Whether a request is one of gRPC.
pub(crate) fn is_grpc(headers: &http::HeaderMap) -> bool {
    let kind = headers.get(&CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}
