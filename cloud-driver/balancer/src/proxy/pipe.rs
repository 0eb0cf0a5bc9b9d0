//! One connection to an instance.
//!
//! Whoever uses a connection also drives it: request, connection and answer are one task, so that
//! nothing is handed from task to task. A connection at rest is driven by nobody; it is looked at
//! before it is used again, and once a second.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::body::RequestBody;
use super::patient::Patient;
use super::relay::Relay;
use super::spare;
use super::target::Target;

/// Most bytes of an answer's head.
pub(crate) const MOST_HEAD: usize = 64 * 1024;

/// Most bytes that are read of an answer at a time: 64 KiB and its head.
const MOST_READ: usize = 80 * 1024;

/// Most bytes of a request's head that a connection at rest has memory for.
const HEAD_AT_REST: usize = 1024;

/// Counts a connection as long as it lives.
#[derive(Debug)]
pub(crate) struct Open(Arc<Target>);

impl Open {
    pub(crate) fn new(target: &Arc<Target>) -> Self {
        target.open();
        Self(target.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What is known of a stream.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Whether anything was read.
    any: Cell<bool>,
    /// Whether there was nothing to read when it was read last: it wakes when there is.
    waits: Cell<bool>,
    /// Whether what is written next is to be noted.
    notes: Cell<bool>,
    /// What was noted: all of a head, for hyper writes a head at once.
    noted: RefCell<Vec<u8>>,
}

/// A stream that notes what is known of it, and counts as long as it lives.
#[derive(Debug)]
pub(crate) struct Watched {
    stream: Patient,
    seen: Rc<Seen>,
    _open: Open,
}

impl Watched {
    /// Nothing was read of it yet.
    pub(crate) fn new((stream, open): (TcpStream, Open)) -> Self {
        Self {
            stream: Patient::new(stream),
            seen: Rc::default(),
            _open: open,
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.seen.any.set(true);
        }
        self.seen.waits.set(read.is_pending());
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.seen.notes.take() {
            self.seen.noted.borrow_mut().extend_from_slice(buf);
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // A request without a body is one piece, and sending one piece is the cheaper call.
        match bufs {
            [only] => self.poll_write(cx, only),
            _ => Pin::new(&mut self.stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Why no connection could be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Nobody accepts.
    #[error("cannot connect to {address}: {source}")]
    Refused {
        address: std::net::SocketAddr,
        #[source]
        source: io::Error,
    },
    /// Nobody accepted in time.
    #[error("{address} did not accept a connection within {limit:?}")]
    Timeout {
        address: std::net::SocketAddr,
        limit: Duration,
    },
    /// The connection could not be set up.
    #[error("connection to {address} failed: {source}")]
    Setup {
        address: std::net::SocketAddr,
        #[source]
        source: hyper::Error,
    },
}

/// Connects within a time; counted from before the first packet.
pub(crate) async fn connect(
    target: &Arc<Target>,
    limit: Duration,
) -> Result<(TcpStream, Open), ConnectError> {
    let open = Open::new(target);
    let address = target.address;
    let stream = match tokio::time::timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(source)) => return Err(ConnectError::Refused { address, source }),
        Err(_) => return Err(ConnectError::Timeout { address, limit }),
    };
    // Small answers must not wait for acknowledgements; without it they are only slower.
    let _slower = stream.set_nodelay(true);
    Ok((stream, open))
}

/// What became of a request.
pub(crate) enum Sent {
    /// An answer began.
    Answer(Response<Incoming>),
    /// Nothing of it was written.
    Unsent(Box<Request<RequestBody>>),
    /// It was written, and the instance said that it did nothing with it.
    Unprocessed { why: String },
    /// The connection ended; `seen`: after the first byte of an answer.
    Lost { seen: bool, why: String },
    /// It was cut on purpose.
    Cut,
}

/// A connection.
pub(crate) struct Pipe {
    sender: http1::SendRequest<RequestBody>,
    connection: Box<http1::Connection<TokioIo<Watched>, RequestBody>>,
    ended: bool,
    seen: Rc<Seen>,
    since: Instant,
    relay: Arc<Relay>,
    /// The relay, as what it is woken by knows it.
    waker: Waker,
}

impl std::fmt::Debug for Pipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipe")
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl Pipe {
    /// A new connection.
    pub(crate) async fn connect(
        target: &Arc<Target>,
        limit: Duration,
    ) -> Result<Self, ConnectError> {
        let watched = Watched::new(connect(target, limit).await?);
        let seen = watched.seen.clone();
        let made = http1::Builder::new()
            .max_buf_size(MOST_READ)
            .max_header_size(MOST_HEAD)
            .handshake(TokioIo::new(watched))
            .await;
        let (sender, connection) = made.map_err(|source| ConnectError::Setup {
            address: target.address,
            source,
        })?;
        let relay = Relay::new();
        Ok(Self {
            sender,
            connection: Box::new(connection),
            ended: false,
            seen,
            since: Instant::now(),
            waker: Waker::from(relay.clone()),
            relay,
        })
    }

    /// Drives it.
    pub(crate) fn drive(&mut self, cx: &Context<'_>) {
        if self.ended {
            return;
        }
        self.relay.follow(cx.waker());
        let mut cx = Context::from_waker(&self.waker);
        self.ended = Pin::new(&mut *self.connection).poll(&mut cx).is_ready();
    }

    /// Polls what comes on it, after it was driven.
    pub(crate) fn hear<T>(
        &self,
        cx: &Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.relay.hear(cx, poll)
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether it waits for a request, looked at now if anything has come since it was driven.
    pub(crate) fn is_usable(&mut self) -> bool {
        if self.seen.waits.get() && !self.relay.is_stirred() {
            return self.is_ready();
        }
        self.drive(&Context::from_waker(Waker::noop()));
        self.is_ready()
    }

    /// Lays it down for the next request; false when it cannot take one.
    pub(crate) fn rest(&mut self, now: Instant) -> bool {
        self.since = now;
        let mut noted = self.seen.noted.borrow_mut();
        noted.clear();
        noted.shrink_to(HEAD_AT_REST);
        drop(noted);
        let stirred = self.relay.is_stirred();
        // Whoever drove it has nothing more to do with it.
        self.relay.follow(Waker::noop());
        if stirred {
            self.drive(&Context::from_waker(Waker::noop()));
        }
        self.is_ready()
    }

    /// Since when it rests.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// Whether it could take the next request.
    pub(crate) fn is_ready(&self) -> bool {
        !self.ended && self.sender.is_ready()
    }

    /// Sends a request and waits for the head of its answer, or until `cut` says so; `noted`: one
    /// without a body, to be had again from [`Pipe::noted`].
    pub(crate) async fn send(
        &mut self,
        request: Box<Request<RequestBody>>,
        noted: bool,
        cut: impl Fn() -> bool,
    ) -> Sent {
        self.seen.any.set(false);
        self.seen.notes.set(noted);
        let mut answer = pin!(self.sender.try_send_request(*request));
        poll_fn(|cx| {
            if cut() {
                return Poll::Ready(Sent::Cut);
            }
            self.drive(cx);
            match self.hear(cx, |cx| answer.as_mut().poll(cx)) {
                Poll::Ready(Ok(response)) => Poll::Ready(Sent::Answer(response)),
                Poll::Ready(Err(mut error)) => Poll::Ready(match error.take_message() {
                    Some(request) => Sent::Unsent(Box::new(request)),
                    None => Sent::Lost {
                        seen: self.seen.any.get(),
                        why: error.into_error().to_string(),
                    },
                }),
                Poll::Pending if self.ended => Poll::Ready(Sent::Lost {
                    seen: self.seen.any.get(),
                    why: "connection ended".to_owned(),
                }),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// The request that was sent last, as it was written; none when it was not to be noted.
    pub(crate) fn noted(&self) -> Option<Request<RequestBody>> {
        spare::read(&self.seen.noted.borrow())
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::sync::Notify;

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(test);
    }

    async fn pipe(listener: &TcpListener) -> (Pipe, TcpStream, Arc<Target>) {
        let news = Arc::new(Notify::new());
        let target = Arc::new(Target::new(
            "i".into(),
            listener.local_addr().unwrap(),
            news,
        ));
        let pipe = Pipe::connect(&target, Duration::from_secs(5))
            .await
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        (pipe, stream, target)
    }

    /// Long enough for the runtime to hear of what the kernel knows already.
    async fn turn() {
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn a_request_on_a_connection_that_has_ended_comes_back_unsent() {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (mut pipe, stream, target) = pipe(&listener).await;
            assert!(pipe.is_usable());
            drop(stream);
            turn().await;
            let mut request = Box::new(Request::new(RequestBody::Empty));
            *request.method_mut() = http::Method::POST;
            match pipe.send(request, false, || false).await {
                Sent::Unsent(back) => assert_eq!(back.method(), http::Method::POST),
                _ => panic!("it was sent"),
            }
            assert!(!pipe.is_usable());
            assert_eq!(target.counts().open, 1);
            drop(pipe);
            assert_eq!(target.counts().open, 0);
        });
    }

    #[test]
    fn whether_an_answer_had_begun_is_known_when_a_connection_is_lost() {
        for (bytes, begun) in [(&b""[..], false), (b"HTTP/1.1 2", true)] {
            run(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let (mut pipe, mut stream, _target) = pipe(&listener).await;
                let answer = async {
                    use tokio::io::{AsyncReadExt, AsyncWriteExt};
                    let mut request = [0; 512];
                    assert!(stream.read(&mut request).await.unwrap() > 0);
                    stream.write_all(bytes).await.unwrap();
                    drop(stream);
                };
                let request = Box::new(Request::new(RequestBody::Empty));
                let (sent, ()) = tokio::join!(pipe.send(request, false, || false), answer);
                assert!(matches!(sent, Sent::Lost { seen, .. } if seen == begun));
            });
        }
    }

    #[test]
    fn what_was_sent_can_be_had_again_until_the_connection_rests() {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (mut pipe, mut stream, _target) = pipe(&listener).await;
            for noted in [true, false] {
                let answer = async {
                    use tokio::io::{AsyncReadExt, AsyncWriteExt};
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(stream.read_u8().await.unwrap());
                    }
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                    stream.write_all(answer).await.unwrap();
                };
                let mut request = Box::new(Request::new(RequestBody::Empty));
                let long = http::HeaderValue::try_from("x".repeat(20 * HEAD_AT_REST)).unwrap();
                request.headers_mut().insert("x-long", long);
                let headers = request.headers().clone();
                let (sent, ()) = tokio::join!(pipe.send(request, noted, || false), answer);
                assert!(matches!(sent, Sent::Answer(_)));
                drop(sent);
                let again = pipe.noted().map(|request| request.headers().clone());
                assert_eq!(again, noted.then_some(headers));
                assert!(pipe.rest(Instant::now()));
                assert!(pipe.noted().is_none());
                assert!(pipe.seen.noted.borrow().capacity() <= HEAD_AT_REST);
            }
        });
    }
}
