//! Copies of requests for another load balancer.
//!
//! A copy is a task of its own: it never delays the request it was made of and its failures are counted
//! apart. It counts as in flight at its instance, which does not drain before it has ended.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use http::header::HeaderName;
use http::request::Parts;
use http::{HeaderValue, Request};
use hyper::body::{Body, Incoming};

use super::body::RequestBody;
use super::pipe::Sent;
use super::shared::is_grpc;
use super::table::Balancer;
use super::tap::Tap;
use super::way::{How, Wanted, Way};
use super::worker::Worker;

static MIRRORED: HeaderName = HeaderName::from_static("x-mirrored");

/// Most bytes of a body that is copied.
const MOST_BODY: u64 = 1024 * 1024;
/// Time for a copy, from the request's head to the end of the answer that is dropped.
const TIME: Duration = Duration::from_secs(30);

/// What all workers share of a route's copies.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    in_flight: AtomicU64,
    /// Answered to the end.
    pub(crate) answered: AtomicU64,
    /// Begun and not answered to the end.
    pub(crate) failed: AtomicU64,
    /// Not made because too many were under way.
    pub(crate) full: AtomicU64,
    /// Not made because the body was too long, or its length not known.
    pub(crate) too_long: AtomicU64,
}

impl Lane {
    fn enter(self: &Arc<Self>, most: u64) -> Option<Place> {
        let place = |in_flight: u64| (in_flight < most).then(|| in_flight + 1);
        let order = Ordering::Relaxed;
        let entered = self.in_flight.fetch_update(order, order, place);
        entered.is_ok().then(|| Place(self.clone()))
    }
}

/// A copy under way.
struct Place(Arc<Lane>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where copies of a route's requests go, and how many.
#[derive(Debug, Clone)]
pub(crate) struct Rate {
    /// Of a hundred requests.
    pub(crate) percent: u32,
    /// Under way at the same time.
    pub(crate) most: u64,
    pub(crate) lane: Arc<Lane>,
}

/// The mirror of a route in one worker.
#[derive(Debug)]
pub(crate) struct Mirror {
    pub(crate) balancer: Rc<Balancer>,
    rate: Rate,
    /// Hundredths of a copy that requests so far have earned.
    earned: Cell<u32>,
}

impl Mirror {
    pub(crate) fn new(balancer: Rc<Balancer>, rate: Rate) -> Self {
        Self {
            balancer,
            rate,
            earned: Cell::new(0),
        }
    }

    /// Whether this request is one to be copied: every third, for 33 of a hundred.
    fn is_due(&self) -> bool {
        let earned = self.earned.get() + self.rate.percent;
        self.earned.set(earned % 100);
        earned >= 100
    }

    /// Sends a copy of a request on its way, if it is one to be copied.
    pub(crate) fn copy(&self, worker: &Rc<Worker>, parts: &Parts, body: &mut RequestBody) {
        // What is a copy itself stays one: load balancers may be each other's mirrors.
        if parts.headers.contains_key(&MIRRORED) || !self.is_due() {
            return;
        }
        let lane = &self.rate.lane;
        let length = body.size_hint().exact();
        let Some(length) = length.filter(|length| *length <= MOST_BODY) else {
            lane.too_long.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let Some(place) = lane.enter(self.rate.most) else {
            lane.full.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let copied = match body {
            RequestBody::Upload { tap, .. } => {
                let (into, out) = Tap::pair(length);
                *tap = Some(into);
                RequestBody::Copy(out)
            }
            RequestBody::Empty | RequestBody::Copy(_) => RequestBody::Empty,
        };
        let mut request = Request::new(copied);
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = parts.uri.clone();
        *request.headers_mut() = parts.headers.clone();
        let marked = HeaderValue::from_static("1");
        request.headers_mut().insert(&MIRRORED, marked);
        let (balancer, sender) = (self.balancer.clone(), worker.clone());
        worker.spawn(async move {
            let sent = tokio::time::timeout(TIME, send(&sender, &balancer, request));
            let lane = &place.0;
            let count = match sent.await {
                Ok(Some(())) => &lane.answered,
                Ok(None) | Err(_) => &lane.failed,
            };
            count.fetch_add(1, Ordering::Relaxed);
        });
    }
}

/// Sends a copy once and reads its answer; none when that did not come to its end.
async fn send(worker: &Worker, balancer: &Balancer, request: Request<RequestBody>) -> Option<()> {
    let (group, guard) = worker.choose(balancer, &[], None)?;
    let upstream = guard.upstream();
    let cuts = upstream.cuts.get();
    let cut = upstream.cut.notified();
    let exchange = async {
        let grpc = is_grpc(request.headers());
        let wanted = Wanted {
            grpc,
            // A connection that was used may be closed just now, and a copy has one try.
            fresh: true,
            again: false,
            limit: worker.table().limits.connect,
        };
        let opened = Box::pin(Way::open(&group, upstream, wanted)).await;
        let Ok((mut way, _)) = opened else {
            upstream.target.failed();
            return None;
        };
        let how = How {
            grpc,
            cuts,
            noted: false,
        };
        let sent = Box::pin(way.send(Box::new(request), upstream, how)).await;
        let Sent::Answer(response) = sent else {
            return None;
        };
        upstream.target.answered(response.status().as_u16());
        read(response.into_body(), &mut way).await?;
        if let Way::Pipe(mut pipe) = way {
            let now = Instant::now();
            if pipe.rest(now) {
                upstream.keep(pipe, now);
            }
        }
        Some(())
    };
    tokio::select! {
        ended = exchange => ended,
        () = cut => None,
    }
}

/// Reads an answer to its end.
async fn read(mut body: Incoming, way: &mut Way) -> Option<()> {
    poll_fn(|cx| {
        loop {
            if let Way::Pipe(pipe) = way {
                pipe.drive(cx);
            }
            let ended = matches!(way, Way::Pipe(pipe) if pipe.has_ended());
            return match Pin::new(&mut body).poll_frame(cx) {
                Poll::Ready(Some(Ok(_))) => continue,
                Poll::Ready(Some(Err(_))) => Poll::Ready(None),
                Poll::Ready(None) => Poll::Ready(Some(())),
                Poll::Pending if ended => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            };
        }
    })
    .await
}
