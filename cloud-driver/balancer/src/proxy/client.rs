//! One connection of a client: served until it ends, is idle for too long, or the process leaves.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use http::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::forward::forward;
use super::pipe::MOST_HEAD;
use super::worker::{Place, Worker};

/// How long a connection may be without a request, seconds.
const IDLE_S: u64 = 75;

/// From the end of an answer to the end of the next request's head: above the idle time, so
/// that it only ends who sends a head too slowly.
const HEAD: Duration = Duration::from_secs(IDLE_S + 15);

/// The same once the process leaves.
const IDLE_LEAVING_S: u64 = 10;

/// A client's connection, as its worker knows it.
#[derive(Debug)]
pub(crate) struct Client {
    /// Its address, as it is written into requests.
    pub(crate) peer: HeaderValue,
    busy: Cell<u32>,
    /// Second of the worker's clock of its last request or answer.
    last: Cell<u64>,
    ends: Cell<bool>,
    waker: RefCell<Waker>,
}

impl Client {
    fn new(peer: SocketAddr, now_s: u64) -> Self {
        let text = peer.ip().to_canonical().to_string();
        Self {
            peer: HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("unknown")),
            busy: Cell::new(0),
            last: Cell::new(now_s),
            ends: Cell::new(false),
            waker: RefCell::new(Waker::noop().clone()),
        }
    }

    /// Polls everything of this connection again.
    pub(crate) fn wake(&self) {
        self.waker.borrow().wake_by_ref();
    }

    /// Ends it when it has been idle for too long.
    ///
    /// Once the process leaves, idle time counts from then on: nobody's next request shall meet a
    /// connection that was closed because of that.
    pub(crate) fn sweep(&self, now_s: u64, leaving_since_s: Option<u64>) {
        let idle_since = self.last.get().max(leaving_since_s.unwrap_or(0));
        let limit = if leaving_since_s.is_some() {
            IDLE_LEAVING_S
        } else {
            IDLE_S
        };
        if self.busy.get() == 0 && now_s.saturating_sub(idle_since) >= limit {
            self.end();
        }
    }

    /// Ends it after what it is answering.
    pub(crate) fn end(&self) {
        self.ends.set(true);
        self.wake();
    }
}

/// A request of a client that has not been answered whole.
#[derive(Debug)]
pub(crate) struct Busy {
    client: Rc<Client>,
    worker: Rc<Worker>,
}

impl Busy {
    pub(crate) fn new(client: Rc<Client>, worker: Rc<Worker>) -> Self {
        client.busy.set(client.busy.get() + 1);
        Self { client, worker }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.client.busy.set(self.client.busy.get() - 1);
        self.client.last.set(self.worker.now_s());
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr, place: Place) {
    // Small answers must not wait for acknowledgements; without it they are only slower.
    let _slower = stream.set_nodelay(true);
    let client = Rc::new(Client::new(peer, worker.now_s()));
    let _registered = worker.register(client.clone(), place);
    let service = {
        let (worker, client) = (worker.clone(), client.clone());
        service_fn(move |request| forward(worker.clone(), client.clone(), request))
    };
    let connection = http1::Builder::new()
        .max_buf_size(MOST_HEAD)
        .max_header_size(MOST_HEAD)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = poll_fn(|cx| {
        if !client.waker.borrow().will_wake(cx.waker()) {
            *client.waker.borrow_mut() = cx.waker().clone();
        }
        if client.ends.take() {
            connection.as_mut().graceful_shutdown();
        }
        match connection.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(ended),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    // What a client does to its own connection is not worth a line; faults of instances are counted.
    drop(ended);
}

/// Longest time a worker takes to notice an idle connection.
pub(crate) const SWEEP: Duration = Duration::from_secs(1);
