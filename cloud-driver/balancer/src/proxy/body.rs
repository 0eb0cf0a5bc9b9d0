//! Bodies on their way. They are never collected: a frame is passed on when the other side takes
//! it. Both bodies of a request hold its guard, so that it counts until both have ended.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::client::Busy;
use super::headers;
use super::lease::Lease;
use super::passage::{BROKEN, CLIENT_GONE, CUT, Journey};
use super::pipe::Pipe;
use super::shared::Stream;
use super::table::{Group, Upstream};
use super::tap::{BrokenOff, Tapped, Tapping};
use super::watch::{Breach, Watch};
use super::worker::Worker;

/// One request in flight at an instance.
#[derive(Debug)]
pub(crate) struct Guard {
    upstream: Rc<Upstream>,
    watch: Option<Rc<Watch>>,
    upload_broke: Cell<bool>,
}

impl Guard {
    /// Counts a request; none when the instance drains.
    pub(crate) fn enter(upstream: &Rc<Upstream>) -> Option<Self> {
        upstream.target.enter().then(|| Self {
            upstream: upstream.clone(),
            watch: None,
            upload_broke: Cell::new(false),
        })
    }

    /// Holds the watch of a request that begins at the instance now.
    pub(crate) fn hold(&mut self, watch: Option<&Rc<Watch>>) {
        self.watch = watch.cloned();
        if let Some(watch) = watch {
            watch.touch();
        }
    }

    /// What the request may still take; none: anything.
    pub(crate) fn watch(&self) -> Option<&Watch> {
        self.watch.as_deref()
    }

    /// Resolves when a limit of its route is reached.
    pub(crate) async fn broken(&self) -> Breach {
        match self.watch() {
            Some(watch) => watch.broken().await,
            None => std::future::pending().await,
        }
    }

    /// The instance.
    pub(crate) fn upstream(&self) -> &Rc<Upstream> {
        &self.upstream
    }

    /// Whether the request ended because the client's body did before its end: no fault of the
    /// instance.
    pub(crate) fn upload_broke(&self) -> bool {
        self.upload_broke.get()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.upstream.target.leave();
    }
}

/// A request's body.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// None.
    Empty,
    /// One that is being uploaded.
    Upload {
        body: Incoming,
        /// Held until the upload has ended; filled when an instance is chosen.
        guard: Option<Rc<Guard>>,
        /// Where its bytes are counted; none: nobody wants to know.
        bytes: Option<Rc<Cell<u64>>>,
        /// What a copy of the request is given of it.
        tap: Option<Tapping>,
    },
    /// That of a copy.
    Copy(Tapped),
}

/// Why a request's body ends before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    /// The client's side of it.
    #[error("client's body broke off: {0}")]
    Client(#[source] hyper::Error),
    /// A limit of its route.
    #[error("{0}")]
    Limit(#[source] Breach),
    /// It is a copy.
    #[error(transparent)]
    Copy(#[from] BrokenOff),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Copy(copy) => {
                let polled = copy.poll(cx).map_err(UploadError::Copy);
                polled.map(|bytes| bytes.map(|bytes| bytes.map(Frame::data)))
            }
            Self::Upload {
                body,
                guard,
                bytes,
                tap,
            } => {
                let mut polled = Pin::new(body).poll_frame(cx);
                match &mut polled {
                    Poll::Ready(Some(Ok(frame))) => {
                        if let Some(bytes) = bytes {
                            bytes.set(bytes.get() + length(frame) as u64);
                        }
                        if let (Some(tap), Some(bytes)) = (tap, frame.data_ref()) {
                            tap.pass(bytes);
                        }
                        if let Some(trailers) = frame.trailers_mut() {
                            headers::strip_trailers(trailers);
                        }
                    }
                    Poll::Ready(Some(Err(_))) => {
                        if let Some(guard) = guard {
                            guard.upload_broke.set(true);
                        }
                    }
                    Poll::Ready(None) | Poll::Pending => {}
                }
                match guard.as_ref().and_then(|guard| guard.watch()) {
                    Some(watch) => watch.upload(polled),
                    None => polled.map_err(UploadError::Client),
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Upload { body, .. } => body.is_end_stream(),
            Self::Copy(copy) => copy.left() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Upload { body, .. } => body.size_hint(),
            Self::Copy(copy) => SizeHint::with_exact(copy.left()),
        }
    }
}

/// Bytes of a frame; trailers have none.
fn length(frame: &Frame<Bytes>) -> usize {
    frame.data_ref().map_or(0, Bytes::len)
}

/// Why an answer ends before its end; the client sees its connection reset.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The instance broke it off.
    #[error("instance broke its answer off: {0}")]
    Instance(#[source] hyper::Error),
    /// The connection to the instance ended.
    #[error("connection to the instance ended within its answer")]
    Ended,
    /// It was cut.
    #[error("request was cut")]
    Cut,
    /// A limit of its route was reached.
    #[error("{0}")]
    Limit(#[source] Breach),
}

/// An answer's body.
pub(crate) enum ResponseBody {
    /// None, or all of it at once.
    Whole(Option<Bytes>),
    /// One that is still coming.
    Coming(Box<Exchange>),
    /// The same on a route with limits.
    Leased(Lease),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Self::Coming(exchange) => exchange.poll_frame(cx),
            Self::Leased(lease) => lease.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Coming(exchange) => exchange.is_end_stream(),
            Self::Leased(lease) => lease.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            Self::Coming(exchange) => exchange.size_hint(),
            Self::Leased(lease) => lease.size_hint(),
        }
    }
}

/// What is counted of a request when it ends.
pub(crate) struct Count {
    pub(crate) worker: Rc<Worker>,
    pub(crate) _busy: Busy,
    pub(crate) group: Rc<Group>,
    pub(crate) began: Instant,
    pub(crate) status: u16,
    pub(crate) reads: bool,
    pub(crate) first: Duration,
    /// The same by route and in the access log; none: that was done already.
    pub(crate) journey: Option<Journey>,
}

impl Count {
    /// The answer has ended; `why`: before its end.
    fn ended(&mut self, now: Instant, why: Option<&'static str>) {
        let total = now.saturating_duration_since(self.began);
        self.group.meter.first.record(self.first);
        self.group.meter.ended(self.reads, self.status, total);
        if let Some(mut journey) = self.journey.take() {
            journey.ended(self.status, self.first, total, why);
        }
    }

    fn passed(&mut self, frame: &Frame<Bytes>) {
        if let Some(journey) = &mut self.journey {
            journey.passed(length(frame));
        }
    }
}

/// What an answer comes on.
pub(crate) enum Carrier {
    /// A connection that whoever reads the answer drives.
    Pipe(Pipe),
    /// A stream of a connection that others use too.
    Stream(#[expect(dead_code, reason = "it counts as long as it is held")] Stream),
    /// A connection that a task of its own drives.
    Apart,
}

impl Carrier {
    fn hear(
        &self,
        cx: &mut Context<'_>,
        body: &mut Incoming,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let body = Pin::new(body);
        match self {
            Self::Pipe(pipe) => pipe.hear(cx, |cx| body.poll_frame(cx)),
            Self::Stream(_) | Self::Apart => body.poll_frame(cx),
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self, Self::Pipe(pipe) if pipe.has_ended())
    }
}

/// An answer that is still coming, with the connection it comes on.
pub(crate) struct Exchange {
    body: Incoming,
    first: Option<Frame<Bytes>>,
    carrier: Carrier,
    guard: Rc<Guard>,
    cuts: u32,
    count: Count,
    ended: bool,
}

/// Takes an answer's body over. What has come whole already is handed on at once and the
/// connection laid down; the rest is asked for by whoever polls the body, and so nobody is woken here.
pub(crate) fn take_over(
    mut body: Incoming,
    carrier: Carrier,
    guard: Rc<Guard>,
    cuts: u32,
    count: Count,
) -> ResponseBody {
    let cx = &mut Context::from_waker(Waker::noop());
    let mut first = None;
    if !body.is_end_stream()
        && let Poll::Ready(Some(Ok(frame))) = carrier.hear(cx, &mut body)
    {
        first = Some(frame);
    }
    let mut count = count;
    if let Some(frame) = &first {
        count.passed(frame);
    }
    let mut exchange = Exchange {
        body,
        first,
        carrier,
        guard,
        cuts,
        count,
        ended: false,
    };
    if exchange.body.is_end_stream() && exchange.first.as_ref().is_none_or(Frame::is_data) {
        // The head has only just come: no need to look at the clock again.
        let now = exchange.count.began + exchange.count.first;
        exchange.end(cx, now);
        let whole = exchange
            .first
            .take()
            .and_then(|frame| frame.into_data().ok());
        return ResponseBody::Whole(whole.filter(|bytes| !bytes.is_empty()));
    }
    let exchange = Box::new(exchange);
    match exchange.guard.watch.clone() {
        None => ResponseBody::Coming(exchange),
        Some(watch) => {
            let (lease, recall) = Lease::new(exchange);
            watch.may_recall(recall);
            ResponseBody::Leased(lease)
        }
    }
}

impl Exchange {
    pub(crate) fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        if self.first.is_none() {
            self.body.size_hint()
        } else {
            SizeHint::default()
        }
    }

    /// Whether it was counted and its connection laid down.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        if self.guard.upstream().cuts.get() != self.cuts {
            self.carrier = Carrier::Apart;
            return Poll::Ready(Some(Err(Broken::Cut)));
        }
        if let Some(breach) = self.breach() {
            return self.limited(breach);
        }
        // The connection first: a frame it brings is then there without waking anybody.
        if let Carrier::Pipe(pipe) = &mut self.carrier {
            pipe.drive(cx);
        }
        match self.carrier.hear(cx, &mut self.body) {
            Poll::Ready(Some(Ok(frame))) => {
                self.count.passed(&frame);
                if let Some(watch) = self.guard.watch() {
                    watch.touch();
                }
                if self.body.is_end_stream() {
                    self.end(cx, Instant::now());
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => self.broke(Broken::Instance(error)),
            Poll::Ready(None) => {
                self.end(cx, Instant::now());
                Poll::Ready(None)
            }
            Poll::Pending if self.carrier.has_ended() => self.broke(Broken::Ended),
            Poll::Pending => Poll::Pending,
        }
    }

    fn breach(&self) -> Option<Breach> {
        self.guard.watch().and_then(Watch::breach)
    }

    /// The route's limit ends it; that is counted there.
    fn limited(&mut self, breach: Breach) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.ended = true;
        self.carrier = Carrier::Apart;
        let why = breach.own().status().1;
        self.count.ended(Instant::now(), Some(why));
        Poll::Ready(Some(Err(Broken::Limit(breach))))
    }

    fn broke(&mut self, why: Broken) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        // An upload that is too long ends the connection to the instance, and with it the answer.
        if let Some(breach) = self.breach() {
            return self.limited(breach);
        }
        self.ended = true;
        self.carrier = Carrier::Apart;
        self.count.worker.totals.broken.add(1);
        self.count.ended(Instant::now(), Some(BROKEN));
        Poll::Ready(Some(Err(why)))
    }

    /// The answer has ended: counts it and lays the connection down. Should the request's own body
    /// still be on its way, the connection is driven until that has ended too, and closed.
    fn end(&mut self, cx: &mut Context<'_>, now: Instant) {
        self.ended = true;
        self.count.ended(now, None);
        let carrier = std::mem::replace(&mut self.carrier, Carrier::Apart);
        let Carrier::Pipe(mut pipe) = carrier else {
            return;
        };
        if !pipe.is_ready() {
            pipe.drive(cx);
        }
        if pipe.is_ready() {
            self.guard.upstream().keep(pipe, now);
        } else if !pipe.has_ended() {
            let (guard, cuts) = (self.guard.clone(), self.cuts);
            self.count.worker.spawn_rest(pipe, guard, cuts);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.ended {
            let totals = &self.count.worker.totals;
            let why = if let Some(breach) = self.breach() {
                // Counted at the route.
                breach.own().status().1
            } else if self.guard.upstream().cuts.get() == self.cuts {
                totals.client_gone.add(1);
                CLIENT_GONE
            } else {
                totals.cut_requests.add(1);
                CUT
            };
            self.count.ended(Instant::now(), Some(why));
        }
    }
}
